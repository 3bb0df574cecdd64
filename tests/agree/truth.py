"""The expected cost and progress of runs, computed independently from their lines and their machines' prices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.agree.attempts import Line


@dataclass
class Truth:
    """A run over all its machines; ``mean`` is of its finished epochs."""

    usd: float = 0.0
    epochs_usd: float = 0.0
    finished: int = 0
    executed: float = 0.0
    position: float = 0.0
    start_epoch: float = 99.0
    machines: list[str] = field(default_factory=list)

    @property
    def mean(self) -> float:
        return self.epochs_usd / self.finished

    @property
    def useful(self) -> float:
        return self.position - self.start_epoch


@dataclass
class _Process:
    """One process of a run: when it began and ended, where its epochs ended, and its positions."""

    run: str
    counts: bool
    start: float
    end: float = 0.0
    edges: list[float] = field(default_factory=list)
    first: float = 0.0
    last: float = 0.0


def truth_of(lines_by_run: Mapping[str, Sequence[Line]], prices: Mapping[str, float]) -> dict[str, Truth]:
    """The truth by run. Runs side by side on a machine share its cost equally."""
    runs: dict[str, Truth] = {}
    for machine, lines in lines_by_run.items():
        processes = list(_processes(lines))
        for p in processes:
            truth = runs.setdefault(p.run, Truth())
            truth.usd += _usd(p.start, p.end, processes, prices[machine])
            truth.epochs_usd += sum(_usd(a, b, processes, prices[machine]) for a, b in pairwise(p.edges))
            if machine not in truth.machines:
                truth.machines.append(machine)
            if p.counts:
                truth.finished += max(0, len(p.edges) - 1)
                truth.executed += p.last - p.first
                truth.position, truth.start_epoch = max(truth.position, p.last), min(truth.start_epoch, p.first)
    return runs


def _processes(lines: Sequence[Line]) -> list[_Process]:
    open_processes: dict[tuple[str, str], _Process] = {}
    closed_processes: list[_Process] = []
    for t, file, line in lines:
        key = (file, line["run"])
        if line["ev"] == "start":
            if key in open_processes:
                closed_processes.append(open_processes.pop(key))
            open_processes[key] = _Process(line["run"], line.get("rank", 0) == 0, t)
            continue
        p = open_processes[key]
        if line["ev"] == "resume":
            p.first = p.last = line["epoch"]
        elif line["ev"] == "epoch_end" or (line["ev"] == "phase" and line["phase"] == "train" and not p.edges):
            p.edges.append(t)
        p.end, p.last = t, max(p.last, line.get("epoch", 0.0))
    return [*closed_processes, *open_processes.values()]


def _usd(start: float, end: float, processes: Sequence[_Process], usd_per_hour: float) -> float:
    """Dollars of one of ``processes``, which share the cost equally at every instant."""
    cuts = sorted({start, end, *(t for p in processes for t in (p.start, p.end) if start < t < end)})
    usd = 0.0
    for a, b in pairwise(cuts):
        paying = len({p.run for p in processes if p.start <= a and b <= p.end})
        usd += (b - a) / 3600 * usd_per_hour / paying
    return usd
