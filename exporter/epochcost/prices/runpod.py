"""RunPod's prices: secure and community cloud apart, as the regions ``secure`` and ``community``.

A type is ``4x H100 SXM``: so many GPUs of RunPod's own name for the model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from epochcost.model import InstanceFacts, Price, PriceKey, PriceStep, PurchaseOption
from epochcost.prices.gpu_model import canonical
from epochcost.prices.http_json import JsonApi
from epochcost.prices.json_fields import FieldError, gib, mapping, number, optional_number, rows, text
from epochcost.prices.price_source import Catalogue, PriceSourceError, Want, Wanted, summary

NAME = "runpod"
PROVIDER = "runpod"
REGIONS = ("secure", "community")
QUERY = (
    "query Prices { gpuTypes { id displayName memoryInGb maxGpuCount secureCloud communityCloud "
    "securePrice communityPrice secureSpotPrice communitySpotPrice } }"
)
"""Without ``lowestPrice``, which is the lower one of both clouds."""
_TYPE = re.compile(r"([1-9]\d{0,2})x (\S.*)")
_FIELDS = (
    ("secure", PurchaseOption.ON_DEMAND, "securePrice"),
    ("secure", PurchaseOption.SPOT, "secureSpotPrice"),
    ("community", PurchaseOption.ON_DEMAND, "communityPrice"),
    ("community", PurchaseOption.SPOT, "communitySpotPrice"),
)


class RunPodSettings(Protocol):
    """What this source needs of the poller's settings."""

    @property
    def runpod_url(self) -> str:
        """Of the GraphQL endpoint."""
        ...

    @property
    def runpod_api_key_file(self) -> str:
        """Holds an API key; empty: RunPod is asked without one."""
        ...

    @property
    def runpod_instance_types(self) -> tuple[str, ...]:
        """Types to watch in both clouds, ``4x H100 SXM``."""
        ...

    @property
    def runpod_interval(self) -> float:
        """Between two questions, in seconds."""
        ...


@dataclass(frozen=True, slots=True)
class RunPod:
    """Prices of the wanted types; while a model is out of stock it is null, and the store keeps the last price."""

    url: str
    watched: frozenset[Want]
    refresh_seconds: float
    api: JsonApi
    name: str = NAME
    provider: str = PROVIDER

    def fetch(self, wanted: Wanted, now: float) -> Catalogue:
        """One question, however many types are wanted; none where none is."""
        wants = [(want, match) for want in sorted(wanted.items) if (match := _TYPE.fullmatch(want.instance_type))]
        if not wants:
            return Catalogue()
        models = self._models()
        prices: list[Price] = []
        facts: dict[str, InstanceFacts] = {}
        problems: list[str] = []
        for want, match in wants:
            count, row = int(match[1]), models.get(match[2])
            try:
                if row is not None and count <= number(row, "maxGpuCount"):
                    prices += _prices(want, count, row, now)
                    facts[want.instance_type] = _facts(want.instance_type, count, row)
            except ValueError as err:
                problems.append(f"runpod: {want.instance_type}: {err}")
        if problems and not prices:
            raise PriceSourceError(summary(problems))
        return Catalogue(tuple(prices), tuple(facts.values()), tuple(problems))

    def _models(self) -> Mapping[str, Mapping[str, Any]]:
        """Whole GPUs by name: a slice of one (MIG) is another thing under a similar name."""
        answer = self.api.post(self.url, {"query": QUERY})
        errors = answer.get("errors")
        if errors:  # GraphQL answers with HTTP 200 all the same
            raise PriceSourceError(f"runpod: gpuTypes: {_message(errors)}")
        try:
            found = rows(mapping(answer, "data"), "gpuTypes")
        except FieldError as err:
            raise PriceSourceError(f"runpod: gpuTypes: {err}") from None
        whole = [row for row in found if not re.search(r"\bMIG\b", f"{row.get('id')} {row.get('displayName')}")]
        return {str(row.get("displayName")): row for row in whole}


def _prices(want: Want, count: int, row: Mapping[str, Any], now: float) -> Iterator[Price]:
    for region, option, name in _FIELDS:
        offered = region == want.region and row.get(f"{region}Cloud") is not False
        usd_per_gpu = optional_number(row, name) if offered else None
        if usd_per_gpu:
            key = PriceKey(PROVIDER, region, "", want.instance_type, option)
            yield Price(key, (PriceStep(-math.inf, usd_per_gpu * count),), NAME, now)


def _message(errors: object) -> str:
    first = errors[0] if isinstance(errors, list) else errors
    said = first.get("message") if isinstance(first, dict) else first
    return " ".join(str(said).split())[:200]


def _facts(instance_type: str, count: int, row: Mapping[str, Any]) -> InstanceFacts:
    memory_bytes = gib(optional_number(row, "memoryInGb"))
    model = canonical(text(row, "displayName"), memory_bytes) or canonical(text(row, "id"), memory_bytes)
    return InstanceFacts(PROVIDER, instance_type, model, float(count), memory_bytes)


def make(settings: RunPodSettings) -> tuple[RunPod, ...]:
    """The source; it asks nothing as long as nothing is wanted."""
    watched = frozenset(
        Want(PROVIDER, region, instance_type) for region in REGIONS for instance_type in settings.runpod_instance_types
    )
    api = JsonApi(NAME, settings.runpod_api_key_file)
    return (RunPod(settings.runpod_url, watched, settings.runpod_interval, api),)
