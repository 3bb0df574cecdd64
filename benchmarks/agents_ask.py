"""Thousands of agents that ask one poller for their price in the same instant: how long it takes, and who times out.

Run it with the package at hand: ``PYTHONPATH=.:exporter python benchmarks/agents_ask.py --agents 5000``. The poller is
the real one, in a process of its own, with a list of prices; the agents are connections of one process, each of which
asks as `epochcost.agent.price_feed` does: after its spread, with a deadline of 5 s for a question, and after a failure
again after 2 s, 4 s, ... half as long to one and a half times as long, or when the poller asks for it. Meanwhile it is
scraped once a second, as by Prometheus, within 10 s. Exits 1 when an agent has no price after a minute, or a scrape was
lost.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import platform
import random
import re
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from epochcost.agent.price_feed import (
    FIRST_RETRY_SECONDS,
    FIRST_SPREAD_SECONDS,
    KNOWN_SPREAD_SECONDS,
    LATER_SPREAD,
    RETRY_SPREAD,
)

DEADLINE_SECONDS = 5.0
SCRAPE_SECONDS = 10.0
GOAL_SECONDS = 60.0
LISTED = "provider,region,zone,instance_type,purchase_option,usd_per_hour,date,source\n"
QUESTION = "/v1/price?provider=lab&region=here&zone=&instance_type=big&purchase_option=on_demand"


@dataclass
class Seen:
    """What became of the questions.

    Attributes:
        took: seconds of each that was answered.
        failed: how many were not, by why.
        priced: when each agent had its price, in seconds after the instant.
    """

    took: list[float] = field(default_factory=list)
    failed: dict[str, int] = field(default_factory=dict)
    priced: list[float] = field(default_factory=list)


def serve(port: int) -> None:
    """The poller, until its input ends."""
    from epochcost.poller.app import PollerApp
    from epochcost.poller.footprint import keep_small
    from epochcost.poller.poller_settings import PollerSettings

    keep_small()
    with tempfile.TemporaryDirectory() as directory:
        prices = Path(directory, "prices.csv")
        prices.write_text(LISTED + "lab,here,,big,on_demand,3.5,2026-11-01,simulated\n")
        told = PollerSettings(
            web_listen_address=("127.0.0.1", port),
            state_dir=directory,
            prices_sources=("listed",),
            listed_files=(str(prices),),
        )
        app = PollerApp(told)
        app.start()
        print(app.port, flush=True)
        sys.stdin.read()
        app.stop()


class LaterError(Exception):
    """The poller says to come again after so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"in {seconds:g} s")
        self.seconds = seconds


async def ask(port: int) -> None:
    """One question; raises TimeoutError, OSError or LaterError where it is not answered."""
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setblocking(False)
        request = f"GET {QUESTION} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode()
        # The question follows the connection at once, as from a machine of its own: here 5,000 wait for their turns.
        sock.connect_ex(("127.0.0.1", port))
        try:
            sock.send(request)
        except (BlockingIOError, OSError):
            await loop.sock_connect(sock, ("127.0.0.1", port))
            await loop.sock_sendall(sock, request)
        answer = b""
        while piece := await loop.sock_recv(sock, 65536):
            answer += piece
    if answer.startswith(b"HTTP/1.1 503") and (told := re.search(rb"Retry-After: (\d+)", answer)):
        raise LaterError(float(told[1]))
    if not answer.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(answer[:40].decode("latin-1") or "closed without an answer")


async def agent(port: int, spread: float, seen: Seen, began: float) -> None:
    """One agent until it has its price."""
    await asyncio.sleep(random.uniform(0, spread))
    wait = FIRST_RETRY_SECONDS
    while True:
        asked = time.monotonic()
        try:
            await asyncio.wait_for(ask(port), DEADLINE_SECONDS)
        except (TimeoutError, asyncio.TimeoutError, OSError, LaterError) as err:
            why = type(err).__name__
            seen.failed[why] = seen.failed.get(why, 0) + 1
            later = err.seconds * random.uniform(*LATER_SPREAD) if isinstance(err, LaterError) else 0.0
            await asyncio.sleep(max(wait * random.uniform(*RETRY_SPREAD), later))
            wait *= 2
            continue
        seen.took.append(time.monotonic() - asked)
        seen.priced.append(time.monotonic() - began)
        return


async def all_agents(port: int, agents: int, spread: float) -> Seen:
    """All of them."""
    seen, began = Seen(), time.monotonic()
    await asyncio.gather(*(agent(port, spread, seen, began) for _ in range(agents)))
    return seen


def scrape(port: int) -> None:
    """Scrape once a second over one connection, rebuilt where it was cut; print what each took at the end."""
    taken: list[float | None] = []
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SCRAPE_SECONDS)
    while not ended.wait(1.0):
        began = time.monotonic()
        taken.append(None)
        for _ in range(2):  # a connection that was closed meanwhile is opened again, as Go's client does
            try:
                connection.request("GET", "/metrics")
                good = connection.getresponse()
                good.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                continue
            if good.status == 200 and time.monotonic() - began < SCRAPE_SECONDS:
                taken[-1] = time.monotonic() - began
            break
    print(json.dumps(taken))


def percentile(values: list[float], part: float) -> float:
    """Of ``values``, by rank."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def main() -> int:
    """Measure each spread; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=5000)
    parser.add_argument("--serve", action="store_true", help="be the poller")
    parser.add_argument("--scrape", type=int, metavar="PORT", help="be Prometheus")
    told = parser.parse_args()
    if told.scrape:
        scrape(told.scrape)
        return 0
    if told.serve:
        serve(0)
        return 0
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    poller = subprocess.Popen(
        [sys.executable, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert poller.stdout is not None
    port = int(poller.stdout.readline())
    print(f"{told.agents} agents, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    good = True
    try:
        asyncio.run(all_agents(port, 20, 0.1))  # it has answered before
        for name, spread in (
            ("in one instant", 0.0),
            (f"new agents, within {FIRST_SPREAD_SECONDS:g} s", FIRST_SPREAD_SECONDS),
            (f"restarted agents, within {KNOWN_SPREAD_SECONDS:g} s", KNOWN_SPREAD_SECONDS),
        ):
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            prometheus = subprocess.Popen([sys.executable, __file__, "--scrape", str(port)], **pipes)
            time.sleep(2.5)
            seen = asyncio.run(all_agents(port, told.agents, spread))
            taken = json.loads(prometheus.communicate()[0])
            lost = taken.count(None)
            good = good and not lost and max(seen.priced) <= GOAL_SECONDS
            print(
                f"{name:32} answered {len(seen.took)}, p50 {1e3 * percentile(seen.took, 0.5):.0f} ms, "
                f"p99 {1e3 * percentile(seen.took, 0.99):.0f} ms, all priced after {max(seen.priced):.1f} s, "
                f"failed {seen.failed or 0}; {len(taken)} scrapes, {lost} lost, "
                f"longest {max(each or 0.0 for each in taken):.2f} s"
            )
    finally:
        poller.communicate()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
