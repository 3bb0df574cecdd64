from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epochcost.ledger import PriceTrack
from epochcost.model import Price, PriceKey, PriceStep, PurchaseOption

INF = math.inf


def track(*steps: tuple[float, float]) -> PriceTrack:
    return PriceTrack().learn([PriceStep(t, p) for t, p in steps], now=0.0)


def test_the_integral_follows_every_step() -> None:
    price = track((0, 3600.0), (10, 7200.0), (20, 1800.0))
    assert price.integral(5, 25) == (5 * 1.0 + 10 * 2.0 + 5 * 0.5, 0.0)


def test_time_before_the_first_step_is_unpriced_and_not_free() -> None:
    usd, unpriced = track((100, 3600.0)).integral(40, 110)
    assert (usd, unpriced) == (10.0, 60.0)


def test_a_step_published_late_counts_from_when_it_took_effect() -> None:
    price = track((0, 3600.0)).learn([PriceStep(50, 7200.0)], now=90)
    assert price.integral(0, 100)[0] == 50 + 100


def test_a_response_replaces_the_history_from_its_first_step_on() -> None:
    price = track((0, 3600.0), (50, 7200.0)).learn([PriceStep(20, 1800.0), PriceStep(60, 3600.0)], now=90)
    assert price.times == (0, 20, 60)


def test_a_changed_price_without_a_date_counts_from_when_it_was_received() -> None:
    price = track((-INF, 3600.0)).learn([PriceStep(-INF, 7200.0)], now=90)
    assert price.integral(80, 100)[0] == 10 + 20


def test_the_same_price_without_a_date_changes_nothing() -> None:
    price = track((-INF, 3600.0))
    assert price.learn([PriceStep(-INF, 3600.0)], now=90) == price


def test_a_price_without_a_date_fills_unknown_time() -> None:
    price = track((50, 3600.0)).learn([PriceStep(-INF, 7200.0)], now=90)
    assert price.integral(40, 60)[0] == 20 + 10
    assert price.at(91) == 7200.0


def test_another_machine_does_not_change_the_cost_of_the_first() -> None:
    price = track((-INF, 3600.0)).forget_from(100)
    assert price.integral(90, 110) == (10.0, 10.0)
    dated = price.learn([PriceStep(-500, 1800.0), PriceStep(105, 7200.0)], now=110, floor=100)
    assert dated.integral(90, 110) == (10 + 5 * 0.5 + 5 * 2, 0.0)
    undated = price.learn([PriceStep(-INF, 1800.0)], now=110, floor=100)
    assert undated.integral(90, 110) == (10 + 5, 0.0)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf, 2e6])
def test_an_impossible_price_is_rejected_when_it_is_created(bad: float) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        PriceStep(0.0, bad)


def test_a_price_series_must_ascend_and_not_be_empty() -> None:
    key = PriceKey("aws", "us-east-1", "", "p3.2xlarge", PurchaseOption.ON_DEMAND)
    with pytest.raises(ValueError, match="at least one step"):
        Price(key, (), "aws", 0.0)
    with pytest.raises(ValueError, match="ascend"):
        Price(key, (PriceStep(2, 1.0), PriceStep(2, 2.0)), "aws", 0.0)


steps = st.lists(
    st.tuples(st.integers(0, 1000), st.floats(0.01, 100)), min_size=1, max_size=8, unique_by=lambda s: s[0]
)


@given(steps, st.integers(0, 1200), st.integers(0, 400), st.integers(0, 400))
def test_the_integral_of_two_halves_is_the_integral_of_the_whole(
    pairs: list[tuple[int, float]], start: int, first: int, second: int
) -> None:
    price = track(*sorted(pairs))
    total = price.integral(start, start + first + second)
    left, right = price.integral(start, start + first), price.integral(start + first, start + first + second)
    assert total[0] == pytest.approx(left[0] + right[0], rel=1e-12, abs=1e-15)
    assert total[1] == left[1] + right[1]


@given(steps, steps, st.integers(0, 1200))
def test_for_any_update_steps_ascend_and_the_newest_counts(
    old_steps: list[tuple[int, float]], new_steps: list[tuple[int, float]], t: int
) -> None:
    merged = track(*sorted(old_steps)).learn([PriceStep(*s) for s in sorted(new_steps)], now=2000)
    assert list(merged.times) == sorted(set(merged.times))
    if t >= min(new_steps)[0]:
        assert merged.at(t) == track(*sorted(new_steps)).at(t)
    else:
        assert merged.at(t) == track(*sorted(old_steps)).at(t)
