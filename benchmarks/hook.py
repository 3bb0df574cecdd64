"""What reporting costs a training loop: a step, a batch, a line, beside the bare loop and beside what loops do anyway.

    python benchmarks/hook.py [--rounds 40]

Every figure is CPU time, the best of several rounds, in microseconds: what else the machine does can only add. Exits 1
when a goal is missed.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "exporter")]

import epochcost  # noqa: E402 - measured in processes of its own

STEPS = 50_000
LINES = 3_000
GOAL_STEP_US = 0.5
GOAL_LINE_US = 5.0
GOAL_IMPORT_MS = 20.0
GOAL_FIRST_RUN_MS = 30.0
PROCESSES = 10


@dataclass(frozen=True)
class Row:
    what: str
    microseconds: float
    goal: float | None = None

    @property
    def missed(self) -> bool:
        return self.goal is not None and self.microseconds > self.goal


Best = Callable[[Callable[[int], None], int], float]
"""Microseconds of one of so many turns of a loop."""


def best_of(rounds: int) -> Best:
    """In the best of so many rounds."""

    def once(loop: Callable[[int], None], count: int) -> float:
        begun = time.process_time()
        loop(count)
        return (time.process_time() - begun) / count * 1e6

    return lambda loop, count: min(once(loop, count) for _ in range(rounds))


def bare(count: int) -> None:
    for _ in range(count):
        pass


FIRST = """
import time
begun = time.process_time()
import epochcost
imported = time.process_time()
run = epochcost.start("benchmark", epochs=1)
print((imported - begun) * 1e3, (time.process_time() - imported) * 1e3)
run.end()
"""


def first_run() -> tuple[float, float]:
    """Milliseconds for the import and for the first run of a process, in the best of some processes.

    Installers compile what they install; here the first of the processes does.
    """
    with tempfile.TemporaryDirectory() as compiled:
        environ = {**os.environ, "PYTHONPATH": str(ROOT / "exporter"), "PYTHONPYCACHEPREFIX": compiled}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        milliseconds = [
            subprocess.run(
                [sys.executable, "-c", FIRST], stdout=subprocess.PIPE, text=True, check=True, env=environ
            ).stdout.split()
            for _ in range(PROCESSES)
        ]
    return min(float(imported) for imported, _ in milliseconds), min(float(started) for _, started in milliseconds)


def measure(best: Best) -> Iterator[Row]:
    imported, started = first_run()
    yield Row("import epochcost (once, ms)", imported, GOAL_IMPORT_MS)
    yield Row("epochcost.start() (once, ms)", started, GOAL_FIRST_RUN_MS)
    empty = best(bare, STEPS)
    yield Row("bare loop, one turn", empty)
    run = epochcost.start("benchmark", epochs=10**9, batch_size=20)
    run.phase("train")
    yield from silent(run, best, empty)
    yield from lines(run, best, empty)
    run.end()
    yield from alternatives(best, empty)


def silent(run: epochcost.Run, best: Best, empty: float) -> Iterator[Row]:
    """Calls of which nearly none writes a line."""

    def steps(count: int) -> None:
        for _ in range(count):
            run.step()

    def batches(count: int) -> None:
        for _ in run.batches(range(count)):
            pass

    def accumulated(count: int) -> None:
        for _ in run.batches(range(count), accumulate=4):
            pass

    def logged(count: int) -> None:
        for _ in range(count):
            run.log(loss=0.5)

    yield Row("run.step(), a line a second included", best(steps, STEPS) - empty, GOAL_STEP_US)
    yield Row("run.batches(loader), the same for one batch", best(batches, STEPS) - empty, GOAL_STEP_US)
    yield Row("run.batches(loader, accumulate=4), one batch", best(accumulated, STEPS) - empty)
    yield Row("run.log(loss=...), the same", best(logged, STEPS) - empty, GOAL_STEP_US)


def lines(run: epochcost.Run, best: Best, empty: float) -> Iterator[Row]:
    """Calls of which each writes a line."""

    def steps(count: int) -> None:
        for _ in range(count):
            run._line_due_t = 0.0  # noqa: SLF001 - as if a second had passed, for every single step
            run.step()

    def boundaries(count: int) -> None:
        for _ in range(count):
            run.phase("train")

    def logged(count: int) -> None:
        for _ in range(count):
            run._line_due_t = 0.0  # noqa: SLF001 - as above
            run.log(loss=0.5, accuracy=0.25, grad_norm=1.5)
            run.step()  # writes the line with the numbers

    for what, loop, goal in (
        ("a step that writes its line", steps, GOAL_LINE_US),
        ("the same with run.log() of three numbers", logged, None),
        ("a boundary with all facts (phase, epoch end)", boundaries, None),
    ):
        before = written()
        yield Row(what, best(loop, LINES) - empty, goal)
        assert written() - before >= LINES, f"{what}: {written() - before} lines were written"


def written() -> int:
    """Lines so far."""
    files = Path(os.environ["EPOCHCOST_DIR"]).glob("*.jsonl")
    return sum(path.read_bytes().count(b"\n") for path in files)


def alternatives(best: Best, empty: float) -> Iterator[Row]:
    """What training loops commonly do at each step, by the same measure."""
    import io
    import logging

    log = logging.getLogger("benchmark")

    def clock(count: int) -> None:
        for _ in range(count):
            time.monotonic()

    def level_off(count: int) -> None:
        for step in range(count):
            log.debug("step %d", step)

    def csv(count: int) -> None:
        with open(os.path.join(os.environ["EPOCHCOST_DIR"], "loss.csv"), "w") as file:  # noqa: PTH118, PTH123
            for step in range(count):
                file.write(f"{step},{0.5}\n")
                file.flush()

    yield Row("beside it: time.monotonic() alone", best(clock, STEPS) - empty)
    yield Row("beside it: logging.debug() that is not shown", best(level_off, STEPS) - empty)
    yield Row("beside it: a line of a CSV file, flushed", best(csv, LINES) - empty)
    try:
        from tqdm import tqdm
    except ImportError:
        return

    def bar(count: int) -> None:
        for _ in tqdm(range(count), file=io.StringIO()):
            pass

    yield Row("beside it: tqdm, one batch", best(bar, STEPS) - empty)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    args = parser.parse_args()
    tmpfs = next((place for place in ("/dev/shm",) if os.access(place, os.W_OK)), None)  # what /var/run usually is
    with tempfile.TemporaryDirectory(dir=tmpfs) as directory:
        os.environ["EPOCHCOST_DIR"] = directory
        rows = list(measure(best_of(args.rounds)))
        size = sum(path.stat().st_size for path in Path(directory).iterdir())
    print(f"Python {platform.python_version()} on {platform.machine()}, {os.cpu_count()} CPUs, {platform.release()}")
    print(f"{'':48}{'us':>9}{'goal':>9}")
    for row in rows:
        print(f"{row.what:48}{row.microseconds:9.3f}{'' if row.goal is None else row.goal:>9}{' MISSED' * row.missed}")
    print(f"written: {size / 1e6:.1f} MB, no fsync")
    return int(any(row.missed for row in rows))


if __name__ == "__main__":
    sys.exit(main())
