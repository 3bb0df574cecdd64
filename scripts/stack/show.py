"""Train the example and show what an epoch of it costs, from Prometheus where there is one."""

from __future__ import annotations

import argparse
import json
import threading
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.stack.processes import DIRECT, Part, Stack, StartError, python, tail

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "char_lm.py"
FIRST_COST_SECONDS = 300.0
LAST_EPOCH = "run:epochcost_epoch_cost_usd:last"


@dataclass(frozen=True, slots=True)
class Pointers:
    """Where everything answers; an empty URL is a part that does not run."""

    events: str
    agent: str
    prices: str
    prometheus: str
    alertmanager: str
    grafana: str


@dataclass(frozen=True, slots=True)
class EpochCost:
    """What one epoch of a run cost, and who says so."""

    run: str
    usd: float
    seconds: float
    usd_per_hour: float
    source: str


def print_pointers(pointers: Pointers) -> None:
    """The URLs to open."""
    rows = [
        ("live page", f"{pointers.agent}/"),
        ("agent metrics", f"{pointers.agent}/metrics"),
        ("prices", f"{pointers.prices}/"),
        ("Prometheus", pointers.prometheus and f"{pointers.prometheus}/alerts"),
        ("Alertmanager", pointers.alertmanager),
        ("Grafana", pointers.grafana and f"{pointers.grafana}/d/epochcost-fleet"),
    ]
    print()
    for name, url in rows:
        print(f"  {name:<14} {url or 'not installed here'}")
    print(f"  {'report to':<14} EPOCHCOST_DIR={pointers.events}", flush=True)


def train_and_show(stack: Stack, pointers: Pointers, args: argparse.Namespace, done: threading.Event) -> None:
    """Train for real, wait for the first cost of an epoch, and print it."""
    print(
        f"\nTraining {EXAMPLE.name} for real: {args.epochs} epochs, batch size {args.batch_size}. "
        "Waiting for the cost of its first epoch ...",
        flush=True,
    )
    run = f"char-lm-{time.strftime('%Y%m%d-%H%M%S')}"
    command = [python(), str(EXAMPLE)]
    command += ["--epochs", str(args.epochs), "--batch-size", str(args.batch_size), "--samples", str(args.samples)]
    environment = {"EPOCHCOST_DIR": pointers.events, "EPOCHCOST_RUN": run}
    example = stack.start("example", command, environment)
    cost = _first_cost(pointers, run, example, done)
    if cost is not None:
        print(
            f"\n  One epoch of {cost.run} cost ${cost.usd:.6f}: "
            f"{cost.seconds:.1f} s at ${cost.usd_per_hour:.4f} an hour (said by {cost.source}).\n"
            f"  {args.epochs} epochs like it: ${args.epochs * cost.usd:.6f}.",
            flush=True,
        )


def _first_cost(pointers: Pointers, run: str, example: Part, done: threading.Event) -> EpochCost | None:
    deadline = time.monotonic() + FIRST_COST_SECONDS
    while not done.wait(0.5):
        cost = _from_prometheus(pointers, run) if pointers.prometheus else _from_agent(pointers, run)
        if cost is not None:
            return cost
        if example.process.poll() not in (None, 0):
            raise StartError(f"the example ended with status {example.process.returncode}:\n{tail(example.log)}")
        if time.monotonic() > deadline:
            raise StartError(
                f"no epoch has a cost after {FIRST_COST_SECONDS:.0f} s; the live page says why: {pointers.agent}"
            )
    return None


def _from_prometheus(pointers: Pointers, run: str) -> EpochCost | None:
    usd = query(pointers.prometheus, f'{LAST_EPOCH}{{run="{run}"}}')
    seconds = query(pointers.prometheus, f'max by (run) (epochcost_run_last_epoch_seconds{{run="{run}"}})')
    price = query(pointers.prometheus, "max(epochcost_node_price_usd_per_hour)")
    if usd is None or seconds is None or price is None:
        return None
    return EpochCost(run, usd, seconds, price, "Prometheus")


def _from_agent(pointers: Pointers, run: str) -> EpochCost | None:
    live = _json(f"{pointers.agent}/v1/live")
    for row in live.get("runs", ()):
        if row["run"] == run and row["last_epoch_cost_usd"] is not None:
            price = live["node"]["price_usd_per_hour"]
            return EpochCost(run, row["last_epoch_cost_usd"], row["last_epoch_seconds"], price, "the agent")
    return None


def query(prometheus: str, expression: str) -> float | None:
    """The value of an instant query; None when it has no series."""
    answer = _json(f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
    result = answer.get("data", {}).get("result", [])
    return float(result[0]["value"][1]) if result else None


def _json(url: str) -> dict[str, Any]:
    try:
        with DIRECT.open(url, timeout=5.0) as answer:
            document = json.load(answer)
    except (OSError, ValueError):
        return {}  # not up yet, or gone: the caller keeps waiting, with a limit
    return document if isinstance(document, dict) else {}
