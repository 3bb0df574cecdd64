"""Thousands of agents that ask one poller for their price in the same instant: how long it takes, and who times out.

    python benchmarks/agents_ask.py --agents 5000

The poller is the real one, in a process of its own, with a list of prices; the agents are connections of one process,
each of which asks as `epochcost.agent.price_feed` does: after its spread, with a deadline of 5 s for a request, and
after a failure again after 2 s, 4 s, ... half as long to one and a half times as long, or when the poller asks for it.
Meanwhile it is scraped once a second, as by Prometheus, within 10 s. Exits 1 when an agent has no price after a minute,
or a scrape was lost.
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

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "exporter")]

from epochcost.agent.price_feed import (  # noqa: E402
    FIRST_RETRY_SECONDS,
    FIRST_SPREAD_SECONDS,
    KNOWN_SPREAD_SECONDS,
    LATER_SPREAD,
    RETRY_SPREAD,
)

DEADLINE_SECONDS = 5.0
SCRAPE_SECONDS = 10.0
GOAL_SECONDS = 60.0
USD_PER_HOUR = 3.5
LISTED = "provider,region,zone,instance_type,purchase_option,usd_per_hour,date,source\n"
PRICE_PATH = "/v1/price?provider=lab&region=here&zone=&instance_type=big&purchase_option=on_demand"


@dataclass
class Results:
    """What became of the requests.

    Attributes:
        took: seconds of each that was served.
        failed: how many were not, by reason.
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
        prices.write_text(LISTED + f"lab,here,,big,on_demand,{USD_PER_HOUR},2026-11-01,simulated\n")
        settings = PollerSettings(
            web_listen_address=("127.0.0.1", port),
            state_dir=directory,
            prices_sources=("listed",),
            listed_files=(str(prices),),
        )
        app = PollerApp(settings)
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
    """One request; raises TimeoutError, OSError or LaterError where it is not served."""
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setblocking(False)
        request = f"GET {PRICE_PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode()
        # The request follows the connection at once, as from a machine of its own: here 5,000 wait for their turns.
        sock.connect_ex(("127.0.0.1", port))
        try:
            sock.send(request)
        except (BlockingIOError, OSError):
            await loop.sock_connect(sock, ("127.0.0.1", port))
            await loop.sock_sendall(sock, request)
        response = b""
        while piece := await loop.sock_recv(sock, 65536):
            response += piece
    if response.startswith(b"HTTP/1.1 503") and (later := re.search(rb"Retry-After: (\d+)", response)):
        raise LaterError(float(later[1]))
    if not response.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(response[:40].decode("latin-1") or "closed without a response")
    price = json.loads(response.partition(b"\r\n\r\n")[2])
    assert price["usd_per_hour"] == USD_PER_HOUR, price


async def agent(port: int, spread: float, results: Results, began: float) -> None:
    """One agent until it has its price."""
    await asyncio.sleep(random.uniform(0, spread))
    wait = FIRST_RETRY_SECONDS
    while True:
        sent = time.monotonic()
        try:
            await asyncio.wait_for(ask(port), DEADLINE_SECONDS)
        except (TimeoutError, asyncio.TimeoutError, OSError, LaterError) as err:
            why = type(err).__name__
            results.failed[why] = results.failed.get(why, 0) + 1
            later = err.seconds * random.uniform(*LATER_SPREAD) if isinstance(err, LaterError) else 0.0
            await asyncio.sleep(max(wait * random.uniform(*RETRY_SPREAD), later))
            wait *= 2
            continue
        results.took.append(time.monotonic() - sent)
        results.priced.append(time.monotonic() - began)
        return


async def all_agents(port: int, agents: int, spread: float) -> Results:
    """All of them."""
    results, began = Results(), time.monotonic()
    await asyncio.gather(*(agent(port, spread, results, began) for _ in range(agents)))
    return results


def scrape(port: int) -> None:
    """Scrape once a second over one connection, rebuilt where it was cut; print what each took at the end."""
    seconds: list[float | None] = []
    ended = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SCRAPE_SECONDS)
    while not ended.wait(1.0):
        began = time.monotonic()
        seconds.append(None)
        for _ in range(2):  # a connection that was closed meanwhile is opened again, as Go's client does
            try:
                connection.request("GET", "/metrics")
                good = connection.getresponse()
                good.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                continue
            if good.status == 200 and time.monotonic() - began < SCRAPE_SECONDS:
                seconds[-1] = time.monotonic() - began
            break
    print(json.dumps(seconds))


def percentile(values: list[float], part: float) -> float:
    """Of ``values``, by rank."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def measure(port: int, agents: int, name: str, spread: float) -> bool:
    """Print what became of ``agents`` that begin within ``spread`` seconds; whether the goals were met."""
    command = [sys.executable, __file__, "--scrape", str(port)]
    prometheus = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    time.sleep(2.5)
    results = asyncio.run(all_agents(port, agents, spread))
    scrapes: list[float | None] = json.loads(prometheus.communicate()[0])
    assert scrapes, "no scrape was measured"
    assert len(results.took) == len(results.priced) == agents
    lost = scrapes.count(None)
    print(
        f"{name:32} served {len(results.took)}, p50 {1e3 * percentile(results.took, 0.5):.0f} ms, "
        f"p99 {1e3 * percentile(results.took, 0.99):.0f} ms, all priced after {max(results.priced):.1f} s, "
        f"failed {results.failed or 0}; {len(scrapes)} scrapes, {lost} lost, "
        f"longest {max(each or 0.0 for each in scrapes):.2f} s"
    )
    return not lost and max(results.priced) <= GOAL_SECONDS


def main() -> int:
    """Measure each spread; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=5000)
    parser.add_argument("--serve", action="store_true", help="be the poller")
    parser.add_argument("--scrape", type=int, metavar="PORT", help="be Prometheus")
    args = parser.parse_args()
    if args.scrape:
        scrape(args.scrape)
        return 0
    if args.serve:
        serve(0)
        return 0
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    command = [sys.executable, __file__, "--serve"]
    poller = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert poller.stdout is not None
    port = int(poller.stdout.readline())
    print(f"{args.agents} agents, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    try:
        asyncio.run(all_agents(port, 20, 0.1))  # it has served requests before
        met = [
            measure(port, args.agents, "in one instant", 0.0),
            measure(port, args.agents, f"new agents, within {FIRST_SPREAD_SECONDS:g} s", FIRST_SPREAD_SECONDS),
            measure(port, args.agents, f"restarted agents, within {KNOWN_SPREAD_SECONDS:g} s", KNOWN_SPREAD_SECONDS),
        ]
    finally:
        poller.communicate()
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
