"""EC2 spot prices by zone, with the times at which they changed, from DescribeSpotPriceHistory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

from epochcost.model import Price, PriceKey, PriceStep, PurchaseOption
from epochcost.prices.aws.aws_client import AwsClients, listed
from epochcost.prices.aws.aws_on_demand import PROVIDER, ec2_types
from epochcost.prices.currency import NoRateError, Rates, of_aws_region, usd
from epochcost.prices.json_fields import left_out_sentence, unknown_values
from epochcost.prices.price_source import Catalogue, PriceRequests, PriceSourceError, Refused, Want, Zone, summary

NAME = "aws_spot"
LINUX = "Linux/UNIX"
_KNOWN_PRODUCTS = frozenset(
    f"{system}{of}"
    for system in (LINUX, "Windows", "SUSE Linux", "Red Hat Enterprise Linux")
    for of in ("", " (Amazon VPC)")
)
MOST_TYPES = 100
"""In one request; EC2 takes up to 200 values in a filter."""


@dataclass(slots=True)
class _Collected:
    """What the regions returned so far."""

    prices: list[Price] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    zones: set[Zone] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    requested: set[Want] = field(default_factory=set)

    def add(self, rows: list[dict[str, Any]], region: str, types: tuple[str, ...]) -> None:
        """What is in ``rows`` beside the prices."""
        self.refused += refused_rows(rows, region, types)
        self.zones |= zone_ids(rows, region)
        self.unknown.update(unknown_values((row.get("ProductDescription") for row in rows), _KNOWN_PRODUCTS))

    def catalogue(self) -> Catalogue:
        """All of it."""
        return Catalogue(
            tuple(self.prices),
            problems=tuple(self.problems),
            refused=tuple(self.refused),
            zones=tuple(sorted(self.zones, key=str)),
            requested=frozenset(self.requested),
            reasons={
                want.instance_type: "EC2 has no spot price of it: not sold as spot there, or misspelt"
                for want in self.requested
            },
            unknown=tuple(sorted(self.unknown)),
        )


@dataclass(frozen=True, slots=True)
class AwsSpot:
    """Linux spot prices of the wanted types in every zone of their regions.

    Attributes:
        history_seconds: how far back to request, so that a machine older than the poller is priced too; AWS keeps 90
            days.
    """

    watched: frozenset[Want]
    refresh_seconds: float
    history_seconds: float
    rates: Rates = field(default_factory=dict)
    name: str = NAME
    provider: str = PROVIDER
    clients: AwsClients = field(default_factory=lambda: AwsClients(NAME))

    def fetch(self, requests: PriceRequests, now: float) -> Catalogue:
        """One paged request a region; a region that fails leaves the others alone."""
        self.clients.connect()
        collected = _Collected()
        for region, types in ec2_types(requests).items():
            try:
                rate = usd(1.0, of_aws_region(region), self.rates)
                for first in range(0, len(types), MOST_TYPES):
                    rows = self._rows(region, types[first : first + MOST_TYPES], now)
                    rows, odd = readable(rows, region)
                    collected.problems += odd
                    collected.prices += in_dollars(spot_prices(rows, region, types, now), rate)
                    collected.add(rows, region, types)
                collected.requested.update(Want(PROVIDER, region, each) for each in types)
            except NoRateError as err:  # noqa: PERF203 - one region leaves the others alone
                collected.problems.append(f"{NAME}: EC2's response in {region} names no currency and {err}")
            except PriceSourceError as err:
                collected.problems.append(str(err))
        if collected.problems:
            self.clients.forget()
        if collected.problems and not collected.requested:
            raise PriceSourceError(summary(collected.problems))
        return collected.catalogue()

    def _rows(self, region: str, types: tuple[str, ...], now: float) -> list[dict[str, Any]]:
        requested = f"{', '.join(types[:3])}{' and more' if len(types) > 3 else ''} in {region}"  # noqa: PLR2004
        pages = self.clients.pages(
            "ec2",
            region,
            "describe_spot_price_history",
            requested,
            # A filter, because one unknown name in InstanceTypes fails the whole request.
            Filters=[{"Name": "instance-type", "Values": list(types)}],
            ProductDescriptions=[LINUX],
            StartTime=datetime.fromtimestamp(now - self.history_seconds, timezone.utc),
            EndTime=datetime.fromtimestamp(now, timezone.utc),
        )
        return listed(pages, "SpotPriceHistory", f"{NAME}: describe_spot_price_history for {requested}")


def readable(rows: list[dict[str, Any]], region: str) -> tuple[list[dict[str, Any]], list[str]]:
    """``rows`` without those that are not prices, and a message about these.

    If one of them is newer than all others of its type and zone, or has no time, the current price there is unknown:
    then the others are left out too, and the last good price stays with its age.

    Raises:
        PriceSourceError: when none is a price.
    """
    odd = {id(row): why for row in rows if row.get("ProductDescription") == LINUX and (why := _fault(row, region))}
    priced = [row for row in rows if id(row) not in odd]
    if odd and not priced:
        raise PriceSourceError(f"{NAME}: {next(iter(odd.values()))}")
    since: dict[tuple[object, object], float] = {}
    for row in rows:
        if id(row) in odd:
            since[_place(row)] = max(since.get(_place(row), -math.inf), _when(row, math.inf))
    newest: dict[tuple[object, object], float] = {}
    for row in priced:
        newest[_place(row)] = max(newest.get(_place(row), -math.inf), _when(row, -math.inf))
    lost = {place for place, ts in since.items() if ts >= newest.get(place, math.inf)}
    current = [row for row in priced if row.get("ProductDescription") != LINUX or _place(row) not in lost]
    sentences = [f"{NAME}: {left_out_sentence(len(odd), next(iter(odd.values())))}"] if odd else []
    return current, sentences


def _fault(row: Mapping[str, Any], region: str) -> str:
    """Why ``row`` is not a price; empty if it is one, or is zero or below."""
    try:
        if not float(row["SpotPrice"]) <= 0:
            PriceStep(row["Timestamp"].timestamp(), float(row["SpotPrice"]))
        if not all(isinstance(row[name], str) for name in ("InstanceType", "AvailabilityZone")):
            raise TypeError("its type or zone is not a name")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as err:
        names = ("InstanceType", "AvailabilityZone", "SpotPrice", "Timestamp")
        excerpt = {name: str(row.get(name))[:80] for name in names}
        return f"a row of {region} is not a price: {excerpt}: {type(err).__name__}: {err}"
    return ""


def _place(row: Mapping[str, Any]) -> tuple[object, object]:
    return row.get("InstanceType"), row.get("AvailabilityZone")


def _when(row: Mapping[str, Any], unknown: float) -> float:
    stamp = row.get("Timestamp")
    return stamp.timestamp() if isinstance(stamp, datetime) else unknown


def in_dollars(prices: Iterable[Price], rate: float) -> Iterator[Price]:
    """``prices`` in US dollars; one unit of their currency is worth ``rate``."""
    for price in prices:
        steps = tuple(PriceStep(step.ts, step.usd_per_hour * rate) for step in price.steps)
        yield price if rate == 1 else replace(price, steps=steps)


def spot_prices(rows: list[dict[str, Any]], region: str, types: tuple[str, ...], now: float) -> Iterator[Price]:
    """One price per type and zone with all its steps, whatever the order of the rows, all of them `readable`."""
    steps: dict[tuple[str, str], dict[float, PriceStep]] = {}
    for row in _rows(rows, types):
        if (usd_per_hour := float(row["SpotPrice"])) > 0:
            step = PriceStep(row["Timestamp"].timestamp(), usd_per_hour)
            steps.setdefault((row["InstanceType"], row["AvailabilityZone"]), {})[step.ts] = step
    for (instance_type, zone), by_time in sorted(steps.items()):
        key = PriceKey(PROVIDER, region, zone, instance_type, PurchaseOption.SPOT)
        yield Price(key, tuple(by_time[ts] for ts in sorted(by_time)), NAME, now)


def refused_rows(rows: list[dict[str, Any]], region: str, types: tuple[str, ...]) -> Iterator[Refused]:
    """Rows of zero dollars or less: no price, but no reason to lose the others."""
    for row in _rows(rows, types):
        if (amount := float(row["SpotPrice"])) <= 0:
            zone, name = str(row.get("AvailabilityZone", "")), str(row["InstanceType"])
            yield Refused(PriceKey(PROVIDER, region, zone, name, PurchaseOption.SPOT), amount)


def zone_ids(rows: list[dict[str, Any]], region: str) -> set[Zone]:
    """Names and ids of the zones, if the response has both."""
    return {
        Zone(PROVIDER, region, str(row["AvailabilityZone"]), str(row["AvailabilityZoneId"]))
        for row in rows
        if row.get("AvailabilityZone") and row.get("AvailabilityZoneId")
    }


def _rows(rows: list[dict[str, Any]], types: tuple[str, ...]) -> Iterator[Mapping[str, Any]]:
    return (row for row in rows if row.get("ProductDescription") == LINUX and row.get("InstanceType") in types)
