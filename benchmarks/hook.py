"""What reporting costs a training loop: a step, a batch, a line, beside the bare loop of the same run.

Run it with the package installed, or ``PYTHONPATH=exporter python benchmarks/hook.py``. Every figure is the best of
several rounds, in microseconds: what else the machine does can only add. Exits 1 when a goal is missed.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROUNDS = 40
STEPS = 50_000
LINES = 3_000
GOAL_STEP_US = 0.5
GOAL_LINE_US = 5.0


@dataclass(frozen=True)
class Row:
    what: str
    microseconds: float
    goal: float | None = None

    @property
    def missed(self) -> bool:
        return self.goal is not None and self.microseconds > self.goal


def best(loop: Callable[[int], None], count: int) -> float:
    """Microseconds for one of ``count`` turns, in the best of some rounds."""

    def once() -> float:
        begun = time.perf_counter()
        loop(count)
        return (time.perf_counter() - begun) / count * 1e6

    return min(once() for _ in range(ROUNDS))


def bare(count: int) -> None:
    for _ in range(count):
        pass


def measure() -> Iterator[Row]:
    begun = time.perf_counter()
    import epochcost

    yield Row("import epochcost (once, ms)", (time.perf_counter() - begun) * 1e3, 20.0)
    empty = best(bare, STEPS)
    yield Row("bare loop, one turn", empty)

    begun = time.perf_counter()
    run = epochcost.start("benchmark", epochs=10**9, batch_size=20)
    yield Row("epochcost.start() (once, ms)", (time.perf_counter() - begun) * 1e3)
    run.phase("train")

    def steps(count: int) -> None:
        for _ in range(count):
            run.step()

    def batches(count: int) -> None:
        for _ in run.batches(range(count)):
            pass

    yield Row("run.step(), a line a second included", best(steps, STEPS) - empty, GOAL_STEP_US)
    yield Row("run.batches(loader), likewise, one batch", best(batches, STEPS) - empty, GOAL_STEP_US)

    def written(count: int) -> None:
        for _ in range(count):
            run._due = 0.0  # noqa: SLF001 - as if a second had passed, for every single step
            run.step()

    def boundaries(count: int) -> None:
        for _ in range(count):
            run.phase("train")

    yield Row("a step that writes its line", best(written, LINES) - empty, GOAL_LINE_US)
    yield Row("a boundary with all facts (phase, epoch end)", best(boundaries, LINES) - empty)
    run.end()


def main() -> int:
    tmpfs = next((place for place in ("/dev/shm",) if os.access(place, os.W_OK)), None)  # what /var/run usually is
    with tempfile.TemporaryDirectory(dir=tmpfs) as directory:
        os.environ["EPOCHCOST_DIR"] = directory
        rows = list(measure())
        written = sum(path.stat().st_size for path in Path(directory).iterdir())
    print(f"Python {platform.python_version()} on {platform.machine()}, {os.cpu_count()} CPUs, {platform.release()}")
    print(f"{'':48}{'us':>9}{'goal':>9}")
    for row in rows:
        print(f"{row.what:48}{row.microseconds:9.3f}{'' if row.goal is None else row.goal:>9}{' MISSED' * row.missed}")
    print(f"written: {written / 1e6:.1f} MB, no fsync")
    return int(any(row.missed for row in rows))


if __name__ == "__main__":
    sys.exit(main())
