"""The real Cloud Billing client against a local catalogue: published prices, and the traps of the real one's SKUs."""

from __future__ import annotations

import math
from typing import Any

import pytest
from tests.prices.gcp_server import COMPUTE, GcpRestServer, GcpServer, recorded, sku
from tests.prices.gcp_source import NOW, ON_DEMAND, SPOT, dollars, fetch, serving, wanted

from epochcost.prices.gcp.gcp_client import GcpCatalogue
from epochcost.prices.gcp.gcp_sources import NAME, GcpPrices
from epochcost.prices.price_source import PriceSourceError

PUBLISHED = {
    # cloud.google.com/compute/vm-instance-pricing, us-central1; by hand: cores + memory + GPUs + local SSD
    "a2-highgpu-1g": 3.673385,  # 12 x 0.031611 + 85 x 0.004237 + 2.933908
    "a2-highgpu-8g": 29.38708,  # 96 x 0.031611 + 680 x 0.004237 + 8 x 2.933908
    "a2-megagpu-16g": 55.739504,  # 96 x 0.031611 + 1360 x 0.004237 + 16 x 2.933908
    "a2-ultragpu-1g": 5.06879789,  # 12 x 0.031611 + 170 x 0.004237 + 3.92808 + 375 x 0.08 / 730
    "a3-highgpu-8g": 88.490000119,  # 208 x 0.025498 + 1872 x 0.00222035 + 8 x 9.796551 + 6000 x 0.08 / 730
    "a3-megagpu-8g": 93.400713,  # 208 x 0.026924 + 1872 x 0.002344 + 8 x 10.344276 + 6000 x 0.08 / 730
    "g2-standard-4": 0.706832276,  # 4 x 0.024988005 + 16 x 0.002927501 + 0.56004024
    "g2-standard-8": 0.853624312,
    "n2-standard-8": 0.388472,  # 8 x 0.031611 + 32 x 0.004237
    "e2-standard-4": 0.13402284,  # 4 x 0.02181159 + 16 x 0.00292353
    "c2-standard-4": 0.2088,  # 4 x 0.03398 + 16 x 0.00455
}
SUMS = {
    "a2-highgpu-1g": 12 * 0.031611 + 85 * 0.004237 + 2.933908,
    "a3-highgpu-8g": 208 * 0.025498 + 1872 * 0.00222035 + 8 * 9.796551 + 6000 * 0.08 / 730,
    "n1-standard-16+nvidia-tesla-p4:1": 16 * 0.031611 + 60 * 0.004237 + 0.60,
}
SPOT_SUMS = {
    "a2-highgpu-1g": 12 * 0.01058 + 85 * 0.001418 + 1.7603,
    "a3-highgpu-8g": 208 * 0.0098 + 1872 * 0.00085 + 8 * 5.57 + 6000 * 0.048 / 730,
    "n1-standard-16+nvidia-tesla-p4:1": 16 * 0.006655 + 60 * 0.000892 + 0.216,
}


def test_published_prices_are_the_sums_of_their_parts() -> None:
    with serving() as server:
        usd = dollars(fetch(server, *PUBLISHED))
    assert usd == pytest.approx(PUBLISHED, rel=4e-4)  # the figures of the page are rounded, of c2 to four digits
    exact = ("a2-highgpu-1g", "a2-highgpu-8g", "a2-megagpu-16g", "g2-standard-4", "n2-standard-8", "e2-standard-4")
    assert {name: round(usd[name], 6) for name in exact} == {name: round(PUBLISHED[name], 6) for name in exact}


def test_on_demand_and_spot_are_the_sums_of_exactly_their_own_skus() -> None:
    with serving() as server:
        result = fetch(server, *SUMS)
    assert result.problems == ()
    assert dollars(result) == pytest.approx(SUMS, rel=1e-12)
    assert dollars(result, SPOT) == pytest.approx(SPOT_SUMS, rel=1e-12)
    price = result.prices[0]
    assert (price.source, price.fetched_ts, price.steps[0].ts, price.key.zone) == (NAME, NOW, -math.inf, "")


def test_the_machine_of_the_reference_article_has_its_price() -> None:
    p4 = "n1-standard-16+nvidia-tesla-p4:1"
    with serving() as server:
        result = fetch(server, p4)
    assert round(dollars(result)[p4], 2) == 1.36
    assert round(dollars(result, SPOT)[p4], 2) == 0.38
    assert round(100 * (1 - 0.38 / 1.36), 4) == 72.0588


def test_whole_dollars_that_json_writes_as_text_or_leaves_out_are_counted() -> None:
    skus = recorded()
    p4 = next(row for row in skus[COMPUTE] if row["description"].startswith("Nvidia Tesla P4 GPU running"))
    del p4["pricingInfo"][0]["pricingExpression"]["tieredRates"][0]["unitPrice"]["units"]
    server = GcpRestServer(skus)
    catalogue = GcpCatalogue(NAME, make_client=server.client)
    result = GcpPrices(frozenset(), 86400.0, catalogue).fetch(wanted(*SUMS), NOW)
    catalogue.forget()
    server.stop()
    assert dollars(result) == pytest.approx(SUMS, rel=1e-12)


def test_a_free_tier_is_skipped_and_volume_tiers_are_not_a_price() -> None:
    core = "N2 Instance Core running in"
    with serving(sku(f"{core} Americas", [0.0, 0.03]), without=core) as server:
        assert dollars(fetch(server, "n2-standard-8"))["n2-standard-8"] == pytest.approx(8 * 0.03 + 32 * 0.004237)
    with serving(sku(f"{core} Americas", [0.04, 0.03], sku_id="TIERS"), without=core) as server:
        assert_no_price(server, "n2-standard-8", "n2 core SKU TIERS has not one rate above 0 but 0.03, 0.04")


@pytest.mark.parametrize(
    ("text", "usage"),
    [
        ("Sole Tenancy A2 Instance Core running in Americas", "OnDemand"),
        ("A2 Instance Core running in Americas for Sole Tenancy", "OnDemand"),
        ("Reserved A2 Core in Americas", "OnDemand"),
        ("A2 Instance Core running in Americas (Reserved)", "OnDemand"),
        ("Upgrade Premium for A2 Instance Core running in Americas", "OnDemand"),
        ("A2 Instance Core running in Americas, Premium", "OnDemand"),
        ("A2 Custom Instance Core running in Americas", "OnDemand"),
        ("A2 Instance Core running in Americas, custom", "OnDemand"),
        ("A2 Instance Core running in Americas while suspended", "OnDemand"),
        ("Commitment v1: A2 Instance Core running in Americas for 1 Year", "Commit1Yr"),
        ("A2 Instance Core running in Americas under a Commitment", "OnDemand"),
        ("A2 Instance Core running in Americas", "Commit3Yr"),
        ("A2 Instance Core running in Americas", "Commit"),  # of five years
        ("A2 Instance Core running in Americas", "CmtCudPremium"),
        ("DWS Defined Duration A2 Instance Core running in Americas", "OnDemand"),
        ("A2 Instance Core running in Americas with DWS Defined Duration", "OnDemand"),
        ("A2 Instance Core running in Americas in Calendar Mode", "OnDemand"),
        ("Capacity Optimized A2 Instance Core running in Americas", "OnDemand"),
        ("A2 Instance Core running in Americas Capacity Optimized", "OnDemand"),
        ("Spot Preemptible A2 Instance Core running in Americas", "Commit1Yr"),
        ("A2 Instance Core running in Americas", "Preemptible"),  # spot, whatever its text: then spot has two
        ("Some New A2 Instance Core running in Americas", "OnDemand"),
        ("A2 Instance Core Upgrade running in Americas", "OnDemand"),
        ("Nvidia Tesla A100 GPU attached to Sole Tenancy VMs running in Americas", "OnDemand"),
        ("Nvidia Tesla A100 GPU attached to DWS Defined Duration VMs running in Americas", "OnDemand"),
        ("Nvidia Tesla A100 Virtual Workstation GPU running in Americas", "OnDemand"),
        ("Nvidia Tesla A100 GPU running in Americas with Virtual Workstation", "OnDemand"),
    ],
)
def test_only_ordinary_prices_of_components_count(text: str, usage: str) -> None:
    with serving(sku(text, 0.001, usage=usage)) as server:
        assert dollars(fetch(server, "a2-highgpu-1g"))["a2-highgpu-1g"] == pytest.approx(SUMS["a2-highgpu-1g"])


def test_a_gpu_for_spot_machines_is_never_on_demand_whatever_its_usage_type() -> None:
    text = "Nvidia Tesla A100 GPU attached to Spot Preemptible VMs running in Americas"
    with serving(sku(text, 0.88, usage="OnDemand"), without="Nvidia Tesla A100 GPU attached") as server:
        result = fetch(server, "a2-highgpu-1g")
    assert dollars(result)["a2-highgpu-1g"] == pytest.approx(SUMS["a2-highgpu-1g"])
    assert dollars(result, SPOT)["a2-highgpu-1g"] == pytest.approx(SPOT_SUMS["a2-highgpu-1g"] - 1.7603 + 0.88)


def test_regions_are_those_of_the_sku_and_not_those_of_its_text() -> None:
    elsewhere = sku("A2 Instance Core running in Americas", 9.0, "southamerica-east1")
    with serving(elsewhere) as server:
        assert dollars(fetch(server, "a2-highgpu-1g"))["a2-highgpu-1g"] == pytest.approx(SUMS["a2-highgpu-1g"])


def test_a_family_without_a_number_in_its_text_and_its_older_text_are_c2() -> None:
    rows = [
        sku("Compute optimized Instance Core running in Doha", 0.04, "me-central1"),
        sku("Compute optimized Instance Ram running in Doha", 0.005, "me-central1"),
    ]
    with serving(*rows) as server:
        usd = dollars(fetch(server, "c2-standard-4", regions=("me-central1",)))
    assert usd == {"c2-standard-4": pytest.approx(4 * 0.04 + 16 * 0.005)}


@pytest.mark.parametrize("text", ["H100 80GB Mega", "H100 Mega 80GB", "H100 80GB Plus"])
def test_an_h100_mega_has_three_names_and_none_is_the_plain_one(text: str) -> None:
    row = sku(f"Nvidia {text} GPU running in Americas", 10.5)
    with serving(row, without="Nvidia H100 80GB Plus") as server:
        usd = dollars(fetch(server, "a3-megagpu-8g", "a3-highgpu-8g"))
    host = 208 * 0.026924 + 1872 * 0.002344 + 6000 * 0.08 / 730
    assert usd == pytest.approx({"a3-megagpu-8g": host + 8 * 10.5, "a3-highgpu-8g": SUMS["a3-highgpu-8g"]})


def test_a_bundled_machine_is_its_slices_and_is_sold_as_spot_only() -> None:
    with serving() as server:
        result = fetch(server, "a4-highgpu-8g")
    assert dollars(result) == {}  # the catalogue has a rate that is not for sale
    assert dollars(result, SPOT) == {"a4-highgpu-8g": pytest.approx(8 * 4.9542)}  # its usage type is OnDemand
    assert result.problems == ()


@pytest.mark.parametrize("machine_type", ["a3-highgpu-1g", "a3-highgpu-2g", "a3-highgpu-4g"])
def test_small_h100_machines_are_spot_only(machine_type: str) -> None:
    gpus = int(machine_type[-2])
    with serving() as server:
        result = fetch(server, machine_type)
    assert dollars(result) == {}
    assert dollars(result, SPOT)[machine_type] == pytest.approx(SPOT_SUMS["a3-highgpu-8g"] * gpus / 8)


def test_a_gpu_machine_is_never_priced_without_its_gpus() -> None:
    with serving(without="Nvidia Tesla A100 GPU running") as server:
        result = fetch(server, "a2-highgpu-1g")
    assert dollars(result) == {}
    assert dollars(result, SPOT)  # its own parts are all there
    sentence = "gcp: no on-demand price for a2-highgpu-1g in us-central1: nvidia-tesla-a100 GPU has no SKU there"
    assert result.problems == (sentence,)


def test_a_machine_is_never_priced_without_its_local_ssd() -> None:
    with serving(without="SSD backed") as server:
        assert_no_price(server, "a3-highgpu-8g", "local SSD has no SKU there")


@pytest.mark.parametrize("text", ["New SSD backed Local Storage in Iowa", "SSD backed Local Storage extra in Iowa"])
def test_a_sku_that_only_mentions_local_ssd_is_not_used(text: str) -> None:
    with serving(sku(text, 1.0)) as server:
        assert dollars(fetch(server, "a3-highgpu-8g")) == {"a3-highgpu-8g": pytest.approx(SUMS["a3-highgpu-8g"])}


def test_a_region_that_sells_local_ssd_need_not_sell_the_machine() -> None:
    with serving(sku("SSD backed Local Storage in Santiago", 0.09, "southamerica-west1")) as server:
        assert fetch(server, "a3-highgpu-8g", regions=("us-central1", "southamerica-west1")).problems == ()


def test_two_skus_that_differ_give_no_price_and_two_that_agree_give_one() -> None:
    text = "A2 Instance Core running in Iowa"
    with serving(sku(text, 0.0316, sku_id="TWIN")) as server:
        result = fetch(server, "a2-highgpu-1g")
    assert dollars(result) == {}
    assert "a2 core has 2 SKUs that differ" in result.problems[0]
    assert "TWIN $0.0316" in result.problems[0]
    with serving(sku(text, 0.031611)) as server:
        assert ON_DEMAND in {price.key.purchase_option for price in fetch(server, "a2-highgpu-1g").prices}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (sku("N2 Instance Core running in Iowa", 0.03, unit="mo", sku_id="ODD"), "SKU ODD is sold by 'mo', not by h"),
        (sku("N2 Instance Core running in Iowa", 0.03, currency="EUR", sku_id="ODD"), "SKU ODD is in EUR, not in USD"),
        (sku("N2 Instance Core running in Iowa", 0.0, sku_id="ODD"), "SKU ODD has not one rate above 0 but 0"),
        (sku("N2 Instance Core running in Iowa", -1.0, sku_id="ODD"), "SKU ODD has not one rate above 0 but -1"),
        ({**sku("N2 Instance Core running in Iowa", 1.0, sku_id="ODD"), "pricingInfo": []}, "SKU ODD has no price"),
    ],
)
def test_an_unreadable_sku_gives_no_price(row: dict[str, Any], message: str) -> None:
    with serving(row, without="N2 Instance Core") as server:
        assert_no_price(server, "n2-standard-8", f"n2 core {message}")


def assert_no_price(server: GcpServer, machine_type: str, message: str) -> None:
    with pytest.raises(PriceSourceError) as caught:
        fetch(server, machine_type)
    assert f"no on-demand price for {machine_type} in us-central1: {message}" in str(caught.value)


def test_the_newest_price_of_a_timeline_is_used() -> None:
    row, newer = (sku("N2 Instance Core running in Iowa", usd) for usd in (0.02, 0.03))
    row["pricingInfo"] += newer["pricingInfo"]
    with serving(row, without="N2 Instance Core") as server:
        assert dollars(fetch(server, "n2-standard-8"))["n2-standard-8"] == pytest.approx(8 * 0.03 + 32 * 0.004237)
