"""What electricity costs by hour of the day, as steps in time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from epochcost.model import is_number

MINUTES_PER_DAY = 1440


@dataclass(frozen=True, slots=True)
class Tariff:
    """Bands of a day, each from its minute on until the next; the last one holds over midnight.

    Attributes:
        bands: minute of the local day and $ per kWh, ascending by minute.
        timezone: by its name in the time zone database.

    Raises:
        ValueError: without a band, for one twice, or for a time zone that is not known.
    """

    bands: tuple[tuple[int, float], ...]
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        if not self.bands:
            raise ValueError("tariff-by-hour: at least one time must be given")
        try:
            ZoneInfo(self.timezone)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"timezone: {self.timezone!r} is not known; give a name such as Europe/Athens") from None

    @property
    def mean_usd_per_kwh(self) -> float:
        """Over a day of 24 hours."""
        ends = [minute for minute, _ in self.bands[1:]] + [self.bands[0][0] + MINUTES_PER_DAY]
        return sum(usd * (end - start) for (start, usd), end in zip(self.bands, ends, strict=True)) / MINUTES_PER_DAY

    def steps(self, start: float, end: float) -> tuple[tuple[float, float], ...]:
        """When each band begins, in seconds since the Unix epoch, and its $ per kWh; the first holds at ``start``."""
        changes = sorted(self._begins(start, end))
        holds = max((step for step in changes if step[0] <= start), default=changes[0])
        return (holds, *(step for step in changes if holds[0] < step[0] <= end))

    def _begins(self, start: float, end: float) -> Iterator[tuple[float, float]]:
        zone = ZoneInfo(self.timezone)
        day = datetime.fromtimestamp(start, zone).date() - timedelta(days=1)
        last = datetime.fromtimestamp(end, zone).date() + timedelta(days=1)
        while day <= last:
            for minute, usd in self.bands:
                yield _local(day, minute, zone), usd
            day += timedelta(days=1)


def _local(day: date, minute: int, zone: ZoneInfo) -> float:
    """When the wall clock first shows that minute; where the clock skips it, the moment of the skip."""
    local = datetime(day.year, day.month, day.day, minute // 60, minute % 60, tzinfo=zone)
    ts = local.timestamp()
    if datetime.fromtimestamp(ts, zone).replace(tzinfo=None) == local.replace(tzinfo=None):
        return ts
    # In a gap, fold 0 and 1 give the moment by the offset before and after: the skip is between them.
    low, high = sorted((ts, local.replace(fold=1).timestamp()))
    offset = datetime.fromtimestamp(low - 1, zone).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, timezone.utc).astimezone(zone).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return high


def parse_tariff(raw: object, zone: str) -> Tariff:
    """``{"07:00": 0.20, "23:00": 0.08}``; YAML reads an unquoted 23:00 as 1380, which is the same minute.

    Raises:
        ValueError: naming the time, its value and what is allowed.
    """
    if not isinstance(raw, Mapping):
        raise ValueError(f"tariff-by-hour: {raw!r} must be a mapping of times to $ per kWh")  # noqa: TRY004 - a bad value
    bands: dict[int, float] = {}
    for time, usd in raw.items():
        minute = _minute(time)
        if minute in bands:
            raise ValueError(f"tariff-by-hour: {time!r} is given twice")
        if not is_number(usd) or usd < 0:
            raise ValueError(f"tariff-by-hour: {time}: {usd!r} must be $ per kWh, 0 or more")
        bands[minute] = float(usd)
    return Tariff(tuple(sorted(bands.items())), zone)


def _minute(time: object) -> int:
    if isinstance(time, int) and not isinstance(time, bool) and 0 <= time < MINUTES_PER_DAY:
        return time
    match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", str(time))
    if not match:
        raise ValueError(f"tariff-by-hour: {time!r} must be a time of the day, 07:00")
    return int(match[1]) * 60 + int(match[2])
