"""The poller's metrics are rendered once until something changes, and are never stale."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from prometheus_client import Metric

from epochcost.model import InstanceFacts, Price, PriceKey, PriceStep, PurchaseOption
from epochcost.poller.collector import PollerCollector
from epochcost.poller.snapshot import PollerSnapshot, SourceHealth
from epochcost.prices.extras import Extra
from epochcost.prices.price_source import Zone

NOW = 1_795_000_000.0
KEY = PriceKey("aws", "us-east-1", "", "p2.xlarge", PurchaseOption.ON_DEMAND)
USD = "epochcost_instance_price_usd_per_hour"


def prices(*steps: tuple[float, float], fetched_ts: float = NOW) -> Mapping[PriceKey, Price]:
    return {KEY: Price(KEY, tuple(PriceStep(ts, usd) for ts, usd in steps), "aws", fetched_ts)}


@dataclass
class Poller:
    """A collector of a snapshot that a test replaces."""

    snapshot: PollerSnapshot

    def __post_init__(self) -> None:
        self._collector = PollerCollector(lambda: self.snapshot)

    def change(self, **changes: Any) -> None:
        self.snapshot = replace(self.snapshot, **changes)

    def prepare(self, coming: PollerSnapshot) -> None:
        self._collector.prepare(coming)

    def families(self) -> dict[str, Metric]:
        return {metric.name: metric for metric in self._collector.collect()}

    def value(self, name: str) -> float | None:
        return next((sample.value for sample in self.families()[name].samples), None)


@pytest.fixture
def poller() -> Poller:
    facts = {("aws", "p2.xlarge"): InstanceFacts("aws", "p2.xlarge", "K80", 1.0)}
    return Poller(PollerSnapshot(NOW, prices((-math.inf, 0.9), (NOW + 3600, 0.7)), facts))


def test_while_nothing_changes_scrapes_share_the_rendered_metrics(poller: Poller) -> None:
    first = poller.families()
    poller.change(t=NOW + 60, sources={"aws": SourceHealth(success=True)})
    second = poller.families()
    assert second[USD] is first[USD]
    assert second["epochcost_instance_gpus"] is first["epochcost_instance_gpus"]
    assert poller.value("epochcost_price_source_success") == 1, "how sources fare is made at each scrape"


def test_a_time_of_day_price_changes_in_its_second(poller: Poller) -> None:
    values = []
    for t in (NOW, NOW + 3599.999, NOW + 3600, NOW + 7200, NOW + 10):  # the clock is set back in the end
        poller.change(t=t)
        values.append(poller.value(USD))
    assert values == [0.9, 0.9, 0.7, 0.7, 0.9]


def test_a_price_that_only_starts_later_appears_when_it_starts(poller: Poller) -> None:
    poller.change(prices=prices((NOW + 30, 0.5)))
    assert poller.value(USD) is None
    poller.change(t=NOW + 30)
    assert poller.value(USD) == 0.5


def test_a_price_that_is_confirmed_is_younger_at_the_next_scrape(poller: Poller) -> None:
    assert poller.value("epochcost_instance_price_timestamp_seconds") == NOW
    poller.change(t=NOW + 60, prices=prices((-math.inf, 0.9), fetched_ts=NOW + 60))
    assert poller.value("epochcost_instance_price_timestamp_seconds") == NOW + 60


def test_an_extra_is_exported_while_it_is_charged(poller: Poller) -> None:
    poller.change(extras=(Extra("disk", 0.11, since_ts=NOW + 60, until_ts=NOW + 120),))
    values = []
    for t in (NOW, NOW + 59, NOW + 60, NOW + 119, NOW + 120):
        poller.change(t=t)
        values.append(poller.value("epochcost_instance_extra_price_usd_per_hour"))
    assert values == [None, None, 0.11, 0.11, None]


@pytest.mark.parametrize(
    ("change", "family", "value"),
    [
        ({"prices": {}}, USD, None),
        ({"facts": {}}, "epochcost_instance_gpus", None),
        ({"extras": (Extra("disk", 0.11),)}, "epochcost_instance_extra_price_usd_per_hour", 0.11),
        ({"zones": frozenset({Zone("aws", "us-east-1", "us-east-1a", "use1-az4")})}, "epochcost_zone_info", 1),
    ],
    ids=["prices", "facts", "extras", "zones"],
)
def test_each_change_shows_at_the_next_scrape(
    poller: Poller, change: Mapping[str, object], family: str, value: float | None
) -> None:
    before = poller.value(family)
    poller.change(**change)
    assert (poller.value(family), before == value) == (value, False)


def test_a_prepared_snapshot_is_used_from_its_first_scrape_on_and_not_before(poller: Poller) -> None:
    before = poller.families()[USD]
    coming = replace(poller.snapshot, prices=prices((-math.inf, 1.1)))
    poller.prepare(coming)
    assert poller.families()[USD] is before
    poller.snapshot = replace(coming, t=NOW + 1)
    prepared = poller.families()[USD]
    assert [sample.value for sample in prepared.samples] == [1.1]
    assert prepared is not before
    poller.prepare(replace(poller.snapshot, t=NOW + 2))
    assert poller.families()[USD] is prepared, "nothing changed, nothing is made again"
