"""Price sources whose behaviour a test sets, with the same contract as the real ones."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from epochcost.model import Price, PriceKey, PriceStep, PurchaseOption
from epochcost.prices.price_source import Catalogue, PriceRequests, Want


def price(
    usd: float,
    *,
    source: str = "scripted",
    provider: str = "aws",
    region: str = "us-east-1",
    zone: str = "",
    instance_type: str = "p2.xlarge",
    option: PurchaseOption = PurchaseOption.ON_DEMAND,
    since: float = float("-inf"),
    at: float = 0.0,
) -> Price:
    return Price(PriceKey(provider, region, zone, instance_type, option), (PriceStep(since, usd),), source, at)


@dataclass
class ScriptedSource:
    """Returns ``respond(wanted, now)``, which may raise or wait; records every request."""

    respond: Callable[[PriceRequests, float], Catalogue]
    name: str = "scripted"
    provider: str = "aws"
    refresh_seconds: float = 3600.0
    watched: frozenset[Want] = frozenset()
    requests: list[PriceRequests] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)

    def fetch(self, requests: PriceRequests, now: float) -> Catalogue:
        self.requests.append(requests)
        self.threads.add(threading.current_thread().name)
        return self.respond(requests, now)
