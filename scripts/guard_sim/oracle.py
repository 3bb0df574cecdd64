"""Judges what a guard did by the script: what was wrong, and how many of a perfect guard's dollars were ended."""

from __future__ import annotations

from dataclasses import dataclass, field

from epochcost.demo.scenario import HOUR, Steps
from scripts.guard_sim.machine import BEAT_SECONDS, Simulated, Stop
from scripts.guard_sim.waste import (
    CHECKPOINT_WAIT,
    FOR,
    FROM_USD,
    LADDER,
    STALL_SECONDS,
    Waste,
    alive,
    dollars,
    reached,
    waste,
)

FREE = Steps(((0.0, 0.0),))
SLACK = 2 * BEAT_SECONDS


@dataclass
class Verdict:
    """Of one or many lives."""

    hours: float = 0.0
    stops: int = 0
    wrong: list[str] = field(default_factory=list)
    perfect_usd: float = 0.0
    ended_usd: float = 0.0

    def add(self, other: Verdict) -> None:
        """Both together."""
        self.hours += other.hours
        self.stops += other.stops
        self.wrong += other.wrong
        self.perfect_usd += other.perfect_usd
        self.ended_usd += other.ended_usd

    @property
    def share(self) -> float:
        """Of a perfect guard's dollars."""
        return self.ended_usd / self.perfect_usd if self.perfect_usd else 1.0


def judge(played: Simulated) -> Verdict:
    """What one life shows."""
    life, verdict = played.life, Verdict(played.life.hours, len(played.stops))
    wasted = waste(played)
    for stop in played.stops:
        reason = _wrong(stop, wasted, played)
        if reason:
            verdict.wrong.append(f"seed {life.seed} ({life.machine.name}): {stop.policy} {stop.how} of "
                                 f"{stop.subject or 'machine'} at {stop.t / HOUR:.2f} h: {reason}")  # fmt: skip
    if life.price is None:
        return verdict
    for one in wasted:
        perfect_t = one.start + _perfect_wait(one, played)
        if perfect_t < one.end:
            verdict.perfect_usd += dollars(life.price, perfect_t, one.end)
            verdict.ended_usd += dollars(life.price, max(perfect_t, _ended_t(one, played)), one.end)
    return verdict


def _perfect_wait(one: Waste, played: Simulated) -> float:
    """How long after its beginning a guard that knows everything would end it: its wait, and that of its ladder."""
    price = played.life.price or FREE
    began = one.start + (STALL_SECONDS if one.policy == "hung-run" else 0.0)
    held = reached(price, began, FROM_USD[one.policy], FOR[one.policy])
    more = CHECKPOINT_WAIT if one.policy == "budget" and one.subject not in played.life.obeys else 0.0
    return held + LADDER[one.policy] + more - one.start


def _wrong(stop: Stop, wasted: list[Waste], played: Simulated) -> str:
    """Why a stop was wrong; empty if it was right."""
    life = played.life
    mine = [w for w in wasted if w.subject == stop.subject and w.start <= stop.t < w.end + SLACK]
    if not mine:
        kinds = sorted({one.kind for one in life.over(stop.t)})
        return f"nothing was paid for nothing; {', '.join(kinds) or 'no overlay'}"
    if all(one.policy != stop.policy for one in mine):
        return f"that is {mine[0].policy}"
    attempt = alive(life, stop.subject, stop.t)
    # It is known to save from a tick after it began until it has said that it trains again.
    hard = stop.how in ("now", "command") and attempt is not None and stop.t < attempt.hangs_at
    if hard and attempt is not None and all(life.saves(attempt, stop.t - n * BEAT_SECONDS) for n in (0, 1)):
        return "it was writing a checkpoint"
    held = max(stop.t - one.start for one in mine if one.policy == stop.policy)
    return "" if held >= FOR[stop.policy] - SLACK else f"it had held for {held / 60:.1f} min"


def _ended_t(one: Waste, played: Simulated) -> float:
    """From when on ``one`` was no longer paid; its end where nothing ended it."""
    if not one.subject:
        return next((start for start, end in played.off if start < one.end and end > one.start), one.end)
    times = (t for (run, _), t in played.ended.items() if run == one.subject and one.start <= t < one.end)
    return min(times, default=one.end)
