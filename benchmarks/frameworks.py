"""What reporting costs a real training run: the same loop with and without, in pairs, beside other trackers.

Run it in an environment with torch (``scripts/test-frameworks`` makes one) and, for comparison, ``codecarbon`` and
``carbontracker``; ``python benchmarks/frameworks.py [PAIRS]``. Each pair is a bare training and one
with a tracker, in alternating order; what is printed is the median of the pairs' differences with its 95 % interval by
bootstrap, and what the first use in a process took. Every tracker looks or writes once a second. CPU seconds of the
process, its threads and its children are the steadier figure on a machine that does other things; an interval that
holds 0 says that the difference cannot be told from the noise, and the row "nothing" must hold it.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import logging
import os
import platform
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "exporter")]

EPOCHS = 3
STEPS = 4000
RESAMPLES = 2000
Tracker = Callable[[], contextlib.AbstractContextManager[Callable[[int], Iterator[int]]]]
"""Yields what goes round the steps of an epoch."""


@contextlib.contextmanager
def bare() -> Iterator[Callable[[int], Iterator[int]]]:
    yield lambda _: iter(range(STEPS))


@contextlib.contextmanager
def ours() -> Iterator[Callable[[int], Iterator[int]]]:
    import epochcost

    with epochcost.run("benchmark", epochs=EPOCHS, batch_size=64) as run:

        def steps(epoch: int) -> Iterator[int]:
            yield from run.batches(range(STEPS))
            run.epoch_end(epoch + 1)

        yield steps


@contextlib.contextmanager
def codecarbon() -> Iterator[Callable[[int], Iterator[int]]]:
    from codecarbon import OfflineEmissionsTracker

    tracker = OfflineEmissionsTracker(
        country_iso_code="USA", measure_power_secs=1, save_to_file=False, log_level="critical"
    )
    tracker.start()
    try:
        yield lambda _: iter(range(STEPS))
    finally:
        tracker.stop()


@contextlib.contextmanager
def carbontracker() -> Iterator[Callable[[int], Iterator[int]]]:
    from carbontracker.tracker import CarbonTracker

    tracker = CarbonTracker(epochs=EPOCHS, monitor_epochs=EPOCHS, verbose=0, ignore_errors=True)

    def steps(_: int) -> Iterator[int]:
        tracker.epoch_start()
        yield from range(STEPS)
        tracker.epoch_end()

    try:
        yield steps
    finally:
        tracker.stop()


@dataclass(frozen=True)
class Spent:
    wall: float
    cpu: float


def cpu_seconds() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def training(tracker: Tracker) -> Spent:
    """One training run of a small network, about 0.5 ms a step, the tracker's start and end included."""
    import torch

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.ReLU(), torch.nn.Linear(256, 1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    batch = torch.rand(64, 256)
    wall, cpu = time.perf_counter(), cpu_seconds()
    with tracker() as steps:
        for epoch in range(EPOCHS):
            for _ in steps(epoch):
                optimizer.zero_grad()
                net(batch).mean().backward()
                optimizer.step()
    return Spent(time.perf_counter() - wall, cpu_seconds() - cpu)


def pairs(tracker: Tracker, count: int) -> list[tuple[Spent, Spent]]:
    """``count`` pairs of (bare, tracked), every other one begun with the tracked one."""
    spent: list[tuple[Spent, Spent]] = []
    for number in range(count):
        if number % 2:
            tracked = training(tracker)
            spent.append((training(bare), tracked))
        else:
            spent.append((training(bare), training(tracker)))
    return spent


def first_use(tracker: Tracker) -> float:
    """Seconds to begin and end it for the first time in this process."""
    begun = time.perf_counter()
    with tracker():
        pass
    return time.perf_counter() - begun


def interval(values: list[float]) -> tuple[float, float]:
    """Where the median of ``values`` lies with a confidence of 95 %."""
    chance = random.Random(0)
    medians = sorted(statistics.median(chance.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return medians[round(0.025 * RESAMPLES)], medians[round(0.975 * RESAMPLES) - 1]


def row(name: str, tracker: Tracker, count: int) -> str:
    try:
        once, spent = first_use(tracker), pairs(tracker, count)
    except Exception as err:  # noqa: BLE001 - another project's tracker may not run on this machine
        return f"{name:22} does not run here: {type(err).__name__}: {err}"
    cells = []
    for measure in ("wall", "cpu"):
        percent = [(getattr(with_it, measure) / getattr(without, measure) - 1) * 100 for without, with_it in spent]
        low, high = interval(percent)
        cells.append(f"{statistics.median(percent):+8.2f} % ({low:+.2f} .. {high:+.2f})")
    extra = statistics.median(with_it.cpu - without.cpu for without, with_it in spent)
    return (
        f"{name:22}" + "".join(f"{cell:>32}" for cell in cells) + f"{extra * 1e6 / (EPOCHS * STEPS):14.2f}{once:14.2f}"
    )


def epochs_reported(directory: Path) -> int:
    """By epochcost, in all training runs so far."""
    lines = (line for path in directory.rglob("*.jsonl") for line in path.read_text().splitlines())
    return sum(json.loads(line)["ev"] == "epoch_end" for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="?", type=int, default=40)
    count: int = parser.parse_args().pairs
    logging.disable(logging.CRITICAL)
    import torch

    torch.set_num_threads(1)
    trackers: dict[str, Tracker] = {"nothing (the noise)": bare, "epochcost": ours}
    others: dict[str, Tracker] = {"codecarbon": codecarbon, "carbontracker": carbontracker}
    trackers |= {name: tracker for name, tracker in others.items() if importlib.util.find_spec(name)}
    with tempfile.TemporaryDirectory() as directory:
        os.environ["EPOCHCOST_DIR"] = directory
        here = Path.cwd()
        os.chdir(directory)
        try:
            print(
                f"Python {platform.python_version()}, torch {torch.__version__}, {os.cpu_count()} CPUs, {count} pairs"
            )
            print(
                f"{'beside the bare loop':22}{'wall (95 %)':>32}{'CPU (95 %)':>32}{'CPU us a step':>14}{'first, s':>14}"
            )
            for name, tracker in trackers.items():
                print(row(name, tracker, count), flush=True)
            ended = epochs_reported(Path(directory))
            assert ended == EPOCHS * count, f"{ended} of {EPOCHS * count} epochs were reported"
        finally:
            os.chdir(here)
    return 0


if __name__ == "__main__":
    sys.exit(main())
