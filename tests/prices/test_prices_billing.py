"""The bills of providers for short runs."""

from __future__ import annotations

import pytest

from epochcost.model import PurchaseOption
from epochcost.prices.billing import billed_seconds, parse, rules

DEMAND, SPOT, OWNED = PurchaseOption.ON_DEMAND, PurchaseOption.SPOT, PurchaseOption.OWNED


@pytest.mark.parametrize(
    ("provider", "option", "ran", "instance_type", "billed"),
    [
        ("aws", DEMAND, 40, "p4d.24xlarge", 60),
        ("aws", SPOT, 90.2, "p4d.24xlarge", 91),
        ("gcp", DEMAND, 40, "a2-highgpu-1g", 60),
        ("azure", DEMAND, 40, "Standard_NC4as_T4_v3", 300),
        ("azure", SPOT, 301, "", 301),
        ("lambda", DEMAND, 40, "gpu_1x_a10", 60),
        ("lambda", DEMAND, 61, "gpu_1x_a10", 120),
        ("oci", DEMAND, 40, "BM.GPU.H100.8", 3600),
        ("oci", DEMAND, 40, "VM.GPU.A10.1", 60),
        ("runpod", SPOT, 40, "1x H100 SXM", 40),
        ("vastai", DEMAND, 40.5, "1x RTX 4090", 41),
        ("digitalocean", DEMAND, 40, "gpu-h100x1-80gb", 60),
        ("aws", DEMAND, 0, "p4d.24xlarge", 0),
        ("lambda", DEMAND, 60.0000000000001, "gpu_1x_a10", 60),
        ("owned", OWNED, 40.25, "desktop", 40.25),
    ],
)
def test_a_span_is_billed_by_the_rule_of_its_provider(
    provider: str, option: PurchaseOption, ran: float, instance_type: str, billed: float
) -> None:
    assert billed_seconds(provider, option, ran, instance_type) == billed


@pytest.mark.parametrize(("provider", "instance_type"), [("nobody", ""), ("aws", "ml.p4d.24xlarge")])
def test_an_unknown_rule_is_not_guessed(provider: str, instance_type: str) -> None:
    assert billed_seconds(provider, DEMAND, 40, instance_type) is None


def test_every_rule_has_its_source_and_date() -> None:
    assert all(rule.source and len(rule.date) == len("2026-11-21") for rule in rules())


def test_a_step_of_zero_is_rejected() -> None:
    head = "provider,purchase_option,instance_type,minimum_seconds,granularity_seconds,date,source"
    with pytest.raises(ValueError, match="billing rule of x: 60 and 0 must be seconds"):
        list(parse([head, "x,,,60,0,2026-11-21,nobody"]))
