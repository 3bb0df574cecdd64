"""RunPod's prices: secure and community cloud apart, as the regions ``secure`` and ``community``.

A type is ``4x H100 SXM``: so many GPUs of RunPod's own name for the model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from epochcost.model import InstanceFacts, Price, PriceKey, PriceStep, PurchaseOption
from epochcost.prices.allowances import Credit
from epochcost.prices.gpu_model import canonical
from epochcost.prices.http_json import HttpError, JsonApi
from epochcost.prices.json_fields import FieldError, gib, mapping, number, optional_number, rows, text
from epochcost.prices.price_source import Catalogue, PriceRequests, PriceSourceError, Want, summary

NAME = "runpod"
PROVIDER = "runpod"
REGIONS = ("secure", "community")
NEEDED = ("id", "displayName")
WELCOME = (
    "memoryInGb",
    "secureCloud",
    "communityCloud",
    "securePrice",
    "communityPrice",
    "maxGpuCount",
    "maxGpuCountSecureCloud",
    "maxGpuCountCommunityCloud",
    "secureSpotPrice",
    "communitySpotPrice",
)
"""Fields that are omitted if the schema no longer has them: the end of spot pods is announced."""
PRICES = ("securePrice", "communityPrice", "secureSpotPrice", "communitySpotPrice")
BALANCE = "query Balance { myself { clientBalance currentSpendPerHr } }"
_GONE = re.compile(r"Cannot query field [\"']+(\w+)[\"']+")
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
        """File with an API key; empty: requests are sent without one."""
        ...

    @property
    def runpod_instance_types(self) -> tuple[str, ...]:
        """Types to watch in both clouds, ``4x H100 SXM``."""
        ...

    @property
    def runpod_interval(self) -> float:
        """Interval between requests, in seconds."""
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

    def fetch(self, requests: PriceRequests, now: float) -> Catalogue:
        """One request, however many types are wanted; none where none is."""
        ours = sorted(want for want in requests.items if want.provider == PROVIDER)
        wants = [(want, match) for want in ours if (match := _TYPE.fullmatch(want.instance_type))]
        reasons = {want.instance_type: why for want in ours if (why := _misspelt(want))}
        if not wants:
            return Catalogue(requested=frozenset(ours), reasons=reasons)
        problems: list[str] = []
        models, gone = self._models(problems)
        prices: list[Price] = []
        facts: dict[str, InstanceFacts] = {}
        for want, match in wants:
            count, offers = int(match[1]), models.get(match[2], [])
            try:
                if why := _unsold(count, offers, want.region):
                    reasons[want.instance_type] = why
                    continue
                for row in offers:
                    offered = list(_prices(want, count, row, now, problems))
                    prices += offered
                    facts[want.instance_type] = _facts(want.instance_type, count, row)
                    if not offered:
                        reasons[want.instance_type] = "RunPod currently has no price for it: it may be out of stock"
            except ValueError as err:
                problems.append(f"runpod: {want.instance_type}: {err}")
        if problems and not prices:
            raise PriceSourceError(summary(problems))
        notes = [f"runpod: its API has no field {name} any more: done without" for name in gone]
        return Catalogue(
            tuple(prices),
            tuple(facts.values()),
            tuple(problems),
            credits=self._credit(now, notes) if self.api.key_file else (),
            requested=frozenset(ours),
            names=frozenset(f"{match[1]}x {name}" for _, match in wants for name in models),
            reasons=reasons,
            notes=tuple(notes),
        )

    def _credit(self, now: float, notes: list[str]) -> tuple[Credit, ...]:
        """Remaining credit of the account: pods are stopped when it is used up. No price depends on it: no retries."""
        try:
            answer = replace(self.api, attempts=1).post(self.url, {"query": BALANCE})
            mine = mapping(mapping(answer, "data"), "myself")
            left, spend = number(mine, "clientBalance"), optional_number(mine, "currentSpendPerHr")
        except (HttpError, FieldError) as err:
            notes.append(f"runpod: the account's remaining credit is not known ({err})")
            return ()
        return (Credit("RunPod account", PROVIDER, left, now, spend_usd_per_hour=spend),)

    def _models(self, problems: list[str]) -> tuple[Mapping[str, list[Mapping[str, Any]]], tuple[str, ...]]:
        """Whole GPUs by name, without slices (MIG), which have similar names; and fields that are gone."""
        answer, gone = self._answer()
        errors = answer.get("errors")  # GraphQL returns HTTP 200 all the same, and what it has
        if errors and not _has_models(answer):
            raise PriceSourceError(f"runpod: gpuTypes: {_message(errors)}")
        if errors:
            problems.append(f"runpod: gpuTypes: partial response: {_message(errors)}")
        try:
            odd: list[str] = []
            data = mapping(answer, "data")
            types = rows(_without_failed(data) if errors else data, "gpuTypes", odd)
        except FieldError as err:
            raise PriceSourceError(f"runpod: gpuTypes: not a response of RunPod's API: {err}") from None
        problems += [f"runpod: {each}" for each in odd]
        models: dict[str, list[Mapping[str, Any]]] = {}
        for row in types:
            if not re.search(r"\bMIG\b", f"{row.get('id')} {row.get('displayName')}"):
                of_name = models.setdefault(str(row.get("displayName")), [])
                if row not in of_name:
                    of_name.append(row)
        return models, gone

    def _answer(self) -> tuple[Mapping[str, Any], tuple[str, ...]]:
        """The response, requested again without fields that the schema no longer has, and the names of these."""
        welcome = list(WELCOME)
        gone: list[str] = []
        while True:
            query = f"query Prices {{ gpuTypes {{ {' '.join((*NEEDED, *welcome))} }} }}"
            try:
                answer: Mapping[str, Any] = self.api.post(self.url, {"query": query})
                message = _message(answer.get("errors")) if answer.get("errors") else ""
            except HttpError as err:
                message = str(err)
                if not (missing := _missing(message, welcome)):
                    raise
            else:
                missing = _missing(message, welcome)
            if not missing:
                return answer, tuple(gone)
            gone += missing
            welcome = [name for name in welcome if name not in missing]
            if not set(PRICES) & set(welcome):
                raise PriceSourceError("runpod: gpuTypes: its API no longer has a price field")


def _misspelt(want: Want) -> str:
    """What is wrong with the name of a type or a region; empty if nothing is."""
    if not _TYPE.fullmatch(want.instance_type):
        return "a type is a count and RunPod's name for the GPU, such as 4x H100 SXM"
    return "" if want.region in REGIONS else f"a region is one of {', '.join(REGIONS)}"


def _unsold(count: int, offers: list[Mapping[str, Any]], region: str) -> str:
    """Why so many GPUs of a model have no price there, whatever the response contains; empty if they may have one.

    Raises:
        FieldError: if the count of GPUs that are rented together is not a number.
    """
    if len(offers) > 1:
        names = " and ".join(sorted(str(row.get("id")) for row in offers))
        return (
            f"RunPod calls {len(offers)} models {str(offers[0].get('displayName'))!r} ({names[:160]}): no price taken"
        )
    for row in offers:
        if region in REGIONS and row.get(f"{region}Cloud") is False:
            return f"the {region} cloud does not offer it"
        most = _most_gpus(row, region)
        if most is not None and count > most:
            return f"at most {most:g} GPUs can be rented together"
    return ""


def _missing(message: str, welcome: list[str]) -> list[str]:
    """The optional fields that an error reports as missing from the schema."""
    named = _GONE.findall(message.replace("\\", ""))
    return [name for name in welcome if name in named]


def _has_models(answer: Mapping[str, Any]) -> bool:
    data = answer.get("data")
    return isinstance(data, dict) and isinstance(data.get("gpuTypes"), list) and bool(data["gpuTypes"])


def _without_failed(data: Mapping[str, Any]) -> dict[str, Any]:
    """``data`` of a response with errors: GraphQL puts null where a model could not be read."""
    models = data.get("gpuTypes")
    return {**data, "gpuTypes": [each for each in models if each is not None] if isinstance(models, list) else models}


def _most_gpus(row: Mapping[str, Any], region: str) -> float | None:
    """Of one machine in that cloud; None if the response lacks it: the price is by the GPU all the same.

    Raises:
        FieldError: if it is not a number.
    """
    of_cloud = optional_number(row, f"maxGpuCount{region.capitalize()}Cloud")
    return optional_number(row, "maxGpuCount") if of_cloud is None else of_cloud


def _prices(want: Want, count: int, row: Mapping[str, Any], now: float, problems: list[str]) -> Iterator[Price]:
    """Those of one region; a field that is not a price does not affect the others."""
    for region, option, name in _FIELDS:
        if region != want.region or row.get(f"{region}Cloud") is False:
            continue
        try:
            if usd_per_gpu := optional_number(row, name):
                key = PriceKey(PROVIDER, region, "", want.instance_type, option)
                yield Price(key, (PriceStep(-math.inf, usd_per_gpu * count),), NAME, now)
        except ValueError as err:
            problems.append(f"runpod: {want.instance_type}: {err}")


def _message(errors: object) -> str:
    each = errors if isinstance(errors, list) else [errors]
    message = "; ".join(str(one.get("message") if isinstance(one, dict) else one) for one in each)
    return " ".join(message.split())[:400]


def _facts(instance_type: str, count: int, row: Mapping[str, Any]) -> InstanceFacts:
    memory_bytes = gib(optional_number(row, "memoryInGb"))
    model = canonical(text(row, "displayName"), memory_bytes) or canonical(text(row, "id"), memory_bytes)
    return InstanceFacts(PROVIDER, instance_type, model, float(count), memory_bytes)


def make(settings: RunPodSettings) -> tuple[RunPod, ...]:
    """The source; it sends no request as long as nothing is wanted."""
    watched = frozenset(
        Want(PROVIDER, region, instance_type) for region in REGIONS for instance_type in settings.runpod_instance_types
    )
    api = JsonApi(NAME, settings.runpod_api_key_file)
    return (RunPod(settings.runpod_url, watched, settings.runpod_interval, api),)
