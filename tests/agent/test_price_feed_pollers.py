"""Two pollers behind one name and a real feed: contradictions of the second are counted and change nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from epochcost.agent.price_feed import PriceFeed
from epochcost.model import Price, PriceKey, PriceStep, PurchaseOption
from epochcost.prices.followed_poller import FollowedPoller
from epochcost.prices.quote import NodePrice
from epochcost.prices.remote import LaterError, retry_after_seconds

NOW = 1_795_000_000.0
KEY = PriceKey("aws", "us-east-1", "", "p5.48xlarge", PurchaseOption.ON_DEMAND)


class TwoPollers:
    """Responds in turns, like a service of two replicas; each has its own price of the same past."""

    def __init__(self, *usd: float) -> None:
        self.responses: Iterator[tuple[str, float]] = iter([(f"poller {n % 2}", each) for n, each in enumerate(usd)])
        self.followed = FollowedPoller()

    def fetch(self, now: float) -> NodePrice:
        poller, usd = next(self.responses)
        price = Price(KEY, (PriceStep(NOW - 7200, usd),), "listed_file", NOW)
        return NodePrice(self.followed.take(poller, price, now - NOW))


def test_the_past_is_not_rewritten_in_turns_and_the_contradiction_is_counted() -> None:
    feed = PriceFeed(TwoPollers(4.0, 10.0, 4.0, 10.0), 60.0, lambda: NOW)
    received = []
    for _ in range(4):
        received.append(feed.ask())
        assert feed.quote is not None
        assert [step.usd_per_hour for step in feed.quote.steps] == [4.0]
    assert received == [True, False, True, False]
    assert feed.health.contradictions == 2
    assert "contradicts poller 0, which is used" in feed.health.error


def test_two_pollers_that_agree_are_both_used() -> None:
    feed = PriceFeed(TwoPollers(4.0, 4.0, 4.0), 60.0, lambda: NOW)
    assert [feed.ask() for _ in range(3)] == [True, True, True]
    assert feed.health.contradictions == 0


class Busy:
    """A poller with too many requests."""

    def fetch(self, now: float) -> NodePrice:
        raise LaterError("HTTP 503: too many requests at once", 5.0)


def test_retry_after_is_honoured_and_agents_retry_at_different_times() -> None:
    feed = PriceFeed(Busy(), 60.0, lambda: NOW)
    assert not feed.ask()
    pauses = {feed.pause_after_failure(2.0) for _ in range(100)}
    assert len(pauses) > 90
    assert min(pauses) >= 5.0
    assert max(pauses) <= 15.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"retry-after": "5"}, 5.0), ({"retry-after": "999999"}, 60.0), ({"retry-after": "-5"}, 0.0), ({}, 0.0),
     ({"retry-after": "Wed, 26 Nov 2026 20:00:00 GMT"}, 0.0), ({"retry-after": "1" * 30}, 0.0)],
)  # fmt: skip
def test_retry_after_is_bounded(headers: dict[str, str], seconds: float) -> None:
    assert retry_after_seconds(headers) == seconds
