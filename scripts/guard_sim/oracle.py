"""Judges what a guard did by the script: what was wrong, and how many of a perfect guard's dollars were ended."""

from __future__ import annotations

from dataclasses import dataclass, field

from scripts.guard_sim.life import HOUR, STALL_SECONDS, USD_PER_HOUR, Life, Waste
from scripts.guard_sim.machine import BEAT_SECONDS, Simulated, Stop

WAITS = {"forgotten-machine": 45 * 60.0, "budget": 60.0, "hung-run": 30 * 60.0 + STALL_SECONDS}
"""For how long it must have held at least."""
PERFECT = {"forgotten-machine": 75 * 60.0, "budget": 60.0, "hung-run": 50 * 60.0 + STALL_SECONDS}
"""How long after its beginning a guard that knows everything would end it: its wait, and that of its ladder."""


CHECKPOINT_WAIT = 30 * 60.0


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


def judge(played: Simulated) -> Verdict:
    """What one life shows."""
    life = played.life
    verdict = Verdict(life.hours, len(played.stops))
    waste = life.waste(played.ended)
    for stop in played.stops:
        reason = _wrong(stop, waste, life)
        if reason:
            verdict.wrong.append(f"seed {life.seed}: {stop.policy} {stop.how} of {stop.subject or 'machine'} at "
                                 f"{stop.t / HOUR:.2f} h: {reason}")  # fmt: skip
    for one in waste:
        policy = _policy(one, life)
        left = one.end - (one.start + _perfect_wait(policy, one, life))
        if left > 0:
            verdict.perfect_usd += left / HOUR * USD_PER_HOUR
            verdict.ended_usd += min(left, _ended(one, played)) / HOUR * USD_PER_HOUR
    return verdict


def _perfect_wait(policy: str, waste: Waste, life: Life) -> float:
    """A training that does not stop when it is asked is given its time by a perfect guard too."""
    obeys = policy != "budget" or life.at(waste.start).obeys
    return PERFECT[policy] + (0.0 if obeys else CHECKPOINT_WAIT)


def _policy(waste: Waste, life: Life) -> str:
    if not waste.subject:
        return "forgotten-machine"
    return "budget" if life.at((waste.start + waste.end) / 2).kind == "budget" else "hung-run"


def _wrong(stop: Stop, waste: list[Waste], life: Life) -> str:
    """Why a stop was wrong; empty where it was right."""
    mine = [w for w in waste if w.subject == stop.subject and w.start <= stop.t < w.end + 2 * BEAT_SECONDS]
    if not mine:
        return f"there was {life.at(stop.t).kind}"
    if _policy(mine[0], life) != stop.policy:
        return f"that is {_policy(mine[0], life)}"
    held = stop.t - mine[0].start
    return "" if held >= WAITS[stop.policy] - 2 * BEAT_SECONDS else f"it had held for {held / 60:.1f} min"


def _ended(waste: Waste, played: Simulated) -> float:
    """Seconds of ``waste`` that are no longer paid."""
    times = [stop.t for stop in played.stops if stop.subject == waste.subject and waste.start <= stop.t < waste.end]
    if waste.subject:  # a request that is not obeyed ends nothing
        obeyed = waste.subject in played.ended
        commands = [s.t for s in played.stops if s.subject == waste.subject and s.how == "command"]
        times = (commands or times) if obeyed else []
    return waste.end - min(times) if times else 0.0
