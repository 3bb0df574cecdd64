"""What is paid, made of what is published: discounts and taxes; and what runs beside a machine, as extras.

The published steps stay as they are in the store. An adjustment is applied to what is given out, and may be dated, so
that a contract that begins in March changes nothing of February.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timezone
from fnmatch import fnmatchcase
from typing import Any

from epochcost.model import MAX_USD_PER_HOUR, Price, PriceKey, PriceStep

PLACE = ("provider", "region", "instance-type", "purchase-option")
PAID_ALREADY = ("owned", "listed_file")
"""What a person wrote down as his own price is adjusted only where the adjustment names that source."""


@dataclass(frozen=True, slots=True)
class Where:
    """Which prices: globs without regard to case (``p4*``), empty for all."""

    provider: str = ""
    region: str = ""
    instance_type: str = ""
    purchase_option: str = ""

    def matches(self, key: PriceKey) -> bool:
        """Whether all four do."""
        return (
            _like(self.provider, key.provider)
            and _like(self.region, key.region)
            and _like(self.instance_type, key.instance_type)
            and _like(self.purchase_option, key.purchase_option.value)
        )


def _like(pattern: str, text: str) -> bool:
    return not pattern or fnmatchcase(text.lower(), pattern.lower())


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A discount or a tax: ``usd * factor + added_usd_per_hour``, from ``since_ts`` to ``until_ts``.

    Attributes:
        name: for people.
        where: which prices.
        source: of which price source; empty for all but `PAID_ALREADY`.
        factor: 0.88 for 12 % off, 1.24 for a tax of 24 %.
        added_usd_per_hour: negative for an absolute discount.
        since_ts, until_ts: in seconds since the Unix epoch.
    """

    name: str
    where: Where = Where()
    source: str = ""
    factor: float = 1.0
    added_usd_per_hour: float = 0.0
    since_ts: float = -math.inf
    until_ts: float = math.inf

    def applies(self, price: Price) -> bool:
        """Whether it is about ``price`` at any time."""
        by_source = self.source == price.source if self.source else price.source not in PAID_ALREADY
        return by_source and self.where.matches(price.key)


@dataclass(frozen=True, slots=True)
class Extra:
    """What runs with a machine and is billed apart: a disk, a public address.

    Attributes:
        name: label ``extra``.
        usd_per_hour: what it adds.
        where: beside which machines.
        charged: whether agents charge it with the machine; otherwise it is only shown.
    """

    name: str
    usd_per_hour: float
    where: Where = Where()
    charged: bool = False


@dataclass(frozen=True, slots=True)
class Adjustments:
    """All of them, applied in their order."""

    entries: tuple[Adjustment, ...] = field(default=())

    def __call__(self, price: Price) -> Price | None:
        """What is paid where ``price`` is published; None where that would be nothing or less."""
        used = [entry for entry in self.entries if entry.applies(price)]
        if not used:
            return price
        times = {step.ts for step in price.steps}
        bounds = {ts for entry in used for ts in (entry.since_ts, entry.until_ts)}
        times |= {ts for ts in bounds if price.steps[0].ts < ts < math.inf}
        steps: list[PriceStep] = []
        for ts in sorted(times):
            usd = _paid(_published(price, ts), used, ts)
            if not 0 < usd <= MAX_USD_PER_HOUR:
                return None
            if not steps or steps[-1].usd_per_hour != usd:
                steps.append(PriceStep(ts, usd))
        return replace(price, steps=tuple(steps))


def _published(price: Price, ts: float) -> float:
    return next(step.usd_per_hour for step in reversed(price.steps) if step.ts <= ts)


def _paid(usd: float, used: Iterable[Adjustment], ts: float) -> float:
    for entry in used:
        if entry.since_ts <= ts < entry.until_ts:
            usd = usd * entry.factor + entry.added_usd_per_hour
    return usd


def with_extras(price: Price, extras: Iterable[Extra]) -> Price:
    """``price`` with the charged ones of ``extras`` that run beside it."""
    added = sum(extra.usd_per_hour for extra in extras if extra.charged and extra.where.matches(price.key))
    if not added:
        return price
    return replace(price, steps=tuple(PriceStep(step.ts, step.usd_per_hour + added) for step in price.steps))


def parse_adjustments(raw: object) -> Adjustments:
    """The YAML list ``adjustments:``.

    Raises:
        ValueError: naming the entry, the key, its value and what is allowed.
    """
    return Adjustments(tuple(_adjustment(entry, f"adjustment {n}") for n, entry in _entries(raw)))


def parse_extras(raw: object) -> tuple[Extra, ...]:
    """The YAML list ``extras:``.

    Raises:
        ValueError: naming the entry, the key, its value and what is allowed.
    """
    extras = tuple(_extra(entry, f"extra {n}") for n, entry in _entries(raw))
    names = [extra.name for extra in extras]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"extra {name!r} is given {names.count(name)} times; each needs its own name")
    return extras


def _entries(raw: object) -> Iterable[tuple[int, object]]:
    return enumerate(raw if isinstance(raw, list) else [raw], start=1)


def _adjustment(entry: object, where: str) -> Adjustment:
    allowed = ("name", *PLACE, "source", "discount-percent", "discount-usd-per-hour", "tax-percent", "from", "until")
    values = _mapping(entry, allowed, where)
    given = [key for key in ("discount-percent", "discount-usd-per-hour", "tax-percent") if key in values]
    if len(given) != 1:
        raise ValueError(f"{where}: give one of discount-percent, discount-usd-per-hour, tax-percent, not {given}")
    figure = _number(values, given[0], where, most=100.0 if given[0] == "discount-percent" else math.inf)
    return Adjustment(
        name=str(values.get("name", given[0])),
        where=_where(values),
        source=str(values.get("source", "")),
        factor={"discount-percent": 1 - figure / 100, "tax-percent": 1 + figure / 100}.get(given[0], 1.0),
        added_usd_per_hour=-figure if given[0] == "discount-usd-per-hour" else 0.0,
        since_ts=_ts(values, "from", where, -math.inf),
        until_ts=_ts(values, "until", where, math.inf),
    )


def _extra(entry: object, where: str) -> Extra:
    values = _mapping(entry, ("name", *PLACE, "usd-per-hour", "charged"), where)
    name = str(values.get("name", ""))
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,63}", name):
        raise ValueError(f"{where}: name: {name!r} must be 1 to 64 letters, digits, blanks and ._-")
    charged = values.get("charged", False)
    if not isinstance(charged, bool):
        raise ValueError(f"{where}: charged: {charged!r} must be true or false")  # noqa: TRY004 - a bad value
    return Extra(name, _number(values, "usd-per-hour", where), _where(values), charged)


def _mapping(entry: object, allowed: tuple[str, ...], where: str) -> Mapping[str, Any]:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where}: {entry!r} must be a mapping with {', '.join(allowed)}")  # noqa: TRY004 - a bad value
    for key in entry:
        if key not in allowed:
            raise ValueError(f"{where}: unknown key {key!r}; allowed: {', '.join(allowed)}")
    return entry


def _where(values: Mapping[str, Any]) -> Where:
    return Where(*(str(values.get(key, "")) for key in PLACE))


def _number(values: Mapping[str, Any], key: str, where: str, most: float = math.inf) -> float:
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (0 < value < most):
        limit = f" and below {most:g}" if most < math.inf else ""
        raise ValueError(f"{where}: {key}: {value!r} must be a number above 0{limit}")
    return float(value)


def _ts(values: Mapping[str, Any], key: str, where: str, default: float) -> float:
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
