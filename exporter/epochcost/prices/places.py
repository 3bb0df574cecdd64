"""Which prices an entry of the configuration is about, and how such entries are read from YAML."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timezone
from fnmatch import fnmatchcase
from typing import Any

from epochcost.model import PriceKey, is_number

PLACE = ("provider", "region", "zone", "instance-type", "purchase-option")


@dataclass(frozen=True, slots=True)
class Where:
    """Which prices: globs without regard to case (``p4*``), empty for all."""

    provider: str = ""
    region: str = ""
    zone: str = ""
    instance_type: str = ""
    purchase_option: str = ""

    def matches(self, key: PriceKey) -> bool:
        """Whether all of them do."""
        return (
            _like(self.provider, key.provider)
            and _like(self.region, key.region)
            and _like(self.zone, key.zone)
            and _like(self.instance_type, key.instance_type)
            and _like(self.purchase_option, key.purchase_option.value)
        )


def _like(pattern: str, text: str) -> bool:
    return not pattern or fnmatchcase(text.lower(), pattern.lower())


def entries(raw: object) -> Iterable[tuple[int, object]]:
    """Each entry of a YAML list with its number; a single one needs no list."""
    return enumerate(raw if isinstance(raw, list) else [raw], start=1)


def mapping(entry: object, allowed: tuple[str, ...], where: str) -> Mapping[str, Any]:
    """A mapping with no other keys.

    Raises:
        ValueError: naming the entry and what is allowed.
    """
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where}: {entry!r} must be a mapping with {', '.join(allowed)}")  # noqa: TRY004 - a bad value
    for key in entry:
        if key not in allowed:
            raise ValueError(f"{where}: unknown key {key!r}; allowed: {', '.join(allowed)}")
    return entry


def where_of(values: Mapping[str, Any]) -> Where:
    """The keys of `PLACE`."""
    return Where(*(str(values.get(key, "")) for key in PLACE))


def positive(values: Mapping[str, Any], key: str, where: str, most: float = math.inf) -> float:
    """A number above 0.

    Raises:
        ValueError: naming the entry, the key and its value.
    """
    value = values.get(key)
    if not is_number(value) or not 0 < value < most:
        limit = f" and below {most:g}" if most < math.inf else ""
        raise ValueError(f"{where}: {key}: {value!r} must be a number above 0{limit}")
    return float(value)


def moment_ts(values: Mapping[str, Any], key: str, where: str, default: float) -> float:
    """A day or a time, UTC, in seconds since the Unix epoch; ``default`` if it is absent.

    Raises:
        ValueError: naming the entry, the key and its value.
    """
    value = values.get(key)
    if value is None:
        return default
    try:
        moment = value if isinstance(value, (date, datetime)) else datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError(f"{where}: {key}: {value!r} must be a day, 2026-11-21, or a time (UTC)") from None
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day, tzinfo=timezone.utc)
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
