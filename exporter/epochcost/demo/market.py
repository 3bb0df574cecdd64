"""The demo's price poller: the real store, plausibility checks and collector over simulated sources."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

from prometheus_client import CollectorRegistry

from epochcost.agent.meter_inputs import Quote
from epochcost.demo.scenario import Offer, Script
from epochcost.guarded_collector import Guarded
from epochcost.model import InstanceFacts, Node, Price, PriceKey, PriceStep, PurchaseOption
from epochcost.poller.collector import PollerCollector
from epochcost.poller.demand import RequestedTypes
from epochcost.poller.snapshot import PollerSnapshot
from epochcost.poller.source_poller import SourcePoller
from epochcost.prices.allowances import Credit
from epochcost.prices.merged_prices import usd_per_hour_at
from epochcost.prices.price_source import Catalogue, PriceRequests, PriceSourceError, Refused, Want
from epochcost.prices.store import PriceStore

log = logging.getLogger("epochcost.demo")
REFRESH_SECONDS = 300.0


class SimulatedSource:
    """Responds with the script's content for one source; see `epochcost.prices.price_source.Source`."""

    provider = ""
    refresh_seconds = REFRESH_SECONDS
    watched: frozenset[Want] = frozenset()

    def __init__(self, name: str, script: Script, epoch_ts: float) -> None:
        self.name = name
        self._script = script
        self._epoch_ts = epoch_ts

    def fetch(self, requests: PriceRequests, now: float) -> Catalogue:  # noqa: ARG002 - it has little, and returns all of it
        """What it knows at ``now``.

        Raises:
            PriceSourceError: while the script lets it fail.
        """
        t = now - self._epoch_ts
        if any(name == self.name and start <= t < end for name, start, end in self._script.failing):
            raise PriceSourceError(f"{self.name} (simulated): HTTP 503 from its price list")
        zero = {kind for name, kind, start, end in self._script.refused if name == self.name and start <= t < end}
        mine = [offer for offer in self._script.offers if offer.source == self.name]
        return Catalogue(
            tuple(self._price(o, t) for o in mine if o.instance_type not in zero and o.price.at(t) is not None),
            tuple(self._facts()),
            refused=tuple(Refused(key_of(o), 0.0) for o in mine if o.instance_type in zero),
            credits=tuple(self._credits(t)),
        )

    def _credits(self, t: float) -> Iterator[Credit]:
        for source, usd, spend in self._script.credits:
            if source == self.name:
                yield Credit(f"{source} account", source, usd, self._epoch_ts + t, spend_usd_per_hour=spend.at(t))

    def _price(self, offer: Offer, t: float) -> Price:
        steps = tuple(PriceStep(self._epoch_ts + since, usd) for since, usd in offer.price.steps if since <= t)
        fetched = self._epoch_ts + (t if offer.dated is None else offer.dated)
        return Price(key_of(offer), steps, self.name, fetched)

    def _facts(self) -> list[InstanceFacts]:
        sold = {offer.instance_type for offer in self._script.offers if offer.source == self.name}
        return [
            InstanceFacts(
                kind.provider,
                kind.instance_type,
                kind.gpu_model,
                kind.gpus or None,
                kind.gpu_memory_bytes or None,
                kind.vcpus,
                kind.memory_bytes,
            )
            for kind in self._script.kinds
            if kind.instance_type in sold
        ]


def key_of(offer: Offer) -> PriceKey:
    """What an offer is the price of."""
    return PriceKey(offer.provider, offer.region, offer.zone, offer.instance_type, offer.purchase_option)


class Market:
    """The poller of the demo. Times are seconds since the beginning of the simulation."""

    def __init__(self, script: Script, epoch_ts: float) -> None:
        self._script, self._epoch_ts, self._t = script, epoch_ts, 0.0
        names = dict.fromkeys(offer.source for offer in script.offers)
        self.store = PriceStore(None, names)
        wants = RequestedTypes((), epoch_ts)
        sources = [SimulatedSource(name, script, epoch_ts) for name in names]
        self._pollers = [
            SourcePoller(source, self.store, wants, lambda: self._epoch_ts + self._t) for source in sources
        ]
        self._refreshed_t = float("-inf")
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(Guarded(PollerCollector(self.snapshot), "prices", log))

    def advance(self, t: float) -> None:
        """Poll every source that is due."""
        self._t = t
        if t - self._refreshed_t >= REFRESH_SECONDS:
            self._refreshed_t = t
            for attempts in self._pollers:
                attempts.refresh()

    def up(self, t: float) -> bool:
        """Whether the poller can be reached at ``t``."""
        return not any(start <= t < end for start, end in self._script.poller_down)

    def snapshot(self) -> PollerSnapshot:
        """What the poller exports now."""
        merged = self.store.merged
        return PollerSnapshot(
            t=self._epoch_ts + self._t,
            prices=merged.prices,
            facts=merged.facts,
            sources={attempts.source.name: attempts.health for attempts in self._pollers},
        )

    def quote(self, node: Node) -> Quote | None:
        """What an agent receives about its machine; None if its price is not known."""
        if node.purchase_option is None:
            return None
        key = PriceKey(node.provider, node.region, node.zone, node.instance_type, node.purchase_option)
        price = self.store.merged.find(key)
        if price is None:
            return None
        on_demand = self.store.merged.find(replace(key, purchase_option=PurchaseOption.ON_DEMAND))
        now = self._epoch_ts + self._t
        listed = usd_per_hour_at(on_demand, now) if on_demand is not None else None
        return Quote(price.steps, listed, price.source, price.fetched_ts)
