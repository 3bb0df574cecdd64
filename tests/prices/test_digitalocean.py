"""DigitalOcean's sizes against a local server."""

from __future__ import annotations

from typing import Any

import pytest
from tests.prices.asking_http import GIB, NOW, ON_DEMAND, api, dollars, wanted
from tests.prices.json_server import JsonServer, Reply

from epochcost.model import InstanceFacts
from epochcost.poller.poller_settings import PollerSettings
from epochcost.prices.digitalocean import DigitalOcean, make
from epochcost.prices.price_source import Catalogue, NotConfiguredError, PriceSourceError


def size(slug: str, usd: object, model: str = "", count: int = 0, vram: float | None = None) -> dict[str, Any]:
    plain = {"slug": slug, "memory": 245760, "vcpus": 20, "price_hourly": usd, "price_monthly": 1.0, "available": True}
    if not model:
        return plain
    return {**plain, "gpu_info": {"count": count, "vram": {"amount": vram, "unit": "gib"}, "model": model}}


H100_1 = size("gpu-h100x1-80gb", 3.39, "nvidia_h100", 1, 80)
H100_8 = size("gpu-h100x8-640gb", 23.92, "nvidia_h100", 8, 640)
ADA = size("gpu-4000adax1-20gb", 0.76, "nvidia_rtx4000_ada", 1, 20)
PLAIN = size("s-1vcpu-1gb", 0.00893)


def page(sizes: list[dict[str, Any]], link: str = "") -> Reply:
    return Reply({"sizes": sizes, "links": {"pages": {"next": link}} if link else {}, "meta": {"total": 147}})


def fetch(server: JsonServer, *pages: Reply, types: tuple[str, ...] = ()) -> Catalogue:
    server.on("/v2/sizes", *pages)
    requested = wanted("digitalocean", *(("nyc1", each) for each in types))
    return DigitalOcean(f"{server.url}/v2", 86400.0, api("digitalocean")).fetch(requested, NOW)


def test_every_size_with_a_gpu_is_priced_per_droplet_over_all_pages(server: JsonServer) -> None:
    catalogue = fetch(
        server, page([PLAIN, H100_1], "https://elsewhere/v2/sizes?page=2&per_page=200"), page([H100_8, ADA])
    )
    assert dollars(catalogue) == {
        ("", "gpu-h100x1-80gb", ON_DEMAND): 3.39,
        ("", "gpu-h100x8-640gb", ON_DEMAND): 23.92,  # 8 x $2.99
        ("", "gpu-4000adax1-20gb", ON_DEMAND): 0.76,
    }
    assert [request.query for request in server.requests] == [{"per_page": "200"}, {"page": "2", "per_page": "200"}]


def test_a_size_without_a_gpu_is_priced_where_it_is_wanted(server: JsonServer) -> None:
    assert dollars(fetch(server, page([PLAIN]), types=("s-1vcpu-1gb",))) == {("", "s-1vcpu-1gb", ON_DEMAND): 0.00893}
    assert fetch(server, page([PLAIN])).prices == ()


def test_vram_is_of_all_gpus_together(server: JsonServer) -> None:
    one, eight, ada = fetch(server, page([H100_1, H100_8, ADA])).facts
    assert eight == InstanceFacts("digitalocean", "gpu-h100x8-640gb", "H100", 8.0, 80 * GIB, 20.0, 240 * GIB)
    assert (one.gpus, one.gpu_memory_bytes) == (1.0, 80 * GIB)
    assert ada.gpu_model == "RTX 4000 Ada"


def test_vram_in_another_unit_is_unknown(server: JsonServer) -> None:
    other = size("gpu-x", 1.0, "nvidia_l40s", 1, 48)
    other["gpu_info"]["vram"]["unit"] = "mib"  # type: ignore[index]
    (fact,) = fetch(server, page([other])).facts
    assert (fact.gpu_model, fact.gpu_memory_bytes) == ("L40S", None)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (size("gpu-bad", None, "nvidia_h100", 1, 80), "digitalocean: gpu-bad: price_hourly: None is not a number"),
        (size("gpu-bad", 0.0, "nvidia_h100", 1, 80), "digitalocean: gpu-bad: a price must be above 0"),
        ({"gpu_info": {}}, "digitalocean: None: slug: None is not text"),
    ],
)
def test_an_unexpected_size_is_named_and_does_not_affect_the_others(
    server: JsonServer, bad: dict[str, Any], message: str
) -> None:
    catalogue = fetch(server, page([bad, H100_1]))
    assert dollars(catalogue) == {("", "gpu-h100x1-80gb", ON_DEMAND): 3.39}
    (problem,) = catalogue.problems
    assert problem.startswith(message)


@pytest.mark.parametrize("info", [{"count": 0, "model": "nvidia_h100"}, {"count": "8"}, 5, {"count": 8, "model": 1}])
def test_unreadable_facts_of_a_size_do_not_affect_its_price(server: JsonServer, info: object) -> None:
    catalogue = fetch(server, page([{**H100_8, "gpu_info": info}, H100_1]))
    assert dollars(catalogue)["", "gpu-h100x8-640gb", ON_DEMAND] == 23.92
    assert [fact.instance_type for fact in catalogue.facts] == ["gpu-h100x1-80gb"]
    assert [problem for problem in catalogue.problems if problem.startswith("digitalocean: gpu-h100x8-640gb: ")]


def test_a_size_at_two_prices_has_none(server: JsonServer) -> None:
    catalogue = fetch(server, page([H100_1, H100_8, {**H100_1, "price_hourly": 9.0}, H100_8]))
    assert dollars(catalogue) == {("", "gpu-h100x8-640gb", ON_DEMAND): 23.92}
    assert catalogue.problems == ("digitalocean: gpu-h100x1-80gb: 2 prices in one response: $3.39, $9; none used",)


def test_fewer_sizes_than_the_response_promises_are_reported(server: JsonServer) -> None:
    assert fetch(server, page([H100_1])).notes == (
        "digitalocean: 1 of 147 sizes were received: the others have no price",
    )
    assert fetch(server, Reply({"sizes": [H100_1], "meta": {"total": 1}})).notes == ()
    assert fetch(server, Reply({"sizes": [H100_1], "meta": None})).notes == ()


@pytest.mark.parametrize("body", [{}, {"sizes": None}, {"sizes": [1]}])
def test_a_response_of_another_form_is_an_error(server: JsonServer, body: object) -> None:
    with pytest.raises(PriceSourceError, match="digitalocean: sizes: not a response of DigitalOcean's API: sizes: "):
        fetch(server, Reply(body))


@pytest.mark.parametrize("links", [[1], {"pages": 5}])
def test_links_of_another_form_are_an_error(server: JsonServer, links: object) -> None:
    with pytest.raises(PriceSourceError, match="digitalocean: sizes: "):
        fetch(server, Reply({"sizes": [H100_1], "links": links}))


def test_without_a_token_it_is_skipped() -> None:
    with pytest.raises(NotConfiguredError, match=r"set --digitalocean\.api-key-file"):
        make(PollerSettings())
