"""EC2 spot prices by zone, with the times at which they changed, from DescribeSpotPriceHistory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from epochcost.model import Price, PriceKey, PriceStep, PurchaseOption
from epochcost.prices.aws_client import AwsClients
from epochcost.prices.aws_on_demand import PROVIDER
from epochcost.prices.source import Catalogue, PriceSourceError, Want, Wanted, summary

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
        problems: list[str] = []
        regions = wanted.by_region(PROVIDER)
        for region, types in regions.items():
            try:
                for first in range(0, len(types), MOST_TYPES):
                    prices += self._region(region, types[first : first + MOST_TYPES], now)
            except PriceSourceError as err:  # noqa: PERF203 - one region leaves the others alone
                problems.append(str(err))
        if problems:
            self.clients.forget()
        if problems and len(problems) == len(regions):
            raise PriceSourceError(summary(problems))
        return Catalogue(tuple(prices), problems=tuple(problems))

    def _region(self, region: str, types: tuple[str, ...], now: float) -> list[Price]:
        asked = f"{', '.join(types[:3])}{' and more' if len(types) > 3 else ''} in {region}"  # noqa: PLR2004
        pages = self.clients.pages(
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
        return list(spot_prices(pages, region, types, now))


def spot_prices(pages: list[dict[str, Any]], region: str, types: tuple[str, ...], now: float) -> Iterator[Price]:
    """One price per type and zone with all its steps, whatever the order of the rows.

    Raises:
        PriceSourceError: for a row that is no price.
    """
    steps: dict[tuple[str, str], dict[float, PriceStep]] = {}
    for page in pages:
        for row in page.get("SpotPriceHistory", ()):
            if row.get("ProductDescription") == LINUX and row.get("InstanceType") in types:
                step = _step(row, region)
                steps.setdefault((row["InstanceType"], row["AvailabilityZone"]), {})[step.ts] = step
    for (instance_type, zone), by_time in sorted(steps.items()):
        key = PriceKey(PROVIDER, region, zone, instance_type, PurchaseOption.SPOT)
        yield Price(key, tuple(by_time[ts] for ts in sorted(by_time)), NAME, now)


def _step(row: Mapping[str, Any], region: str) -> PriceStep:
    try:
        return PriceStep(row["Timestamp"].timestamp(), float(row["SpotPrice"]))
    except (KeyError, TypeError, ValueError, AttributeError) as err:
        shown = {name: str(row.get(name)) for name in ("InstanceType", "AvailabilityZone", "SpotPrice", "Timestamp")}
        raise PriceSourceError(f"aws_spot: a row of {region} is no price: {shown}: {err}") from None
