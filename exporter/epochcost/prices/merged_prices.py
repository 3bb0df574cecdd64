"""Prices: what every source last returned, merged into one price per key. Immutable: a new one is built aside."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from epochcost.model import InstanceFacts, Price, PriceKey, PriceStep, PurchaseOption
from epochcost.prices.price_source import Catalogue, Want, Zone

KEEP_SECONDS = 45 * 86400.0
"""Steps that ended longer ago than this are forgotten, except in a list that is a whole history."""
OTHERS = "*"
"""In an order of precedence: every source that is not named."""
DAY = 86400.0


@dataclass(frozen=True, slots=True)
class MaxAge:
    """Seconds after which a price that its source no longer returns is dropped.

    Attributes:
        seconds: for all that is not in ``named``.
        named: by source or purchase option; a source takes precedence over a purchase option.
    """

    seconds: float = 7 * DAY
    named: tuple[tuple[str, float], ...] = (("spot", DAY),)

    def of(self, price: Price) -> float:
        """The limit of ``price``."""
        limits = dict(self.named)
        return limits.get(price.source, limits.get(price.key.purchase_option.value, self.seconds))

    def __str__(self) -> str:
        return ",".join([f"{self.seconds:g}s", *(f"{name}={seconds:g}s" for name, seconds in self.named)])


DEFAULT_MAX_AGE = MaxAge()


@dataclass(frozen=True, slots=True)
class SourcePrices:
    """What one source last returned, and when its response was last complete."""

    prices: Mapping[PriceKey, Price] = field(default_factory=dict)
    facts: Mapping[tuple[str, str], InstanceFacts] = field(default_factory=dict)
    confirmed_ts: float | None = None
    zones: frozenset[Zone] = frozenset()
    rows: int | None = None
    """How many prices its last full response had, without older ones that are still kept."""


@dataclass(frozen=True, slots=True)
class MergedPrices:
    """All shelves, and the winner of each key: exactly one price a key."""

    shelves: Mapping[str, SourcePrices] = field(default_factory=dict)
    prices: Mapping[PriceKey, Price] = field(default_factory=dict)
    facts: Mapping[tuple[str, str], InstanceFacts] = field(default_factory=dict)
    """By provider and instance type; a fact that one source leaves open is filled in by the next."""
    precedence: tuple[str, ...] = ()
    zones: Mapping[tuple[str, str, str], str] = field(default_factory=dict)
    """Name of a zone by provider, region and zone id."""

    def outranks(self, source: str, other: str) -> bool:
        """Whether a price of ``source`` would take the place of one of ``other``."""
        return _rank(source, self.precedence) < _rank(other, self.precedence)

    def find(self, key: PriceKey) -> Price | None:
        """The price that a machine pays: of its reservation or of all; at its zone, else in its region, else anywhere.

        A provider that has one price for a whole region, or one everywhere, returns it with an empty zone or region.
        The zone may be named by its id. An owned machine is found by its type alone. The price of another reservation,
        or of another zone, is never taken.
        """
        key = replace(key, zone=self.zones.get((key.provider, key.region, key.zone), key.zone))
        if key.purchase_option is PurchaseOption.OWNED:
            return self.prices.get(replace(key, provider="owned", region="", zone=""))
        spot = key.purchase_option is PurchaseOption.SPOT
        region = key.region if spot else priced_region(key)
        places = [(key.region, key.zone), (region, key.zone)] if key.zone else []
        here = (key.provider, key.region, key.zone)  # a price list may have a zone by its id alone
        ids = [(key.region, id_) for (*place, id_), name in self.zones.items() if name and (*place, name) == here]
        for reservation in dict.fromkeys((key.reservation, "")):
            for place_region, zone in dict.fromkeys([*places, *ids, (region, ""), ("", "")]):
                place = replace(key, region=place_region, zone=zone, reservation=reservation)
                if (price := self.prices.get(place)) is not None:
                    return price
        return None

    def published(self, price: Price) -> Price | None:
        """What its source publishes where ``price`` is paid."""
        shelf = self.shelves.get(price.source)
        return None if shelf is None else shelf.prices.get(price.key)

    def elsewhere(self, key: PriceKey) -> tuple[PriceKey, ...]:
        """What has a price of that type and purchase option in that region, only in other zones or reservations."""
        others = (
            each
            for each in self.prices
            if (each.provider, each.region, each.instance_type, each.purchase_option)
            == (key.provider, key.region, key.instance_type, key.purchase_option)
        )
        return tuple(sorted(others, key=lambda each: (each.zone, each.reservation)))


def priced_region(key: PriceKey) -> str:
    """The region whose prices hold at ``key.zone``: an AWS Local Zone or Wavelength zone has prices of its own.

    ``us-east-1-bos-1a`` is in the region us-east-1, but is priced as ``us-east-1-bos-1``.
    """
    outside = key.provider == "aws" and re.fullmatch(re.escape(key.region) + r"-.+", key.zone)
    return re.sub(r"(?<=\d)[a-z]$", "", key.zone) if outside else key.region


def usd_per_hour_at(price: Price, ts: float) -> float | None:
    """What an hour costs at ``ts``; None before the first known step."""
    return next((step.usd_per_hour for step in reversed(price.steps) if step.ts <= ts), None)


@dataclass(frozen=True, slots=True)
class RequestScope:
    """What was requested of a source.

    Attributes:
        partial: only some of what is wanted, so nothing is known about the rest.
        forgotten: what is no longer requested, so that its absence is expected; it is dropped with a full response.
    """

    partial: bool = False
    forgotten: frozenset[Want] = frozenset()


EVERYTHING = RequestScope()


def stock(
    shelf: SourcePrices, catalogue: Catalogue, now: float, scope: RequestScope, max_age: MaxAge = DEFAULT_MAX_AGE
) -> SourcePrices:
    """The shelf after a response at ``now``.

    Args:
        shelf: what the source returned before.
        catalogue: its response.
        now: seconds since the Unix epoch.
        scope: what was requested; of a part, the rest is kept.
        max_age: how old a price that a full response no longer has may become before it is dropped.
    """
    keep = scope.partial or bool(catalogue.problems)
    prices = dict(shelf.prices) if keep else _missed(shelf, catalogue, now, max_age, scope.forgotten)
    for price in catalogue.prices:
        known = None if catalogue.whole_history else shelf.prices.get(price.key)
        prices[price.key] = price if known is None else extended(known, price, now)
    types = {(key.provider, key.instance_type) for key in prices}
    facts = {place: fact for place, fact in shelf.facts.items() if keep or place in types}
    for fact in catalogue.facts:
        place = (fact.provider, fact.instance_type)
        facts[place] = filled(fact, facts[place]) if place in facts and keep else fact
    confirmed_ts, rows = (shelf.confirmed_ts, shelf.rows) if keep else (now, len(catalogue.prices))
    return SourcePrices(prices, facts, confirmed_ts, shelf.zones | frozenset(catalogue.zones), rows)


def _missed(
    shelf: SourcePrices, catalogue: Catalogue, now: float, max_age: MaxAge, forgotten: frozenset[Want]
) -> dict[PriceKey, Price]:
    """What stays although a full response may not have it: a type out of stock may be back tomorrow."""
    if catalogue.whole_history or catalogue.complete:
        return {}
    return {
        key: price
        for key, price in shelf.prices.items()
        if now - price.fetched_ts <= max_age.of(price)
        and Want(key.provider, key.region, key.instance_type) not in forgotten
    }


def extended(known: Price, new: Price, now: float) -> Price:
    """``new`` with the steps known before.

    Dated steps join at their own times, however late they arrived. A price whose first step is at -inf is current, but
    its beginning is unknown: if it differs from what was known it counts from ``now``, and earlier steps stay.
    """
    if new.steps[0].ts == float("-inf"):
        before = [step for step in known.steps if step.ts < now]
        if not before:
            return new
        holds = usd_per_hour_at(new, now)
        if holds is not None and before[-1].usd_per_hour != holds:
            before.append(PriceStep(now, holds))
        return replace(new, steps=_recent([*before, *(step for step in new.steps if step.ts > now)], now))
    by_time = {step.ts: step for step in (*known.steps, *new.steps)}
    return replace(new, steps=_recent([by_time[ts] for ts in sorted(by_time)], now))


def _recent(steps: Sequence[PriceStep], now: float) -> tuple[PriceStep, ...]:
    ended = [index for index, step in enumerate(steps) if step.ts <= now - KEEP_SECONDS]
    return tuple(steps[ended[-1] :]) if ended else tuple(steps)


def bind(
    shelves: Mapping[str, SourcePrices],
    precedence: Sequence[str],
    adjust: Callable[[Price], Price | None] | None = None,
) -> MergedPrices:
    """The prices of all shelves: if two sources price one key, the earlier in ``precedence`` wins.

    ``adjust`` makes of a published price what is paid; None if that is not a possible price.
    """
    prices: dict[PriceKey, Price] = {}
    facts: dict[tuple[str, str], InstanceFacts] = {}
    zones: dict[tuple[str, str, str], str] = {}
    for name in ranked(shelves, precedence):
        for key, price in shelves[name].prices.items():
            prices.setdefault(key, price)
        for place, fact in shelves[name].facts.items():
            facts[place] = filled(facts[place], fact) if place in facts else fact
        zones |= {(each.provider, each.region, each.zone_id): each.zone for each in shelves[name].zones}
    if adjust is not None:
        prices = {key: paid for key, price in prices.items() if (paid := adjust(price)) is not None}
    return MergedPrices(dict(shelves), prices, facts, tuple(precedence), zones)


def ranked(names: Iterable[str], precedence: Sequence[str]) -> list[str]:
    """``names`` by precedence; ``*`` means those not named, which come last without it."""
    return sorted(names, key=lambda name: (_rank(name, precedence), name))


def _rank(name: str, precedence: Sequence[str]) -> int:
    order = [*precedence, OTHERS]
    return order.index(name if name in order else OTHERS)


def filled(fact: InstanceFacts, other: InstanceFacts) -> InstanceFacts:
    """``fact``, with what it leaves open taken from ``other``."""

    def either(ours: float | None, theirs: float | None) -> float | None:
        return theirs if ours is None else ours

    def whole(ours: int | None, theirs: int | None) -> int | None:
        return theirs if ours is None else ours

    return InstanceFacts(
        provider=fact.provider,
        instance_type=fact.instance_type,
        gpu_model=fact.gpu_model or other.gpu_model,
        gpus=either(fact.gpus, other.gpus),
        gpu_memory_bytes=whole(fact.gpu_memory_bytes, other.gpu_memory_bytes),
        vcpus=either(fact.vcpus, other.vcpus),
        memory_bytes=whole(fact.memory_bytes, other.memory_bytes),
    )
