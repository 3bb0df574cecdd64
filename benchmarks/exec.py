"""What ``epochcost exec`` costs a command: beside the command alone, and beside ``script -qc`` where that is installed.

Run it as ``python benchmarks/exec.py``. Every figure is the best of
some rounds, except latencies: the median and the 99th percentile of all. Exits 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "exporter")]
os.environ["PYTHONPATH"] = str(ROOT / "exporter")

EXEC = (sys.executable, "-m", "epochcost", "exec", "--")
ROUNDS = 5
MEGABYTES = 512
LINES = 2000
GOAL_LATENCY_US = 500.0
GOAL_MEGABYTES_PER_SECOND = 300.0
GOAL_OVERHEAD_SECONDS = 0.25

PLAIN = f"import os; data = b'x' * 79 + b'\\n'; data *= 800\nfor _ in range({MEGABYTES} * 16): os.write(1, data)"
BARS = (
    "import os; data = b'Epoch 3/10:  45%|####      | 45/100 [00:04<00:05,  9.98it/s]\\r' * 900\n"
    f"for _ in range({MEGABYTES} // 4): os.write(1, data)"
)
ECHO = "import os\nwhile data := os.read(0, 4096): os.write(1, data)"
TRAINING = """
import sys, time
end = time.perf_counter() + 2.0
step = 0
while time.perf_counter() < end:
    sum(i * i for i in range(20000))
    step += 1
    sys.stderr.write(f"\\rEpoch 1/1:  {step // 40}%|###| {step}/4000 [00:01<00:00,  9.98it/s]")
print(step)
"""


@dataclass(frozen=True)
class Row:
    what: str
    value: float
    unit: str
    goal: float | None = None
    more_is_better: bool = False

    @property
    def missed(self) -> bool:
        if self.goal is None:
            return False
        return self.value < self.goal if self.more_is_better else self.value > self.goal


def seconds(argv: Sequence[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


def through_a_pipe(argv: Sequence[str]) -> float:
    """Seconds until the last byte came out of a pipe."""
    begun = time.perf_counter()
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        while os.read(program.stdout.fileno(), 1 << 20):
            pass
    return time.perf_counter() - begun


def latencies(argv: Sequence[str]) -> list[float]:
    """Microseconds from a line into the program to the line out of it."""
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        into, out = program.stdin.fileno(), program.stdout.fileno()
        found = []
        for number in range(LINES):
            line = b"Epoch 3/10:  45%%|####| %d/4000 [00:04<00:05,  9.98it/s]\n" % number
            begun = time.perf_counter()
            os.write(into, line)
            left = len(line)
            while left:
                left -= len(os.read(out, 4096))
            found.append((time.perf_counter() - begun) * 1e6)
        program.stdin.close()
        program.wait()
    return found[100:]


def ways(code: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    bare = (sys.executable, "-c", code)
    yield "alone", bare
    yield "exec", (*EXEC, *bare)
    if shutil.which("script"):
        yield "script -qc", ("script", "-qfc", shlex.join(bare), "/dev/null")


def measure() -> Iterator[Row]:
    for way, argv in ways("pass"):
        best = min(seconds(argv) for _ in range(ROUNDS * 2))
        yield Row(f"a command that does nothing, {way}", best * 1e3, "ms")
    for what, code, size in (
        ("plain lines", PLAIN, MEGABYTES * 16 * 64_000 / 1e6),
        ("progress bars only", BARS, MEGABYTES // 4 * 900 * 61 / 1e6),
    ):
        for way, argv in ways(code):
            if way == "script -qc":
                continue  # its terminal makes other bytes of them
            best = min(through_a_pipe(argv) for _ in range(ROUNDS))
            goal = GOAL_MEGABYTES_PER_SECOND if (way, what) == ("exec", "plain lines") else None
            yield Row(f"{what} through a pipe, {way}", size / best, "MB/s", goal, more_is_better=True)
    for way, argv in ways(ECHO):
        if way == "script -qc":
            continue
        found = latencies(argv)
        yield Row(f"a line in and out, {way}, median", statistics.median(found), "us")
        p99 = statistics.quantiles(found, n=100)[98]
        yield Row(f"a line in and out, {way}, p99", p99, "us", GOAL_LATENCY_US if way == "exec" else None)
    yield from trainings()


def trainings() -> Iterator[Row]:
    """A training run of two seconds: how long it takes around it, and what processor time exec itself took."""
    for way, argv in ways(TRAINING):
        best = min(seconds(argv) for _ in range(ROUNDS))
        goal = 2.0 + GOAL_OVERHEAD_SECONDS if way == "exec" else None
        yield Row(f"a training of 2 s, {way}", best, "s", goal)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds((*EXEC, "sleep", "5"))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    start = subprocess_cpu((*EXEC, "true"))
    yield Row("processor while nothing is printed, exec", max(0.0, used - start) / 5 * 100, "% of a core", 1.0)


def subprocess_cpu(argv: Sequence[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds(argv)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}")
    missed = False
    with tempfile.TemporaryDirectory() as directory:
        os.environ["EPOCHCOST_DIR"] = directory
        os.environ["PYTHONPATH"] = os.pathsep.join(str(Path(p).resolve()) for p in sys.path if p)
        os.chdir(directory)
        for row in measure():
            goal = "" if row.goal is None else f"  (goal {row.goal:g}{': MISSED' if row.missed else ''})"
            print(f"{row.what:<52} {row.value:>10.3f} {row.unit}{goal}", flush=True)
            missed = missed or row.missed
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
