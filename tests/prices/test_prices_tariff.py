"""Owned machines: a tariff by hour of the day, and measured power."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tests.loopback import ExpositionServer

from epochcost.ledger.price import PriceTrack
from epochcost.model import PriceKey, PurchaseOption
from epochcost.prices.merged_prices import usd_per_hour_at
from epochcost.prices.owned.owned_source import Owned, OwnedMachine, hourly_usd, parse_machines
from epochcost.prices.owned.tariff import Tariff, parse_tariff
from epochcost.prices.price_source import Catalogue, PriceRequests, PriceSourceError
from epochcost.prices.store import PriceStore

ATHENS = ZoneInfo("Europe/Athens")
KEY = PriceKey("owned", "", "", "desktop", PurchaseOption.OWNED)
HOUR = 3600.0
NIGHT, DAYTIME = 0.08, 0.20
RAW = {"07:00": DAYTIME, "23:00": NIGHT}


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ATHENS).timestamp()


def machine(**changes: Any) -> OwnedMachine:
    raw = {"price-usd": 2000, "years": 2, "watts": 355, "tariff-by-hour": RAW, "timezone": "Europe/Athens"}
    return parse_machines({**raw, **changes})[0]


def priced(owned: OwnedMachine, now: float) -> Catalogue:
    return Owned((owned,)).fetch(PriceRequests(), now)


def test_the_price_follows_the_tariff_by_dated_steps_that_reach_into_the_future() -> None:
    now = at("2026-11-21T12:00")
    (price,) = priced(machine(), now).prices
    capital = 2000 / (2 * 8766)
    for moment, tariff in (
        ("2026-11-20T22:59", DAYTIME),
        ("2026-11-20T23:00", NIGHT),
        ("2026-11-21T06:59", NIGHT),
        ("2026-11-21T07:00", DAYTIME),
        ("2026-11-22T23:30", NIGHT),
    ):
        assert usd_per_hour_at(price, at(moment)) == pytest.approx(capital + 0.355 * tariff, abs=1e-15), moment


def test_the_agents_integral_over_a_day_is_exact() -> None:
    noon = at("2026-11-21T12:00")
    (price,) = priced(machine(), noon).prices
    track = PriceTrack().learn(price.steps, noon)
    usd, unpriced = track.integral(noon, noon + 24 * HOUR)
    assert unpriced == 0
    assert usd == pytest.approx(24 * 2000 / (2 * 8766) + 0.355 * (16 * DAYTIME + 8 * NIGHT), rel=1e-14)


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-11-21", 24)])
def test_a_day_on_which_the_clock_changes_has_its_own_length(day: str, hours: int) -> None:
    begin = at(f"{day}T00:00")
    track = PriceTrack().learn(priced(machine(), begin).prices[0].steps, begin)
    usd, _ = track.integral(begin, begin + hours * HOUR)
    night_hours = hours - 16
    electricity = 0.355 * (16 * DAYTIME + night_hours * NIGHT)
    assert usd == pytest.approx(hours * 2000 / (2 * 8766) + electricity, rel=1e-13)


def test_a_band_that_begins_in_the_hour_that_the_clock_skips_begins_with_the_skip() -> None:
    tariff = Tariff(((0, 0.1), (3 * 60 + 30, 0.2)), "Europe/Athens")  # at 03:00 it becomes 04:00 on 2026-03-29
    begins = [ts for ts, usd in tariff.steps(at("2026-03-29T00:30"), at("2026-03-29T12:00")) if usd == 0.2]
    assert begins == [at("2026-03-29T04:00")]


def test_before_the_computed_steps_the_mean_of_a_day_is_used() -> None:
    (price,) = priced(machine(), at("2026-11-21T12:00")).prices
    assert price.steps[0].ts == -math.inf
    mean = (16 * DAYTIME + 8 * NIGHT) / 24
    assert price.steps[0].usd_per_hour == pytest.approx(hourly_usd(machine(), usd_per_kwh=mean))


def test_a_changed_tariff_counts_from_then_and_the_past_is_unchanged() -> None:
    store = PriceStore(None, ["owned"])
    begin = at("2026-11-20T12:00")
    store.put("owned", priced(machine(), begin), begin)
    dearer = machine(**{"tariff-by-hour": {"07:00": 2.0, "23:00": 0.8}})
    change = at("2026-11-21T12:00")
    store.put("owned", priced(dearer, change), change)
    price = store.merged.prices[KEY]
    capital = 2000 / (2 * 8766)
    for moment, tariff in (
        ("2026-11-20T13:00", DAYTIME),
        ("2026-11-21T01:00", NIGHT),
        ("2026-11-21T11:59", DAYTIME),
        ("2026-11-21T12:00", 2.0),
        ("2026-11-21T23:30", 0.8),
    ):
        assert usd_per_hour_at(price, at(moment)) == pytest.approx(capital + 0.355 * tariff), moment


def test_an_unchanged_refresh_adds_no_steps() -> None:
    store = PriceStore(None, ["owned"])
    begin = at("2026-11-20T12:00")
    for minute in range(0, 600, 5):
        store.put("owned", priced(machine(), begin + minute * 60), begin + minute * 60)
    later = begin + 595 * 60
    steps_before = store.merged.prices[KEY].steps
    fresh = priced(machine(), later).prices[0].steps
    assert [step for step in steps_before if step.ts > begin] == [step for step in fresh if step.ts > begin]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"tariff-by-hour": {}}, "machine 1: tariff-by-hour: at least one time must be given"),
        ({"tariff-by-hour": 0.2}, "machine 1: tariff-by-hour: 0.2 must be a mapping of times to"),
        ({"tariff-by-hour": {"25:00": 0.2}}, "tariff-by-hour: '25:00' must be a time of the day"),
        ({"tariff-by-hour": {"07:00": "dear"}}, "tariff-by-hour: 07:00: 'dear' must be"),
        ({"tariff-by-hour": {"07:00": 10**400}}, "tariff-by-hour: 07:00: 1000.* must be"),
        ({"tariff-by-hour": {"07:00": 1, 420: 2}}, "tariff-by-hour: 420 is given twice"),
        ({"timezone": "Athens"}, "machine 1: timezone: 'Athens' is not known"),
        ({"tariff-usd-per-kwh": 0.1}, "machine 1: tariff-usd-per-kwh: give it or tariff-by-hour, not both"),
        ({"watts-url": "http://a/metrics"}, "machine 1: watts: give it or watts-url, not both"),
        ({"watt-url": "x"}, "machine 1: unknown key 'watt-url'; allowed: instance-type"),
    ],
)
def test_a_bad_tariff_is_rejected_with_the_machine_and_the_allowed_form(changes: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        machine(**changes)


def test_an_unquoted_time_that_yaml_reads_as_minutes_is_accepted() -> None:
    assert parse_tariff({"07:00": 0.2, 1380: 0.08}, "UTC").bands == ((420, 0.2), (1380, 0.08))


# --- measured power ---


class Meter(ExpositionServer):
    """Serves ``body``: simulated readings."""

    def __init__(self) -> None:
        self.body = ""
        super().__init__(lambda: self.body)


@pytest.fixture
def metrics() -> Iterator[Meter]:
    with Meter() as server:
        yield server


def measured(url: str, **changes: Any) -> OwnedMachine:
    raw = {"price-usd": 2000, "years": 2, "watts-url": url, "tariff-usd-per-kwh": 0.12}
    return parse_machines({**raw, **changes})[0]


def test_measured_power_replaces_the_configured_one(metrics: Meter) -> None:
    metrics.body = 'epochcost_node_power_watts{node="a"} 300\nepochcost_node_power_watts{node="b"} 500 1795000000000\n'
    (price,) = priced(measured(f"{metrics.url}metrics"), 0.0).prices
    assert price.usd_per_hour == pytest.approx(2000 / (2 * 8766) + 0.4 * 0.12)


def test_noise_does_not_change_the_price_and_a_real_change_does(metrics: Meter) -> None:
    source = Owned((measured(f"{metrics.url}metrics", **{"watts-metric": "w"}),))
    prices = []
    for watts in (400, 410, 385, 500, 510):
        metrics.body = f"w {watts}\n"
        prices.append(
            round((source.fetch(PriceRequests(), 0.0).prices[0].usd_per_hour - 2000 / (2 * 8766)) / 0.12 * 1000)
        )
    assert prices == [400, 400, 400, 500, 500]


@pytest.mark.parametrize(
    "body", ["", "other 5\n", "epochcost_node_power_watts NaN\n", "epochcost_node_power_watts 0\n"]
)
def test_without_a_measurement_there_is_no_new_price_and_the_last_good_one_stays(metrics: Meter, body: str) -> None:
    store = PriceStore(None, ["owned"])
    source = Owned((measured(f"{metrics.url}metrics"), parse_machines({**FREE, "instance-type": "other"})[0]))
    metrics.body = "epochcost_node_power_watts 400\n"
    store.put("owned", source.fetch(PriceRequests(), 1.0), 1.0)
    metrics.body = body
    troubled = source.fetch(PriceRequests(), 2.0)
    assert "no usable sample of epochcost_node_power_watts" in troubled.problems[0]
    store.put("owned", troubled, 2.0)
    assert store.merged.prices[KEY].fetched_ts == 1.0, "its age is true"


FREE = {"price-usd": 2000, "years": 2, "watts": 0, "tariff-usd-per-kwh": 0}


def test_an_unresponsive_url_is_named_without_its_password(metrics: Meter) -> None:
    metrics.stop()
    url = metrics.url.replace("http://", "http://me:secret@")
    with pytest.raises(PriceSourceError, match=r"owned: measured power from 127\.0\.0\.1:\d+") as error:
        priced(measured(f"{url}metrics"), 0.0)
    assert "secret" not in str(error.value)
    with pytest.raises(PriceSourceError, match="owned: measured power from power: invalid URL") as error:
        priced(measured("http://me:secret@power/metrics"), 0.0)
    assert "secret" not in str(error.value)
