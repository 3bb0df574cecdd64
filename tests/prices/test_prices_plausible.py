"""Answers that are implausible are held back until they are confirmed."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from epochcost.model import Price, PriceKey, PriceStep, PurchaseOption
from epochcost.prices.merged_prices import RequestScope
from epochcost.prices.price_source import Catalogue, Refused, Want
from epochcost.prices.store import PriceStore, StoreRules

NOW = 1_795_000_000.0
KEY = PriceKey("aws", "us-east-1", "", "p2.xlarge", PurchaseOption.ON_DEMAND)
SPOT = PriceKey("aws", "us-east-1", "us-east-1a", "p2.xlarge", PurchaseOption.SPOT)


def undated(usd: float, key: PriceKey = KEY, source: str = "aws", at: float = NOW) -> Price:
    return Price(key, (PriceStep(-math.inf, usd),), source, at)


def key(number: int) -> PriceKey:
    return replace(KEY, instance_type=f"t{number}.large")


def catalogue(count: int, usd: float = 1.0) -> Catalogue:
    return Catalogue(tuple(undated(usd, key(n)) for n in range(count)))


@pytest.mark.parametrize("usd", [9.0, 0.09])
def test_a_tenfold_jump_leaves_the_last_good_price_in_place_with_its_age(usd: float) -> None:
    store = PriceStore(None, ["aws"])
    store.put("aws", Catalogue((undated(0.9),)), NOW)
    check_result = store.put("aws", Catalogue((undated(usd, at=NOW + 60),)), NOW + 60)
    assert (store.merged.prices[KEY].usd_per_hour, store.merged.prices[KEY].fetched_ts) == (0.9, NOW)
    assert check_result.held == {"jump": 1}
    assert check_result.sentence == f"p2.xlarge on_demand in us-east-1 from $0.9 to ${usd:g} an hour is held back"


@pytest.mark.parametrize("usd", [8.99, 0.0901])
def test_a_change_below_tenfold_is_accepted(usd: float) -> None:
    store = PriceStore(None, ["aws"])
    store.put("aws", Catalogue((undated(0.9),)), NOW)
    assert not store.put("aws", Catalogue((undated(usd),)), NOW + 60).held
    assert store.merged.prices[KEY].usd_per_hour == usd


def test_a_jump_confirmed_by_the_next_response_counts_from_then() -> None:
    store = PriceStore(None, ["aws"])
    for minute, usd in enumerate((0.9, 9.5, 9.4)):
        store.put("aws", Catalogue((undated(usd, at=NOW + minute),)), NOW + minute)
    steps = [(step.ts, step.usd_per_hour) for step in store.merged.prices[KEY].steps]
    assert steps == [(-math.inf, 0.9), (NOW + 2, 9.4)]


def test_two_different_jumps_confirm_nothing() -> None:
    store = PriceStore(None, ["aws"])
    for minute, usd in enumerate((0.9, 9.5, 900.0, 0.01)):
        store.put("aws", Catalogue((undated(usd),)), NOW + minute)
    assert store.merged.prices[KEY].usd_per_hour == 0.9


def test_a_response_about_another_type_in_between_releases_no_held_price() -> None:
    store = PriceStore(None, ["aws"])
    store.put("aws", Catalogue((undated(0.9),)), NOW)
    store.put("aws", Catalogue((undated(9.5),)), NOW + 1)
    store.put("aws", Catalogue((undated(1.0, key(1)),)), NOW + 2, RequestScope(partial=True))
    assert not store.put("aws", Catalogue((undated(9.5), undated(1.0, key(1)))), NOW + 3).held
    assert store.merged.prices[KEY].usd_per_hour == 9.5


def test_a_jump_and_back_leaves_nothing_held_back() -> None:
    store = PriceStore(None, ["aws"])
    for minute, usd in enumerate((0.9, 9.5, 0.9, 9.5)):
        store.put("aws", Catalogue((undated(usd),)), NOW + minute)
    assert store.merged.prices[KEY].usd_per_hour == 0.9


def test_one_implausible_step_inside_a_history_holds_the_history_back() -> None:
    store = PriceStore(None, ["aws"])
    steps = (PriceStep(NOW - 300, 0.3), PriceStep(NOW - 200, 300.0), PriceStep(NOW - 100, 0.31))
    store.put("aws", Catalogue((Price(SPOT, steps[:1], "aws", NOW - 250),)), NOW - 250)
    assert store.put("aws", Catalogue((Price(SPOT, steps, "aws", NOW),)), NOW).held == {"jump": 1}
    assert store.merged.prices[SPOT].steps == steps[:1]


@pytest.mark.parametrize("source", ["owned", "listed_file"])
def test_a_configured_price_is_accepted(source: str) -> None:
    store = PriceStore(None, [source])
    for usd in (0.9, 90.0):
        assert not store.put(source, Catalogue((undated(usd, source=source),)), NOW).held
    assert store.merged.prices[KEY].usd_per_hour == 90.0


@pytest.mark.parametrize("accepted", ["aws", "*"])
def test_prices_of_an_exempt_source_are_accepted(accepted: str) -> None:
    store = PriceStore(None, ["aws"], StoreRules(accepted=(accepted,)))
    store.put("aws", catalogue(10), NOW)
    assert not store.put("aws", catalogue(1, usd=90.0), NOW).held
    assert store.merged.prices[key(0)].usd_per_hour == 90.0


def test_a_response_with_half_of_its_rows_missing_changes_nothing_until_it_repeats() -> None:
    store = PriceStore(None, ["aws"])
    store.put("aws", catalogue(10), NOW)
    check_result = store.put("aws", catalogue(5, usd=2.0), NOW + 60)
    assert (check_result.held, check_result.catalogue) == ({"rows_gone": 1}, None)
    assert {price.usd_per_hour for price in store.merged.prices.values()} == {1.0}
    assert store.merged.shelves["aws"].confirmed_ts == NOW, "it did not answer in full"
    store.put("aws", catalogue(5, usd=2.0), NOW + 120)
    assert [store.merged.prices[key(n)].usd_per_hour for n in (0, 9)] == [2.0, 1.0]
    assert store.merged.prices[key(9)].fetched_ts == NOW, "what is missing keeps its age"


def test_a_confirmed_smaller_response_is_not_held_back_again(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    store = PriceStore(path, ["aws"])
    for minute, count in enumerate((10, 5, 5)):
        store.put("aws", catalogue(count), NOW + minute)
    assert len(store.merged.prices) == 10, "the missing ones stay until they are too old"
    assert not store.put("aws", catalogue(5), NOW + 3).held
    assert not PriceStore(path, ["aws"]).put("aws", catalogue(5), NOW + 4).held, "nor after a restart"


def test_a_continuously_shrinking_response_does_not_confirm_itself() -> None:
    store = PriceStore(None, ["aws"])
    store.put("aws", catalogue(40), NOW)
    for minute, count in enumerate((20, 9, 4), start=1):
        assert store.put("aws", catalogue(count), NOW + minute).held == {"rows_gone": 1}


def test_a_few_rows_may_halve_and_a_partial_response_does_not_count() -> None:
    store = PriceStore(None, ["aws"])
    store.put("aws", catalogue(3), NOW)
    assert not store.put("aws", catalogue(1), NOW).held
    store.put("aws", catalogue(10), NOW)
    assert not store.put("aws", catalogue(1), NOW, RequestScope(partial=True)).held
    assert not store.put("aws", Catalogue((), problems=("a region did not answer",)), NOW).held


def test_rows_no_longer_wanted_do_not_count_as_missing() -> None:
    store = PriceStore(None, ["aws"])
    store.put("aws", catalogue(10), NOW)
    removed = {Want("aws", "us-east-1", f"t{n}.large") for n in range(2, 10)}
    assert not store.put("aws", catalogue(2), NOW, RequestScope(forgotten=frozenset(removed))).held
    assert set(store.merged.prices) == {key(0), key(1)}


@pytest.mark.parametrize(("usd", "reason"), [(0.0, "zero"), (-0.5, "negative")])
def test_a_figure_of_zero_or_less_is_never_accepted(usd: float, reason: str) -> None:
    store = PriceStore(None, ["aws"], StoreRules(accepted=("*",)))
    store.put("aws", Catalogue((undated(0.9),)), NOW)
    for minute in (1, 2, 3):
        check_result = store.put("aws", Catalogue((), refused=(Refused(KEY, usd),)), NOW + minute)
        assert check_result.held == {reason: 1}
        assert check_result.sentence == f"p2.xlarge on_demand in us-east-1 at ${usd:g} an hour is not a price"
    assert store.merged.prices[KEY].usd_per_hour == 0.9


def test_the_first_response_is_not_compared() -> None:
    store = PriceStore(None, ["aws"])
    assert not store.put("aws", catalogue(1, usd=900.0), NOW).held
