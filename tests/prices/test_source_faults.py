"""Every source over plain HTTP through every fault of its provider: the right prices, or an error, never another price.

`test_http_json.py` has the faults one by one; here each source meets all of them with an answer of its own form.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.prices import test_azure, test_digitalocean, test_lambda_cloud, test_oci, test_runpod, test_vast
from tests.prices.asking_http import KEY, NOW, dollars, wanted
from tests.prices.json_server import Answer, JsonServer

from epochcost.prices.azure.azure_source import Azure
from epochcost.prices.digitalocean import DigitalOcean
from epochcost.prices.http_json import JsonApi
from epochcost.prices.lambda_cloud import Lambda
from epochcost.prices.oci import Oci
from epochcost.prices.price_source import Catalogue, PriceRequests, PriceSourceError, Source
from epochcost.prices.runpod import RunPod
from epochcost.prices.vast.vast_rented import VastRented
from epochcost.prices.vast.vast_source import VastMarket


@dataclass(frozen=True)
class Kind:
    """One source: how it is made, what is wanted of it, and what a healthy provider answers by path."""

    make: Callable[[str, JsonApi], Source]
    wanted: PriceRequests
    answers: Mapping[str, Answer]


NONE: frozenset[Any] = frozenset()
KINDS: Mapping[str, Kind] = {
    "azure": Kind(
        lambda url, api: Azure(f"{url}/prices", NONE, 3600.0, api),
        wanted("azure", ("eastus", test_azure.H100)),
        {"/prices": test_azure.page([test_azure.row(98.32), test_azure.spot(18.17)])},
    ),
    "digitalocean": Kind(
        lambda url, api: DigitalOcean(url, 3600.0, api),
        PriceRequests(),
        {"/sizes": test_digitalocean.page([test_digitalocean.H100_8, test_digitalocean.ADA])},
    ),
    "lambda": Kind(
        lambda url, api: Lambda(url, 3600.0, api),
        PriceRequests(),
        {"/instance-types": Answer({"data": test_lambda_cloud.TYPES})},
    ),
    "oci": Kind(
        lambda url, api: Oci(f"{url}/products", f"{url}/shapes", NONE, 3600.0, api),
        wanted("oci", ("us-ashburn-1", "BM.GPU.H100.8"), ("us-ashburn-1", "VM.GPU.A10.2")),
        {
            "/products": Answer({"items": test_oci.PARTS}),
            "/shapes": Answer({"items": [test_oci.H100, test_oci.A10]}),
        },
    ),
    "runpod": Kind(
        lambda url, api: RunPod(f"{url}/graphql", NONE, 3600.0, api),
        wanted("runpod", ("secure", "8x H100 SXM"), ("community", "1x H100 SXM")),
        {"/graphql": Answer({"data": {"gpuTypes": [test_runpod.gpu()]}})},
    ),
    "vast": Kind(
        lambda url, api: VastMarket(url, NONE, 3600.0, api),
        wanted("vastai", ("US", "4x H100 SXM"), ("any", "4x H100 SXM")),
        {"/v0/bundles/": Answer({"offers": [test_vast.offer(7.96, 4.4), test_vast.offer(8.8, 4.9)]})},
    ),
    "vast_rented": Kind(
        lambda url, api: VastRented(url, 3600.0, api),
        PriceRequests(),
        {"/v1/instances/": Answer({"instances": [test_vast.machine(101, 0.8123)]})},
    ),
}


class Site:
    """A source at a server that answers well until it is told otherwise."""

    def __init__(self, name: str, server: JsonServer, key_file: Path) -> None:
        key_file.write_text(KEY)
        self.kind = KINDS[name]
        self.server = server
        self.waits: list[float] = []
        self.key_file = str(key_file)
        self.name = name
        self.answer_with(lambda good: [good])

    def answer_with(self, change: Callable[[Answer], list[Answer]]) -> None:
        """From now on every path gives these instead of its healthy answer."""
        for path, good in self.kind.answers.items():
            self.server.on(path, *change(good))

    def fetch(self, attempt_seconds: float = 10.0, attempts: int = 3) -> Catalogue:
        api = JsonApi(
            self.name, self.key_file, attempt_seconds=attempt_seconds, attempts=attempts, sleep=self.waits.append
        )
        return self.kind.make(self.server.url, api).fetch(self.kind.wanted, NOW)

    def refused(self, attempt_seconds: float = 10.0, attempts: int = 3) -> str:
        with pytest.raises(PriceSourceError) as caught:
            self.fetch(attempt_seconds, attempts)
        assert str(caught.value).startswith(f"{self.name}: ")
        assert KEY not in str(caught.value)
        return str(caught.value)


@pytest.fixture(params=KINDS)
def site(request: pytest.FixtureRequest, server: JsonServer, tmp_path: Path) -> Iterator[Site]:
    found = Site(request.param, server, tmp_path / "key")
    assert len(found.fetch().prices) >= 1, "a healthy provider has prices, so that none below means something"
    return found  # type: ignore[return-value]


# --- faults of the way there ---


@pytest.mark.parametrize(
    "fault",
    [Answer({"error": "slow down"}, 429, {"Retry-After": "7"}), Answer({}, 500), Answer(b"<html>", 503), Answer(b"{")],
    ids=["429", "500", "503", "half an answer"],
)
def test_a_fault_that_passes_costs_time_and_no_price(site: Site, fault: Answer) -> None:
    good = dollars(site.fetch())
    site.answer_with(lambda answer: [fault, answer])
    assert dollars(site.fetch()) == good
    assert len(site.waits) == len(site.kind.answers)
    assert min(site.waits) >= (7 if fault.status == 429 else 1)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Answer({}, 429), "HTTP 429"),
        (Answer({}, 500), "HTTP 500"),
        (Answer(b"<html>maintenance</html>"), "the response is not JSON"),
        (Answer(b""), "the response is not JSON"),
        (Answer([]), "the response has no JSON object but a list"),
        (Answer({"error": f"key {KEY} has expired"}, 401), "HTTP 401"),
        (Answer({"error": f"key {KEY} may not"}, 403), "HTTP 403"),
        (Answer({}), ""),
    ],
    ids=["429", "500", "a page for people", "nothing", "a list", "expired", "forbidden", "an empty object"],
)
def test_a_fault_that_stays_is_an_error_that_names_the_source_and_no_key(
    site: Site, fault: Answer, message: str
) -> None:
    site.answer_with(lambda _: [fault])
    assert message in site.refused()


def test_an_answer_that_breaks_off_is_an_error_even_where_what_came_is_whole(site: Site) -> None:
    site.answer_with(lambda good: [Answer(good.body, cut=True)])
    assert "was cut off" in site.refused()


def test_an_answer_that_breaks_off_in_the_middle_is_an_error(site: Site) -> None:
    site.answer_with(lambda good: [Answer(good.raw[: len(good.raw) // 2])])
    assert "the response is not JSON" in site.refused()


def test_a_provider_that_hangs_is_given_up(site: Site) -> None:
    over = threading.Event()
    site.answer_with(lambda good: [Answer(good.body, hold=over)])
    try:
        assert "no complete response in time" in site.refused(attempt_seconds=0.2, attempts=1)
    finally:
        over.set()


# --- surprises in what is answered ---


def _numbers(change: Callable[[float], object]) -> Callable[[object], object]:
    """Every figure in an answer changed."""

    def changed(value: object) -> Any:
        if isinstance(value, dict):
            return {name: changed(each) for name, each in value.items()}
        if isinstance(value, list):
            return [changed(each) for each in value]
        return change(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value

    return changed


def _keys(change: Callable[[str], str]) -> Callable[[object], object]:
    def changed(value: object) -> Any:
        if isinstance(value, dict):
            return {change(name): changed(each) for name, each in value.items()}
        return [changed(each) for each in value] if isinstance(value, list) else value

    return changed


def _lists(change: Callable[[list[object]], object]) -> Callable[[object], object]:
    def changed(value: object) -> Any:
        if isinstance(value, dict):
            return {name: changed(each) for name, each in value.items()}
        return change([changed(each) for each in value]) if isinstance(value, list) else value

    return changed


SURPRISES: Mapping[str, Callable[[object], object]] = {
    "figures as text": _numbers(str),
    "figures with a currency": _numbers(lambda n: f"${n}"),
    "figures as objects": _numbers(lambda n: {"amount": n}),
    "no figures": _numbers(lambda _: None),
    "truths for figures": _numbers(lambda _: True),
    "zeros": _numbers(lambda _: 0),
    "figures below zero": _numbers(lambda n: -n),
    "other names": _keys(lambda name: f"{name}_v2"),
    "lists of texts": _lists(lambda each: ["x" for _ in each]),
    "lists of lists": _lists(lambda each: [each]),
    "objects for lists": _lists(lambda each: {str(n): one for n, one in enumerate(each)}),
    "nothing for lists": _lists(lambda _: None),
    "empty lists": _lists(lambda _: []),
}


@pytest.mark.parametrize("surprise", SURPRISES)
def test_an_answer_of_another_form_makes_no_other_price(site: Site, surprise: str) -> None:
    good = dollars(site.fetch())
    site.answer_with(lambda good: [Answer(SURPRISES[surprise](good.body))])
    prices: dict[Any, float] = {}
    with suppress(PriceSourceError):  # and nothing else: a TypeError would take the source's thread with it
        prices = dollars(site.fetch())
    assert prices.items() <= good.items()  # Lambda's prices stand in no list, so its lists may be anything
    if "list" not in surprise:
        assert prices == {}


@pytest.mark.parametrize("figure", ["1e999", "-1e999", "NaN", "Infinity", "1" * 400])
def test_a_figure_that_no_float_holds_is_no_price(site: Site, figure: str) -> None:
    """JSON allows 1e999, and Python reads it as infinity; a whole number may have any length."""

    def raw(good: Answer) -> bytes:
        marked = _numbers(lambda _: "FIGURE")(good.body)
        return json.dumps(marked).replace('"FIGURE"', figure).encode()

    site.answer_with(lambda good: [Answer(raw(good))])
    prices: dict[Any, float] = {}
    with suppress(PriceSourceError):  # and nothing else: an OverflowError would take the source's thread with it
        prices = dollars(site.fetch())
    assert prices == {}


def test_fields_that_are_new_change_nothing(site: Site) -> None:
    def more(value: object) -> Any:
        if isinstance(value, dict):
            told = {name: more(each) for name, each in value.items()}
            return told if not told or _is_by_name(told) else {**told, "new": {"price": 0.01}}
        return [more(each) for each in value] if isinstance(value, list) else value

    good = dollars(site.fetch())
    site.answer_with(lambda answer: [Answer(more(answer.body))])
    assert dollars(site.fetch()) == good


def _is_by_name(value: Mapping[str, object]) -> bool:
    """Whether an object's names are data: Lambda's types."""
    return any(name.startswith("gpu_") and isinstance(each, dict) for name, each in value.items())


@pytest.mark.parametrize("name", ["azure", "oci"])
def test_another_currency_is_never_taken_for_dollars(name: str, server: JsonServer, tmp_path: Path) -> None:
    """The other providers give no currency: their figures are in dollars by their documentation."""

    def in_euros(value: object) -> Any:
        if isinstance(value, dict):
            return {key: "EUR" if key == "currencyCode" else in_euros(each) for key, each in value.items()}
        return [in_euros(each) for each in value] if isinstance(value, list) else value

    site = Site(name, server, tmp_path / "key")
    site.answer_with(lambda good: [Answer(in_euros(good.body))])
    assert "USD" in site.refused()
