"""Oracle's price list and shapes against a local server."""

from __future__ import annotations

from typing import Any

import pytest
from tests.prices.asking_http import GIB, NOW, ON_DEMAND, SPOT, api, dollars, wanted
from tests.prices.json_server import JsonServer, Reply

from epochcost.model import InstanceFacts
from epochcost.prices.oci import Oci
from epochcost.prices.price_source import Catalogue, PriceSourceError
from epochcost.prices.unpriced import unpriced

Row = dict[str, Any]


def part(number: str, usd: float, metric: str = "GPU Per Hour", currency: str = "USD", **changes: Any) -> Row:
    prices = [{"model": "PAY_AS_YOU_GO", "value": usd}]
    localized = [{"currencyCode": currency, "prices": prices}, {"currencyCode": "EUR", "prices": prices}]
    name = "Oracle Cloud Infrastructure - Compute - GPU"
    row = {"partNumber": number, "displayName": name, "metricName": metric, "serviceCategory": "Compute - GPU"}
    return {**row, "currencyCodeLocalizations": localized, **changes}


def shape(name: str, number: str, ocpus: float, gpus: int = 0, gpu_gib: int = 0, **changes: Any) -> Row:
    return {
        "name": name,
        "status": "ACTIVE",
        "hidden": False,
        "allowPreemptible": False,
        "gpuQty": gpus or None,
        "gpuMemoryQty": gpu_gib or None,
        "bundleMemoryQty": 2048,
        "subType": {"value": "gpu" if gpus else "standard"},
        "shapeType": {"value": "bm"},
        "processorType": {"value": "intel"},
        "products": [{"partNumber": number, "qty": ocpus, "type": {"value": "ocpu"}}],
        **changes,
    }


PARTS = [
    part("B98415", 10.0),
    part("B95909", 2.0),
    part("B90000", 3.05),
    part("B88514", 0.0638, "OCPU Per Hour"),
    part("B93114", 0.0015, "Gigabyte Per Hour"),
]
H100 = shape("BM.GPU.H100.8", "B98415", 112, 8, 640)
A10 = shape("VM.GPU.A10.2", "B95909", 30, 2, 48, allowPreemptible=True)
A100 = shape("BM.GPU4.8", "B90000", 64, 8, 320, processorType={"value": "arm"})
STANDARD = shape("VM.Standard2.4", "B88514", 4, allowPreemptible=True, bundleMemoryQty=60)


def fetch(server: JsonServer, shapes: list[Row], *names: str, parts: list[Row] | None = None) -> Catalogue:
    server.on("/shapes.json", Reply({"items": shapes}))
    server.on(
        "/products/", Reply({"lastUpdated": "2026-08-14T09:09:55.872Z", "items": PARTS if parts is None else parts})
    )
    requested = names or tuple(str(each["name"]) for each in shapes)
    return source(server).fetch(wanted("oci", *(("us-ashburn-1", name) for name in requested)), NOW)


def source(server: JsonServer) -> Oci:
    return Oci(f"{server.url}/products/", f"{server.url}/shapes.json", frozenset(), 86400.0, api("oci"))


def test_a_component_counts_by_gpus_or_by_ocpus_according_to_its_metric(server: JsonServer) -> None:
    assert dollars(fetch(server, [H100, A10, A100, STANDARD])) == {
        ("", "BM.GPU.H100.8", ON_DEMAND): 80.0,  # 8 GPUs x $10, never 112 OCPUs x $10
        ("", "VM.GPU.A10.2", ON_DEMAND): 4.0,  # 2 GPUs x $2
        ("", "VM.GPU.A10.2", SPOT): 2.0,  # half of it
        ("", "BM.GPU4.8", ON_DEMAND): 24.4,  # 8 GPUs x $3.05
        ("", "VM.Standard2.4", ON_DEMAND): 0.2552,  # 4 OCPUs x $0.0638
        ("", "VM.Standard2.4", SPOT): 0.1276,
    }


def test_only_a_shape_that_can_be_preemptible_has_a_spot_price(server: JsonServer) -> None:
    assert [price.key.purchase_option for price in fetch(server, [H100]).prices] == [ON_DEMAND]


def test_the_price_of_a_shape_is_the_sum_of_its_parts_and_an_amount_may_be_a_fraction(server: JsonServer) -> None:
    products = [
        {"partNumber": "B88514", "qty": 0.5, "type": {"value": "ocpu"}},
        {"partNumber": "B93114", "qty": 8, "type": {"value": "memory"}},
    ]
    catalogue = fetch(server, [shape("VM.Small", "", 0, products=products)])
    assert dollars(catalogue) == {("", "VM.Small", ON_DEMAND): pytest.approx(0.0439)}  # 0.5 x 0.0638 + 8 x 0.0015
    assert catalogue.facts[0].vcpus == 1.0


def test_only_wanted_shapes_are_priced_and_there_is_no_request_while_none_is_wanted(server: JsonServer) -> None:
    assert len(fetch(server, [H100, A10], "BM.GPU.H100.8").prices) == 1
    before = len(server.requests)
    assert source(server).fetch(wanted("oci"), NOW) == Catalogue()
    assert len(server.requests) == before


@pytest.mark.parametrize(
    "changes", [{"status": "RETIRED"}, {"hidden": True}, {"subType": {"value": "flexible"}}, {"name": "VM.GPU.Flex"}]
)
def test_a_shape_that_is_not_sold_alone_has_no_price(server: JsonServer, changes: Row) -> None:
    catalogue = fetch(server, [{**H100, **changes}])
    assert (catalogue.prices, catalogue.facts, catalogue.problems) == ((), (), ())
    assert set(catalogue.reasons) == {str({**H100, **changes}["name"])}


def test_facts_of_a_shape_come_from_the_list_of_shapes(server: JsonServer) -> None:
    h100, a10, a100, standard = fetch(server, [H100, A10, A100, STANDARD]).facts
    assert h100 == InstanceFacts("oci", "BM.GPU.H100.8", "H100", 8.0, 80 * GIB, 224.0, 2048 * GIB)
    assert (a10.gpu_model, a10.gpu_memory_bytes) == ("A10", 24 * GIB)
    assert (a100.gpu_model, a100.vcpus) == ("A100 40GB", 128.0)  # the list calls it Arm, which it is not
    assert (standard.gpu_model, standard.gpus, standard.gpu_memory_bytes, standard.vcpus) == ("", 0.0, None, 8.0)


def test_an_ocpu_of_arm_is_one_vcpu(server: JsonServer) -> None:
    (fact,) = fetch(server, [shape("BM.Standard.A1.160", "B88514", 160, processorType={"value": "arm"})]).facts
    assert fact.vcpus == 160.0


TIERS = [{"model": "PAY_AS_YOU_GO", "value": 0.0, "rangeMax": 10}, {"model": "PAY_AS_YOU_GO", "value": 10.0}]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (part("B98415", 10.0, currency="GBP"), "part 'B98415': 0 prices in USD, not one"),
        (part("B98415", 10.0, "Port Hour"), "part 'B98415': metricName: 'Port Hour' is not per GPU, OCPU or GB hour"),
        (part("B98415", 0.0), "part 'B98415': value: 0 must be above 0"),
        (part("B98415", 10.0, currencyCodeLocalizations=[{"currencyCode": "USD", "prices": TIERS}]), "2 prices of PAY"),
        (part("B98415", 10.0, currencyCodeLocalizations=[{"currencyCode": "USD", "prices": []}]), "0 prices of PAY_AS"),
        (part("OTHER", 10.0), "part 'B98415' is not in the price list"),
    ],
)  # fmt: skip
def test_an_unexpected_component_is_named_and_does_not_affect_other_shapes(
    server: JsonServer, bad: Row, message: str
) -> None:
    catalogue = fetch(server, [H100, A10], parts=[bad, *PARTS[1:]])
    assert set(dollars(catalogue).values()) == {4.0, 2.0}
    (problem,) = catalogue.problems
    assert problem.startswith("oci: BM.GPU.H100.8: ")
    assert message in problem


def test_a_commitment_price_is_not_used(server: JsonServer) -> None:
    prices = [{"model": "ANNUAL_COMMIT", "value": 7.0}, {"model": "PAY_AS_YOU_GO", "value": 10.0}]
    both = part("B98415", 0.0, currencyCodeLocalizations=[{"currencyCode": "USD", "prices": prices}])
    assert dollars(fetch(server, [H100], parts=[both])) == {("", "BM.GPU.H100.8", ON_DEMAND): 80.0}


@pytest.mark.parametrize("gpus", [None, "8"])
def test_a_price_per_gpu_of_a_shape_without_gpus_is_not_used(server: JsonServer, gpus: object) -> None:
    with pytest.raises(PriceSourceError, match=r"oci: BM\.GPU\.H100\.8: gpuQty: "):
        fetch(server, [{**H100, "gpuQty": gpus}])


def test_a_response_of_another_form_is_an_error(server: JsonServer) -> None:
    server.on("/shapes.json", Reply({"items": "none"}))
    with pytest.raises(PriceSourceError, match=r"oci: not a response of Oracle's .*: items: 'none' is not a list"):
        source(server).fetch(wanted("oci", ("", "BM.GPU.H100.8")), NOW)


# --- current forms of the lists ---


def test_a_shape_is_found_by_the_name_that_the_machine_itself_has(server: JsonServer) -> None:
    rack = shape("BM.GPU.GB200.4 (NVL72)", "B98415", 128, 4, 756)
    catalogue = fetch(server, [rack], "BM.GPU.GB200.4")
    assert dollars(catalogue) == {("", "BM.GPU.GB200.4", ON_DEMAND): 40.0}
    assert catalogue.facts[0].gpu_memory_bytes == 189 * GIB


@pytest.mark.parametrize(
    ("name", "gpus", "listed", "one"),
    [
        ("BM.GPU.MI355X.8", 8, 288, 288),
        ("BM.GPU.GB300.4", 4, 278, 278),
        ("BM.GPU.GB200-v2.4", 4, 744, 186),
        ("BM.GPU.MI355X-v1.8", 8, 288, 288),
        ("BM.GPU.L40S-NC.4", 4, 192, 48),
        ("BM.GPU.H100.8", 8, 640, 80),
        ("BM.GPU.B300.8", 8, 2100, 262.5),
        ("VM.GPU.A10.2", 2, 48, 24),
        ("BM.GPU.NEW1.8", 8, 999, None),
        ("VM.GPU.NEW1.1", 1, 99, 99),
    ],
)
def test_memory_is_of_one_gpu_whatever_the_list_means(
    server: JsonServer, name: str, gpus: int, listed: int, one: float | None
) -> None:
    catalogue = fetch(server, [shape(name, "B98415", 112, gpus, listed)])
    assert catalogue.facts[0].gpu_memory_bytes == (None if one is None else one * GIB)


def test_a_shape_that_is_priced_by_the_gpu_needs_no_number_of_cores(server: JsonServer) -> None:
    bare = shape("BM.GPU.B300.8", "B98415", 0, 8, 2100, bundleMemoryQty=None)
    bare["products"] = [{"partNumber": "B98415", "qty": None, "type": {"value": "ocpu"}}]
    catalogue = fetch(server, [bare])
    assert dollars(catalogue) == {("", "BM.GPU.B300.8", ON_DEMAND): 80.0}
    assert (catalogue.facts[0].vcpus, catalogue.facts[0].memory_bytes) == (None, None)


def test_two_shapes_of_one_name_at_two_prices_have_no_price(server: JsonServer) -> None:
    catalogue = fetch(server, [H100, {**H100, "products": A10["products"]}, A10])
    assert {key[1] for key in dollars(catalogue)} == {"VM.GPU.A10.2"}
    assert catalogue.problems == ("oci: BM.GPU.H100.8: two shapes of that name differ in price: no price taken",)


def test_a_shape_in_no_list_is_requested_and_not_priced(server: JsonServer) -> None:
    (missing,) = unpriced(fetch(server, [H100, A10], "BM.GPU.H100.9", "VM.GPU.A10.2"))
    assert (missing.want.instance_type, missing.nearest[0]) == ("BM.GPU.H100.9", "BM.GPU.H100.8")


def test_another_kind_of_price_is_noticed(server: JsonServer) -> None:
    new = part("B98415", 10.0)
    new["currencyCodeLocalizations"][0]["prices"].append({"model": "LOTTERY", "value": 1})  # type: ignore[index]
    assert fetch(server, [H100], parts=[new]).unknown == ("LOTTERY",)


@pytest.mark.parametrize("odd", [{"gpuMemoryQty": "much"}, {"bundleMemoryQty": []}])
def test_unreadable_facts_of_a_shape_do_not_affect_its_price(server: JsonServer, odd: Row) -> None:
    catalogue = fetch(server, [{**H100, **odd}])
    assert dollars(catalogue) == {("", "BM.GPU.H100.8", ON_DEMAND): 80.0}
    assert catalogue.problems


def test_a_part_without_a_kind_and_without_a_number_of_ocpus_is_priced_by_the_gpu(server: JsonServer) -> None:
    catalogue = fetch(server, [{**H100, "products": [{"partNumber": "B98415", "qty": None, "type": None}]}])
    assert dollars(catalogue) == {("", "BM.GPU.H100.8", ON_DEMAND): 80.0}
    assert (catalogue.facts[0].gpus, catalogue.facts[0].vcpus, catalogue.problems) == (8.0, None, ())
