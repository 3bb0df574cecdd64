"""What a provider allows: prepaid or granted credit, the length of a session, free hours per period."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from epochcost.prices.places import PLACE, Where, entries, mapping, moment_ts, positive, where_of

HOUR, DAY = 3600.0, 86400.0
MONTH = "month"
PERIODS: Mapping[str, float] = {"day": DAY, "week": 7 * DAY, MONTH: 28 * DAY}
"""By the least that they last: more free hours than that are implausible."""


@dataclass(frozen=True, slots=True)
class Credit:
    """Money that is spent down.

    Attributes:
        name: label ``credit``.
        provider: of the machines that it pays.
        usd: how much there was at ``as_of_ts``.
        as_of_ts: when, in seconds since the Unix epoch.
        until_ts: when the rest expires; infinite if it never does.
        spend_usd_per_hour: current spend from it, as its provider reports; None if unknown.
    """

    name: str
    provider: str
    usd: float
    as_of_ts: float
    until_ts: float = math.inf
    spend_usd_per_hour: float | None = None

    @property
    def lasts_seconds(self) -> float | None:
        """How long it lasts at that spend; None if nothing is spent, or the amount is unknown."""
        return self.usd / self.spend_usd_per_hour * HOUR if self.spend_usd_per_hour else None


@dataclass(frozen=True, slots=True)
class Limit:
    """What machines of a kind are allowed.

    Attributes:
        name: label ``limit``.
        where: which machines.
        session_seconds: after so long the provider ends a machine; None if it does not.
        free_seconds: free time per period; None if nothing is free.
        period: of ``free_seconds``, one of `PERIODS`, in UTC.
        since_ts: when one of the periods began, where they do not begin at midnight, on Mondays or the first.
    """

    name: str
    where: Where = Where()  # noqa: RUF009 - a frozen value
    session_seconds: float | None = None
    free_seconds: float | None = None
    period: str = ""
    since_ts: float | None = None


def parse_credits(raw: object) -> tuple[Credit, ...]:
    """The YAML list ``credits:``.

    Raises:
        ValueError: naming the entry, the key, its value and what is allowed.
    """
    all_credits = tuple(_credit(entry, f"credit {n}") for n, entry in entries(raw))
    _distinct([each.name for each in all_credits], "credit")
    return all_credits


def parse_balance(text: str) -> Credit:
    """``10@2026-11-28``: dollars that there were on a day (UTC).

    Raises:
        ValueError: saying what is allowed.
    """
    match = re.fullmatch(r"([0-9.]{1,20})@(\S{1,40})", text.strip())
    try:
        values = {"balance-usd": float(match[1]), "as-of": match[2]} if match else {}
    except ValueError:
        values = {}
    if not values:
        raise ValueError(f"{text!r}: expected USD@DAY, 10@2026-11-28")
    as_of = moment_ts(values, "as-of", text, math.nan)
    return Credit("configured", "", positive(values, "balance-usd", text), as_of)


def _credit(entry: object, where: str) -> Credit:
    values = mapping(entry, ("name", "provider", "balance-usd", "as-of", "until"), where)
    as_of = moment_ts(values, "as-of", where, math.nan)
    if math.isnan(as_of):
        raise ValueError(f"{where}: as-of: must be given: the day on which the balance was read, 2026-11-21")
    until = moment_ts(values, "until", where, math.inf)
    if until <= as_of:
        raise ValueError(f"{where}: until: {values['until']!r} is not after as-of")
    return Credit(
        _name(values, where), str(values.get("provider", "")), positive(values, "balance-usd", where), as_of, until
    )


def parse_limits(raw: object) -> tuple[Limit, ...]:
    """The YAML list ``limits:``.

    Raises:
        ValueError: naming the entry, the key, its value and what is allowed.
    """
    limits = tuple(_limit(entry, f"limit {n}") for n, entry in entries(raw))
    _distinct([each.name for each in limits], "limit")
    return limits


def _limit(entry: object, where: str) -> Limit:
    values = mapping(entry, ("name", *PLACE, "session-hours", "free-hours", "per", "from"), where)
    if "session-hours" not in values and "free-hours" not in values:
        raise ValueError(f"{where}: give session-hours, free-hours or both")
    period = str(values.get("per", ""))
    if ("free-hours" in values) is not (period in PERIODS):
        raise ValueError(f"{where}: per: {period!r} must be one of {', '.join(PERIODS)}, and goes with free-hours")
    if "from" in values and period in ("", MONTH):
        raise ValueError(f"{where}: from: a day on which a day or a week of free-hours began goes with those alone")
    since = moment_ts(values, "from", where, math.nan)
    free = _hours(values, "free-hours", where)
    if free is not None and free > PERIODS[period]:
        raise ValueError(f"{where}: free-hours: {values['free-hours']!r} is more than a {period} has")
    return Limit(
        _name(values, where),
        where_of(values),
        _hours(values, "session-hours", where),
        free,
        period,
        None if math.isnan(since) else since,
    )


def _hours(values: Mapping[str, Any], key: str, where: str) -> float | None:
    return positive(values, key, where) * HOUR if key in values else None


def _name(values: Mapping[str, Any], where: str) -> str:
    name = str(values.get("name", ""))
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,63}", name):
        raise ValueError(f"{where}: name: {name!r} must be 1 to 64 letters, digits, blanks and ._-")
    return name


def _distinct(names: list[str], what: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{what} {name!r} is given {names.count(name)} times; each needs its own name")
