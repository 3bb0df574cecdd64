"""Training on Vertex AI: rates of its own on demand, Compute Engine's spot rates and a fee as spot."""

from __future__ import annotations

import pytest
from grpc import StatusCode
from tests.prices.gcp_server import COMPUTE, VERTEX, Fault, sku
from tests.prices.gcp_source import SPOT, dollars, fetch, serving
from tests.prices.test_gcp_prices import SPOT_SUMS

from epochcost.prices.price_source import PriceSourceError

H100S = "vertex/a3-highgpu-8g"
TEXT = "Vertex AI: Training/Pipelines"


def test_a_published_bill_is_the_sum_of_its_lines() -> None:
    """A bill of August 2025, less the boot disk of the job: zenn.dev/google_cloud_jp/articles/dws-flex-new-skus."""
    with serving() as server:
        result = fetch(server, H100S)
    by_hand = 90.1282656 + 6.0991216 + 4.7799648  # 8 GPUs, 208 cores, 1872 GiB; local SSD is on no line of it
    assert by_hand == pytest.approx(101.007352)
    assert dollars(result)[H100S] == pytest.approx(by_hand, rel=1e-12)
    assert result.problems == ()


def test_spot_is_the_spot_machine_and_the_fee() -> None:
    with serving() as server:
        usd = dollars(fetch(server, H100S), SPOT)
    fee = 8 * 1.4694826 + 208 * 0.0038247 + 1872 * 0.0003331
    assert usd == {H100S: pytest.approx(SPOT_SUMS["a3-highgpu-8g"] + fee, rel=1e-12)}


def test_a_fee_is_never_used_as_a_price() -> None:
    with serving(service=VERTEX, without=f"{TEXT} on NVIDIA H100") as server:
        result = fetch(server, H100S)
    assert dollars(result) == {}
    assert result.problems == (
        f"gcp: no on-demand price for {H100S} in us-central1: Vertex AI nvidia-h100-80gb GPU has no SKU there",
    )


def test_an_attached_gpu_is_priced_for_training_too() -> None:
    name = "vertex/n1-standard-16+nvidia-tesla-p4:1"
    with serving() as server:
        result = fetch(server, name)
    assert dollars(result) == {name: pytest.approx(16 * 0.03635265 + 60 * 0.00487255 + 0.69, rel=1e-12)}
    assert [facts.gpu_model for facts in result.facts] == ["P4"]
    assert result.problems[0].startswith(
        f"gcp: no spot price for {name} in us-central1: Vertex AI fee on n1 core has no"
    )


@pytest.mark.parametrize(
    "text",
    [
        "Vertex AI: Online/Batch Prediction on NVIDIA H100 80GB in Iowa",
        f"{TEXT} on NVIDIA H100 80GB Mega in Iowa",
        f"{TEXT} on SSD backed PD Capacity in Iowa",
        f"New {TEXT} on NVIDIA H100 80GB in Iowa",
        f"Reserved {TEXT} on NVIDIA H100 80GB in Iowa",
    ],
)
def test_other_skus_of_vertex_are_not_used_for_this_machine(text: str) -> None:
    with serving(sku(text, 1.0), service=VERTEX) as server:
        assert dollars(fetch(server, H100S))[H100S] == pytest.approx(101.007352)


def test_an_unreadable_vertex_service_does_not_affect_machines() -> None:
    with serving() as server:
        server.faults = [Fault(message="no", times=None, service=VERTEX, code=StatusCode.PERMISSION_DENIED)]
        result = fetch(server, H100S, "a3-highgpu-8g")
    assert list(dollars(result)) == ["a3-highgpu-8g"]
    assert result.problems[0].startswith(
        "gcp: ListSkus of Vertex AI (services/C7E2-9256-1C43), page 1: PermissionDenied"
    )
    assert server.requested_services() == [COMPUTE, VERTEX]


def test_a_bundled_machine_is_not_guessed_at() -> None:
    with serving() as server, pytest.raises(PriceSourceError, match="rates of Vertex AI for this machine are not read"):
        fetch(server, "vertex/a4-highgpu-8g")
