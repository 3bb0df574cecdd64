"""Hours that cost nothing: a number per day, week or month, counted on the machine that uses them up."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from epochcost.prices.allowances import DAY, MONTH, PERIODS, Limit

Window = tuple[float, float]
FIRST_MONDAY = 4 * DAY
"""1970-01-05: weeks begin on Mondays, at midnight UTC, unless a limit has a start of its own."""
SAME_SECONDS = 1.0
"""A recomputed end that differs by less than this does not move."""
KEEP_SECONDS = 40 * DAY
"""Longer than a ledger prices anything again."""


def period_of(limit: Limit, now: float) -> Window:
    """The period of ``limit`` that holds ``now``."""
    if limit.period == MONTH:
        first = datetime.fromtimestamp(now, timezone.utc).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        following = (first + timedelta(days=32)).replace(day=1)
        return first.timestamp(), following.timestamp()
    length = PERIODS[limit.period]
    anchor = limit.since_ts if limit.since_ts is not None else FIRST_MONDAY
    start = anchor + (now - anchor) // length * length
    return start, start + length


@dataclass(frozen=True, slots=True)
class OtherUse:
    """What other machines of the account have used of this period.

    Attributes:
        seconds: in all.
        checked: when that was last known: hours that were free then are not charged afterwards.
    """

    seconds: float = 0.0
    checked: float = -math.inf


NO_OTHER_USE = OtherUse()


def free_windows(
    limits: Iterable[Limit],
    used: Sequence[Window],
    now: float,
    before: Sequence[Window],
    elsewhere: OtherUse = NO_OTHER_USE,
) -> list[Window]:
    """When the machine costs nothing, by the first of ``limits`` that has free hours.

    Args:
        limits: of the machine.
        used: when it was running, up to ``now``, ascending; it is assumed to keep running.
        now: the present.
        before: the previous result.
        elsewhere: see `OtherUse`.

    Returns:
        Windows in ascending order: earlier ones as they were, that of this period, and that of the next one.
    """
    limit = next((each for each in limits if each.free_seconds is not None), None)
    past = [(start, min(end, now)) for start, end in before if start < now and end > now - KEEP_SECONDS]
    if limit is None or limit.free_seconds is None:
        return past
    start, end = period_of(limit, now)
    # Not by `period_of`: where a period begins at a broken second, that may round the end into this one.
    following = period_of(limit, end) if limit.period == MONTH else (end, end + PERIODS[limit.period])
    ends = min(_used_up(used, start, now, max(0.0, limit.free_seconds - elsewhere.seconds)), end)
    known = next((known for begun, known in before if begun == start), ends)
    if elsewhere.seconds and ends < known:
        ends = min(known, max(ends, elsewhere.checked))
    ends = known if abs(known - ends) < SAME_SECONDS else ends
    coming = (following[0], min(following[0] + limit.free_seconds, following[1]))
    past = [(begun, min(ended, start)) for begun, ended in past if begun < start]
    return [(begun, ended) for begun, ended in (*past, (start, ends), coming) if ended > begun]


def used_in(period: Window, used: Iterable[Window]) -> float:
    """Seconds of ``used`` within ``period``."""
    start, end = period
    return math.fsum(max(0.0, min(ended, end) - max(begun, start)) for begun, ended in used)


def free_until(windows: Iterable[Window], now: float) -> float | None:
    """Until when nothing is charged; None if something is."""
    ends = None
    for start, end in windows:
        if start <= now < end or start == ends:
            ends = end
    return ends


def _used_up(used: Sequence[Window], start: float, now: float, free: float) -> float:
    """When ``free`` seconds of running since ``start`` are over, if it runs on from ``now``."""
    left = free
    for begun, ended in used:
        begun = max(begun, start)  # noqa: PLW2901 - what lies in the period
        if ended <= begun:
            continue
        if ended - begun >= left:
            return begun + left
        left -= ended - begun
    return now + left
