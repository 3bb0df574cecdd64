"""Thousands of agents that ask one poller for their price in the same instant: how long it takes, and who times out.

Run it with the package at hand: ``PYTHONPATH=.:exporter python benchmarks/agents_ask.py --agents 5000``. The poller is
the real one, in a process of its own, with a list of prices; the agents are connections of one process, each of which
asks as `epochcost.agent.price_feed` does: after its spread, with a deadline of 5 s for a question, and after a failure
again after 2 s, 4 s, ... half as long to one and a half times as long. Exits 1 when a question of agents that
spread theirs timed out; one that was cut off, because all places were taken, is asked again.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from epochcost.agent.price_feed import FIRST_RETRY_SECONDS, FIRST_SPREAD_SECONDS, KNOWN_SPREAD_SECONDS, RETRY_SPREAD

DEADLINE_SECONDS = 5.0
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


async def ask(port: int) -> None:
    """One question; raises TimeoutError or OSError where it is not answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {QUESTION} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        if not answer.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(answer[:40].decode("latin-1") or "closed without an answer")
    finally:
        writer.close()


async def agent(port: int, spread: float, seen: Seen, began: float) -> None:
    """One agent until it has its price."""
    await asyncio.sleep(random.uniform(0, spread))
    wait = FIRST_RETRY_SECONDS
    while True:
        asked = time.monotonic()
        try:
            await asyncio.wait_for(ask(port), DEADLINE_SECONDS)
        except (TimeoutError, asyncio.TimeoutError, OSError) as err:
            why = type(err).__name__
            seen.failed[why] = seen.failed.get(why, 0) + 1
            await asyncio.sleep(wait * random.uniform(*RETRY_SPREAD))
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


def percentile(values: list[float], part: float) -> float:
    """Of ``values``, by rank."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def main() -> int:
    """Measure each spread; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=5000)
    parser.add_argument("--serve", action="store_true", help="be the poller")
    told = parser.parse_args()
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
            seen = asyncio.run(all_agents(port, told.agents, spread))
            good = good and not (spread and "TimeoutError" in seen.failed)
            print(
                f"{name:32} answered {len(seen.took)}, p50 {1e3 * percentile(seen.took, 0.5):.0f} ms, "
                f"p99 {1e3 * percentile(seen.took, 0.99):.0f} ms, all priced after {max(seen.priced):.1f} s, "
                f"failed {seen.failed or 0}"
            )
    finally:
        poller.communicate()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
