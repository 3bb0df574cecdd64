"""What runs beside a machine and is billed apart: disks by GB and month, addresses, licences, traffic by the GB."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from epochcost.model import Price, PriceStep
from epochcost.prices.places import PLACE, Where, entries, mapping, moment_ts, positive, where_of

HOURS_PER_MONTH = 730.0
"""By which providers turn a price per month into one per hour."""
HOUR, GB_MONTH, MONTH, GB = "hour", "gb-month", "month", "gb"
_PRICED_BY = {
    "usd-per-hour": HOUR,
    "usd-per-gb-month": GB_MONTH,
    "usd-per-month": MONTH,
    "usd-per-gb": GB,
}


@dataclass(frozen=True, slots=True)
class Extra:
    """What runs with a machine and is billed apart: a disk, a public address, a licence, traffic.

    Attributes:
        name: label ``extra``.
        usd_per_unit: what one unit costs.
        where: beside which machines.
        charged: whether agents charge it with the machine; otherwise it is only shown.
        unit: what is counted: an ``hour``, a ``month``, a ``gb-month``, or a ``gb`` of traffic.
        quantity: how many units there are: GB of a disk, GB of traffic a month; 1 where nothing is counted, 0 of
            traffic of which the amount is unknown: where it is ``charged``, agents count it.
        since_ts, until_ts: when it is paid, in seconds since the Unix epoch.
    """

    name: str
    usd_per_unit: float
    where: Where = Where()  # noqa: RUF009 - a frozen value
    charged: bool = False
    unit: str = HOUR
    quantity: float = 1.0
    since_ts: float = -math.inf
    until_ts: float = math.inf

    @property
    def usd_per_hour(self) -> float | None:
        """What it adds to an hour; None for traffic of which the amount is unknown."""
        if not self.quantity:
            return None
        hours = 1.0 if self.unit == HOUR else HOURS_PER_MONTH
        return self.usd_per_unit * self.quantity / hours

    @property
    def counted(self) -> bool:
        """Whether it is charged by the GB that agents count."""
        return self.unit == GB and self.charged and not self.quantity

    def paid_at(self, ts: float) -> float:
        """What it adds to an hour that begins then, where it is charged."""
        usd = self.usd_per_hour
        return usd if usd is not None and self.charged and self.since_ts <= ts < self.until_ts else 0.0


def with_extras(price: Price, extras: Iterable[Extra]) -> Price:
    """``price`` with the charged ones of ``extras`` that run beside it, while they do."""
    charged = [extra for extra in extras if extra.charged and extra.where.matches(price.key)]
    if not charged:
        return price
    first = price.steps[0].ts
    bounds = {ts for extra in charged for ts in (extra.since_ts, extra.until_ts) if first < ts < math.inf}
    steps: list[PriceStep] = []
    for ts in sorted({step.ts for step in price.steps} | bounds):
        usd = next(step.usd_per_hour for step in reversed(price.steps) if step.ts <= ts)
        usd += sum(extra.paid_at(ts) for extra in charged)
        if not steps or steps[-1].usd_per_hour != usd:
            steps.append(PriceStep(ts, usd))
    return replace(price, steps=tuple(steps))


def parse_extras(raw: object) -> tuple[Extra, ...]:
    """The YAML list ``extras:``.

    Raises:
        ValueError: naming the entry, the key, its value and what is allowed.
    """
    extras = tuple(_extra(entry, f"extra {n}") for n, entry in entries(raw))
    _require_distinct(extras)
    return extras


def parse_charged(text: str) -> tuple[Extra, ...]:
    """``disk=0.08*1000/gb-month, address=0.005/hour, licence=375/month, egress=0.09*50/gb``: what one machine pays.

    A figure is dollars for a unit, and after ``*`` how many units there are; GB of traffic are those of a month, and
    without a number (``egress=0.09/gb``) those that are counted.

    Raises:
        ValueError: naming the entry and what is allowed.
    """
    extras = tuple(_charged(entry.strip()) for entry in text.split(",") if entry.strip())
    _require_distinct(extras)
    return extras


def _charged(entry: str) -> Extra:
    match = re.fullmatch(r"([^=*/]+)=([0-9.]{1,20})(?:\*([0-9.]{1,20}))?/([a-z-]+)", entry)
    try:
        usd, quantity = (float(match[2]), float(match[3] or 1)) if match else (0.0, 0.0)
    except ValueError:
        usd = quantity = 0.0
    units = tuple(_PRICED_BY.values())
    counted = match is not None and (match[4] == GB or (match[3] is not None) is (match[4] == GB_MONTH))
    if match is None or not (usd > 0 and quantity > 0) or match[4] not in units or not counted:
        raise ValueError(
            f"{entry!r}: expected NAME=DOLLARS/UNIT with a unit of hour or month, or NAME=DOLLARS*GB/UNIT with "
            "gb-month (of a disk) or gb (of traffic, as many as a month has), or NAME=DOLLARS/gb for traffic as counted"
        )
    quantity = 0.0 if match[4] == GB and match[3] is None else quantity
    return Extra(_name(match[1], entry), usd, Where(), charged=True, unit=match[4], quantity=quantity)


def _require_distinct(extras: Iterable[Extra]) -> None:
    names = [extra.name for extra in extras]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"extra {name!r} is given {names.count(name)} times; each needs its own name")


def _name(text: str, where: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,63}", text):
        raise ValueError(f"{where}: name: {text!r} must be 1 to 64 letters, digits, blanks and ._-")
    return text


def _extra(entry: object, where: str) -> Extra:
    values = mapping(entry, ("name", *PLACE, *_PRICED_BY, "gb", "gb-per-month", "charged", "from", "until"), where)
    name = _name(str(values.get("name", "")), where)
    charged = values.get("charged", False)
    if not isinstance(charged, bool):
        raise ValueError(f"{where}: charged: {charged!r} must be true or false")  # noqa: TRY004 - a bad value
    keys = [key for key in _PRICED_BY if key in values]
    if len(keys) != 1:
        raise ValueError(f"{where}: give one of {', '.join(_PRICED_BY)}, not {keys}")
    unit = _PRICED_BY[keys[0]]
    if (unit == GB_MONTH) is not ("gb" in values):
        raise ValueError(f"{where}: gb: the number of GB is required with usd-per-gb-month, and only allowed there")
    if "gb-per-month" in values and unit != GB:
        raise ValueError(f"{where}: gb-per-month: the GB of traffic per month is only allowed with usd-per-gb")
    since, until = moment_ts(values, "from", where, -math.inf), moment_ts(values, "until", where, math.inf)
    if until <= since:
        raise ValueError(f"{where}: until: {values['until']!r} is not after from")
    quantity = {GB_MONTH: "gb", GB: "gb-per-month"}.get(unit, "")
    units = positive(values, quantity, where) if quantity in values else 0.0 if unit == GB else 1.0
    return Extra(name, positive(values, keys[0], where), where_of(values), charged, unit, units, since, until)
