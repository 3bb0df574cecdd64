"""Lambda's instance types against a local server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.prices.asking_http import GIB, KEY, NOW, ON_DEMAND, api, dollars, wanted
from tests.prices.json_server import JsonServer, Reply

from epochcost.model import InstanceFacts
from epochcost.poller.poller_settings import PollerSettings
from epochcost.prices.lambda_cloud import Lambda, make
from epochcost.prices.price_source import Catalogue, NotConfiguredError, PriceRequests, PriceSourceError


def entry(name: str, cents: object, gpu: str, gpus: int, vcpus: int = 26, memory_gib: int = 225) -> dict[str, Any]:
    specs = {"vcpus": vcpus, "memory_gib": memory_gib, "storage_gib": 1024, "gpus": gpus}
    described = {"name": name, "description": f"{gpus}x {gpu}", "gpu_description": gpu, "architecture": "x86_64"}
    return {
        name: {
            "instance_type": {**described, "price_cents_per_hour": cents, "specs": specs},
            "regions_with_capacity_available": [],
        }
    }


H100 = entry("gpu_1x_h100_sxm5", 429, "H100 (80 GB SXM5)", 1)
TYPES = {
    **H100,
    **entry("gpu_8x_h100_sxm5", 3192, "H100 (80 GB SXM5)", 8, 208, 1800),
    **entry("gpu_1x_a10", 75, "A10 (24 GB PCIe)", 1, 30, 200),
    **entry("gpu_8x_v100_n", 632, "Tesla V100 (16 GB)", 8, 92, 448),
}


def fetch(server: JsonServer, types: object, key_file: str = "") -> Catalogue:
    server.on("/api/instance-types", Reply({"data": types}))
    return Lambda(f"{server.url}/api", 3600.0, api("lambda", key_file)).fetch(wanted("lambda"), NOW)


def test_a_price_is_in_cents_for_the_whole_instance_and_the_same_everywhere(server: JsonServer) -> None:
    assert dollars(fetch(server, TYPES)) == {
        ("", "gpu_1x_h100_sxm5", ON_DEMAND): 4.29,
        ("", "gpu_8x_h100_sxm5", ON_DEMAND): 31.92,  # 8 x $3.99
        ("", "gpu_1x_a10", ON_DEMAND): 0.75,
        ("", "gpu_8x_v100_n", ON_DEMAND): 6.32,  # 8 x $0.79
    }


def test_a_type_without_capacity_anywhere_is_still_priced(server: JsonServer) -> None:
    assert len(fetch(server, H100).prices) == 1


def test_facts_of_a_type_come_from_the_same_response(server: JsonServer) -> None:
    facts = {fact.instance_type: fact for fact in fetch(server, TYPES).facts}
    eight = InstanceFacts("lambda", "gpu_8x_h100_sxm5", "H100", 8.0, 80 * GIB, 208.0, 1800 * GIB)
    assert facts["gpu_8x_h100_sxm5"] == eight
    assert facts["gpu_8x_v100_n"].gpu_model == "V100 16GB"


def test_a_type_without_a_gpu_has_none(server: JsonServer) -> None:
    (fact,) = fetch(server, entry("cpu_4x_general", 10, "N/A", 0)).facts
    assert (fact.gpu_model, fact.gpus, fact.gpu_memory_bytes) == ("", 0.0, None)


@pytest.mark.parametrize("cents", [None, "429", True, 0, -5])
def test_an_invalid_price_is_named_and_does_not_affect_the_others(server: JsonServer, cents: object) -> None:
    catalogue = fetch(server, {**H100, **entry("gpu_bad", cents, "A10 (24 GB PCIe)", 1)})
    assert dollars(catalogue) == {("", "gpu_1x_h100_sxm5", ON_DEMAND): 4.29}
    (problem,) = catalogue.problems
    assert problem.startswith("lambda: gpu_bad: ")


@pytest.mark.parametrize("types", [None, [], "x"])
def test_a_response_of_another_form_is_an_error(server: JsonServer, types: object) -> None:
    with pytest.raises(PriceSourceError, match="lambda: instance-types: not a response of Lambda's API: data: "):
        fetch(server, types)


def test_when_no_row_can_be_read_the_source_has_failed(server: JsonServer) -> None:
    with pytest.raises(PriceSourceError, match="price_cents_per_hour: None is not a number"):
        fetch(server, {"a": {"instance_type": {"name": "a"}}})


def test_the_key_goes_as_a_bearer_and_an_expired_one_is_an_error_without_it(server: JsonServer, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    fetch(server, H100, str(tmp_path / "key"))
    assert server.requests[0].headers["Authorization"] == f"Bearer {KEY}"
    server.on("/api/instance-types", Reply({"error": {"message": f"API key {KEY} was invalid, expired"}}, 401))
    with pytest.raises(PriceSourceError) as caught:
        Lambda(f"{server.url}/api", 3600.0, api("lambda", str(tmp_path / "key"))).fetch(wanted("lambda"), NOW)
    assert "HTTP 401" in str(caught.value)
    assert KEY not in str(caught.value)


def test_without_a_key_file_it_is_skipped() -> None:
    with pytest.raises(NotConfiguredError, match=r"lambda: no API key; set --lambda\.api-key-file"):
        make(PollerSettings())


@pytest.mark.parametrize(
    ("changes", "model", "memory_gib"),
    [
        ({"gpu_description": None, "description": "8x B200 (180 GB SXM6)"}, "B200", 180),
        ({"gpu_description": None, "description": None}, "H100", None),
        ({"gpu_description": "", "description": ""}, "H100", None),
    ],
)
def test_a_response_without_the_gpus_description_still_gives_the_gpu(
    server: JsonServer, changes: dict[str, Any], model: str, memory_gib: int | None
) -> None:
    name = "gpu_8x_h100_sxm5"
    row = {
        "name": name,
        "price_cents_per_hour": 2392,
        "specs": {"vcpus": 208, "memory_gib": 1800, "gpus": 8},
        **changes,
    }
    server.on("/api/v1/instance-types", Reply({"data": {name: {"instance_type": row}}}))
    catalogue = Lambda(f"{server.url}/api/v1", 3600.0, api("lambda")).fetch(PriceRequests(), NOW)
    (fact,) = catalogue.facts
    assert (fact.gpu_model, fact.gpu_memory_bytes) == (model, None if memory_gib is None else memory_gib * GIB)
