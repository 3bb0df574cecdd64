"""Every source over plain HTTP through every fault of its provider: the right prices, or an error, never another price.

`test_http_json.py` has the faults one by one; here each source is tested with all of them in its own format.
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
from tests.prices.json_server import JsonServer, Reply

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
    """One source: its constructor, the wanted types, and the replies of a healthy provider by path."""

    make: Callable[[str, JsonApi], Source]
    wanted: PriceRequests
    replies: Mapping[str, Reply]


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
        {"/instance-types": Reply({"data": test_lambda_cloud.TYPES})},
    ),
    "oci": Kind(
        lambda url, api: Oci(f"{url}/products", f"{url}/shapes", NONE, 3600.0, api),
        wanted("oci", ("us-ashburn-1", "BM.GPU.H100.8"), ("us-ashburn-1", "VM.GPU.A10.2")),
        {
            "/products": Reply({"items": test_oci.PARTS}),
            "/shapes": Reply({"items": [test_oci.H100, test_oci.A10]}),
        },
    ),
    "runpod": Kind(
        lambda url, api: RunPod(f"{url}/graphql", NONE, 3600.0, api),
        wanted("runpod", ("secure", "8x H100 SXM"), ("community", "1x H100 SXM")),
        {"/graphql": Reply({"data": {"gpuTypes": [test_runpod.gpu()]}})},
    ),
    "vast": Kind(
        lambda url, api: VastMarket(url, NONE, 3600.0, api),
        wanted("vastai", ("US", "4x H100 SXM"), ("any", "4x H100 SXM")),
        {"/v0/bundles/": Reply({"offers": [test_vast.offer(7.96, 4.4), test_vast.offer(8.8, 4.9)]})},
    ),
    "vast_rented": Kind(
        lambda url, api: VastRented(url, 3600.0, api),
        PriceRequests(),
        {"/v1/instances/": Reply({"instances": [test_vast.machine(101, 0.8123)]})},
    ),
}


class Site:
    """A source at a server that is healthy until a test changes its replies."""

    def __init__(self, name: str, server: JsonServer, key_file: Path) -> None:
        key_file.write_text(KEY)
        self.kind = KINDS[name]
        self.server = server
        self.waits: list[float] = []
        self.key_file = str(key_file)
        self.name = name
        self.answer_with(lambda good: [good])

    def answer_with(self, change: Callable[[Reply], list[Reply]]) -> None:
        """From now on every path gives these replies instead of its healthy one."""
        for path, good in self.kind.replies.items():
            self.server.on(path, *change(good))

    def fetch(self, attempt_seconds: float = 10.0, attempts: int = 3) -> Catalogue:
        api = JsonApi(
            self.name, self.key_file, attempt_seconds=attempt_seconds, attempts=attempts, sleep=self.waits.append
        )
        return self.kind.make(self.server.url, api).fetch(self.kind.wanted, NOW)

    def error_message(self, attempt_seconds: float = 10.0, attempts: int = 3) -> str:
        with pytest.raises(PriceSourceError) as caught:
            self.fetch(attempt_seconds, attempts)
        assert str(caught.value).startswith(f"{self.name}: ")
        assert KEY not in str(caught.value)
        return str(caught.value)


@pytest.fixture(params=KINDS)
def site(request: pytest.FixtureRequest, server: JsonServer, tmp_path: Path) -> Iterator[Site]:
    it = Site(request.param, server, tmp_path / "key")
    assert len(it.fetch().prices) >= 1, "a healthy provider has prices, so that none below means something"
    return it  # type: ignore[return-value]


# --- faults of the connection ---


@pytest.mark.parametrize(
    "fault",
    [Reply({"error": "slow down"}, 429, {"Retry-After": "7"}), Reply({}, 500), Reply(b"<html>", 503), Reply(b"{")],
    ids=["429", "500", "503", "half an answer"],
)
def test_a_transient_fault_costs_time_and_no_price(site: Site, fault: Reply) -> None:
    good = dollars(site.fetch())
    site.answer_with(lambda reply: [fault, reply])
    assert dollars(site.fetch()) == good
    assert len(site.waits) == len(site.kind.replies)
    assert min(site.waits) >= (7 if fault.status == 429 else 1)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Reply({}, 429), "HTTP 429"),
        (Reply({}, 500), "HTTP 500"),
        (Reply(b"<html>maintenance</html>"), "the response is not JSON"),
        (Reply(b""), "the response is not JSON"),
        (Reply([]), "the response has no JSON object but a list"),
        (Reply({"error": f"key {KEY} has expired"}, 401), "HTTP 401"),
        (Reply({"error": f"key {KEY} may not"}, 403), "HTTP 403"),
        (Reply({}), ""),
    ],
    ids=["429", "500", "a page for people", "nothing", "a list", "expired", "forbidden", "an empty object"],
)
def test_a_permanent_fault_is_an_error_that_names_the_source_and_no_key(site: Site, fault: Reply, message: str) -> None:
    site.answer_with(lambda _: [fault])
    assert message in site.error_message()


def test_an_interrupted_response_is_an_error_even_if_its_body_is_complete(site: Site) -> None:
    site.answer_with(lambda good: [Reply(good.body, truncated=True)])
    assert "was cut off" in site.error_message()


def test_a_response_interrupted_in_the_middle_is_an_error(site: Site) -> None:
    site.answer_with(lambda good: [Reply(good.raw[: len(good.raw) // 2])])
    assert "the response is not JSON" in site.error_message()


def test_a_provider_that_hangs_times_out(site: Site) -> None:
    over = threading.Event()
    site.answer_with(lambda good: [Reply(good.body, hold=over)])
    try:
        assert "no complete response in time" in site.error_message(attempt_seconds=0.2, attempts=1)
    finally:
        over.set()


# --- surprises in responses ---


def _numbers(change: Callable[[float], object]) -> Callable[[object], object]:
    """Every figure in a response changed."""

    def with_changed_numbers(value: object) -> Any:
        if isinstance(value, dict):
            return {name: with_changed_numbers(each) for name, each in value.items()}
        if isinstance(value, list):
            return [with_changed_numbers(each) for each in value]
        return change(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value

    return with_changed_numbers


def _keys(change: Callable[[str], str]) -> Callable[[object], object]:
    def with_changed_keys(value: object) -> Any:
        if isinstance(value, dict):
            return {change(name): with_changed_keys(each) for name, each in value.items()}
        return [with_changed_keys(each) for each in value] if isinstance(value, list) else value

    return with_changed_keys


def _lists(change: Callable[[list[object]], object]) -> Callable[[object], object]:
    def with_changed_lists(value: object) -> Any:
        if isinstance(value, dict):
            return {name: with_changed_lists(each) for name, each in value.items()}
        return change([with_changed_lists(each) for each in value]) if isinstance(value, list) else value

    return with_changed_lists


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
def test_a_response_of_another_form_gives_no_other_price(site: Site, surprise: str) -> None:
    good = dollars(site.fetch())
    site.answer_with(lambda good: [Reply(SURPRISES[surprise](good.body))])
    prices: dict[Any, float] = {}
    with suppress(PriceSourceError):  # and nothing else: a TypeError would take the source's thread with it
        prices = dollars(site.fetch())
    assert prices.items() <= good.items()  # Lambda's prices are in no list, so its lists may be anything
    if "list" not in surprise:
        assert prices == {}


@pytest.mark.parametrize("figure", ["1e999", "-1e999", "NaN", "Infinity", "1" * 400])
def test_a_figure_beyond_any_float_is_not_a_price(site: Site, figure: str) -> None:
    """JSON allows 1e999, and Python reads it as infinity; a whole number may have any length."""

    def raw(good: Reply) -> bytes:
        marked = _numbers(lambda _: "FIGURE")(good.body)
        return json.dumps(marked).replace('"FIGURE"', figure).encode()

    site.answer_with(lambda good: [Reply(raw(good))])
    prices: dict[Any, float] = {}
    with suppress(PriceSourceError):  # and nothing else: an OverflowError would take the source's thread with it
        prices = dollars(site.fetch())
    assert prices == {}


def test_new_fields_change_nothing(site: Site) -> None:
    def more(value: object) -> Any:
        if isinstance(value, dict):
            extended = {name: more(each) for name, each in value.items()}
            return extended if not extended or _is_by_name(extended) else {**extended, "new": {"price": 0.01}}
        return [more(each) for each in value] if isinstance(value, list) else value

    good = dollars(site.fetch())
    site.answer_with(lambda reply: [Reply(more(reply.body))])
    assert dollars(site.fetch()) == good


def _is_by_name(value: Mapping[str, object]) -> bool:
    """Whether an object's names are data: Lambda's types."""
    return any(name.startswith("gpu_") and isinstance(each, dict) for name, each in value.items())


@pytest.mark.parametrize("name", ["azure", "oci"])
def test_another_currency_is_never_used_as_dollars(name: str, server: JsonServer, tmp_path: Path) -> None:
    """The other providers give no currency: their figures are in dollars by their documentation."""

    def in_euros(value: object) -> Any:
        if isinstance(value, dict):
            return {key: "EUR" if key == "currencyCode" else in_euros(each) for key, each in value.items()}
        return [in_euros(each) for each in value] if isinstance(value, list) else value

    site = Site(name, server, tmp_path / "key")
    site.answer_with(lambda good: [Reply(in_euros(good.body))])
    assert "USD" in site.error_message()
