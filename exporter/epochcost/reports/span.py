"""The span of time of a report, and the grid on which series are read."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone

from epochcost.settings import SettingsError, duration

FINEST_STEP_SECONDS = 300.0
"""Five minutes: below it a scrape now and then falls into no window."""
MOST_STEPS = 720


@dataclass(frozen=True, slots=True)
class Span:
    """From ``begin`` to ``end`` (seconds since the Unix epoch), cut into ``steps`` windows of equal length.

    Point ``i`` of the grid is the end of window ``i``; point 0 is ``begin``; its window is before the span: what a
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

    def index(self, t: float) -> int:
        """The point of the grid nearest to ``t``."""
        return round((t - self.begin) / self.step_seconds)

    def chunks(self, points: int) -> Iterator[tuple[int, int]]:
        """First and last point of pieces of at most ``points`` points."""
        for first in range(0, self.steps + 1, points):
            yield first, min(first + points - 1, self.steps)


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


def moment(text: str, flag: str, now: float) -> float:
    """``now``, ``7d`` (ago), Unix seconds, or an ISO date or time (UTC unless it has an offset)."""
    plain = text.strip()
    if plain == "now":
        return now
    if re.fullmatch(r"\d{9,11}(\.\d+)?", plain):
        return float(plain)
    if plain[-1:].isalpha():  # a number alone is a year, or Unix seconds
        try:
            return now - duration(plain)
        except ValueError:
            pass
    try:
        when = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", plain))
    except ValueError:
        raise SettingsError(
            f"{flag}: {text!r} is not valid: expected now, an age such as 7d or 12h, Unix seconds, "
            "or a time such as 2026-05-01T00:00:00Z"
        ) from None
    return (when if when.tzinfo else when.replace(tzinfo=timezone.utc)).timestamp()


def clock(ts: float) -> str:
    """``2026-05-01 00:00 UTC``."""
    return datetime.fromtimestamp(ts, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
