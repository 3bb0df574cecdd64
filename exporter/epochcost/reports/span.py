"""The span of time of a report, and the grid on which series are read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timezone

from epochcost.settings import SettingsError
from epochcost.store.moment import moment

FINEST_STEP_SECONDS = 300.0
"""Five minutes: below it a scrape now and then falls into no window."""
MOST_STEPS = 720


@dataclass(frozen=True, slots=True)
class Span:
    """From ``begin`` to ``end`` (seconds since the Unix epoch), cut into ``steps`` windows of equal length.

    Point ``i`` of the grid is the end of window ``i``; point 0 is ``begin``, its window is before the span: what a
    counter had reached there is not the span's.
    """

    begin: float
    end: float
    steps: int

    @property
    def step_seconds(self) -> float:
        """Length of one window."""
        return (self.end - self.begin) / self.steps

    def at(self, index: int) -> float:
        """When window ``index`` ends."""
        return self.begin + index * self.step_seconds


def span(begin: str, end: str, now: float) -> Span:
    """The span between two texts (see `moment`); its end is never later than ``now``.

    Raises:
        SettingsError: naming the flag, its text and what is allowed.
    """
    first, last = moment(begin, "--from", now), min(moment(end, "--to", now), now)
    if first < 0:
        raise SettingsError(f"--from: {begin!r} lies before 1970")
    if last - first < 1:
        raise SettingsError(f"--from: {begin!r} must be earlier than --to {end!r} and than now")
    steps = min(MOST_STEPS, max(1, math.floor((last - first) / FINEST_STEP_SECONDS)))
    return Span(first, last, steps)


def clock(ts: float) -> str:
    """``2026-05-01 00:00 UTC``."""
    return datetime.fromtimestamp(ts, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
