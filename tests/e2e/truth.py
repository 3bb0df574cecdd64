"""The expected cost of a run, computed independently from its event file and the price steps alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path


@dataclass(frozen=True)
class Truth:
    """Dollars of each epoch, and of the whole run from its start to its end; which epochs saw no change of price."""

    epochs: list[float]
    run: float
    at_one_price: list[int]


def integral(steps: list[tuple[float, float]], start: float, end: float) -> float:
    """Dollars from ``start`` to ``end`` at the $/h of ``steps`` (ascending; the first lies before ``start``)."""
    usd = 0.0
    for (since, price), (until, _) in zip(steps, [*steps[1:], (float("inf"), 0.0)], strict=True):
        usd += price * max(0.0, min(end, until) - max(start, since)) / 3600
    return usd


def truth_of(events: Path, run: str, steps: list[tuple[float, float]]) -> Truth:
    """Read the run's only event file. Durations are those of the process's monotonic clock."""
    (path,) = events.glob(f"{run}-*.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    # The process reads `ts` and then `mono`: one that was held up in between has too small a difference.
    shift = max(line["ts"] - line["mono"] for line in lines)
    for line in lines:
        line["t"] = line["mono"] + shift
    at = {kind: [line["t"] for line in lines if line["ev"] == kind] for kind in ("start", "epoch_end", "end")}
    begin = next(line["t"] for line in lines if line["ev"] == "phase" and line["phase"] == "train")
    edges = [begin, *at["epoch_end"]]
    epochs = [integral(steps, a, b) for a, b in pairwise(edges)]
    changes = [ts for ts, _ in steps]
    calm = [k for k, (a, b) in enumerate(pairwise(edges)) if not any(a <= ts <= b for ts in changes)]
    return Truth(epochs, integral(steps, at["start"][0], at["end"][0]), calm)
