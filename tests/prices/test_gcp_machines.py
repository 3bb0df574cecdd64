"""Machine types of Google Cloud: the table, names with attached GPUs, and what machines hold."""

from __future__ import annotations

from importlib.resources import files

import pytest
from tests.prices.gcp_source import dollars, fetch, serving

from epochcost.model import InstanceFacts
from epochcost.prices.gcp import gcp_machines
from epochcost.prices.gcp.gcp_components import UnknownMachineError
from epochcost.prices.gcp.gcp_gpus import GPUS, Gpu, with_accelerators
from epochcost.prices.gcp.gcp_sources import machine
from epochcost.prices.gpu_model import canonical
from epochcost.prices.price_source import PriceSourceError

GIB = 1024**3


def test_the_table_has_the_date_and_the_source_of_its_check() -> None:
    head = (files("epochcost.prices.gcp") / "gcp_machines.csv").read_text(encoding="utf-8").split("machine_type,")[0]
    assert "2026-" in head
    assert "cloud.google.com/compute/docs" in head


def test_every_row_of_the_table_is_a_machine_that_can_be_billed() -> None:
    for name, shape in gcp_machines.shapes().items():
        requested = f"{name}+none" if shape.family == "n1" else name
        billed = machine(requested)
        assert billed.spot, name
        assert not shape.accelerator or shape.accelerator in GPUS, name
        assert billed.facts.gpus == (shape.gpus * GPUS[shape.accelerator].share if shape.accelerator else 0), name


@pytest.mark.parametrize(
    ("name", "vcpus", "memory_gib", "model", "gpus", "gpu_memory_gib", "ssd_gib"),
    [
        ("a2-highgpu-8g", 96, 680, "A100 40GB", 8, 40, 0),
        ("a2-ultragpu-2g", 24, 340, "A100 80GB", 2, 80, 750),
        ("a3-highgpu-8g", 208, 1872, "H100", 8, 80, 6000),
        ("a3-megagpu-8g", 208, 1872, "H100", 8, 80, 6000),
        ("a3-ultragpu-8g", 224, 2952, "H200", 8, 141, 12000),
        ("a4-highgpu-8g", 224, 3968, "B200", 8, 180, 12000),
        ("g2-standard-24", 24, 96, "L4", 2, 24, 0),
    ],
)
def test_facts_of_gpu_machines(
    name: str, vcpus: int, memory_gib: int, model: str, gpus: int, gpu_memory_gib: int, ssd_gib: int
) -> None:
    facts = InstanceFacts("gcp", name, model, gpus, gpu_memory_gib * GIB, vcpus, memory_gib * GIB)
    assert machine(name).facts == facts
    assert gcp_machines.shapes()[name].local_ssd_gib == ssd_gib


def test_a_machine_without_gpus_has_zero_gpus() -> None:
    assert machine("n2-standard-8").facts == InstanceFacts("gcp", "n2-standard-8", "", 0.0, None, 8, 32 * GIB)


def test_an_n1_machine_has_the_gpus_of_its_name() -> None:
    four = "n1-highmem-32+nvidia-tesla-v100:4"
    assert machine(four).facts == InstanceFacts("gcp", four, "V100 16GB", 4, 16 * GIB, 32, 208 * GIB)
    assert machine("n1-highmem-32+none").facts.gpus == 0


def test_an_n1_machine_that_does_not_name_its_gpus_has_no_price() -> None:
    with serving() as server:
        catalogue = fetch(server, "n1-standard-16", "n1-standard-16+none")
    assert dollars(catalogue) == {"n1-standard-16+none": pytest.approx(16 * 0.031611 + 60 * 0.004237)}
    message = "does not specify its GPUs: use n1-standard-16+nvidia-tesla-t4:1, or n1-standard-16+none"
    assert catalogue.problems == (f"gcp: 'n1-standard-16' {message}",)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("n1-standard-16+nvidia-tesla-p4:3", "such GPUs cannot be attached; at most"),
        ("n1-standard-16+nvidia-tesla-p4:8", "nvidia-tesla-p4:4"),
        ("n1-standard-16+nvidia-l4:1", "such GPUs cannot be attached"),
        ("n1-standard-16+nvidia-tesla-a100:1", "such GPUs cannot be attached"),
        ("n1-standard-16+p4:1", "nvidia-tesla-p4:4"),
        ("n2-standard-8+nvidia-tesla-t4:1", "GPUs can be attached to N1 machines only"),
        ("a2-highgpu-1g+none", "GPUs can be attached to N1 machines only"),
        ("n4-standard-8", "is in neither the table of machine types nor that of TPU slices"),
        ("n2-custom-8-16384", "is in neither the table"),
        ("N2-STANDARD-8", "is in neither the table"),
        ("", "is in neither the table"),
    ],
)
def test_a_name_that_cannot_be_priced_is_rejected_with_the_reason(name: str, message: str) -> None:
    with pytest.raises(UnknownMachineError) as caught:
        machine(name)
    assert message in str(caught.value)
    assert repr(name) in str(caught.value)


def test_an_unknown_name_does_not_affect_the_others() -> None:
    with serving() as server:
        catalogue = fetch(server, "n4-standard-8", "n2-standard-8")
    assert list(dollars(catalogue)) == ["n2-standard-8"]
    assert catalogue.problems == (
        "gcp: 'n4-standard-8' is in neither the table of machine types nor that of TPU slices",
    )


def test_a_machine_with_a_component_sold_in_no_region_is_reported_once() -> None:
    with serving() as server:
        catalogue = fetch(
            server, "g2-standard-4", "a2-highgpu-1g", regions=("us-central1", "us-east1", "antarctica-south1")
        )
        assert catalogue.problems == ()  # it is sold in two of the three
        with pytest.raises(PriceSourceError) as caught:
            fetch(server, "g2-standard-4", regions=("antarctica-south1", "moon-north1"))
    assert str(caught.value) == "gcp: g2-standard-4 is sold in none of antarctica-south1, moon-north1"


@pytest.mark.parametrize("gpu", GPUS.values(), ids=lambda gpu: gpu.accelerator)
def test_gpu_models_are_spelled_as_everywhere(gpu: Gpu) -> None:
    assert canonical(gpu.accelerator.removesuffix("-vgpu"), round(gpu.memory_gib * GIB)) == gpu.model


@pytest.mark.parametrize(
    "instance_type", ["v2-8", "v3-32", "v4-8", "v5litepod-8", "v5p-8", "v6e-8", "ct6e-standard-4t"]
)
def test_tpu_models_are_spelled_as_everywhere(instance_type: str) -> None:
    assert canonical(instance_type) == machine(instance_type).facts.gpu_model


@pytest.mark.parametrize(
    ("models", "name"),
    [
        (["Tesla P4"], "n1-standard-16+nvidia-tesla-p4:1"),
        (["Tesla T4"] * 4, "n1-standard-16+nvidia-tesla-t4:4"),
        (["Tesla V100-SXM2-16GB"] * 8, "n1-standard-16+nvidia-tesla-v100:8"),
        (["Tesla P100-PCIE-16GB"] * 2, "n1-standard-16+nvidia-tesla-p100:2"),
        (["Tesla K80"], "n1-standard-16+nvidia-tesla-k80:1"),
        ([], "n1-standard-16+none"),
        (["Tesla T4", "Tesla P4"], "n1-standard-16"),  # which has no price
        (["Tesla P40"], "n1-standard-16"),
    ],
)
def test_attached_gpus_come_from_the_driver(models: list[str], name: str) -> None:
    assert with_accelerators("n1-standard-16", models) == name


def test_the_drivers_gpus_change_no_other_name() -> None:
    assert with_accelerators("a2-highgpu-1g", ["NVIDIA A100-SXM4-40GB"]) == "a2-highgpu-1g"
    assert with_accelerators("n1-standard-8+nvidia-tesla-t4:1", []) == "n1-standard-8+nvidia-tesla-t4:1"
