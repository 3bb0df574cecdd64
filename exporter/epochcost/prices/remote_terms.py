"""What a poller returns beside a price: its components, what its provider allows, the remaining credit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from epochcost.model import PriceStep, is_number
from epochcost.prices.allowances import PERIODS, Credit, Limit
from epochcost.prices.extras import GB
from epochcost.prices.quote import PriceTerms

PUBLISHED = "published"
MOST = 64
"""More parts, limits or credits than this are refused."""
_LONGEST_NAME = 128
MOST_FIGURE = 1e12
"""No balance and no date is beyond it; sums and products of such figures are still figures."""


def parse_terms(raw: Mapping[str, Any], provider: str) -> PriceTerms:
    """The terms in the response ``raw``, without what a poller of an earlier version does not report.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: when it is not what a poller returns.
    """
    extras = {f"extra {_name(each)}": _dollars(each, "usd_per_hour") for each in _rows(raw, "extras") if _paid(each)}
    if extras:
        PriceStep(0.0, math.fsum(extras.values()))  # raises for more than any price may be
    return PriceTerms(
        _parts(raw, extras),
        tuple(_limit(each) for each in _rows(raw, "limits")),
        tuple(_credit(each, provider) for each in _rows(raw, "credits")),
        math.fsum(extras.values()),
        {_name(each): _dollars(each, "usd_per_unit") for each in _rows(raw, "extras") if _counted(each)},
        _spot(raw.get("spot_usd_per_hour")),
    )


def _spot(usd: object) -> float | None:
    """It is for people alone: one that makes no sense is none."""
    return usd if is_number(usd) and usd > 0 else None


def _parts(raw: Mapping[str, Any], extras: Mapping[str, float]) -> dict[str, float]:
    """The price without extras, adjusted or not, and each extra that is charged."""
    parts = {_name(each): _figure(each["usd_per_hour"]) for each in _rows(raw, "parts")}
    usd = raw.get("usd_per_hour")
    if is_number(usd) and "parts" in raw and not parts:
        parts = {PUBLISHED: usd - math.fsum(extras.values())}
    return {**parts, **extras}


def _paid(extra: Mapping[str, Any]) -> bool:
    return extra["charged"] is True and extra["usd_per_hour"] is not None and extra.get("now", True) is True


def _counted(extra: Mapping[str, Any]) -> bool:
    """Whether it is charged by the GB that is counted here."""
    by_gb = extra.get("unit") == GB and extra["usd_per_hour"] is None
    return by_gb and extra["charged"] is True and extra.get("now", True) is True


def _limit(raw: Mapping[str, Any]) -> Limit:
    session, free = (None if raw[key] is None else _amount(raw, key) for key in ("session_seconds", "free_seconds"))
    period, since = raw["period"], raw["since_ts"]
    if free is not None and (period not in PERIODS or not 1 <= free <= PERIODS[period]):
        raise ValueError(f"{free:g} free seconds of {str(period)[:40]!r} are implausible")
    return Limit(
        _name(raw),
        session_seconds=session,
        free_seconds=free,
        period=str(period) if free is not None else "",
        since_ts=None if since is None else _figure(since),
    )


def _credit(raw: Mapping[str, Any], provider: str) -> Credit:
    spend, until = raw["spend_usd_per_hour"], raw["until_ts"]
    return Credit(
        _name(raw),
        provider,
        _figure(raw["usd"]),
        _amount(raw, "as_of_ts"),
        math.inf if until is None else _amount(raw, "until_ts"),
        None if spend is None else _not_below_0(spend),
    )


def _rows(raw: Mapping[str, Any], name: str) -> Iterable[Mapping[str, Any]]:
    rows = raw.get(name, [])
    if not isinstance(rows, list) or len(rows) > MOST or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{name}: not a list of at most {MOST} objects")
    return rows


def _name(raw: Mapping[str, Any]) -> str:
    name = raw["name"]
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
        raise ValueError(f"{str(name)[:80]!r} is not a name")
    return name


def _figure(value: object) -> float:
    if not is_number(value) or abs(value) > MOST_FIGURE:
        raise ValueError(f"{str(value)[:80]} is not a finite number, or is out of range")
    return float(value)


def _not_below_0(value: object) -> float:
    if (figure := _figure(value)) < 0:
        raise ValueError(f"{figure:g} is below 0")
    return figure


def _dollars(raw: Mapping[str, Any], key: str) -> float:
    """A price per hour, or per GB: at most the maximum of any price."""
    return PriceStep(0.0, _amount(raw, key)).usd_per_hour


def _amount(raw: Mapping[str, Any], key: str) -> float:
    if (figure := _figure(raw[key])) <= 0:
        raise ValueError(f"{key}: {figure:g} is not above 0")
    return figure
