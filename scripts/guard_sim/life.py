"""One simulated machine's life: what happens on it, what goes wrong, and, by the script alone, what is waste."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

HOUR = 3600.0
GPUS = 2
USD_PER_HOUR = 32.0
BUDGET_USD = 40.0
REPORT_SECONDS = 15.0
STALL_SECONDS = 120.0
BOOT_SECONDS = 600.0

NOTHING = ("vacant", "held")
"""Parts in which nobody does anything and a policy may say so; memory that is held has a known owner."""
PARTS = (
    ("vacant", 3.0), ("held", 1.0), ("held-unknown", 0.5), ("train", 3.0), ("hung", 1.5), ("budget", 1.5),
    ("stranger", 1.0), ("lying", 0.7), ("cpu", 0.6), ("typing", 0.6), ("silent", 0.7), ("remote", 0.7), ("kept", 0.7),
)  # fmt: skip
"""What a machine does, and how often.

``lying`` is work whose utilisation the driver calls 0, ``silent`` a program under ``exec`` that prints nothing for
hours and works, ``remote`` a healthy run whose network is cut, ``kept`` a machine on which nothing runs and that
somebody keeps.
"""
FAULTS = (
    ("pause", 60, 900), ("restart", 5, 60), ("corrupt", 5, 60), ("unreadable", 30, 1200), ("stuck", 30, 900),
    ("gone", 60, 900), ("stale", 60, 600), ("unpriced", 60, 1200), ("jump", 1, 1), ("unread", 30, 600),
    ("full", 60, 900), ("policy", 1, 1), ("refused", 1, 1), ("unreadable file", 1, 1), ("network", 60, 1800),
)  # fmt: skip
"""What goes wrong, and for how many seconds."""


@dataclass(frozen=True)
class Part:
    """A stretch of a machine's life.

    Attributes:
        worse: from when on a run hangs, or has cost its budget.
        obeys: whether the training stops when it is asked to.
        busy: utilisation of its GPUs while it hangs.
    """

    kind: str
    start: float
    end: float
    number: int
    worse: float = 0.0
    obeys: bool = True
    busy: float = 1.0

    @property
    def run(self) -> str:
        """The run's id; empty where none is open."""
        return f"run-{self.number}" if self.kind in ("train", "hung", "budget", "silent", "remote") else ""


@dataclass(frozen=True)
class Waste:
    """What a guard that knows everything would end: from ``start`` on it holds, and would go on until ``end``."""

    subject: str
    start: float
    end: float


@dataclass
class Life:
    """A life of so many hours, drawn by ``seed``."""

    seed: int
    hours: float
    parts: list[Part] = field(default_factory=list)
    faults: list[tuple[str, float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        draw = random.Random(self.seed)  # noqa: S311 - the same life for the same seed
        t, end = BOOT_SECONDS, self.hours * HOUR
        self.parts.append(Part("vacant", 0.0, t, 0))  # the agent starts with the machine, on which nothing runs yet
        while t < end:
            self.parts.append(_part(draw, len(self.parts), t, end))
            t = self.parts[-1].end
        t = draw.expovariate(1 / (5 * HOUR))
        while t < end:
            kind, least, most = draw.choice(FAULTS)
            self.faults.append((kind, t, t + draw.uniform(least, most)))
            t += draw.expovariate(1 / (5 * HOUR))

    def at(self, t: float) -> Part:
        """The part at ``t``."""
        return next((part for part in self.parts if part.start <= t < part.end), self.parts[-1])

    def wrong(self, t: float) -> dict[str, float]:
        """What is wrong at ``t``, and since when."""
        return {kind: start for kind, start, end in self.faults if start <= t < end}

    def waste(self, ended: Mapping[str, float]) -> list[Waste]:
        """All that a policy would end, if it knew.

        Args:
            ended: runs that were ended before their time, and when: nothing runs since.
        """
        runs, nothing = [], []
        for part in self.parts:
            since = part.start if part.kind in NOTHING else min(part.end, ended.get(part.run, part.end))
            if since < part.end and nothing and nothing[-1].end == since:
                nothing[-1] = Waste("", nothing[-1].start, part.end)
            elif since < part.end:
                nothing.append(Waste("", since, part.end))
            if part.kind in ("hung", "budget"):
                runs.append(Waste(part.run, part.worse, part.end))
        return [*runs, *nothing]


def _part(draw: random.Random, number: int, t: float, end: float) -> Part:
    kind = draw.choices([name for name, _ in PARTS], [weight for _, weight in PARTS])[0]
    length = draw.choice((0.3, 1.0, 4.0, 8.0, 14.0)) * HOUR * draw.uniform(0.6, 1.4)
    if kind == "budget":  # long enough to reach it
        length = max(length, (BUDGET_USD / USD_PER_HOUR + 1) * HOUR)
    until = min(end, t + length)
    worse = t + (BUDGET_USD / USD_PER_HOUR) * HOUR if kind == "budget" else t + draw.uniform(0.1, 0.5) * (until - t)
    return Part(kind, t, until, number, min(worse, until), draw.random() < 0.6, draw.choice((0.0, 1.0)))
