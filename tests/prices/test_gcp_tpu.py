"""TPU slices of Google Cloud: their units, their names, and similar SKUs."""

from __future__ import annotations

import pytest
from tests.prices.gcp_server import CLOUD_TPU, sku
from tests.prices.gcp_source import SPOT, dollars, fetch, serving

from epochcost.prices.price_source import PriceSourceError

GIB = 1024**3


@pytest.mark.parametrize(
    ("instance_type", "region", "usd", "chips"),
    [
        ("v2-8", "us-central1", 4.50, 4),  # cloud.google.com/tpu/pricing
        ("v2-32", "us-central1", 4 * 6.0, 16),  # more than eight cores are a pod
        ("v3-8", "us-central1", 8.0, 4),
        ("v3-32", "us-central1", 4 * 8.25, 16),
        ("v4-8", "us-central2", 4 * 3.22, 4),  # $3.22 a chip; v4 is always a pod
        ("v4-32", "us-central2", 16 * 3.22, 16),
        ("v5litepod-1", "asia-south2", 1.44132, 1),  # v5e and v6e count chips
        ("v5litepod-8", "asia-south2", 8 * 1.44132, 8),
        ("v5p-8", "southamerica-east1", 4 * 6.430995, 4),  # v5p counts cores, two a chip
        ("v6e-1", "us-east5", 2.70, 1),
        ("v6e-8", "us-east5", 8 * 2.70, 8),
        ("v6e-8", "us-south1", 8 * 2.70, 8),
        ("ct6e-standard-4t", "us-east5", 4 * 2.70, 4),
        ("ct5lp-hightpu-8t", "asia-south2", 8 * 1.44132, 8),
        ("ct5p-hightpu-4t", "southamerica-east1", 4 * 6.430995, 4),
    ],
)
def test_a_slice_costs_its_chips(instance_type: str, region: str, usd: float, chips: int) -> None:
    with serving() as server:
        result = fetch(server, instance_type, regions=(region,))
    assert dollars(result)[instance_type] == pytest.approx(usd, rel=1e-9)
    (facts,) = result.facts
    assert (facts.gpus, facts.vcpus) == (chips, None)


def test_facts_of_a_slice_follow_from_its_chip() -> None:
    with serving() as server:
        (facts,) = fetch(server, "v5p-8", regions=("southamerica-east1",)).facts
    assert (facts.gpu_model, facts.gpus, facts.gpu_memory_bytes) == ("TPU v5p", 4, 95 * GIB)


def test_spot_of_v2_to_v4_is_known_by_the_text_alone() -> None:
    with serving() as server:
        old = dollars(fetch(server, "v2-8"), SPOT)
        pod = dollars(fetch(server, "v4-8", regions=("us-central2",)), SPOT)
        new = dollars(fetch(server, "v6e-4", regions=("us-east5",)), SPOT)
    assert (old, pod, new) == ({"v2-8": 1.35}, {"v4-8": 3.864}, {"v6e-4": pytest.approx(4 * 1.4033)})


@pytest.mark.parametrize(
    "decoy",
    [
        "Capacity Optimized TpuV6e running in Columbus",
        "DWS Defined Duration TpuV6e running in Columbus",
        "Reserved TpuV6e running in Columbus in Calendar Mode",
        "New TpuV6e running in Columbus",
        "TpuV6e Extra running in Columbus",
        "TpuV6e attached to Reserved VMs running in Columbus",
    ],
)
def test_a_sku_that_only_mentions_a_tpu_is_not_used(decoy: str) -> None:
    with serving(sku(decoy, 0.5, "us-east5")) as server:
        result = fetch(server, "v6e-1", regions=("us-east5",))
    assert (dollars(result), result.problems) == ({"v6e-1": 2.70}, ())


@pytest.mark.parametrize(
    "decoy", ["Reservation fee for Tpu-v2 Accelerator running in Americas", "New Tpu-v2 in Americas"]
)
def test_a_sku_that_only_mentions_a_tpu_device_is_not_used(decoy: str) -> None:
    with serving(sku(decoy, 0.5), service=CLOUD_TPU) as server:
        result = fetch(server, "v2-8")
    assert (dollars(result), result.problems) == ({"v2-8": 4.5}, ())


def test_devices_and_pods_are_distinguished() -> None:
    with serving(without="Tpu-v2 Pod", service=CLOUD_TPU) as server, pytest.raises(PriceSourceError) as caught:
        fetch(server, "v2-32")
    assert str(caught.value) == "gcp: v2-32 is sold in none of us-central1"


def test_two_differing_texts_of_one_device_give_no_price() -> None:
    with serving(sku("Tpu-v2 running in Americas", 4.6, sku_id="B"), service=CLOUD_TPU) as server:
        result = fetch(server, "v2-8")
    assert list(dollars(result)) == []
    assert result.problems[0].endswith("8 cores of TPU v2 has 2 SKUs that differ (3B3D-4CB4-AECC $4.5, B $4.6)")


@pytest.mark.parametrize("instance_type", ["v6e-3", "v5p-12", "v5p-20000", "v2-64", "v4-4", "v5litepod-2", "v6e-512"])
def test_a_size_that_is_not_sold_has_no_price(instance_type: str) -> None:
    with serving() as server, pytest.raises(PriceSourceError) as caught:
        fetch(server, instance_type)
    assert str(caught.value) == f"gcp: {instance_type!r} is not a size in which that TPU is sold"


def test_each_service_is_read_only_when_something_of_it_is_wanted() -> None:
    with serving() as server:
        fetch(server, "v2-8")
        assert server.requested_services() == [CLOUD_TPU]
