"""DigitalOcean's prices of droplets: every GPU size, and any other that is wanted; the same in every region."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from epochcost.model import InstanceFacts, Price, PriceKey, PriceStep, PurchaseOption
from epochcost.prices.gpu_model import canonical
from epochcost.prices.http_json import JsonApi
from epochcost.prices.json_fields import FieldError, gib, mapping, number, optional_number, rows, text, unknown_prices
from epochcost.prices.price_source import (
    Catalogue,
    NotConfiguredError,
    PriceRequests,
    PriceSourceError,
    Want,
    summary,
    without_contradictions,
)

NAME = "digitalocean"
PROVIDER = "digitalocean"
PAGE_SIZE = "200"
KNOWN_PRICES = frozenset({"price_monthly", "price_hourly"})
MIB = 1024**2


class DigitalOceanSettings(Protocol):
    """What this source needs of the poller's settings."""

    @property
    def digitalocean_url(self) -> str:
        """Of the API, without a path to a resource."""
        ...

    @property
    def digitalocean_api_key_file(self) -> str:
        """Holds an access token with the scope ``sizes:read``."""
        ...

    @property
    def digitalocean_interval(self) -> float:
        """Interval between requests, in seconds."""
        ...


@dataclass(frozen=True, slots=True)
class DigitalOcean:
    """Sizes of droplets with a GPU, and those that are wanted by name."""

    url: str
    refresh_seconds: float
    api: JsonApi
    name: str = NAME
    provider: str = PROVIDER
    watched: frozenset[Want] = frozenset()

    def fetch(self, requests: PriceRequests, now: float) -> Catalogue:
        """All pages; a size that cannot be read leaves the others alone."""
        names = {want.instance_type for want in requests.items}
        all_prices: list[Price] = []
        facts: dict[str, InstanceFacts] = {}
        problems: list[str] = []
        notes: list[str] = []
        sizes = self._sizes(problems, notes)
        for row in sizes:
            try:
                slug = text(row, "slug")
                if row.get("gpu_info") is not None or slug in names:
                    all_prices.append(_price(slug, row, now))
                    facts[slug] = _facts(slug, row)
            except ValueError as err:  # noqa: PERF203 - one size leaves the others alone, and facts the price
                problems.append(f"digitalocean: {str(row.get('slug'))[:80]}: {err}")
        prices = without_contradictions(NAME, all_prices, problems)
        if problems and not prices:
            raise PriceSourceError(summary(problems))
        return Catalogue(
            prices,
            tuple(facts.values()),
            tuple(problems),
            requested=requests.items,
            names=frozenset(str(row.get("slug")) for row in sizes),
            notes=tuple(notes),
            unknown=unknown_prices(sizes, KNOWN_PRICES),
        )

    def _sizes(self, problems: list[str], notes: list[str]) -> list[Mapping[str, Any]]:
        odd: list[str] = []
        try:
            pages = list(self.api.pages(f"{self.url}/sizes", {"per_page": PAGE_SIZE}, _next_page))
            sizes = [row for page in pages for row in rows(page, "sizes", odd)]
            meta = mapping(pages[0], "meta") if pages[0].get("meta") is not None else {}
            came, promised = sum(len(page["sizes"]) for page in pages), optional_number(meta, "total")
            if promised is not None and promised > came:
                notes.append(f"digitalocean: {came} of {promised:g} sizes were received: the others have no price")
        except FieldError as err:
            raise PriceSourceError(f"digitalocean: sizes: not a response of DigitalOcean's API: {err}") from None
        problems += [f"digitalocean: {each}" for each in odd]
        return sizes


def _next_page(page: Mapping[str, Any]) -> object:
    links = mapping(page, "links") if page.get("links") else {}
    return (mapping(links, "pages") if links else {}).get("next")


def _price(slug: str, row: Mapping[str, Any], now: float) -> Price:
    key = PriceKey(PROVIDER, "", "", slug, PurchaseOption.ON_DEMAND)
    return Price(key, (PriceStep(-math.inf, number(row, "price_hourly")),), NAME, now)


def _facts(slug: str, row: Mapping[str, Any]) -> InstanceFacts:
    model, gpus, gpu_memory_bytes = (
        _gpus(mapping(row, "gpu_info")) if row.get("gpu_info") is not None else ("", 0, None)
    )
    memory_mib = optional_number(row, "memory")
    return InstanceFacts(
        provider=PROVIDER,
        instance_type=slug,
        gpu_model=model,
        gpus=gpus,
        gpu_memory_bytes=gpu_memory_bytes,
        vcpus=optional_number(row, "vcpus"),
        memory_bytes=None if memory_mib is None else round(memory_mib * MIB),
    )


def _gpus(info: Mapping[str, Any]) -> tuple[str, float, int | None]:
    """Model, count and bytes of one GPU; ``vram`` is of all of them together."""
    count = number(info, "count")
    if count <= 0:
        raise FieldError(f"gpu_info: count: {count:g} must be above 0")
    vram = mapping(info, "vram") if info.get("vram") is not None else {}
    total_gib = optional_number(vram, "amount") if vram.get("unit") == "gib" else None
    one = gib(None if total_gib is None else total_gib / count)
    return canonical(text(info, "model"), one), count, one


def make(settings: DigitalOceanSettings) -> tuple[DigitalOcean, ...]:
    """The source.

    Raises:
        NotConfiguredError: without an access token.
    """
    if not settings.digitalocean_api_key_file:
        raise NotConfiguredError("digitalocean: no access token; set --digitalocean.api-key-file")
    api = JsonApi(NAME, settings.digitalocean_api_key_file)
    return (DigitalOcean(settings.digitalocean_url, settings.digitalocean_interval, api),)
