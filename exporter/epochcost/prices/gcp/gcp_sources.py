"""Google Cloud as a price source: machines, TPU slices and Vertex AI training as the sum of their parts' SKUs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from epochcost.model import Price, PriceKey, PriceStep, PurchaseOption
from epochcost.prices.gcp import gcp_machines, gcp_tpu, gcp_vertex
from epochcost.prices.gcp.gcp_client import GcpCatalogue, google_client
from epochcost.prices.gcp.gcp_components import PROVIDER, IncompleteError, Machine, UnknownMachineError, usd_per_hour
from epochcost.prices.gcp.gcp_skus import CLOUD_TPU, COMPUTE, SERVICES, VERTEX, Rates, Reading
from epochcost.prices.json_fields import MOST_UNKNOWN, left_out_sentence
from epochcost.prices.price_source import Catalogue, PriceRequests, PriceSourceError, Want, summary

NAME = "gcp"
REUSE_SECONDS = 600.0
"""Agents that request one type after another do not cause the whole catalogue to be read again for each."""
SKUS_AT_A_STRETCH = 250
PAUSE_SECONDS = 0.0005
"""Between two stretches, so that a scrape need not wait for the interpreter: 0.07 s in all for Compute Engine."""
READERS: Mapping[str, Callable[[str], Reading | None]] = {
    COMPUTE: lambda text: gcp_tpu.read_chip(text) or gcp_machines.read(text),
    CLOUD_TPU: gcp_tpu.read_device,
    VERTEX: gcp_vertex.read,
}


class GcpSettings(Protocol):
    """What this source needs of the poller's settings; durations in seconds."""

    @property
    def gcp_api_key_file(self) -> str:
        """File with an API key; empty for application default credentials."""
        ...

    @property
    def gcp_url(self) -> str:
        """Of the Cloud Billing API; empty for Google's own."""
        ...

    @property
    def gcp_regions(self) -> tuple[str, ...]:
        """Regions to watch."""
        ...

    @property
    def gcp_machine_types(self) -> tuple[str, ...]:
        """Machine types, TPU slices and Vertex AI machines to watch in each of those regions."""
        ...

    @property
    def gcp_interval(self) -> float:
        """Between two readings of the catalogue."""
        ...


def make(settings: GcpSettings) -> tuple[GcpPrices, ...]:
    """The source; on demand and spot come from the same SKUs, so it is one."""
    watched = frozenset(
        Want(PROVIDER, region, instance_type)
        for region in settings.gcp_regions
        for instance_type in settings.gcp_machine_types
    )
    catalogue = GcpCatalogue(NAME, settings.gcp_api_key_file, partial(google_client, url=settings.gcp_url))
    return (GcpPrices(watched, settings.gcp_interval, catalogue),)


def machine(instance_type: str) -> Machine:
    """What a machine type, TPU slice or Vertex AI machine is billed for.

    Raises:
        UnknownMachineError: saying what would be known.
    """
    if instance_type.startswith(gcp_vertex.PREFIX):
        return gcp_vertex.machine(instance_type)
    return gcp_tpu.machine(instance_type) if gcp_tpu.is_slice(instance_type) else gcp_machines.machine(instance_type)


@dataclass(frozen=True, slots=True)
class _Read:
    """The rates of one service as they were at ``ts``."""

    ts: float
    rates: Rates


@dataclass(frozen=True, slots=True)
class GcpPrices:
    """On-demand and spot prices of the wanted machines by region: the sum of every part, or no price."""

    watched: frozenset[Want]
    refresh_seconds: float
    catalogue: GcpCatalogue
    name: str = NAME
    provider: str = PROVIDER
    _read: dict[str, _Read] = field(default_factory=dict)

    def fetch(self, requests: PriceRequests, now: float) -> Catalogue:
        """Reads the SKUs of each service that the wanted machines need, and adds up."""
        self.catalogue.connect()
        machines, reasons = _known(requests)
        problems = [f"{NAME}: {reason}" for reason in reasons.values()]
        services = frozenset(service for machine in machines.values() for service in machine.services)
        problems += self._read_services(services, now)
        prices, requested, incomplete = self._prices(requests, machines)
        problems += incomplete
        ours = frozenset(want for want in requests.items if want.provider == PROVIDER)
        requested |= {want for want in ours if want.instance_type in reasons}
        problems += _nowhere(requested - _priced(prices), requested, problems)
        if problems and not prices:
            raise PriceSourceError(summary(problems))
        facts = tuple(machine.facts for machine in machines.values())
        return Catalogue(
            tuple(prices),
            facts,
            tuple(problems),
            requested=frozenset(requested),
            names=frozenset(gcp_machines.shapes()) if ours else frozenset(),
            reasons=reasons | dict.fromkeys(machines, "no part of it is sold there"),
            unknown=tuple(sorted({kind for read in self._read.values() for kind in read.rates.unknown})[:MOST_UNKNOWN]),
        )

    def _read_services(self, services: Iterable[str], now: float) -> list[str]:
        """Have the rates of ``services`` in `_read`; a service that cannot be read leaves the others alone."""
        problems: list[str] = []
        for service in sorted(services):
            known = self._read.pop(service, None)
            fresh = known is not None and 0 <= now - known.ts < min(REUSE_SECONDS, self.refresh_seconds / 2)
            try:
                self._read[service] = known if known is not None and fresh else self._rates(service, now, problems)
            except PriceSourceError as err:
                problems.append(str(err))
                self.catalogue.forget()  # the next service, or the next fetch, reads credentials again
        return problems

    def _rates(self, service: str, now: float, problems: list[str]) -> _Read:
        rates = Rates(READERS[service])
        self.catalogue.connect()
        for number, sku in enumerate(self.catalogue.skus(service)):
            if number % SKUS_AT_A_STRETCH == 0:
                time.sleep(PAUSE_SECONDS)
            rates.add(sku)
        if odd := self.catalogue.left_out:
            problems.append(f"{NAME}: {SERVICES[service]}: {left_out_sentence(len(odd), odd[0])}")
        return _Read(now, rates)

    def _prices(
        self, requests: PriceRequests, machines: Mapping[str, Machine]
    ) -> tuple[list[Price], set[Want], list[str]]:
        """Prices, of which machines the catalogue was read, and what is incomplete."""
        prices: list[Price] = []
        problems: list[str] = []
        requested: set[Want] = set()
        for region, types in requests.by_region(PROVIDER).items():
            for instance_type in types:
                machine = machines.get(instance_type)
                if machine is None or not machine.services <= self._read.keys():
                    continue  # why, is among the problems already
                of_machine, incomplete = self._of_machine(machine, region)
                prices += of_machine
                problems += incomplete
                requested.add(Want(PROVIDER, region, instance_type))
        return prices, requested, problems

    def _of_machine(self, machine: Machine, region: str) -> tuple[list[Price], list[str]]:
        prices: list[Price] = []
        problems: list[str] = []
        rates = {service: self._read[service].rates for service in machine.services}
        ts = min(self._read[service].ts for service in machine.services)
        for option, lines in ((PurchaseOption.ON_DEMAND, machine.on_demand), (PurchaseOption.SPOT, machine.spot)):
            key = PriceKey(PROVIDER, region, "", machine.facts.instance_type, option)
            try:
                usd = usd_per_hour(lines, rates, region)
                # The catalogue's effectiveTime is the list's, not the price's: so it counts as far back as matters.
                prices += [] if usd is None else [Price(key, (PriceStep(-math.inf, usd),), NAME, ts)]
            except (IncompleteError, ValueError) as err:  # the latter of a sum beyond all prices
                what = f"{option.value.replace('_', '-')} price for {key.instance_type} in {region}"
                problems.append(f"{NAME}: no {what}: {err}")
        return prices, problems


def _priced(prices: Iterable[Price]) -> set[Want]:
    return {Want(PROVIDER, price.key.region, price.key.instance_type) for price in prices}


def _nowhere(silent: Iterable[Want], requested: Iterable[Want], problems: list[str]) -> Iterator[str]:
    """A type of which no part is sold in any region where it is wanted is most likely wanted in the wrong ones."""
    by_service: dict[str, set[str]] = {}
    for want in requested:
        by_service.setdefault(want.instance_type, set()).add(want.region)
    nowhere: dict[str, set[str]] = {}
    for want in silent:
        nowhere.setdefault(want.instance_type, set()).add(want.region)
    for instance_type, regions in sorted(nowhere.items()):
        if regions == by_service[instance_type] and not any(instance_type in problem for problem in problems):
            yield f"{NAME}: {instance_type} is sold in none of {', '.join(sorted(regions))}"


def _known(requests: PriceRequests) -> tuple[dict[str, Machine], dict[str, str]]:
    """The machines that are wanted, and of each that is not known why."""
    machines: dict[str, Machine] = {}
    reasons: dict[str, str] = {}
    for instance_type in sorted({want.instance_type for want in requests.items if want.provider == PROVIDER}):
        try:
            machines[instance_type] = machine(instance_type)
        except UnknownMachineError as err:  # noqa: PERF203 - one name leaves the others alone
            reasons[instance_type] = str(err)
    return machines, reasons
