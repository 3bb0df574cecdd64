"""What a guard that knows the script would end, and when: by the script alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from epochcost.demo.scenario import FOREVER, HOUR, Attempt, Steps

if TYPE_CHECKING:
    from scripts.guard_sim.life import Life
    from scripts.guard_sim.machine import Simulated

POLICY = """
dry_run: false
actions_per_hour: 60
commands:
  off: {command: [/bin/true]}
  kill: {command: [/bin/true, "{pids}"], scope: run}
policies:
  - {use: forgotten-machine, command: off}
  - {use: budget, command: kill}
  - {use: hung-run, command: kill}
"""
STALL_SECONDS = 120.0
FOR = {"forgotten-machine": 45 * 60.0, "budget": 60.0, "hung-run": 30 * 60.0}
LADDER = {"forgotten-machine": 30 * 60.0, "budget": 0.0, "hung-run": 20 * 60.0}
FROM_USD = {"forgotten-machine": 0.5, "budget": 0.0, "hung-run": 0.5}
CHECKPOINT_WAIT = 30 * 60.0
"""What a training run gets that is over its budget and does not stop when it is asked."""
LEAST_LOAD = 0.01
USED = ("held-unknown", "lying", "cpu", "typing", "one-core", "fetch")
"""Overlays in which somebody uses the machine, or may."""


@dataclass(frozen=True, slots=True)
class Waste:
    """What is paid for nothing: from ``start`` on, and would be until ``end``."""

    policy: str
    subject: str
    start: float
    end: float


def dollars(price: Steps, start: float, end: float) -> float:
    """What the machine costs in between."""
    nexts = [since for since, _ in price.steps[1:]] + [FOREVER]
    hours = ((min(end, until) - max(start, since)) / HOUR for (since, _), until in zip(price.steps, nexts, strict=True))
    return sum(usd * max(0.0, h) for (_, usd), h in zip(price.steps, hours, strict=True))


def waste(played: Simulated) -> list[Waste]:
    """All of one life, in which some was ended before its time."""
    return [*_of_runs(played), *_of_machine(played)]


def nothing_until(played: Simulated, t: float) -> float:
    """Until when nothing will run on the machine, from ``t`` on; ``t`` where something does."""
    return next((one.end for one in _of_machine(played) if one.start <= t < one.end), t)


def reached(price: Steps, start: float, usd: float, least: float) -> float:
    """The first instant, ``least`` seconds after ``start`` or later, by which ``usd`` have been spent since then."""
    low, high = start + least, start + least + 1000 * HOUR
    if dollars(price, start, low) >= usd:
        return low
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if dollars(price, start, middle) >= usd else (middle, high)
    return high


def _of_runs(played: Simulated) -> Iterator[Waste]:
    life = played.life
    if life.price is None:
        return
    for attempt in life.machine.attempts:
        end, ended = min(attempt.end, life.hours * HOUR), played.ended.get((attempt.run, attempt.start), FOREVER)
        budget = life.jobs[attempt.run].budget_usd
        if attempt.hangs_at < end:
            wasted = _unkept(life, Waste("hung-run", attempt.run, attempt.hangs_at, end))
            yield from (one for one in wasted if one.start < ended)
        if budget is not None and life.jobs[attempt.run].nodes == 1:
            over = reached(life.price, attempt.start, budget, 0.0)
            if over < min(end, attempt.hangs_at):
                wasted = _unkept(life, Waste("budget", attempt.run, over, end))
                yield from (one for one in wasted if one.start < ended)


def _of_machine(played: Simulated) -> Iterator[Waste]:
    life, machine = played.life, played.life.machine
    if life.price is None or not machine.kind.gpus:  # without GPUs there is no witness, and a guard must not act
        return
    whole = Waste("forgotten-machine", "", max(0.0, machine.agent_starts), min(life.hours * HOUR, machine.gone))
    busy = [(a.start, min(a.end, played.ended.get((a.run, a.start), a.end))) for a in machine.attempts]
    busy += [(s.start, s.end) for s in machine.strangers if s.load > LEAST_LOAD]
    busy += [(o.start, o.end) for o in life.overlays if o.kind in USED]
    for one in _without([whole], busy):
        yield from _unkept(life, one)


def _unkept(life: Life, one: Waste) -> list[Waste]:
    """What is kept is not ended; what is left of it afterwards has its wait anew."""
    keeps = [(o.start, o.end) for o in life.overlays if o.kind == "kept" and o.subject in ("", one.subject)]
    return _without([one], keeps)


def _without(some: list[Waste], spans: list[tuple[float, float]]) -> list[Waste]:
    for start, end in spans:
        some = [
            Waste(one.policy, one.subject, low, high)
            for one in some
            for low, high in ((one.start, min(one.end, start)), (max(one.start, end), one.end))
            if low < high
        ]
    return some


def alive(life: Life, run: str, t: float) -> Attempt | None:
    """The process of ``run`` at ``t``, as the script has it."""
    return next((a for a in life.machine.attempts if a.run == run and a.start <= t < a.end), None)
