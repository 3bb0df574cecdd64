"""The poller's metrics, made from one snapshot. What is not known has no sample."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from epochcost._version import __version__
from epochcost.model import InstanceFacts, Price, PriceKey
from epochcost.poller.snapshot import PollerSnapshot, SourceHealth
from epochcost.prices.allowances import Credit, Limit
from epochcost.prices.extras import GB, Extra
from epochcost.prices.merged_prices import usd_per_hour_at
from epochcost.prices.plausibility import REASONS
from epochcost.prices.price_source import Zone
from epochcost.serve.exposition import settled, write_ahead

_PLACE_LABELS = ("provider", "region", "zone", "instance_type", "purchase_option")
_PRICE_LABELS = (*_PLACE_LABELS, "source")
_TYPE_LABELS = ("provider", "instance_type")


class PollerCollector:
    """Collects what ``snapshot`` contains at each scrape; it never queries a source."""

    def __init__(self, snapshot: Callable[[], PollerSnapshot]) -> None:
        self._snapshot = snapshot
        self._markets: tuple[_Market, ...] = ()

    def collect(self) -> Iterable[Metric]:
        """All metrics of one instant."""
        snapshot = self._snapshot()
        yield from self._market_of(snapshot)
        yield from source_metrics(snapshot.sources)
        yield from held_metrics(snapshot.sources)
        credits_ = [credit for health in snapshot.sources.values() for credit in health.credits]
        yield from credit_metrics([*snapshot.credits, *credits_])
        yield dropped_metric(snapshot.dropped)
        build = GaugeMetricFamily(
            "epochcost_build_info", "Version of epochcost and of Python; always 1", labels=("version", "python")
        )
        build.add_metric((__version__, platform.python_version()), 1)
        yield build

    def prepare(self, coming: PollerSnapshot) -> None:
        """Make and write what follows from the prices of ``coming``, which scrapes are about to see.

        So that no scrape has to: until then they find what was made of the prices before.
        """
        write_ahead(self._market_of(coming))

    def _market_of(self, snapshot: PollerSnapshot) -> Sequence[Metric]:
        """Those of prices and machines, which change when a source responds: scrapes in between reuse them."""
        market = next((each for each in self._markets if each.still_holds(snapshot)), None)
        if market is None:
            market = _Market.of(snapshot)
            self._markets = (market, *self._markets[:1])
        return market.metrics


@dataclass(frozen=True, slots=True)
class _Market:
    """The metrics of prices and machines as `made_of` has them, up to ``until_ts``, when a known price changes."""

    made_of: PollerSnapshot
    until_ts: float
    metrics: Sequence[Metric]

    @staticmethod
    def of(snapshot: PollerSnapshot) -> _Market:
        prices = snapshot.prices.values()
        changes = [step.ts for price in prices for step in price.steps]
        changes += [ts for extra in snapshot.extras for ts in (extra.since_ts, extra.until_ts)]
        paid_now = [extra for extra in snapshot.extras if extra.since_ts <= snapshot.t < extra.until_ts]
        metrics = (
            *price_metrics([price for price in prices if not price.key.reservation], snapshot.t),
            reservation_metric([price for price in prices if price.key.reservation], snapshot.t),
            *extra_metrics(prices, paid_now),
            part_metric(snapshot.parts),
            *limit_metrics(prices, snapshot.limits),
            *fact_metrics(snapshot.facts.values()),
            zone_metric(snapshot.zones),
        )
        until = min((ts for ts in changes if ts > snapshot.t), default=math.inf)
        return _Market(snapshot, until, tuple(settled(metric) for metric in metrics))

    def still_holds(self, now: PollerSnapshot) -> bool:
        """Whether nothing has changed; the maps are rebuilt whenever anything in them does."""
        then = self.made_of
        same = then.prices is now.prices and then.facts is now.facts
        return same and (then.extras, then.zones) == (now.extras, now.zones) and then.t <= now.t < self.until_ts


def price_metrics(prices: Iterable[Price], now: float) -> Iterator[Metric]:
    """What an hour costs at ``now``, and when that was last confirmed; a price that only starts later is absent."""
    usd = GaugeMetricFamily(
        "epochcost_instance_price_usd_per_hour",
        "Current price of the machine type, in US dollars per hour; zone is empty if the price is regional",
        labels=_PRICE_LABELS,
    )
    confirmed = GaugeMetricFamily(
        "epochcost_instance_price_timestamp_seconds",
        "Time at which the source last confirmed the price; for a dated list, the date of the row",
        labels=_PRICE_LABELS,
    )
    for price in prices:
        in_effect = next((step for step in reversed(price.steps) if step.ts <= now), None)
        if in_effect is not None:
            key = price.key
            place = (key.provider, key.region, key.zone, key.instance_type, key.purchase_option.value, price.source)
            usd.add_metric(place, in_effect.usd_per_hour)
            confirmed.add_metric(place, price.fetched_ts)
    return iter((usd, confirmed))


def reservation_metric(prices: Iterable[Price], now: float) -> Metric:
    """What one reservation costs: apart, so that no machine that is joined by what it is finds one of several."""
    family = GaugeMetricFamily(
        "epochcost_reservation_price_usd_per_hour",
        "Current price of a machine started in that reservation, in US dollars per hour",
        labels=(*_PRICE_LABELS[:-1], "reservation", "source"),
    )
    for price in prices:
        usd, key = usd_per_hour_at(price, now), price.key
        if usd is not None:
            place = (key.provider, key.region, key.zone, key.instance_type, key.purchase_option.value)
            family.add_metric((*place, key.reservation, price.source), usd)
    return family


def fact_metrics(facts: Iterable[InstanceFacts]) -> Iterator[Metric]:
    """The hardware of the machine types, as far as their providers report it."""
    gpus = GaugeMetricFamily(
        "epochcost_instance_gpus",
        "GPUs of the machine type; may be a fraction",
        labels=("provider", "instance_type", "gpu_model"),
    )
    gpu_memory = GaugeMetricFamily(
        "epochcost_instance_gpu_memory_bytes", "Memory of one GPU of the machine type", labels=_TYPE_LABELS
    )
    vcpus = GaugeMetricFamily("epochcost_instance_vcpus", "Virtual CPUs of the machine type", labels=_TYPE_LABELS)
    memory = GaugeMetricFamily("epochcost_instance_memory_bytes", "Memory of the machine type", labels=_TYPE_LABELS)
    for fact in facts:
        place = (fact.provider, fact.instance_type)
        if fact.gpus is not None:
            gpus.add_metric((*place, fact.gpu_model), fact.gpus)
        for family, value in ((gpu_memory, fact.gpu_memory_bytes), (vcpus, fact.vcpus), (memory, fact.memory_bytes)):
            if value is not None:
                family.add_metric(place, value)
    return iter((gpus, gpu_memory, vcpus, memory))


_SourceFamily: TypeAlias = tuple[
    type[GaugeMetricFamily] | type[CounterMetricFamily], str, str, Callable[[SourceHealth], float | None]
]
_OF_SOURCES: tuple[_SourceFamily, ...] = (
    (
        GaugeMetricFamily,
        "epochcost_price_source_success",
        (
            "1 if the price source's last refresh succeeded, else 0; absent before the first one and while the "
            "source is skipped"
        ),
        lambda health: health.success,
    ),
    (
        GaugeMetricFamily,
        "epochcost_price_source_last_success_timestamp_seconds",
        "Time of the price source's last complete response, also before a restart",
        lambda health: health.last_success_ts,
    ),
    (
        GaugeMetricFamily,
        "epochcost_price_source_duration_seconds",
        "Duration of the price source's last attempt, in seconds",
        lambda health: health.duration_seconds,
    ),
    (
        CounterMetricFamily,
        "epochcost_price_source_failures",
        "Failed attempts of the price source",
        lambda health: health.failures,
    ),
    (
        GaugeMetricFamily,
        "epochcost_price_source_prices",
        "Number of prices that the source currently provides",
        lambda health: health.prices,
    ),
    (
        GaugeMetricFamily,
        "epochcost_price_source_unpriced_types",
        (
            "Machine types in regions that were requested from the source and are not in its response: not sold, or "
            "misspelt"
        ),
        lambda health: health.unpriced,
    ),
    (
        CounterMetricFamily,
        "epochcost_price_source_unknown_fields",
        "Price kinds in the source's responses that epochcost does not know: the provider's API has changed",
        lambda health: health.unknown_total,
    ),
)


def source_metrics(sources: Mapping[str, SourceHealth]) -> Iterator[Metric]:
    """How the sources fare; a source that is skipped has no success, neither 0 nor 1."""
    for kind, name, text, value_of in _OF_SOURCES:
        family = kind(name, text, labels=("source",))
        for source, health in sources.items():
            value = value_of(health)
            if value is not None:
                family.add_metric((source,), float(value))
        yield family


def extra_metrics(prices: Iterable[Price], extras: Sequence[Extra]) -> Iterator[Metric]:
    """What configured extras add to an hour of a machine: shown apart, never inside its price."""
    family = GaugeMetricFamily(
        "epochcost_instance_extra_price_usd_per_hour",
        "Price of a configured extra of the machine (a disk, a public address), in US dollars per hour",
        labels=(*_PLACE_LABELS, "extra", "charged"),
    )
    by_use = GaugeMetricFamily(
        "epochcost_instance_extra_price_usd_per_gb",
        "Price of a configured extra of the machine per GB of traffic, in US dollars; never part of an hourly price",
        labels=(*_PLACE_LABELS, "extra"),
    )
    for price in prices if extras else ():
        key = price.key
        place = (key.provider, key.region, key.zone, key.instance_type, key.purchase_option.value)
        for extra in extras:
            if not extra.where.matches(key):
                continue
            if extra.usd_per_hour is not None:
                family.add_metric((*place, extra.name, str(extra.charged).lower()), extra.usd_per_hour)
            elif extra.unit == GB:
                by_use.add_metric((*place, extra.name), extra.usd_per_unit)
    return iter((family, by_use))


def part_metric(parts: Mapping[PriceKey, Mapping[str, float]]) -> Metric:
    """Of what an adjusted price is made: what is published, discounts, taxes, a share in a commitment."""
    family = GaugeMetricFamily(
        "epochcost_instance_price_part_usd_per_hour",
        "Component of an adjusted price, in US dollars per hour: published, a discount (below 0), a tax; they "
        "sum to the price",
        labels=(*_PLACE_LABELS, "part"),
    )
    for key, components in parts.items():
        for name, usd in components.items():
            family.add_metric((*_place(key), name), usd)
    return family


def limit_metrics(prices: Iterable[Price], limits: Sequence[Limit]) -> Iterator[Metric]:
    """After how long a machine is ended, and what is free."""
    session = GaugeMetricFamily(
        "epochcost_instance_session_limit_seconds",
        "Configured time after which the provider ends a machine",
        labels=(*_PLACE_LABELS, "limit"),
    )
    free = GaugeMetricFamily(
        "epochcost_instance_free_quota_seconds",
        "Configured free time per period of machines of the type",
        labels=(*_PLACE_LABELS, "limit", "period"),
    )
    for price in prices if limits else ():
        for limit in limits:
            if not limit.where.matches(price.key):
                continue
            if limit.session_seconds is not None:
                session.add_metric((*_place(price.key), limit.name), limit.session_seconds)
            if limit.free_seconds is not None:
                free.add_metric((*_place(price.key), limit.name, limit.period), limit.free_seconds)
    return iter((session, free))


def credit_metrics(credits: Iterable[Credit]) -> Iterator[Metric]:  # noqa: A002 - the domain's term
    """Credit as it was at a time; what is left of it now follows from what was spent since."""
    balance = GaugeMetricFamily(
        "epochcost_credit_balance_usd",
        "Prepaid or granted credit, as of its timestamp, in US dollars",
        labels=("credit", "provider"),
    )
    as_of = GaugeMetricFamily(
        "epochcost_credit_timestamp_seconds", "Time at which the credit had that balance", labels=("credit", "provider")
    )
    until = GaugeMetricFamily(
        "epochcost_credit_end_timestamp_seconds",
        "Time at which the remaining credit expires; absent if it never does",
        labels=("credit", "provider"),
    )
    spend = GaugeMetricFamily(
        "epochcost_credit_spend_usd_per_hour",
        "Current spend from the credit in US dollars per hour, as reported by its provider",
        labels=("credit", "provider"),
    )
    lasts = GaugeMetricFamily(
        "epochcost_credit_lasts_seconds",
        "How long the credit lasts at that spend; absent if nothing is spent",
        labels=("credit", "provider"),
    )
    for credit in credits:
        place = (credit.name, credit.provider)
        if credit.spend_usd_per_hour is not None:
            spend.add_metric(place, credit.spend_usd_per_hour)
        if credit.lasts_seconds is not None:
            lasts.add_metric(place, credit.lasts_seconds)
        balance.add_metric(place, credit.usd)
        as_of.add_metric(place, credit.as_of_ts)
        if credit.until_ts < math.inf:
            until.add_metric(place, credit.until_ts)
    return iter((balance, as_of, until, spend, lasts))


def _place(key: PriceKey) -> tuple[str, ...]:
    return key.provider, key.region, key.zone, key.instance_type, key.purchase_option.value


def zone_metric(zones: Iterable[Zone]) -> Metric:
    """Names of zones differ between accounts, ids do not."""
    family = GaugeMetricFamily(
        "epochcost_zone_info",
        "Name of a zone in the poller's account, and its id, which is the same in all accounts; always 1",
        labels=("provider", "region", "zone", "zone_id"),
    )
    for zone in sorted(zones, key=lambda each: (each.provider, each.region, each.zone)):
        family.add_metric((zone.provider, zone.region, zone.zone, zone.zone_id), 1)
    return family


def held_metrics(sources: Mapping[str, SourceHealth]) -> Iterator[Metric]:
    """What was implausible, and is not exported."""
    held = GaugeMetricFamily(
        "epochcost_price_source_held_back_prices",
        "Prices of the source's last response that are held back as implausible",
        labels=("source", "reason"),
    )
    total = CounterMetricFamily(
        "epochcost_price_source_held_back",
        "Prices held back as implausible; a response that lacks too many rows counts once",
        labels=("source", "reason"),
    )
    for name, health in sources.items():
        for reason in REASONS:
            held.add_metric((name, reason), health.held.get(reason, 0))
            total.add_metric((name, reason), health.held_total.get(reason, 0))
    return iter((held, total))


def dropped_metric(dropped: Mapping[str, int]) -> Metric:
    """How many prices are known and not exported."""
    family = GaugeMetricFamily(
        "epochcost_price_series_dropped",
        "Known prices that are not exported because they are neither used nor watched, or exceed the limit",
        labels=("reason",),
    )
    for reason, count in dropped.items():
        family.add_metric((reason,), count)
    return family
