"""Oracle Cloud: its public price list, joined with what its shapes hold; without credentials."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from epochcost.model import InstanceFacts, Price, PriceKey, PriceStep, PurchaseOption
from epochcost.prices.gpu_model import canonical
from epochcost.prices.http_json import JsonApi
from epochcost.prices.json_fields import FieldError, gib, mapping, number, optional_number, rows, text
from epochcost.prices.price_source import Catalogue, PriceSourceError, Want, Wanted, summary

NAME = "oci"
PROVIDER = "oci"
PREEMPTIBLE_RATIO = 0.5
"""A preemptible machine costs half, always: Oracle sells it at a fixed discount."""
_GPU_OF_SHAPE = {"GPU2": "P100", "GPU3": "V100", "GPU4": "A100", "A100-v2": "A100"}
"""Where the name of a shape does not say its GPU."""


class OciSettings(Protocol):
    """What this source needs of the poller's settings."""

    @property
    def oci_url(self) -> str:
        """Of the price list."""
        ...

    @property
    def oci_shapes_url(self) -> str:
        """Of the list of shapes."""
        ...

    @property
    def oci_instance_types(self) -> tuple[str, ...]:
        """Shapes to watch, ``BM.GPU.H100.8``."""
        ...

    @property
    def oci_interval(self) -> float:
        """Between two questions, in seconds."""
        ...


@dataclass(frozen=True, slots=True)
class Oci:
    """Prices of the wanted shapes, the same in every region of the commercial realm."""

    url: str
    shapes_url: str
    watched: frozenset[Want]
    refresh_seconds: float
    api: JsonApi
    name: str = NAME
    provider: str = PROVIDER

    def fetch(self, wanted: Wanted, now: float) -> Catalogue:
        """Two questions, however many shapes are wanted; none where none is."""
        names = {want.instance_type for want in wanted.items}
        if not names:
            return Catalogue()
        try:
            shapes = [row for row in rows(self.api.get(self.shapes_url), "items") if row.get("name") in names]
            parts = {str(row.get("partNumber")): row for row in rows(self.api.get(self.url), "items")}
        except FieldError as err:
            raise PriceSourceError(f"oci: {err}") from None
        prices: list[Price] = []
        facts: list[InstanceFacts] = []
        problems: list[str] = []
        for shape in shapes:
            try:
                if _sold(shape):
                    prices += _prices(shape, parts, now)
                    facts.append(_facts(shape))
            except ValueError as err:  # noqa: PERF203 - one shape leaves the others alone
                problems.append(f"oci: {shape.get('name')}: {err}")
        if problems and not prices:
            raise PriceSourceError(summary(problems))
        return Catalogue(tuple(prices), tuple(facts), tuple(problems))


def _sold(shape: Mapping[str, Any]) -> bool:
    """A flexible shape has no price of its own: it is configured anew for each machine."""
    flexible = _value(shape, "subType") == "flexible" or str(shape.get("name")).endswith(".Flex")
    return shape.get("status") == "ACTIVE" and shape.get("hidden") is not True and not flexible


def _value(shape: Mapping[str, Any], name: str) -> str:
    field = shape.get(name)
    return str(field.get("value", "")) if isinstance(field, dict) else ""


def _prices(shape: Mapping[str, Any], parts: Mapping[str, Mapping[str, Any]], now: float) -> list[Price]:
    products = rows(shape, "products")
    if not products:
        raise FieldError("products: none")
    usd = sum(_part_usd(shape, product, parts) for product in products)
    options = [(PurchaseOption.ON_DEMAND, usd)]
    if shape.get("allowPreemptible") is True:
        options.append((PurchaseOption.SPOT, usd * PREEMPTIBLE_RATIO))
    name = text(shape, "name")
    return [
        Price(PriceKey(PROVIDER, "", "", name, option), (PriceStep(-math.inf, each),), NAME, now)
        for option, each in options
    ]


def _part_usd(shape: Mapping[str, Any], product: Mapping[str, Any], parts: Mapping[str, Mapping[str, Any]]) -> float:
    """Dollars per hour that one part adds; its metric says what is counted, GPUs, OCPUs or GB of memory."""
    number_of_part = text(product, "partNumber")
    if number_of_part not in parts:
        raise FieldError(f"part {number_of_part!r} is not in the price list")
    part = parts[number_of_part]
    metric = text(part, "metricName").lower()
    if metric == "gpu per hour":
        amount = number(shape, "gpuQty")
    elif metric == "ocpu per hour" or (metric.startswith("gigabyte") and metric.endswith("per hour")):
        amount = number(product, "qty")
    else:
        raise FieldError(f"part {number_of_part!r}: metricName: {part['metricName']!r} is not per GPU, OCPU or GB hour")
    return amount * _unit_usd(part, number_of_part)


def _unit_usd(part: Mapping[str, Any], number_of_part: str) -> float:
    """Pay as you go, in dollars; a part that costs nothing up to some amount has two prices, and then none is taken."""
    dollars = [each for each in rows(part, "currencyCodeLocalizations") if each.get("currencyCode") == "USD"]
    if len(dollars) != 1:
        raise FieldError(f"part {number_of_part!r}: {len(dollars)} prices in USD, not one")
    prices = [each for each in rows(dollars[0], "prices") if each.get("model") == "PAY_AS_YOU_GO"]
    if len(prices) != 1:
        raise FieldError(f"part {number_of_part!r}: {len(prices)} prices of PAY_AS_YOU_GO, not one")
    usd = number(prices[0], "value")
    if usd <= 0:
        raise FieldError(f"part {number_of_part!r}: value: {usd:g} must be above 0")
    return usd


def _facts(shape: Mapping[str, Any]) -> InstanceFacts:
    name = text(shape, "name")
    gpus = optional_number(shape, "gpuQty") or 0.0
    total_gib = optional_number(shape, "gpuMemoryQty")
    one = gib(total_gib / gpus if total_gib and gpus else None)
    ocpus = [number(each, "qty") for each in rows(shape, "products") if mapping(each, "type").get("value") == "ocpu"]
    arm = _value(shape, "processorType") == "arm" and not gpus  # some GPU shapes are called Arm and are not
    return InstanceFacts(
        provider=PROVIDER,
        instance_type=name,
        gpu_model=canonical(_gpu_name(name), one) if gpus else "",
        gpus=gpus,
        gpu_memory_bytes=one,
        vcpus=sum(ocpus) * (1 if arm else 2) if ocpus else None,
        memory_bytes=gib(optional_number(shape, "bundleMemoryQty")),
    )


def _gpu_name(shape_name: str) -> str:
    """``H100`` of ``BM.GPU.H100.8``, ``A100`` of ``BM.GPU4.8``."""
    words = shape_name.split(".")
    known = next((_GPU_OF_SHAPE[word] for word in words if word in _GPU_OF_SHAPE), "")
    after = words.index("GPU") + 1 if "GPU" in words[:-1] else None
    return known or ("" if after is None else words[after])


def make(settings: OciSettings) -> tuple[Oci, ...]:
    """The source; it asks nothing as long as nothing is wanted."""
    watched = frozenset(Want(PROVIDER, "", shape) for shape in settings.oci_instance_types)
    return (Oci(settings.oci_url, settings.oci_shapes_url, watched, settings.oci_interval, JsonApi(NAME)),)
