"""Dates of a price poller brought to the node timeline, by the difference of clocks when its answers came.

The node timeline is this machine's wall clock as it stood when the agent first started, continued by a clock that never
jumps; a poller dates by its own wall clock. The two differ when either clock is wrong, is set right later, or when this
machine has slept. What was once dated stays where it is: a later jump changes no past.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from epochcost.model import ClockReading, PriceStep, is_number

EXACT_SECONDS = 0.5
ROUGH_SECONDS = 2.0
"""Two clocks whose difference is less are one: an answer takes time, and HTTP's own date has whole seconds."""
MAX_STRETCHES = 64


class Stretch(NamedTuple):
    """Of the poller's dates up to ``until``, what is to be added; ``rough`` where that is known to a second alone."""

    until: float
    shift: float
    rough: bool


class PriceDates:
    """How the poller's dates become the timeline's, stretch by stretch: each until its clock differed anew."""

    def __init__(self) -> None:
        self._stretches: list[Stretch] = []
        """In the order in which the answers came."""

    def heard(self, theirs: ClockReading | None, wall: float, t: float) -> None:
        """An answer has come.

        Args:
            theirs: the poller's clock; None where it does not say, and is taken for ours.
            wall: our wall clock, in the middle of the question.
            t: the node timeline at the same instant.
        """
        rough = theirs is not None and not theirs.exact
        their_ts = wall if theirs is None else theirs.ts + (0.5 if rough else 0.0)
        ahead, same = wall - their_ts, ROUGH_SECONDS if rough else EXACT_SECONDS
        if abs(ahead) < same:  # one clock
            ahead, their_ts, rough = 0.0, wall, False
        shift = t - wall + ahead
        if abs(shift) < EXACT_SECONDS:
            shift = 0.0
        last = self._stretches[-1] if self._stretches else None
        if last is not None and abs(last.shift - shift) < same and (rough or not last.rough):
            self._stretches[-1] = Stretch(max(last.until, their_ts), last.shift, last.rough)
        else:
            self._stretches = [*self._stretches, Stretch(their_ts, shift, rough)][-MAX_STRETCHES:]

    def on_timeline(self, ts: float) -> float:
        """When ``ts`` of the poller's clock is on the node timeline: by the first answer that could know of it."""
        before = -math.inf
        for until, shift, _ in self._stretches:
            if ts <= until:
                return max(before, ts + shift)
            before = max(before, until + shift)
        shift = self._stretches[-1].shift if self._stretches else 0.0
        return max(before, ts + shift)

    def steps(self, steps: Sequence[PriceStep]) -> tuple[PriceStep, ...]:
        """``steps`` on the node timeline; of several that fall on one instant the last counts."""
        kept: list[PriceStep] = []
        for step in steps:
            t = step.ts if math.isinf(step.ts) else self.on_timeline(step.ts)
            while kept and kept[-1].ts >= t:
                kept.pop()
            kept.append(PriceStep(t, step.usd_per_hour))
        return tuple(kept)

    def state(self) -> list[list[float | bool]]:
        """As JSON-able data."""
        return [list(stretch) for stretch in self._stretches]

    def restore(self, state: Sequence[Any]) -> None:
        """Take over what `state` described.

        Raises:
            ValueError, TypeError: when it is not what `state` makes; nothing has changed then.
        """
        stretches = []
        for until, shift, rough in state:
            if not is_number(until) or not is_number(shift):
                raise ValueError(f"dates of prices: {str(until)[:40]}, {str(shift)[:40]} are not numbers")
            stretches.append(Stretch(float(until), float(shift), bool(rough)))
        self._stretches = stretches[-MAX_STRETCHES:]
