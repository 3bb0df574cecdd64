"""Oracle Cloud: its public price list, joined with what its shapes hold; without credentials."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from epochcost.model import InstanceFacts, Price, PriceKey, PriceStep, PurchaseOption
from epochcost.prices.gpu_model import canonical, is_made_with
from epochcost.prices.http_json import JsonApi
from epochcost.prices.json_fields import FieldError, gib, number, optional_number, rows, text, unknown_values
from epochcost.prices.price_source import Catalogue, PriceRequests, PriceSourceError, Want, summary

NAME = "oci"
PROVIDER = "oci"
PREEMPTIBLE_RATIO = 0.5
"""A preemptible machine costs half, always: Oracle sells it at a fixed discount."""
_GPU_OF_SHAPE = {"GPU2": "P100", "GPU3": "V100", "GPU4": "A100", "A100-v2": "A100", "RTXPRO": "RTX PRO 6000"}
"""GPUs of shapes whose names do not contain the GPU."""
_KNOWN_MODELS = frozenset({"PAY_AS_YOU_GO", "MONTHLY_COMMIT", "MONTHLY_FLEX", "ANNUAL_COMMIT"})


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
        """Interval between requests, in seconds."""
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

    def fetch(self, requests: PriceRequests, now: float) -> Catalogue:
        """Two requests, however many shapes are wanted; none where none is."""
        names = {want.instance_type for want in requests.items}
        if not names:
            return Catalogue()
        problems: list[str] = []
        listed, parts = self._lists(problems)
        shapes = [row for row in listed if shape_name(row) in names]
        prices: dict[str, list[Price]] = {}
        facts: dict[str, InstanceFacts] = {}
        reasons: dict[str, str] = {}
        for shape in shapes:
            name = shape_name(shape)
            try:
                if why_not := _unsold(shape):
                    reasons[name] = why_not
                    continue
                of_shape = _prices(shape, parts, now)
                if prices.setdefault(name, of_shape) != of_shape:
                    raise FieldError("two shapes of that name differ in price: no price taken")
            except ValueError as err:
                prices[name] = []
                problems.append(f"oci: {name}: {err}")
                continue
            try:
                facts.setdefault(name, _facts(shape))
            except ValueError as err:  # its price is good all the same
                problems.append(f"oci: {name}: {err}")
        if problems and not any(prices.values()):
            raise PriceSourceError(summary(problems))
        return Catalogue(
            tuple(price for of_shape in prices.values() for price in of_shape),
            tuple(facts.values()),
            tuple(problems),
            requested=frozenset(requests.items),
            names=frozenset(shape_name(row) for row in listed),
            reasons=reasons,
            unknown=_unknown_models(shapes, parts),
        )

    def _lists(self, problems: list[str]) -> tuple[list[Mapping[str, Any]], dict[str, Mapping[str, Any]]]:
        """Shapes, and parts by their numbers."""
        odd: list[str] = []
        try:
            listed = rows(self.api.get(self.shapes_url), "items", odd)
            parts = {str(row.get("partNumber")): row for row in rows(self.api.get(self.url), "items", odd)}
        except FieldError as err:
            raise PriceSourceError(
                f"oci: not a response of Oracle's price list or of its list of shapes: {err}"
            ) from None
        problems += [f"oci: {each}" for each in odd]
        return listed, parts


def shape_name(shape: Mapping[str, Any]) -> str:
    """As the Compute API and the machine itself have it: the list of shapes appends what it is part of, ``(NVL72)``."""
    return _plain(str(shape.get("name") or ""))


def _plain(name: str) -> str:
    return re.sub(r"\s*\([^()]*\)$", "", name).strip()


def _unsold(shape: Mapping[str, Any]) -> str:
    """Why a shape has no price of its own; empty for one that has."""
    if _value(shape, "subType") == "flexible" or shape_name(shape).endswith(".Flex"):
        return "a flexible shape is configured for each machine and has no price of its own"
    if shape.get("status") != "ACTIVE" or shape.get("hidden") is True:
        return (
            f"the list marks it as {str(shape.get('status'))[:20]}{', hidden' if shape.get('hidden') is True else ''}"
        )
    return ""


def _unknown_models(shapes: list[Mapping[str, Any]], parts: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Kinds of prices of the wanted shapes' parts that this source does not know."""
    used = {str(product.get("partNumber")) for shape in shapes for product in _listed(shape, "products")}
    localized = [each for name in used if name in parts for each in _listed(parts[name], "currencyCodeLocalizations")]
    return unknown_values(
        (price.get("model") for each in localized for price in _listed(each, "prices")), _KNOWN_MODELS
    )


def _listed(row: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    value = row.get(name)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


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
    name = shape_name(shape)
    return [
        Price(PriceKey(PROVIDER, "", "", name, option), (PriceStep(-math.inf, each),), NAME, now)
        for option, each in options
    ]


def _part_usd(shape: Mapping[str, Any], product: Mapping[str, Any], parts: Mapping[str, Mapping[str, Any]]) -> float:
    """Dollars per hour that one part adds; its metric names what is counted: GPUs, OCPUs or GB of memory."""
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
    name = shape_name(shape)
    gpus = optional_number(shape, "gpuQty") or 0.0
    gpu_name = _gpu_name(name) if gpus else ""
    one = gib(memory_of_one(gpu_name, gpus, optional_number(shape, "gpuMemoryQty")))
    counted = [each for each in rows(shape, "products") if _value(each, "type") == "ocpu"]
    amounts = [optional_number(each, "qty") for each in counted]
    ocpus = [] if None in amounts else [each for each in amounts if each is not None]
    arm = _value(shape, "processorType") == "arm" and not gpus  # some GPU shapes are called Arm and are not
    return InstanceFacts(
        provider=PROVIDER,
        instance_type=name,
        gpu_model=canonical(gpu_name, one) if gpus else "",
        gpus=gpus,
        gpu_memory_bytes=one,
        vcpus=sum(ocpus) * (1 if arm else 2) if ocpus else None,
        memory_bytes=gib(optional_number(shape, "bundleMemoryQty")),
    )


def memory_of_one(gpu_name: str, gpus: float, listed_gib: float | None) -> float | None:
    """GiB of one GPU: the list has those of all GPUs for most shapes, those of one for some.

    It is the reading that is near a size in which that GPU is made; None for a GPU of which that is not known.
    """
    if not gpus or not listed_gib:
        return None
    readings = (listed_gib / gpus, listed_gib)
    near = (each for each in readings if is_made_with(canonical(gpu_name), each))
    return next(near, listed_gib if gpus == 1 else None)


def _gpu_name(name: str) -> str:
    """``H100`` of ``BM.GPU.H100.8``, ``A100`` of ``BM.GPU4.8``; the version of a shape is not the GPU's."""
    words = name.split(".")
    known = next((_GPU_OF_SHAPE[word] for word in words if word in _GPU_OF_SHAPE), "")
    after = words.index("GPU") + 1 if "GPU" in words[:-1] else None
    return known or ("" if after is None else re.sub(r"-(v\d+|NC)$", "", words[after]))


def make(settings: OciSettings) -> tuple[Oci, ...]:
    """The source; it sends no request as long as nothing is wanted."""
    watched = frozenset(Want(PROVIDER, "", _plain(shape)) for shape in settings.oci_instance_types)
    return (Oci(settings.oci_url, settings.oci_shapes_url, watched, settings.oci_interval, JsonApi(NAME)),)
