"""SKUs of the Cloud Billing catalogue: which part of a machine a SKU prices, and what that part costs where."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

COMPUTE = "6F81-5844-456A"
CLOUD_TPU = "E000-3F24-B8AA"
VERTEX = "C7E2-9256-1C43"
SERVICES: Mapping[str, str] = {COMPUTE: "Compute Engine", CLOUD_TPU: "Cloud TPU", VERTEX: "Vertex AI"}
HOURS_PER_MONTH = 730.0
"""By which Google turns a price per month into one per hour."""
HOURLY: Mapping[str, float] = {"h": 1.0}
MEMORY: Mapping[str, float] = {"GiBy.h": 1.0, "GBy.h": 1.0}  # the same quantity of GiB is billed under either name
STORAGE: Mapping[str, float] = {"GiBy.mo": HOURS_PER_MONTH, "GBy.mo": HOURS_PER_MONTH}
_USAGE_TYPES = ("OnDemand", "Preemptible")
_OTHER_USAGE = re.compile(r"Commit\w*")
"""Commitments of 1, 3 or 5 years and their surcharges."""
_NOT_ORDINARY = re.compile(
    r"\b(Sole Tenancy|Reserved|Premium|Custom|suspended|Commitment|DWS|Calendar Mode|Capacity Optimized"
    r"|Virtual Workstation|free tier)\b",
    re.IGNORECASE,
)
"""Words of SKUs that describe a part of a machine, on demand by their usage type, and are not its ordinary price."""


@dataclass(frozen=True, slots=True)
class Part:
    """Something that SKUs price: an A2 core, a GiB of A2 memory, a GPU, a TPU chip; ``service`` is the id of theirs."""

    service: str
    name: str


@dataclass(frozen=True, slots=True)
class Reading:
    """The meaning of a SKU's text; ``hours`` is how many hours each allowed unit has, ``spot`` by the text alone."""

    part: Part
    hours: Mapping[str, float]
    spot: bool


class RateError(Exception):
    """A part has no rate, or not exactly one; the text contains the reason, without naming the part."""


class Rates:
    """What parts cost by region, spot apart. Stores a few numbers of each SKU that `read` knows, not the others.

    Args:
        read: what the text of a SKU of this service is the price of; None for all that is not a part of a machine.
    """

    def __init__(self, read: Callable[[str], Reading | None]) -> None:
        self._read = read
        self.unknown: set[str] = set()
        """Usage types that are not known here: a new way of paying."""
        self._rates: dict[tuple[Part, str, bool], dict[str, float | str]] = {}

    def add(self, sku: Any) -> None:  # noqa: ANN401 - a protobuf message without types
        """Take the rate of one ``google.cloud.billing.v1.Sku`` message; what is none of a machine is passed over."""
        usage_type, description = sku.category.usage_type, sku.description
        if usage_type and usage_type not in _USAGE_TYPES and not _OTHER_USAGE.fullmatch(usage_type):
            self.unknown.add(f"usageType={usage_type[:80]}")
        if usage_type not in _USAGE_TYPES or _NOT_ORDINARY.search(description):
            return
        reading = self._read(description)
        if reading is None:
            return
        try:
            rate: float | str = usd_per_hour(sku, reading.hours)
        except ValueError as err:
            rate = str(err)
        # Some preemptible SKUs (TPU v2 to v4, B200) have the usage type OnDemand: either word makes it spot.
        spot = reading.spot or usage_type == "Preemptible"
        for region in sku.service_regions:  # the text names places: "Americas", "Iowa"
            self._rates.setdefault((reading.part, region, spot), {})[sku.sku_id] = rate

    def has(self, part: Part, region: str, *, spot: bool) -> bool:
        """Whether any SKU prices this."""
        return (part, region, spot) in self._rates

    def usd(self, part: Part, region: str, *, spot: bool) -> float:
        """Dollars an hour.

        Raises:
            RateError: when no SKU prices it, when two differ, or when one cannot be read.
        """
        by_sku = self._rates.get((part, region, spot), {})
        faults = [f"SKU {sku} {rate}" for sku, rate in sorted(by_sku.items()) if isinstance(rate, str)]
        if faults:
            raise RateError(faults[0])
        rates = {sku: rate for sku, rate in sorted(by_sku.items()) if isinstance(rate, float)}
        if not rates:
            raise RateError("has no SKU there")
        if len(set(rates.values())) > 1:
            figures = ", ".join(f"{sku} ${usd:g}" for sku, usd in rates.items())
            raise RateError(f"has {len(rates)} SKUs that differ ({figures})")
        return next(iter(rates.values()))


def usd_per_hour(sku: Any, hours: Mapping[str, float]) -> float:  # noqa: ANN401 - a protobuf message without types
    """The one rate of a SKU in dollars an hour; a free tier below it is passed over.

    Raises:
        ValueError: for a SKU without exactly one rate above 0, in another currency, or in a unit not in ``hours``.
    """
    if not sku.pricing_info:
        raise ValueError("has no price")
    expression = sku.pricing_info[-1].pricing_expression  # a timeline; the newest is last
    if expression.usage_unit not in hours:
        raise ValueError(f"is sold by {expression.usage_unit!r}, not by {' or '.join(hours)}")
    prices = [tier.unit_price for tier in expression.tiered_rates]
    other = next((price.currency_code for price in prices if price.currency_code != "USD"), None)
    if other is not None:
        raise ValueError(f"is in {other or 'no currency'}, not in USD")
    rates: set[float] = {price.units + price.nanos / 1e9 for price in prices} - {0.0}
    if len(rates) != 1 or min(rates) < 0:
        figures = ", ".join(f"{rate:g}" for rate in sorted(rates)) or "0"
        raise ValueError(f"has not one rate above 0 but {figures}")
    return min(rates) / hours[expression.usage_unit]
