"""Lambda's on-demand prices: one for each instance type, the same in every region; in cents for the whole instance."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from epochcost.model import InstanceFacts, Price, PriceKey, PriceStep, PurchaseOption
from epochcost.prices.gpu_model import canonical
from epochcost.prices.http_json import JsonApi
from epochcost.prices.json_fields import FieldError, gib, mapping, number, optional_number, text, unknown_prices
from epochcost.prices.price_source import Catalogue, NotConfiguredError, PriceRequests, PriceSourceError, Want, summary

NAME = "lambda"
PROVIDER = "lambda"
KNOWN_PRICES = frozenset({"price_cents_per_hour"})


class LambdaSettings(Protocol):
    """What this source needs of the poller's settings."""

    @property
    def lambda_url(self) -> str:
        """Of the API, without a path to a resource."""
        ...

    @property
    def lambda_api_key_file(self) -> str:
        """Holds the API key."""
        ...

    @property
    def lambda_interval(self) -> float:
        """Interval between requests, in seconds."""
        ...


@dataclass(frozen=True, slots=True)
class Lambda:
    """All of Lambda's instance types; they are a few dozen."""

    url: str
    refresh_seconds: float
    api: JsonApi
    name: str = NAME
    provider: str = PROVIDER
    watched: frozenset[Want] = frozenset()

    def fetch(self, requests: PriceRequests, now: float) -> Catalogue:
        """One request; a type that cannot be read leaves the others alone."""
        try:
            types = mapping(self.api.get(f"{self.url}/instance-types"), "data")
        except FieldError as err:
            raise PriceSourceError(f"lambda: instance-types: not a response of Lambda's API: {err}") from None
        prices: list[Price] = []
        facts: list[InstanceFacts] = []
        problems: list[str] = []
        for name in sorted(types):
            try:
                row = mapping(mapping(types, name), "instance_type")
                prices.append(_price(name, row, now))
                facts.append(_facts(name, row))
            except ValueError as err:  # noqa: PERF203 - one type leaves the others alone
                problems.append(f"lambda: {name[:80]}: {err}")
        if problems and not prices:
            raise PriceSourceError(summary(problems))
        return Catalogue(
            tuple(prices),
            tuple(facts),
            tuple(problems),
            requested=requests.items,
            names=frozenset(types),
            unknown=unknown_prices(_rows(types), KNOWN_PRICES),
        )


def _rows(types: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    entries = [each.get("instance_type") for each in types.values() if isinstance(each, dict)]
    return [row for row in entries if isinstance(row, dict)]


def _price(name: str, row: Mapping[str, Any], now: float) -> Price:
    key = PriceKey(PROVIDER, "", "", name, PurchaseOption.ON_DEMAND)
    return Price(key, (PriceStep(-math.inf, number(row, "price_cents_per_hour") / 100),), NAME, now)


def _facts(name: str, row: Mapping[str, Any]) -> InstanceFacts:
    specs = mapping(row, "specs")
    gpus = optional_number(specs, "gpus")
    description = _described(row) if gpus else ""
    written = _written_gib(description)
    return InstanceFacts(
        provider=PROVIDER,
        instance_type=name,
        gpu_model=canonical(description) or (canonical(_of_name(name)) if gpus else ""),
        gpus=gpus,
        gpu_memory_bytes=gib(written),
        vcpus=optional_number(specs, "vcpus"),
        memory_bytes=gib(optional_number(specs, "memory_gib")),
    )


def _described(row: Mapping[str, Any]) -> str:
    """``H100 (80 GB SXM5)``, from one of two fields; some responses have neither."""
    if row.get("gpu_description"):
        return text(row, "gpu_description")
    description = text(row, "description") if row.get("description") else ""
    return re.sub(r"^\d+x ", "", description)


def _of_name(name: str) -> str:
    """``h100 sxm5`` of ``gpu_8x_h100_sxm5``."""
    match = re.fullmatch(r"gpu_\d+x_([a-z0-9_]+)", name)
    return match[1].replace("_", " ") if match else ""


def _written_gib(description: str) -> float | None:
    """80 of ``H100 (80 GB SXM5)``."""
    _, _, inside = description.partition("(")
    match = re.match(r"(\d{1,6}) ?GB", inside)
    return float(match[1]) if match else None


def make(settings: LambdaSettings) -> tuple[Lambda, ...]:
    """The source.

    Raises:
        NotConfiguredError: without an API key.
    """
    if not settings.lambda_api_key_file:
        raise NotConfiguredError("lambda: no API key; set --lambda.api-key-file")
    api = JsonApi(NAME, settings.lambda_api_key_file)
    return (Lambda(settings.lambda_url, settings.lambda_interval, api),)
