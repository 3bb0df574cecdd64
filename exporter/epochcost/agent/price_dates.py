"""Dates of a price poller brought to the node timeline, by the difference of clocks when its responses came.

The node timeline is this machine's wall clock as it stood when the agent first started, continued by a clock that never
jumps; a poller dates by its own wall clock. The two differ when either clock is wrong, is set right later, or when this
machine has slept. What was once dated stays where it is: a later jump does not change the past.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from epochcost.model import ClockReading, PriceStep, is_number

EXACT_SECONDS = 0.5
ROUGH_SECONDS = 2.0
"""Clocks that differ by less are taken for equal: a response takes time, and HTTP's own date has whole seconds."""
MOST_BACK_SECONDS = 86400.0
"""A poller's clock may be set back by up to this without changing the dates of earlier responses."""
MAX_STRETCHES = 64


class Stretch(NamedTuple):
    """Of the poller's dates up to ``until``, what is to be added, and by how many seconds that may be wrong."""

    until: float
    shift: float
    error: float


class PriceDates:
    """Maps the poller's dates to the timeline, stretch by stretch: each until the difference of the clocks changed."""

    def __init__(self) -> None:
        self._stretches: list[Stretch] = []
        """In the order in which the responses came."""

    def received(self, theirs: ClockReading | None, wall: float, t: float, way: float = 0.0) -> None:
        """Take in the clock of a response.

        Args:
            theirs: the poller's clock; None if it reports none: then it is assumed to be ours.
            wall: our wall clock, in the middle of the request.
            t: the node timeline at the same instant.
            way: half of the request's duration, in seconds.
        """
        rough = theirs is not None and not theirs.exact
        their_ts = wall if theirs is None else theirs.ts + (0.5 if rough else 0.0)
        ahead, error = wall - their_ts, way + (0.5 if rough else 0.0)
        if abs(ahead) < (ROUGH_SECONDS if rough else EXACT_SECONDS) + way:  # one clock
            ahead, their_ts, error = 0.0, wall, 0.0
        shift = t - wall + ahead
        if abs(shift) < EXACT_SECONDS:
            shift = 0.0
        # A clock that was far ahead and is right now: what it dated would hold back all dates until then.
        self._stretches = [each for each in self._stretches if each.until - their_ts <= MOST_BACK_SECONDS]
        last = self._stretches[-1] if self._stretches else None
        if (
            last is not None
            and abs(last.shift - shift) < EXACT_SECONDS + error + last.error
            and error >= last.error / 2
        ):
            self._stretches[-1] = last._replace(until=max(last.until, their_ts))
        else:
            self._stretches = [*self._stretches, Stretch(their_ts, shift, error)][-MAX_STRETCHES:]

    def on_timeline(self, ts: float) -> float:
        """``ts`` of the poller's clock on the node timeline: by the first response that could contain it."""
        before = -math.inf
        for until, shift, _ in self._stretches:
            if ts <= until:
                return max(before, ts + shift)
            before = max(before, until + shift)
        shift = self._stretches[-1].shift if self._stretches else 0.0
        return max(before, ts + shift)

    def steps(self, steps: Sequence[PriceStep]) -> tuple[PriceStep, ...]:
        """``steps`` on the node timeline; of several that fall on one instant the last counts."""
        dated: list[PriceStep] = []
        for step in steps:
            t = step.ts if math.isinf(step.ts) else self.on_timeline(step.ts)
            while dated and dated[-1].ts >= t:
                dated.pop()
            dated.append(PriceStep(t, step.usd_per_hour))
        return tuple(dated)

    def state(self) -> list[list[float]]:
        """As JSON-able data."""
        return [list(stretch) for stretch in self._stretches]

    def restore(self, state: Sequence[Any]) -> None:
        """Restore what `state` described.

        Raises:
            ValueError, TypeError: when it is not what `state` makes; nothing has changed then.
        """
        stretches = []
        for until, shift, error in state:
            if not all(is_number(value) for value in (until, shift, error)):
                raise ValueError(f"dates of prices: {str((until, shift, error))[:120]} are not three numbers")
            stretches.append(Stretch(float(until), float(shift), float(error)))
        self._stretches = stretches[-MAX_STRETCHES:]
