"""What runs beside a machine and is billed apart: disks by GB and month, addresses, licences, traffic by the GB."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from epochcost.model import Price, PriceStep
from epochcost.prices.places import PLACE, Where, entries, mapping, positive, where_of

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
        quantity: how many units there are, GB of a disk; 1 where nothing is counted.
    """

    name: str
    usd_per_unit: float
    where: Where = Where()  # noqa: RUF009 - a frozen value
    charged: bool = False
    unit: str = HOUR
    quantity: float = 1.0

    @property
    def usd_per_hour(self) -> float | None:
        """What it adds to an hour; None for traffic, which has no price by the hour."""
        if self.unit == GB:
            return None
        hours = 1.0 if self.unit == HOUR else HOURS_PER_MONTH
        return self.usd_per_unit * self.quantity / hours


def with_extras(price: Price, extras: Iterable[Extra]) -> Price:
    """``price`` with the charged ones of ``extras`` that run beside it."""
    charged = [extra.usd_per_hour for extra in extras if extra.charged and extra.where.matches(price.key)]
    added = sum(usd for usd in charged if usd is not None)
    if not added:
        return price
    return replace(price, steps=tuple(PriceStep(step.ts, step.usd_per_hour + added) for step in price.steps))


def parse_extras(raw: object) -> tuple[Extra, ...]:
    """The YAML list ``extras:``.

    Raises:
        ValueError: naming the entry, the key, its value and what is allowed.
    """
    extras = tuple(_extra(entry, f"extra {n}") for n, entry in entries(raw))
    names = [extra.name for extra in extras]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"extra {name!r} is given {names.count(name)} times; each needs its own name")
    return extras


def _extra(entry: object, where: str) -> Extra:
    values = mapping(entry, ("name", *PLACE, *_PRICED_BY, "gb", "charged"), where)
    name = str(values.get("name", ""))
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,63}", name):
        raise ValueError(f"{where}: name: {name!r} must be 1 to 64 letters, digits, blanks and ._-")
    charged = values.get("charged", False)
    if not isinstance(charged, bool):
        raise ValueError(f"{where}: charged: {charged!r} must be true or false")  # noqa: TRY004 - a bad value
    given = [key for key in _PRICED_BY if key in values]
    if len(given) != 1:
        raise ValueError(f"{where}: give one of {', '.join(_PRICED_BY)}, not {given}")
    unit = _PRICED_BY[given[0]]
    if (unit == GB_MONTH) is not ("gb" in values):
        raise ValueError(f"{where}: gb: how many GB there are goes with usd-per-gb-month, and is needed there")
    if unit == GB and charged:
        raise ValueError(f"{where}: charged: true: traffic by the GB is only shown: agents do not count it")
    quantity = positive(values, "gb", where) if unit == GB_MONTH else 1.0
    return Extra(name, positive(values, given[0], where), where_of(values), charged, unit, quantity)
