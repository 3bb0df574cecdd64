"""Two pollers behind one name, asked by a real feed: what the second says otherwise is counted and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator

from epochcost.agent.price_feed import PriceFeed
from epochcost.model import Price, PriceKey, PriceStep, PurchaseOption
from epochcost.prices.followed_poller import FollowedPoller
from epochcost.prices.quote import NodePrice

NOW = 1_795_000_000.0
KEY = PriceKey("aws", "us-east-1", "", "p5.48xlarge", PurchaseOption.ON_DEMAND)


class TwoPollers:
    """Answers by turns, as a service of two replicas does; each says its own price of the same past."""

    def __init__(self, *usd: float) -> None:
        self.answers: Iterator[tuple[str, float]] = iter([(f"poller {n % 2}", each) for n, each in enumerate(usd)])
        self.followed = FollowedPoller()

    def fetch(self, now: float) -> NodePrice:
        poller, usd = next(self.answers)
        price = Price(KEY, (PriceStep(NOW - 7200, usd),), "listed_file", NOW)
        return NodePrice(self.followed.take(poller, price, now - NOW))


def test_the_past_is_not_rewritten_by_turns_and_the_contradiction_is_counted() -> None:
    feed = PriceFeed(TwoPollers(4.0, 10.0, 4.0, 10.0), 60.0, lambda: NOW)
    heard = []
    for _ in range(4):
        heard.append(feed.ask())
        assert feed.quote is not None
        assert [step.usd_per_hour for step in feed.quote.steps] == [4.0]
    assert heard == [True, False, True, False]
    assert feed.health.contradictions == 2
    assert "contradicts poller 0, which is followed" in feed.health.error


def test_two_that_say_the_same_are_both_heard() -> None:
    feed = PriceFeed(TwoPollers(4.0, 4.0, 4.0), 60.0, lambda: NOW)
    assert [feed.ask() for _ in range(3)] == [True, True, True]
    assert feed.health.contradictions == 0
