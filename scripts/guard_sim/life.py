"""One machine's life, told in the demo's nouns: one of the demo's own machines, or one drawn of their kinds.

What happens on it is a `Machine` of the demo; what a guard must not fall for besides are overlays; what goes wrong are
faults. All of it is known beforehand: the oracle judges by it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from epochcost.demo.fleet import FLEET
from epochcost.demo.scenario import FOREVER, HOUR, Attempt, Job, Machine, Steps, Stranger

BOOT_SECONDS = 600.0
SAVES_EVERY, REMOTE_EVERY, REMOTE_HEARD, SILENT_AFTER = 1.5 * HOUR, 2 * HOUR, 0.5 * HOUR, 900.0
PARTS = (
    ("vacant", 3.0), ("held", 1.0), ("held-unknown", 0.5), ("train", 3.0), ("hung", 1.5), ("budget", 1.5),
    ("stranger", 1.0), ("lying", 0.7), ("cpu", 0.6), ("one-core", 0.4), ("fetch", 0.4),
    ("typing", 0.6), ("silent", 0.7), ("remote", 0.7), ("cells", 0.6),
)  # fmt: skip
"""What a machine does, and how often.

``one-core`` prepares data with one process, ``fetch`` loads them.
``lying`` is work whose utilisation the driver calls 0, ``silent`` a program under ``exec`` that prints nothing for
hours and works, ``remote`` a healthy run whose network is cut, ``cells`` a notebook that is used now and then.
"""
RUNS = ("train", "hung", "budget", "silent", "remote")
FAULTS = (
    ("pause", 60, 900), ("restart", 5, 60), ("corrupt", 5, 60), ("unreadable", 30, 1200), ("stuck", 30, 900),
    ("gone", 60, 900), ("stale", 60, 600), ("unpriced", 60, 1200), ("jump", 1, 1), ("unread", 30, 600),
    ("full", 60, 900), ("policy", 1, 1), ("refused", 1, 1), ("unreadable file", 1, 1), ("network", 60, 1800),
)  # fmt: skip
"""What goes wrong, and for how many seconds."""
STORMS = (
    ("stuck", "restart", "jump"), ("jump", "corrupt", "unreadable"), ("gone", "restart"), ("full", "restart"),
    ("unpriced", "restart", "policy"), ("restart", "restart"), ("pause", "jump"), ("corrupt", "unread"),
)  # fmt: skip
"""Some come together, in any order, seconds or minutes after each other."""


@dataclass(frozen=True, slots=True)
class Overlay:
    """What the demo has no noun for, from ``start`` to ``end``.

    Attributes:
        subject: a run, or empty for the machine.
        who: by whom something is kept: ``root``, ``ada`` (whose runs these are), ``link``.
    """

    kind: str
    start: float
    end: float
    subject: str = ""
    who: str = ""


@dataclass
class Life:
    """A life of so many hours, drawn by ``seed``: each third is one of the demo's own machines.

    Attributes:
        machine: what happens; times are seconds since the beginning.
        price: what it costs; None if nobody tells its agent.
        obeys: runs that stop when they are asked to.
    """

    seed: int
    hours: float
    machine: Machine = field(init=False)
    jobs: dict[str, Job] = field(default_factory=dict)
    overlays: list[Overlay] = field(default_factory=list)
    faults: list[tuple[str, float, float]] = field(default_factory=list)
    obeys: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        draw = random.Random(self.seed)  # noqa: S311 - the same life for the same seed
        if self.seed % 3 == 0:
            self._take(FLEET.machines[self.seed // 3 % len(FLEET.machines)], draw)
        else:
            self._draw(draw)
        self._keeps(draw)
        self.faults = sorted(_faults(draw, self.hours * HOUR), key=lambda fault: fault[1])

    @property
    def price(self) -> Steps | None:
        """$/h over time."""
        machine = self.machine
        if not machine.priced:
            return None
        key = (machine.kind.provider, machine.kind.instance_type, machine.purchase_option)
        offers = [o for o in FLEET.offers if (o.provider, o.instance_type, o.purchase_option) == key]
        mine = [o for o in offers if o.zone in (machine.zone, "") and o.region in (machine.region, "")]
        return mine[0].price if mine else None

    def wrong(self, t: float) -> dict[str, float]:
        """What is wrong at ``t``, and since when."""
        return {kind: start for kind, start, end in self.faults if start <= t < end}

    def over(self, t: float) -> list[Overlay]:
        """The overlays at ``t``."""
        return [one for one in self.overlays if one.start <= t < one.end]

    def saves(self, attempt: Attempt, t: float) -> bool:
        """Whether the process writes a checkpoint at ``t``: some do so for a quarter of an hour."""
        trained = t - attempt.first_step
        return attempt.run in self.obeys and trained > SAVES_EVERY and trained % SAVES_EVERY < 60.0 * (self.seed % 16)

    # -- how it is made ----------------------------------------------------------------------------------------------

    def _take(self, machine: Machine, draw: random.Random) -> None:
        """The demo's script is of a day, and is played again each day, until its machine is gone."""
        end = min(self.hours * HOUR, machine.gone)
        days = [24 * HOUR * day for day in range(int(end // (24 * HOUR)) + 1)]
        attempts: list[Attempt] = []
        for day in days:
            for one in machine.attempts:
                run = one.run if not day else f"{one.run}.{day:.0f}"
                self.jobs[run] = replace(FLEET.job(one.run), run=run)
                attempts.append(_later(one, run, day))
        strangers = tuple(
            replace(one, start=one.start + day, end=one.end + day)
            for one in machine.strangers
            for day in (days if one.end < FOREVER else days[:1])
        )
        self.machine = replace(machine, attempts=tuple(attempts), strangers=strangers)
        self.obeys = {run for run in self.jobs if draw.random() < 0.6}

    def _draw(self, draw: random.Random) -> None:
        like = draw.choice([m for m in FLEET.machines if m.kind.gpus and m.priced])
        self.machine = Machine(
            f"{like.name}-{self.seed}", like.kind, like.region, like.zone, like.purchase_option, boots=0.0,
            agent_starts=0.0, cpu_load=0.02,
        )  # fmt: skip
        t, end = BOOT_SECONDS, self.hours * HOUR
        while t < end:
            kind = draw.choices([name for name, _ in PARTS], [weight for _, weight in PARTS])[0]
            length = draw.choice((0.3, 1.0, 4.0, 8.0, 14.0)) * HOUR * draw.uniform(0.6, 1.4)
            until = min(end, t + length)
            if kind in RUNS:
                self._run(draw, kind, t, until)
            elif kind != "vacant":
                self._part(draw, kind, t, until)
            t = until

    def _run(self, draw: random.Random, kind: str, start: float, end: float) -> None:
        run, like = f"run-{len(self.jobs)}", draw.choice(FLEET.jobs)
        price = self.price or Steps(())
        usd = (price.at(start) or 1.0) * (end - start) / HOUR * draw.uniform(0.1, 0.6)
        budget = usd if kind == "budget" else None
        self.jobs[run] = replace(like, run=run, nodes=1, world=self.machine.kind.gpus, budget_usd=budget)
        first_step = min(end, start + draw.choice((15.0, 120.0, 600.0, 3000.0)))
        attempt = Attempt(
            run, start, first_step, end, draw.uniform(1, 12), draw.uniform(0.4, 0.97), draw.uniform(0.1, 0.9),
            hangs_at=draw.uniform(first_step, (first_step + end) / 2) if kind == "hung" else FOREVER,
            status=draw.choice(("finished", "finished", "failed", "preempted", "lost")),
            compiles=draw.random() < 0.3,
            waiting_gpus=(0,) if draw.random() < 0.1 and self.machine.kind.gpus > 1 else (),
        )  # fmt: skip
        self.machine = replace(self.machine, attempts=(*self.machine.attempts, attempt))
        if kind in ("silent", "remote"):
            self.overlays.append(Overlay(kind, start, end, run))
        if kind == "hung" and draw.random() < 0.5:
            self.overlays.append(Overlay("quiet", attempt.hangs_at, end, run))
        if draw.random() < 0.6:
            self.obeys.add(run)

    def _part(self, draw: random.Random, kind: str, start: float, end: float) -> None:
        fill, user = draw.uniform(0.05, 0.9), "ada"
        made: tuple[Stranger, ...] = ()
        if kind in ("held", "held-unknown"):
            made = (Stranger(start, end, 0.0, fill, user),)
        elif kind in ("stranger", "lying"):
            made = (Stranger(start, end, draw.uniform(0.3, 0.9), fill, user),)
        elif kind == "cells":
            every = draw.uniform(900.0, 2400.0)
            marks = [start + n * every for n in range(int((end - start) // every))]
            made = tuple(one for t in marks for one in (Stranger(t, t + 120, 0.6, fill, user),
                                                        Stranger(t + 120, t + every, 0.0, fill, user)))  # fmt: skip
        self.machine = replace(self.machine, strangers=(*self.machine.strangers, *made))
        if kind in ("held-unknown", "lying", "cpu", "typing", "one-core", "fetch"):
            self.overlays.append(Overlay(kind, start, end))

    def _keeps(self, draw: random.Random) -> None:
        """Somebody keeps something now and then: until in the midst of a wait, too."""
        end, t = self.hours * HOUR, draw.expovariate(1 / (8 * HOUR))
        while t < end:
            until = t + draw.choice((0.2, 1.0, 4.0)) * HOUR
            runs = [a.run for a in self.machine.attempts if a.start <= until and a.end >= t]
            subject = draw.choice(["", "", *runs])
            known = any(a.start + 120 < t for a in self.machine.attempts)  # a stranger keeps nothing
            who = draw.choice(("root", "link", "ada") if known else ("root", "link"))
            self.overlays.append(Overlay("kept", t, until, subject, who))
            t += draw.expovariate(1 / (8 * HOUR))


def _later(one: Attempt, run: str, day: float) -> Attempt:
    hangs = one.hangs_at + day if one.hangs_at < FOREVER else FOREVER
    end = min(one.end, 24 * HOUR - 1)  # the next day's begins
    return replace(
        one, run=run, start=one.start + day, first_step=one.first_step + day, end=end + day, hangs_at=hangs
    )  # fmt: skip


def _faults(draw: random.Random, end: float) -> Iterator[tuple[str, float, float]]:
    spans: dict[str, Callable[[], float]] = {
        kind: lambda least=least, most=most: draw.uniform(least, most)  # type: ignore[misc]
        for kind, least, most in FAULTS
    }
    t = draw.expovariate(1 / (5 * HOUR))
    while t < end:
        several = draw.choice(STORMS) if draw.random() < 0.2 else (draw.choice(FAULTS)[0],)
        at = t
        for kind in draw.sample(several, len(several)):
            yield kind, at, at + max(15.0, spans[kind]())
            at += draw.choice((1.0, 20.0, 120.0, 600.0))
        t += draw.expovariate(1 / (5 * HOUR))
