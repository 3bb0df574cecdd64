"""What reporting costs a training loop: a step, a batch, a line, beside the bare loop and beside what loops do anyway.

Run it as ``python benchmarks/hook.py``. Every figure is CPU time, the
best of several rounds, in microseconds: what else the machine does can only add. Exits 1 when a goal is missed.
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
os.environ["PYTHONPATH"] = str(ROOT / "exporter")

ROUNDS = 40
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


def best(loop: Callable[[int], None], count: int) -> float:
    """Microseconds for one of ``count`` turns, in the best of some rounds."""

    def once() -> float:
        begun = time.process_time()
        loop(count)
        return (time.process_time() - begun) / count * 1e6

    return min(once() for _ in range(ROUNDS))


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
        environ = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        said = [
            subprocess.run(
                [sys.executable, "-c", FIRST], capture_output=True, text=True, check=True, env=environ
            ).stdout.split()
            for _ in range(PROCESSES)
        ]
    return min(float(one) for one, _ in said), min(float(other) for _, other in said)


def measure() -> Iterator[Row]:
    imported, started = first_run()
    yield Row("import epochcost (once, ms)", imported, GOAL_IMPORT_MS)
    yield Row("epochcost.start() (once, ms)", started, GOAL_FIRST_RUN_MS)
    import epochcost

    empty = best(bare, STEPS)
    yield Row("bare loop, one turn", empty)

    run = epochcost.start("benchmark", epochs=10**9, batch_size=20)
    run.phase("train")

    def steps(count: int) -> None:
        for _ in range(count):
            run.step()

    def batches(count: int) -> None:
        for _ in run.batches(range(count)):
            pass

    def accumulated(count: int) -> None:
        for _ in run.batches(range(count), accumulate=4):
            pass

    yield Row("run.step(), a line a second included", best(steps, STEPS) - empty, GOAL_STEP_US)
    yield Row("run.batches(loader), the same for one batch", best(batches, STEPS) - empty, GOAL_STEP_US)
    yield Row("run.batches(loader, accumulate=4), one batch", best(accumulated, STEPS) - empty)

    def written(count: int) -> None:
        for _ in range(count):
            run._due = 0.0  # noqa: SLF001 - as if a second had passed, for every single step
            run.step()

    def boundaries(count: int) -> None:
        for _ in range(count):
            run.phase("train")

    yield Row("a step that writes its line", best(written, LINES) - empty, GOAL_LINE_US)
    yield Row("a boundary with all facts (phase, epoch end)", best(boundaries, LINES) - empty)

    def logged(count: int) -> None:
        for _ in range(count):
            run.log(loss=0.5)

    def three(count: int) -> None:
        for _ in range(count):
            run._due = 0.0  # noqa: SLF001 - as above
            run.log(loss=0.5, accuracy=0.25, grad_norm=1.5)

    yield Row("run.log(loss=...), the same", best(logged, STEPS) - empty, GOAL_STEP_US)
    yield Row("run.log() of three that writes its line", best(three, LINES) - empty)
    run.end()
    yield from alternatives(empty)


def alternatives(empty: float) -> Iterator[Row]:
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

    def lines(count: int) -> None:
        with open(os.path.join(os.environ["EPOCHCOST_DIR"], "loss.csv"), "w") as file:  # noqa: PTH118, PTH123
            for step in range(count):
                file.write(f"{step},{0.5}\n")
                file.flush()

    yield Row("beside it: time.monotonic() alone", best(clock, STEPS) - empty)
    yield Row("beside it: logging.debug() that is not shown", best(level_off, STEPS) - empty)
    yield Row("beside it: a line of a CSV file, flushed", best(lines, LINES) - empty)
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
    parser.parse_args()
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
