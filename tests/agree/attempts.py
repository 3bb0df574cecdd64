"""Attempts of training runs: the real library in processes of its own, and its lines stretched to simulated hours.

The lines of a process are written by the library itself, in the directory and under the launcher's variables that a
test gives it. It takes a moment; each line is then moved to its time in an attempt of so many minutes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TRAINING = """
import os, signal, sys, time
import epochcost
first, last, planned, trials = float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
for trial in range(trials):
    with epochcost.run(experiment="agree", epochs=planned, budget_usd=float(sys.argv[5])) as run:
        if first:
            run.resume(epoch=first)
        for epoch in run.epochs():
            for batch in run.batches(range(4)):
                if epoch + batch / 4 >= last:
                    os.kill(os.getpid(), signal.SIGTERM)  # as a cloud or a scheduler ends it
                time.sleep(0.003)
"""
OF_THIS_MACHINE = ("pid", "pidns", "host", "lock")
"""By which an agent sees whether a process still lives: these have all ended long ago."""
Line = tuple[float, str, dict[str, Any]]
"""When (s), in which file, and what it says."""


@dataclass(frozen=True)
class Attempt:
    """One or more processes of a machine, from one minute to another.

    Attributes:
        first, last: positions from and at which it trains; below ``planned`` it is ended by a signal.
        trials: training runs one after the other in the process.
        beside: so many processes of the same kind side by side.
        env: variables of its launcher.
    """

    machine: str
    begin: float
    end: float
    first: float = 0
    last: float = 99
    planned: int = 4
    trials: int = 1
    beside: int = 1
    env: Mapping[str, str] = field(default_factory=dict)


def run_all(attempts: Sequence[Attempt], home: Path, budget_usd: float) -> dict[str, list[Line]]:
    """Every attempt's processes, for real; the lines of each machine in order of time."""
    lines_by_run: dict[str, list[Line]] = {}
    for attempt in sorted(attempts, key=lambda a: a.begin):
        events = home / attempt.machine
        events.mkdir(parents=True, exist_ok=True)
        before = {path: path.read_text() for path in events.glob("*.jsonl")}
        _train(attempt, events, budget_usd)
        lines = [
            (path.name, json.loads(line))
            for path in sorted(events.glob("*.jsonl"))
            for line in path.read_text().removeprefix(before.get(path, "")).splitlines()
        ]
        lines_by_run.setdefault(attempt.machine, []).extend(_stretched(lines, attempt))
    return {machine: sorted(lines, key=lambda line: line[0]) for machine, lines in lines_by_run.items()}


def _train(attempt: Attempt, events: Path, budget_usd: float) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("EPOCHCOST", "SLURM"))}
    env = {**clean, **attempt.env, "EPOCHCOST_DIR": str(events), "PYTHONPATH": str(ROOT / "exporter")}
    arguments = [str(n) for n in (attempt.first, attempt.last, attempt.planned, attempt.trials, budget_usd)]
    command = [sys.executable, "-c", TRAINING, *arguments]
    processes = [subprocess.Popen(command, env=env) for _ in range(attempt.beside)]
    codes = [process.wait(timeout=120) for process in processes]
    assert set(codes) == ({0} if attempt.last >= attempt.planned else {-15}), (attempt, codes)


def _stretched(lines: Sequence[tuple[str, dict[str, Any]]], attempt: Attempt) -> Iterator[Line]:
    first, last = min(line["ts"] for _, line in lines), max(line["ts"] for _, line in lines)
    for file, line in lines:
        t = 60 * (attempt.begin + (line["ts"] - first) / (last - first) * (attempt.end - attempt.begin))
        yield t, file, {name: value for name, value in line.items() if name not in OF_THIS_MACHINE}
