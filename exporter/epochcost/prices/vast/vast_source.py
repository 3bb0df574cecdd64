"""vast.ai: the market (cheapest verified offer by GPU, count and country), and what a rented machine itself costs.

An offer lives for hours, so none becomes a label. A type is ``4x H100 SXM`` (vast.ai's own name of the GPU); a region
is a country code, or ``any`` for the whole market. A rented machine is ``C.12345678``, as it calls itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from epochcost.model import MAX_USD_PER_HOUR, InstanceFacts, Price, PriceKey, PriceStep, PurchaseOption
from epochcost.prices.gpu_model import canonical
from epochcost.prices.http_json import JsonApi
from epochcost.prices.json_fields import FieldError, number, optional_number, rows, text, unknown_prices
from epochcost.prices.price_source import Catalogue, PriceRequests, PriceSourceError, Want, summary
from epochcost.prices.vast.vast_rented import KNOWN_PRICES, PROVIDER, VastRented, versioned
from epochcost.prices.vast.vast_rented import NAME as RENTED

NAME = "vast"
ANYWHERE = "any"
"""The region of the whole market. No machine is there, so its prices are compared with and never charged."""
MOST_OFFERS = 2000
LEAST_RELIABILITY = 0.9
MIB = 1024**2
_TYPE = re.compile(r"([1-9]\d{0,2})x (\S.*)")
_KINDS = (("on-demand", PurchaseOption.ON_DEMAND, "dph_base"), ("bid", PurchaseOption.SPOT, "min_bid"))
"""Kind of offer, how it is paid, and which field is its price: per hour for the whole machine, without its disk."""


class VastSettings(Protocol):
    """What these sources need of the poller's settings."""

    @property
    def vast_url(self) -> str:
        """Of the API, without a path to a resource."""
        ...

    @property
    def vast_api_key_file(self) -> str:
        """File with the API key; empty: the market is requested without one, and rented machines are not."""
        ...

    @property
    def vast_regions(self) -> tuple[str, ...]:
        """Country codes to watch; the whole market is watched anyway."""
        ...

    @property
    def vast_instance_types(self) -> tuple[str, ...]:
        """Types to watch, ``4x H100 SXM``."""
        ...

    @property
    def vast_interval(self) -> float:
        """Interval between requests, in seconds."""
        ...


@dataclass(frozen=True, slots=True)
class VastMarket:
    """The cheapest verified offer of each wanted type in each wanted region, from when it was first seen."""

    url: str
    watched: frozenset[Want]
    refresh_seconds: float
    api: JsonApi
    name: str = NAME
    provider: str = PROVIDER
    since: dict[PriceKey, PriceStep] = field(default_factory=dict)

    def fetch(self, requests: PriceRequests, now: float) -> Catalogue:
        """Two requests a GPU model (to rent, and to bid); a model that fails leaves the others alone."""
        prices: list[Price] = []
        facts: dict[str, InstanceFacts] = {}
        problems: list[str] = []
        requested = {want for want in requests.items if want.provider == PROVIDER and _why(want) and not _rented(want)}
        seen: set[str] = set()
        everything: list[Mapping[str, Any]] = []
        for gpu_name, wants in _by_gpu(requests.items).items():
            for kind, option, priced_by in _KINDS:
                try:
                    response = self._ask(gpu_name, wants, kind, problems)
                except PriceSourceError as err:
                    problems.append(str(err))
                    continue
                requested.update(wants)
                everything += response
                seen.update(
                    f"{_count(want)}x {row['gpu_name']}" for row in response for want in wants if row.get("gpu_name")
                )
                offers = [row for row in response if _takeable(row, gpu_name)]
                cheapest = _cheapest(offers, wants, priced_by, problems)
                for want, (usd, offer) in cheapest.items():
                    key = PriceKey(PROVIDER, want.region, "", want.instance_type, option)
                    prices.append(Price(key, (self._step(key, usd, now),), NAME, now))
                    try:
                        facts.setdefault(want.instance_type, _facts(want.instance_type, offer))
                    except FieldError as err:  # its price is good all the same
                        problems.append(f"vast: offer {offer.get('id')!r:.20}: {err}")
        if problems and not prices:
            raise PriceSourceError(summary(problems))
        return Catalogue(
            tuple(prices),
            tuple(facts.values()),
            tuple(problems),
            requested=frozenset(requested),
            names=frozenset(seen),
            reasons={want.instance_type: _why(want) for want in requested if _why(want)},
            unknown=unknown_prices(everything, KNOWN_PRICES),
        )

    def _step(self, key: PriceKey, usd: float, now: float) -> PriceStep:
        """A market has no history here: a price counts from when it was seen, and the same price is not a new step."""
        known = self.since.get(key)
        if known is None or known.usd_per_hour != usd:
            known = self.since[key] = PriceStep(now, usd)
        return known

    def _ask(self, gpu_name: str, wants: Iterable[Want], kind: str, problems: list[str]) -> list[Mapping[str, Any]]:
        """Offers as they come, to be checked."""
        body = {
            "gpu_name": {"in": [gpu_name]},
            "num_gpus": {"in": sorted({_count(want) for want in wants})},
            "verified": {"eq": True},
            "rentable": {"eq": True},
            "rented": {"eq": False},
            "reliability2": {"gte": LEAST_RELIABILITY},
            "type": kind,
            "order": [["dph_total", "asc"]],
            "limit": MOST_OFFERS,  # without it the response is a few dozen
        }
        try:
            odd: list[str] = []
            offers = rows(self.api.post(versioned(self.url, "v0", "bundles"), body), "offers", odd)
            problems += [f"vast: offers of {gpu_name}: {each}" for each in odd]
        except FieldError as err:
            raise PriceSourceError(f"vast: offers of {gpu_name}: not a response of vast.ai's offers: {err}") from None
        if len(offers) >= MOST_OFFERS:
            problems.append(f"vast: {len(offers)} {kind} offers of {gpu_name}, the maximum: some may be missing")
        return offers


def _takeable(offer: Mapping[str, Any], gpu_name: str) -> bool:
    """What the response repeats of the request is checked again."""
    sure = offer.get("verification", "verified") == "verified" and offer.get("rentable", True) is True
    return sure and offer.get("rented", False) is not True and offer.get("gpu_name") == gpu_name


def _rented(want: Want) -> bool:
    return re.fullmatch(r"C\.\d+", want.instance_type) is not None


def _why(want: Want) -> str:
    """What is wrong with the name of a type; empty if nothing is.

    The command line and the documentation of vast.ai write ``RTX_4090`` for what its API calls ``RTX 4090``.
    """
    if not _TYPE.fullmatch(want.instance_type):
        return "a type is a count and vast.ai's name for the GPU, such as 4x H100 SXM"
    if "_" not in want.instance_type:
        return ""
    return f"vast.ai's API writes names with blanks: {want.instance_type.replace('_', ' ')!r}?"


def _by_gpu(wants: Iterable[Want]) -> dict[str, list[Want]]:
    """PriceRequests types of the market by GPU; what does not look like one is a rented machine, or nothing."""
    by_name: dict[str, list[Want]] = {}
    for want in sorted(wants):
        match = _TYPE.fullmatch(want.instance_type)
        if match:
            by_name.setdefault(match[2], []).append(want)
    return by_name


def _count(want: Want) -> int:
    return int(want.instance_type.partition("x")[0])


def _cheapest(
    offers: Iterable[Mapping[str, Any]], wants: Iterable[Want], priced_by: str, problems: list[str]
) -> dict[Want, tuple[float, Mapping[str, Any]]]:
    """The lowest price and its offer for each of ``wants`` that is offered."""
    cheapest: dict[Want, tuple[float, Mapping[str, Any]]] = {}
    wants = tuple(wants)
    for offer in offers:
        try:
            usd = number(offer, priced_by)  # of the machine: neither times nor by its GPUs
            count = number(offer, "num_gpus")
            if not 0 < usd <= MAX_USD_PER_HOUR:
                raise FieldError(f"{priced_by}: {usd:g} must be above 0 and plausible")
        except FieldError as err:
            problems.append(f"vast: offer {offer.get('id')!r:.20}: {err}")
            continue
        for want in wants:
            fits = count == _count(want) and want.region in (ANYWHERE, country(offer))
            if fits and (want not in cheapest or usd < cheapest[want][0]):
                cheapest[want] = (usd, offer)
    return cheapest


def country(offer: Mapping[str, Any]) -> str:
    """``US`` of ``Texas, US``; empty if the offer has no country."""
    place = offer.get("geolocation")
    code = place.rpartition(",")[2].strip() if isinstance(place, str) else ""
    return code if re.fullmatch(r"[A-Z]{2}", code) else ""


def _facts(instance_type: str, offer: Mapping[str, Any]) -> InstanceFacts:
    """Of the cheapest offer; its CPUs and memory are left out, because they differ from offer to offer."""
    memory_mib = optional_number(offer, "gpu_ram")
    memory_bytes = None if memory_mib is None else round(memory_mib * MIB)
    model = canonical(text(offer, "gpu_name"), memory_bytes)
    return InstanceFacts(PROVIDER, instance_type, model, number(offer, "num_gpus"), memory_bytes)


def make(settings: VastSettings) -> tuple[VastMarket | VastRented, ...]:
    """The market, which sends no request as long as nothing is wanted, and with an API key the rented machines."""
    watched = frozenset(
        Want(PROVIDER, region, instance_type)
        for region in (*settings.vast_regions, ANYWHERE)
        for instance_type in settings.vast_instance_types
    )
    market = VastMarket(settings.vast_url, watched, settings.vast_interval, JsonApi(NAME, settings.vast_api_key_file))
    if not settings.vast_api_key_file:
        return (market,)
    rented = JsonApi(RENTED, settings.vast_api_key_file)
    return (market, VastRented(settings.vast_url, settings.vast_interval, rented))
