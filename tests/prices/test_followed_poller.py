"""Two pollers behind one name: one is followed while it responds, so that none rewrites another's past."""

from __future__ import annotations

import math

import pytest

from epochcost.model import Price, PriceKey, PriceStep, PurchaseOption
from epochcost.prices.followed_poller import FOLLOW_SECONDS, ContradictionError, FollowedPoller, contradiction
from epochcost.prices.price_source import PriceSourceError

KEY = PriceKey("aws", "us-east-1", "", "p5.48xlarge", PurchaseOption.ON_DEMAND)


def price(*steps: tuple[float, float], at: float = 1000.0) -> Price:
    return Price(KEY, tuple(PriceStep(ts, usd) for ts, usd in steps), "aws", at)


FOUR, TEN = price((0.0, 4.0)), price((0.0, 10.0))


def test_the_first_to_respond_is_followed_and_another_rewrites_nothing() -> None:
    selection = FollowedPoller()
    assert selection.take("a", FOUR, 0.0) is FOUR
    with pytest.raises(ContradictionError, match=r"price poller b contradicts a, .*: \$4 and \$10 an hour"):
        selection.take("b", TEN, 60.0)
    assert selection.take("a", FOUR, 120.0) is FOUR


def test_another_one_is_followed_when_the_first_has_been_silent_for_long() -> None:
    selection = FollowedPoller()
    selection.take("a", FOUR, 0.0)
    with pytest.raises(PriceSourceError):
        selection.take("b", TEN, FOLLOW_SECONDS - 1)
    assert selection.take("b", TEN, FOLLOW_SECONDS) is TEN
    with pytest.raises(PriceSourceError, match="price poller a contradicts b"):
        selection.take("a", FOUR, FOLLOW_SECONDS + 1)


def test_one_that_agrees_is_used_too() -> None:
    selection = FollowedPoller()
    selection.take("a", FOUR, 0.0)
    newer = price((0.0, 4.0), (1500.0, 5.0), at=2000.0)
    assert selection.take("b", newer, 60.0) is newer, "it knows of a change that the first has not confirmed against"


def test_the_followed_one_may_correct_its_own_past() -> None:
    selection = FollowedPoller()
    selection.take("a", FOUR, 0.0)
    assert selection.take("a", TEN, 60.0) is TEN


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [
        (price((-math.inf, 4.0)), price((-math.inf, 4.0)), False),
        (price((-math.inf, 4.0)), price((-math.inf, 10.0)), True),
        (price((0.0, 4.0), (500.0, 6.0)), price((0.0, 4.0), (700.0, 6.0)), True),
        (price((0.0, 4.0), (500.0, 6.0)), price((500.0, 6.0)), False),
        (price((0.0, 4.0), (500.0, 6.0)), price((0.0, 4.0), at=400.0), False),
        (price((2000.0, 4.0), at=1000.0), price((2000.0, 9.0), at=1000.0), False),
    ],
    ids=["same", "other", "changed at another time", "knows less of the past", "confirmed before", "still to come"],
)
def test_what_is_a_contradiction(one: Price, other: Price, differ: bool) -> None:
    assert bool(contradiction(one, other)) is differ
    assert bool(contradiction(other, one)) is differ
