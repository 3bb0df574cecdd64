"""EC2 spot prices by zone, with the times at which they changed, from DescribeSpotPriceHistory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from epochcost.model import Price, PriceKey, PriceStep, PurchaseOption
from epochcost.prices.aws.aws_client import AwsClients
from epochcost.prices.aws.aws_on_demand import PROVIDER, ec2_types
from epochcost.prices.price_source import Catalogue, PriceSourceError, Refused, Want, Wanted, Zone, summary

NAME = "aws_spot"
LINUX = "Linux/UNIX"
MOST_TYPES = 100
"""In one question; EC2 takes up to 200 values in a filter."""


@dataclass(frozen=True, slots=True)
class AwsSpot:
    """Linux spot prices of the wanted types in every zone of their regions.

    Attributes:
        history_seconds: how far back to ask, so that a machine older than the poller is priced too; AWS keeps 90 days.
    """

    watched: frozenset[Want]
    refresh_seconds: float
    history_seconds: float
    name: str = NAME
    provider: str = PROVIDER
    clients: AwsClients = field(default_factory=lambda: AwsClients(NAME))

    def fetch(self, wanted: Wanted, now: float) -> Catalogue:
        """One paged question a region; a region that fails leaves the others alone."""
        self.clients.connect()
        prices: list[Price] = []
        refused: list[Refused] = []
        zones: set[Zone] = set()
        problems: list[str] = []
        regions = ec2_types(wanted)
        for region, types in regions.items():
            try:
                for first in range(0, len(types), MOST_TYPES):
                    pages = self._region(region, types[first : first + MOST_TYPES], now)
                    prices += spot_prices(pages, region, types, now)
                    refused += refused_rows(pages, region, types)
                    zones |= zone_ids(pages, region)
            except PriceSourceError as err:  # noqa: PERF203 - one region leaves the others alone
                problems.append(str(err))
        if problems:
            self.clients.forget()
        if problems and len(problems) == len(regions):
            raise PriceSourceError(summary(problems))
        return Catalogue(
            tuple(prices), problems=tuple(problems), refused=tuple(refused), zones=tuple(sorted(zones, key=str))
        )

    def _region(self, region: str, types: tuple[str, ...], now: float) -> list[dict[str, Any]]:
        asked = f"{', '.join(types[:3])}{' and more' if len(types) > 3 else ''} in {region}"  # noqa: PLR2004
        return self.clients.pages(
            "ec2",
            region,
            "describe_spot_price_history",
            asked,
            # A filter, because one unknown name in InstanceTypes fails the whole question.
            Filters=[{"Name": "instance-type", "Values": list(types)}],
            ProductDescriptions=[LINUX],
            StartTime=datetime.fromtimestamp(now - self.history_seconds, timezone.utc),
            EndTime=datetime.fromtimestamp(now, timezone.utc),
        )


def spot_prices(pages: list[dict[str, Any]], region: str, types: tuple[str, ...], now: float) -> Iterator[Price]:
    """One price per type and zone with all its steps, whatever the order of the rows.

    Raises:
        PriceSourceError: for a row that is no price.
    """
    steps: dict[tuple[str, str], dict[float, PriceStep]] = {}
    for row in _rows(pages, types):
        if not _usd(row, region) <= 0:  # NaN is no price of zero: `_step` refuses it with its row
            step = _step(row, region)
            steps.setdefault((row["InstanceType"], row["AvailabilityZone"]), {})[step.ts] = step
    for (instance_type, zone), by_time in sorted(steps.items()):
        key = PriceKey(PROVIDER, region, zone, instance_type, PurchaseOption.SPOT)
        yield Price(key, tuple(by_time[ts] for ts in sorted(by_time)), NAME, now)


def refused_rows(pages: list[dict[str, Any]], region: str, types: tuple[str, ...]) -> Iterator[Refused]:
    """Rows of zero dollars or less: no price, but no reason to lose the others."""
    for row in _rows(pages, types):
        if (usd := _usd(row, region)) <= 0:
            zone, name = str(row.get("AvailabilityZone", "")), str(row["InstanceType"])
            yield Refused(PriceKey(PROVIDER, region, zone, name, PurchaseOption.SPOT), usd)


def zone_ids(pages: list[dict[str, Any]], region: str) -> set[Zone]:
    """Names and ids of the zones, where the answer gives both."""
    return {
        Zone(PROVIDER, region, str(row["AvailabilityZone"]), str(row["AvailabilityZoneId"]))
        for page in pages
        for row in page.get("SpotPriceHistory", ())
        if row.get("AvailabilityZone") and row.get("AvailabilityZoneId")
    }


def _rows(pages: list[dict[str, Any]], types: tuple[str, ...]) -> Iterator[Mapping[str, Any]]:
    for page in pages:
        for row in page.get("SpotPriceHistory", ()):
            if row.get("ProductDescription") == LINUX and row.get("InstanceType") in types:
                yield row


def _usd(row: Mapping[str, Any], region: str) -> float:
    try:
        return float(row["SpotPrice"])
    except (KeyError, TypeError, ValueError) as err:
        raise _no_price(row, region, err) from None


def _step(row: Mapping[str, Any], region: str) -> PriceStep:
    try:
        return PriceStep(row["Timestamp"].timestamp(), float(row["SpotPrice"]))
    except (KeyError, TypeError, ValueError, AttributeError) as err:
        raise _no_price(row, region, err) from None


def _no_price(row: Mapping[str, Any], region: str, err: Exception) -> PriceSourceError:
    shown = {name: str(row.get(name)) for name in ("InstanceType", "AvailabilityZone", "SpotPrice", "Timestamp")}
    return PriceSourceError(f"aws_spot: a row of {region} is no price: {shown}: {err}")
