"""What ``epochcost exec`` costs a command: beside the command alone, and beside ``script -qc`` where that is installed.

    python benchmarks/exec.py [--rounds 5] [--megabytes 512]

Every figure is the best of some rounds, except latencies: the median and the 99th percentile of all. Exits 1 when a
goal is missed.
"""

from __future__ import annotations

import argparse
import json
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

EXEC = (sys.executable, "-m", "epochcost", "exec", "--")
LINES = 2000
GOAL_LATENCY_US = 500.0
GOAL_MEGABYTES_PER_SECOND = 300.0
GOAL_OVERHEAD_SECONDS = 0.25

REPEATED = "import os\ndata = {line!r} * {lines}\nfor _ in range({times}): os.write(1, data)"
PLAIN = b"x" * 79 + b"\n"
BAR = b"Epoch 3/10:  45%|####      | 45/100 [00:04<00:05,  9.98it/s]\r"
LINES_AT_ONCE = 800
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


def through_a_pipe(argv: Sequence[str], size: int) -> float:
    """Seconds until the last of ``size`` bytes came out of a pipe."""
    begun, read = time.perf_counter(), 0
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        while piece := os.read(program.stdout.fileno(), 1 << 20):
            read += len(piece)
    assert read == size, f"{read} of {size} bytes came out"
    return time.perf_counter() - begun


def latencies(argv: Sequence[str]) -> list[float]:
    """Microseconds from a line into the program to the line out of it."""
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        into, out = program.stdin.fileno(), program.stdout.fileno()
        microseconds = []
        for number in range(LINES):
            line = b"Epoch 3/10:  45%%|####| %d/4000 [00:04<00:05,  9.98it/s]\n" % number
            begun = time.perf_counter()
            os.write(into, line)
            remaining = len(line)
            while remaining:
                remaining -= len(os.read(out, 4096))
            microseconds.append((time.perf_counter() - begun) * 1e6)
        program.stdin.close()
        program.wait()
    return microseconds[100:]


def ways(code: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    bare = (sys.executable, "-c", code)
    yield "alone", bare
    yield "exec", (*EXEC, *bare)
    if shutil.which("script"):
        yield "script -qc", ("script", "-qfc", shlex.join(bare), "/dev/null")


def measure(rounds: int, megabytes: int) -> Iterator[Row]:
    for way, argv in ways("pass"):
        best = min(seconds(argv) for _ in range(rounds * 2))
        yield Row(f"a command that does nothing, {way}", best * 1e3, "ms")
    for what, line, millions in (("plain lines", PLAIN, megabytes), ("progress bars only", BAR, megabytes / 64)):
        times = max(1, round(millions * 1e6 / LINES_AT_ONCE / len(line)))
        size = times * LINES_AT_ONCE * len(line)
        for way, argv in ways(REPEATED.format(line=line, lines=LINES_AT_ONCE, times=times)):
            if way == "script -qc":
                continue  # its terminal makes other bytes of them
            best = min(through_a_pipe(argv, size) for _ in range(rounds))
            goal = GOAL_MEGABYTES_PER_SECOND if (way, what) == ("exec", "plain lines") else None
            yield Row(f"{what} through a pipe, {way}", size / 1e6 / best, "MB/s", goal, more_is_better=True)
    for way, argv in ways(ECHO):
        if way == "script -qc":
            continue
        delays = latencies(argv)
        yield Row(f"a line in and out, {way}, median", statistics.median(delays), "us")
        p99 = statistics.quantiles(delays, n=100)[98]
        yield Row(f"a line in and out, {way}, p99", p99, "us", GOAL_LATENCY_US if way == "exec" else None)
    yield from training(rounds)


def training(rounds: int) -> Iterator[Row]:
    """A training run of two seconds: how long it takes around it, and what processor time exec itself took."""
    for way, argv in ways(TRAINING):
        reported = events("progress")
        best = min(seconds(argv) for _ in range(rounds))
        assert way != "exec" or events("progress") > reported, "exec reported nothing of the training run"
        goal = 2.0 + GOAL_OVERHEAD_SECONDS if way == "exec" else None
        yield Row(f"a training run of 2 s, {way}", best, "s", goal)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds((*EXEC, "sleep", "5"))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    start = subprocess_cpu((*EXEC, "true"))
    yield Row("processor while nothing is printed, exec", max(0.0, used - start) / 5 * 100, "% of a core", 1.0)


def events(kind: str) -> int:
    """How many of this kind were reported so far."""
    files = Path(os.environ["EPOCHCOST_DIR"]).rglob("*.jsonl")
    return sum(json.loads(line)["ev"] == kind for path in files for line in path.read_text().splitlines())


def subprocess_cpu(argv: Sequence[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds(argv)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=512, help="of plain lines; a 64th of it of progress bars")
    args = parser.parse_args()
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}")
    missed = False
    with tempfile.TemporaryDirectory() as directory:
        os.environ["EPOCHCOST_DIR"] = directory
        os.environ["PYTHONPATH"] = str(ROOT / "exporter")
        os.chdir(directory)
        for row in measure(args.rounds, args.megabytes):
            goal = "" if row.goal is None else f"  (goal {row.goal:g}{': MISSED' if row.missed else ''})"
            print(f"{row.what:<52} {row.value:>10.3f} {row.unit}{goal}", flush=True)
            missed = missed or row.missed
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
