"""The last good prices: merged, one per key, kept on disk."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import replace
from pathlib import Path

import pytest

from epochcost.model import InstanceFacts, Price, PriceKey, PriceStep, PurchaseOption
from epochcost.prices.merged_prices import DAY, KEEP_SECONDS, MaxAge, RequestScope, usd_per_hour_at
from epochcost.prices.price_source import Catalogue, Want, Zone
from epochcost.prices.store import PriceStore, StoreRules

SPOT = PriceKey("aws", "us-east-1", "us-east-1a", "p2.xlarge", PurchaseOption.SPOT)
DEMAND = PriceKey("aws", "us-east-1", "", "p2.xlarge", PurchaseOption.ON_DEMAND)
NOW = 1_795_000_000.0


def price(key: PriceKey, *steps: tuple[float, float], source: str = "aws", at: float = NOW) -> Price:
    return Price(key, tuple(PriceStep(ts, usd) for ts, usd in steps), source, at)


def steps(store: PriceStore, key: PriceKey) -> list[tuple[float, float]]:
    return [(step.ts, step.usd_per_hour) for step in store.merged.prices[key].steps]


def test_a_step_published_late_is_kept_at_its_effective_time() -> None:
    store = PriceStore(None, ["aws"])
    store.put("aws", Catalogue((price(SPOT, (NOW - 300, 1.0), (NOW, 3.0)),)), NOW)
    store.put("aws", Catalogue((price(SPOT, (NOW - 100, 2.0), (NOW, 3.0)),)), NOW + 60)
    assert steps(store, SPOT) == [(NOW - 300, 1.0), (NOW - 100, 2.0), (NOW, 3.0)]


def test_steps_older_than_the_window_of_the_api_stay_but_not_for_ever() -> None:
    store = PriceStore(None, ["aws"])
    store.put("aws", Catalogue((price(SPOT, (NOW - 3600, 1.0), (NOW - 1800, 2.0)),)), NOW)
    later = NOW + KEEP_SECONDS - 2000
    store.put("aws", Catalogue((price(SPOT, (later - 60, 3.0)),)), later)
    assert [usd for _, usd in steps(store, SPOT)] == [1.0, 2.0, 3.0]
    much_later = NOW + KEEP_SECONDS - 1000  # the first step ended more than KEEP_SECONDS ago, the second did not
    store.put("aws", Catalogue((price(SPOT, (later - 60, 3.0)),)), much_later)
    assert [usd for _, usd in steps(store, SPOT)] == [2.0, 3.0]


def test_an_undated_price_that_changes_counts_from_when_the_change_was_seen() -> None:
    store = PriceStore(None, ["aws"])
    for minute, usd in enumerate((1.0, 1.0, 2.0, 2.0)):
        store.put("aws", Catalogue((price(DEMAND, (-math.inf, usd), at=NOW + minute),)), NOW + minute)
    assert steps(store, DEMAND) == [(-math.inf, 1.0), (NOW + 2, 2.0)]
    assert store.merged.prices[DEMAND].fetched_ts == NOW + 3


def test_a_complete_history_drops_removed_steps() -> None:
    store = PriceStore(None, ["listed_file"])
    store.put("listed_file", Catalogue((price(DEMAND, (1.0, 1.0), (2.0, 5.0)),), whole_history=True), NOW)
    store.put("listed_file", Catalogue((price(DEMAND, (1.0, 1.0)),), whole_history=True), NOW)
    assert steps(store, DEMAND) == [(1.0, 1.0)]


def test_a_price_no_longer_returned_stays_until_it_is_too_old() -> None:
    store = PriceStore(None, ["aws"], StoreRules(max_age=MaxAge(7 * DAY, (("spot", DAY),))))
    store.put("aws", Catalogue((price(SPOT, (NOW, 1.0)), price(DEMAND, (-math.inf, 2.0)))), NOW)
    other = price(replace(DEMAND, instance_type="g5.xlarge"), (-math.inf, 3.0))
    store.put("aws", Catalogue((), problems=("one region did not answer",)), NOW + 30 * DAY)
    assert set(store.merged.prices) == {SPOT, DEMAND}, "a source in trouble has taken nothing back"
    store.put("aws", Catalogue((other,)), NOW + DAY)
    assert set(store.merged.prices) == {SPOT, DEMAND, other.key}
    assert store.merged.prices[SPOT].fetched_ts == NOW, "its age is true"
    store.put("aws", Catalogue((other,)), NOW + DAY + 1)
    assert set(store.merged.prices) == {DEMAND, other.key}
    store.put("aws", Catalogue((other,)), NOW + 7 * DAY + 1)
    assert set(store.merged.prices) == {other.key}


def test_prices_no_longer_wanted_are_dropped_with_the_next_full_response() -> None:
    store = PriceStore(None, ["aws"])
    store.put("aws", Catalogue((price(DEMAND, (-math.inf, 2.0)),)), NOW)
    store.put("aws", Catalogue(), NOW, RequestScope(forgotten=frozenset({Want("aws", "us-east-1", "p2.xlarge")})))
    assert not store.merged.prices


def test_a_removed_owned_machine_is_dropped_at_once() -> None:
    store = PriceStore(None, ["owned"])
    store.put("owned", Catalogue((price(DEMAND, (-math.inf, 2.0), source="owned"),), complete=True), NOW)
    store.put("owned", Catalogue((), complete=True), NOW)
    assert not store.merged.prices


def test_the_old_prices_are_complete_and_unchanged_after_a_swap() -> None:
    store = PriceStore(None, ["aws"])
    store.put("aws", Catalogue((price(SPOT, (NOW, 1.0)),)), NOW)
    old = store.merged
    store.put("aws", Catalogue((price(DEMAND, (NOW, 2.0)),)), NOW)
    assert set(old.prices) == {SPOT}


@pytest.mark.parametrize(
    ("precedence", "winner"),
    [
        (("listed_file", "owned", "*", "listed"), "listed_file"),
        (("*", "listed_file", "listed"), "aws"),
        (("listed",), "listed"),
    ],
)
def test_where_sources_disagree_the_order_of_precedence_leaves_one_price(
    precedence: tuple[str, ...], winner: str
) -> None:
    sources = ["listed", "aws", "listed_file"]
    store = PriceStore(None, sources, StoreRules(precedence))
    for number, source in enumerate(sources, start=1):
        store.put(source, Catalogue((price(DEMAND, (1.0, float(number)), source=source),)), NOW)
    assert [match.source for match in store.merged.prices.values()] == [winner]


def test_facts_missing_in_one_source_are_filled_in_by_another() -> None:
    store = PriceStore(None, ["listed", "aws"])
    store.put("aws", Catalogue(facts=(InstanceFacts("aws", "p2.xlarge", gpus=1.0),)), NOW)
    store.put("listed", Catalogue(facts=(InstanceFacts("aws", "p2.xlarge", "K80", gpus=2.0, vcpus=4.0),)), NOW)
    assert store.merged.facts["aws", "p2.xlarge"] == InstanceFacts("aws", "p2.xlarge", "K80", gpus=1.0, vcpus=4.0)


def test_prices_survive_a_restart_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    store = PriceStore(path, ["aws", "gone"])
    demand = price(DEMAND, (-math.inf, 0.1 + 0.2), (NOW + 1 / 3, 0.9))
    store.put("aws", Catalogue((demand,), (InstanceFacts("aws", "p2.xlarge", "K80", 1.0, 12, 4.0, 61),)), NOW)
    store.put("gone", Catalogue((price(SPOT, (NOW, 1.0), source="gone"),)), NOW)
    again = PriceStore(path, ["aws"])
    assert again.merged.prices == {DEMAND: demand}  # and the prices of a source no longer used are gone
    assert again.merged.facts == store.merged.facts
    assert again.merged.shelves["aws"].confirmed_ts == NOW


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\x00\xff" * 50,
        b"[]",
        b'{"v":2,"sources":{}}',
        b'{"v":1,"sources":{"aws":{}}}',
        (
            b'{"v":1,"sources":{"aws":{"confirmed_ts":1,"facts":[],"prices":[{"provider":"aws","region":"r","zone":"",'
            b'"instance_type":"t","purchase_option":"on_demand","fetched_ts":1,"steps":[[1,0]]}]}}}'
        ),
        b"[" * 100_000,
    ],
)
def test_a_corrupt_state_file_is_moved_aside_with_one_line_in_the_log(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "prices.json"
    path.write_bytes(content)
    with caplog.at_level(logging.ERROR):
        store = PriceStore(path, ["aws"])
    assert not store.merged.prices
    assert (tmp_path / "prices.json.corrupt").read_bytes() == content
    assert len(caplog.records) == 1
    assert "is not a price state" in caplog.text
    store.put("aws", Catalogue((price(DEMAND, (NOW, 1.0)),)), NOW)
    assert json.loads(path.read_bytes())["v"] == 1


def test_a_full_disk_is_logged_once_and_prices_continue(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = PriceStore(tmp_path / "absent" / "prices.json", ["aws"])
    for _ in range(3):
        store.put("aws", Catalogue((price(DEMAND, (NOW, 1.0)),)), NOW)
    assert store.merged.prices[DEMAND].usd_per_hour == 1.0
    assert caplog.text.count("prices cannot be saved") == 1


def find(store: PriceStore, *key: str) -> Price | None:
    return store.merged.find(PriceKey(*key[:4], PurchaseOption(key[4])))  # type: ignore[arg-type, call-arg]


def test_a_spot_price_is_looked_up_at_its_zone_without_a_substitute() -> None:
    store = PriceStore(None, ["aws"])
    store.put("aws", Catalogue((price(SPOT, (NOW, 1.0)), price(DEMAND, (NOW, 2.0)))), NOW)
    assert find(store, "aws", "us-east-1", "us-east-1a", "p2.xlarge", "spot") is not None
    assert find(store, "aws", "us-east-1", "us-east-1b", "p2.xlarge", "spot") is None
    assert find(store, "aws", "us-east-1", "us-east-1a", "p2.xlarge", "reserved") is None


def test_an_on_demand_price_is_looked_up_in_its_region_whatever_the_zone() -> None:
    store = PriceStore(None, ["aws"])
    store.put("aws", Catalogue((price(DEMAND, (NOW, 2.0)),)), NOW)
    assert find(store, "aws", "us-east-1", "us-east-1c", "p2.xlarge", "on_demand") is not None
    assert find(store, "aws", "eu-west-1", "", "p2.xlarge", "on_demand") is None


def test_a_local_zone_has_a_price_of_its_own() -> None:
    boston = PriceKey("aws", "us-east-1-bos-1", "", "p2.xlarge", PurchaseOption.ON_DEMAND)
    store = PriceStore(None, ["aws"])
    store.put("aws", Catalogue((price(DEMAND, (NOW, 2.0)),)), NOW)
    assert find(store, "aws", "us-east-1", "us-east-1-bos-1a", "p2.xlarge", "on_demand") is None
    store.put("aws", Catalogue((price(boston, (NOW, 3.0)),)), NOW, RequestScope(partial=True))
    match = find(store, "aws", "us-east-1", "us-east-1-bos-1a", "p2.xlarge", "on_demand")
    assert match is not None
    assert match.usd_per_hour == 3.0


def test_a_price_for_a_whole_region_or_for_everywhere_has_an_empty_place() -> None:
    regional = PriceKey("gcp", "europe-west4", "", "a2-highgpu-1g", PurchaseOption.SPOT)
    everywhere = PriceKey("lambda", "", "", "gpu_1x_h100", PurchaseOption.ON_DEMAND)
    store = PriceStore(None, ["x"])
    store.put("x", Catalogue((price(regional, (NOW, 1.0)), price(everywhere, (NOW, 2.0)))), NOW)
    assert find(store, "gcp", "europe-west4", "europe-west4-a", "a2-highgpu-1g", "spot") is not None
    assert find(store, "lambda", "us-east-1", "", "gpu_1x_h100", "on_demand") is not None


def test_before_its_first_step_a_price_is_unknown() -> None:
    one_price = price(SPOT, (NOW, 1.0), (NOW + 10, 2.0))
    assert [usd_per_hour_at(one_price, ts) for ts in (NOW - 1, NOW, NOW + 9, NOW + 10)] == [None, 1.0, 1.0, 2.0]


# --- by zone and by reservation ---

BLOCK = PriceKey("aws", "us-east-1", "us-east-1a", "p5.48xlarge", PurchaseOption.RESERVED, "cr-1")


def test_a_price_is_found_at_the_zone_then_in_the_region_for_every_purchase_option() -> None:
    for option in (PurchaseOption.RESERVED, PurchaseOption.ON_DEMAND, PurchaseOption.SPOT):
        at_zone = replace(BLOCK, purchase_option=option, reservation="")
        store = PriceStore(None, ["listed_file"])
        store.put("listed_file", Catalogue((price(at_zone, (1.0, 31.0)),), whole_history=True), NOW)
        own = store.merged.find(at_zone)
        assert own is not None
        assert own.usd_per_hour == 31.0
        assert store.merged.find(replace(at_zone, zone="us-east-1b")) is None, (
            "one zone never has its neighbour's price"
        )
        assert store.merged.find(replace(at_zone, zone="")) is None
        regional = price(replace(at_zone, zone=""), (1.0, 40.0))
        store.put("listed_file", Catalogue((price(at_zone, (1.0, 31.0)), regional), whole_history=True), NOW)
        match = [store.merged.find(replace(at_zone, zone=zone)) for zone in ("us-east-1a", "us-east-1b", "")]
        assert [each.usd_per_hour if each else None for each in match] == [31.0, 40.0, 40.0]


def test_two_reservations_of_one_type_have_two_rates_and_without_an_id_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    store = PriceStore(path, ["listed_file"])
    other = replace(BLOCK, reservation="cr-2")
    rows = (price(BLOCK, (1.0, 31.0)), price(other, (1.0, 44.0)))
    store.put("listed_file", Catalogue(rows, whole_history=True), NOW)
    for book in (store.merged, PriceStore(path, ["listed_file"]).merged):
        assert [book.find(key).usd_per_hour for key in (BLOCK, other)] == [31.0, 44.0]  # type: ignore[union-attr]
        assert book.find(replace(BLOCK, reservation="")) is None
        assert book.find(replace(BLOCK, reservation="cr-3")) is None
        assert book.elsewhere(replace(BLOCK, reservation="", zone="")) == (BLOCK, other)


def test_a_row_without_a_reservation_applies_to_all_without_their_own() -> None:
    store = PriceStore(None, ["listed_file"])
    general = price(replace(BLOCK, reservation="", zone=""), (1.0, 50.0))
    store.put("listed_file", Catalogue((general, price(BLOCK, (1.0, 31.0))), whole_history=True), NOW)
    match = [store.merged.find(replace(BLOCK, reservation=each)) for each in ("cr-1", "cr-9", "")]
    assert [each.usd_per_hour if each else None for each in match] == [31.0, 50.0, 50.0]


def test_a_list_may_name_a_zone_by_its_id_if_a_source_knows_its_name() -> None:
    store = PriceStore(None, ["aws_spot", "listed_file"])
    block = replace(DEMAND, purchase_option=PurchaseOption.RESERVED, zone="use1-az2")
    store.put("listed_file", Catalogue((price(block, (-math.inf, 31.4)),), whole_history=True), NOW)
    by_name = replace(block, zone="us-east-1a")
    assert store.merged.find(by_name) is None, "nobody knows what that zone is called"
    store.put("aws_spot", Catalogue(zones=(Zone("aws", block.region, "us-east-1a", "use1-az2"),)), NOW)
    for key, usd in ((by_name, 31.4), (block, 31.4), (replace(block, zone="us-east-1b"), None)):
        match = store.merged.find(key)
        assert (match and match.usd_per_hour) == usd
