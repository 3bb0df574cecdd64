"""Azure's retail prices against a local server, with the similar rows beside every Linux row."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import pytest
from tests.prices.asking_http import GIB, NOW, ON_DEMAND, SPOT, api, dollars, wanted
from tests.prices.json_server import JsonServer, ReceivedRequest, Reply

from epochcost.model import InstanceFacts
from epochcost.prices.azure.azure_sizes import size_facts
from epochcost.prices.azure.azure_source import Azure, spelt
from epochcost.prices.price_source import Catalogue, PriceSourceError
from epochcost.prices.unpriced import unpriced

H100 = "Standard_ND96isr_H100_v5"
T4 = "Standard_NC4as_T4_v3"
A100 = "Standard_NC24ads_A100_v4"
Row = dict[str, Any]


def row(usd: float, size: str = H100, **changes: Any) -> Row:
    """A row as the API gives it: by default on demand, Linux, eastus."""
    return {
        "currencyCode": "USD",
        "tierMinimumUnits": 0.0,
        "retailPrice": usd,
        "unitPrice": usd,
        "armRegionName": "eastus",
        "location": "US East",
        "effectiveStartDate": "2023-08-01T00:00:00Z",
        "meterId": "m-1",
        "meterName": "ND96isrH100v5",
        "skuName": "ND96isrH100v5",
        "productName": "Virtual Machines NDsr H100 v5 Series",
        "serviceName": "Virtual Machines",
        "serviceFamily": "Compute",
        "unitOfMeasure": "1 Hour",
        "type": "Consumption",
        "isPrimaryMeterRegion": True,
        "armSkuName": size,
        **changes,
    }


def spot(usd: float, size: str = H100, **changes: Any) -> Row:
    return row(usd, size, meterId="m-s", meterName="ND96isrH100v5 Spot", skuName="ND96isrH100v5 Spot", **changes)


def page(rows: Sequence[Row], link: str | None = None) -> Reply:
    return Reply({"BillingCurrency": "USD", "Items": list(rows), "NextPageLink": link, "Count": len(rows)})


def catalogue_of(rows: Sequence[Row]) -> Any:
    """Responds as the API does: filters are case-sensitive."""

    def script(request: ReceivedRequest) -> Reply:
        names = re.findall(r"armSkuName eq '([^']*)'", request.query["$filter"])
        (region,) = re.findall(r"armRegionName eq '([^']*)'", request.query["$filter"])
        return page([each for each in rows if each["armSkuName"] in names and each["armRegionName"] == region])

    return script


def fetch(server: JsonServer, rows: Sequence[Row], *types: str) -> Catalogue:
    server.script("/prices", catalogue_of(rows))  # type: ignore[arg-type]
    return source(server).fetch(wanted("azure", *(("eastus", each) for each in types or (H100,))), NOW)


def source(server: JsonServer) -> Azure:
    return Azure(f"{server.url}/prices", frozenset(), 3600.0, api("azure"))


def test_linux_on_demand_and_spot_are_found_among_their_twins(server: JsonServer) -> None:
    # The four rows of one size in eastus, and the published prices of two others.
    catalogue = fetch(
        server,
        [
            row(102.736, productName="Virtual Machines NDsr H100 v5 Series Windows", meterId="m-w"),
            row(98.32),
            row(41.094, meterName="ND96isrH100v5 Low Priority", skuName="ND96isrH100v5 Low Priority", meterId="m-l"),
            spot(18.169536),
            row(0.526, T4, meterId="m-t4"),
            row(3.673, A100, meterId="m-a100"),
        ],
        H100,
        T4,
        A100,
    )
    assert dollars(catalogue) == {
        ("eastus", H100, ON_DEMAND): 98.32,  # 12.29 a GPU x 8
        ("eastus", H100, SPOT): 18.169536,  # 2.271192 a GPU x 8
        ("eastus", T4, ON_DEMAND): 0.526,
        ("eastus", A100, ON_DEMAND): 3.673,
    }
    assert catalogue.problems == ()
    assert {price.source for price in catalogue.prices} == {"azure"}


TWINS: Mapping[str, Row] = {
    "Windows": row(1.0, productName="Virtual Machines NDsr H100 v5 Series Windows"),
    "Windows, cut short": row(1.0, productName="Virtual Machines NCCadsv5 Srs Win"),
    "Cloud Services": row(1.0, productName="NDsr H100 v5 Series Cloud Services"),
    "CloudServices": row(1.0, productName="NDsr H100 v5 Series CloudServices"),
    "a dedicated host": row(1.0, productName="NDsr H100 v5 Series Dedicated Host"),
    "Low Priority": row(1.0, meterName="ND96isrH100v5 Low Priority", skuName="ND96isrH100v5 Low Priority"),
    "a reservation, priced for its whole term": row(430_000.0, type="Reservation", reservationTerm="1 Year"),
    "DevTest": row(1.0, type="DevTestConsumption"),
    "a volume tier": row(1.0, tierMinimumUnits=1000.0),
    "a meter that is primary elsewhere": row(1.0, isPrimaryMeterRegion=False),
    "per month": row(1.0, unitOfMeasure="1/Month"),
    "another service": row(1.0, serviceName="Azure Machine Learning"),
    "a price of zero": row(0.0),
}


@pytest.mark.parametrize("name", TWINS)
def test_rows_other_than_an_hour_of_plain_linux_neither_have_a_price_nor_affect_one(
    server: JsonServer, name: str
) -> None:
    alone = fetch(server, [TWINS[name]])
    assert (alone.prices, alone.problems, alone.facts) == ((), (), fetch(server, []).facts)
    both = fetch(server, [TWINS[name], row(98.32)])
    assert dollars(both) == {("eastus", H100, ON_DEMAND): 98.32}
    assert both.problems == ()


def test_a_spot_row_is_recognised_by_its_meter_or_its_sku(server: JsonServer) -> None:
    assert dollars(fetch(server, [row(5.0, skuName="ND96isrH100v5 Spot")])) == {("eastus", H100, SPOT): 5.0}
    assert dollars(fetch(server, [row(5.0, meterName="ND96isr H100 v5 Spot")])) == {("eastus", H100, SPOT): 5.0}


def test_a_size_is_requested_in_azures_own_case_and_priced_under_the_requested_name(server: JsonServer) -> None:
    request = "standard_nd96ISR_h100_V5"
    catalogue = fetch(server, [row(98.32)], request)
    assert dollars(catalogue) == {("eastus", request, ON_DEMAND): 98.32}
    assert [fact.gpus for fact in catalogue.facts] == [8.0]


@pytest.mark.parametrize(
    "size",
    [H100, T4, A100, "Standard_ND96isr_MI300X_v5", "Standard_NC24rs_v3", "Standard_D4s_v5", "Standard_E4-2s_v5",
     "Standard_ND128isr_NDR_GB200_v6", "Standard_NV36adms_A10_v5", "Standard_NV6", "Standard_NCC40ads_H100_v5",
     "Standard_NG8ads_V620_v1", "Standard_NV24ads_V710_v5"],
)  # fmt: skip
def test_azures_spelling_of_a_size_is_known_whatever_its_case(size: str) -> None:
    assert spelt(size.lower()) == spelt(size.upper()) == spelt(size) == size


def test_two_prices_of_one_date_are_ambiguous_so_none_is_used(server: JsonServer) -> None:
    catalogue = fetch(server, [row(98.32), row(99.0), row(0.526, T4)], H100, T4)
    assert dollars(catalogue) == {("eastus", T4, ON_DEMAND): 0.526}
    assert catalogue.problems == (
        f"azure: {H100} on_demand in eastus: 2 rows match, not one ($98.32, $99): no price taken",
    )


def test_two_prices_of_two_meters_are_ambiguous_whatever_their_dates(server: JsonServer) -> None:
    with pytest.raises(PriceSourceError, match="2 rows match, not one"):
        fetch(server, [row(98.32), row(99.0, meterId="m-2", effectiveStartDate="2024-01-01T00:00:00Z")])


def test_two_rows_of_one_price_are_one_price(server: JsonServer) -> None:
    assert dollars(fetch(server, [row(98.32), row(98.32, meterId="m-2")])) == {("eastus", H100, ON_DEMAND): 98.32}


def test_a_price_is_valid_from_its_date_and_an_announced_change_from_its_own(server: JsonServer) -> None:
    (price,) = fetch(server, [row(90.0, effectiveStartDate="2027-01-01T00:00:00Z"), row(98.32)]).prices
    dates = [datetime(2023, 8, 1, tzinfo=timezone.utc), datetime(2027, 1, 1, tzinfo=timezone.utc)]
    assert [(step.ts, step.usd_per_hour) for step in price.steps] == [
        (dates[0].timestamp(), 98.32),
        (dates[1].timestamp(), 90.0),
    ]
    assert price.fetched_ts == NOW


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"currencyCode": "EUR"}, "currencyCode: 'EUR' is not 'USD'"),
        ({"retailPrice": "98.32"}, "retailPrice: '98.32' is not a number"),
        ({"retailPrice": None}, "retailPrice: None is not a number"),
        ({"retailPrice": -1.0}, "a price must be above 0"),
        ({"retailPrice": 1e9}, "a price must be above 0 and at most 1e+06"),
        ({"effectiveStartDate": "soon"}, "effectiveStartDate: 'soon' is not a date"),
    ],
)
def test_an_unexpected_row_is_named_and_does_not_affect_the_others(
    server: JsonServer, changes: Row, message: str
) -> None:
    catalogue = fetch(server, [{**row(98.32), **changes}, row(0.526, T4)], H100, T4)
    assert dollars(catalogue) == {("eastus", T4, ON_DEMAND): 0.526}
    (problem,) = catalogue.problems
    assert problem.startswith(f"azure: {H100} on_demand in eastus: {message}")


def test_all_pages_are_read_with_the_filter_of_the_link(server: JsonServer) -> None:
    link = "https://prices.azure.com:443/api/retail/prices?api-version=2023-01-01-preview&$filter=x&$skip=1000"
    server.on("/prices", page([row(98.32)], link), page([spot(18.169536)]))
    catalogue = source(server).fetch(wanted("azure", ("eastus", H100)), NOW)
    assert len(catalogue.prices) == 2
    first, second = server.requests
    assert first.query["meterRegion"] == "'primary'"
    assert first.query["currencyCode"] == "'USD'"
    assert "priceType eq 'Consumption' and armRegionName eq 'eastus'" in first.query["$filter"]
    assert second.query["$skip"] == "1000"


def test_a_failing_region_does_not_affect_the_others(server: JsonServer) -> None:
    replies = catalogue_of([row(98.32)])
    server.script(
        "/prices",
        lambda request: Reply({}, 500) if "'westus'" in request.query["$filter"] else replies(request),  # type: ignore[operator]
    )
    catalogue = source(server).fetch(wanted("azure", ("eastus", H100), ("westus", H100)), NOW)
    assert dollars(catalogue) == {("eastus", H100, ON_DEMAND): 98.32}
    assert catalogue.problems == (f"azure: GET {server.host}/prices: HTTP 500: {{}}",)


def test_many_sizes_are_requested_ten_at_a_time(server: JsonServer) -> None:
    names = [f"Standard_D{number}s_v5" for number in range(25)]
    assert fetch(server, [row(1.0, name) for name in names], *names).problems == ()
    assert len(server.requests) == 3


def test_a_name_that_could_break_out_of_the_filter_is_not_requested(server: JsonServer) -> None:
    catalogue = fetch(server, [row(98.32)], "x' or armSkuName ne '")
    assert (catalogue.prices, catalogue.facts, catalogue.problems) == ((), (), ())
    assert server.requests == []


def test_a_response_of_another_form_is_an_error(server: JsonServer) -> None:
    server.on("/prices", Reply({"Items": {}}))
    message = r"azure: prices of eastus: not a response of Azure's retail price API: Items: \{\} is not a list"
    with pytest.raises(PriceSourceError, match=message):
        source(server).fetch(wanted("azure", ("eastus", H100)), NOW)


def test_there_is_no_request_while_nothing_is_wanted(server: JsonServer) -> None:
    assert source(server).fetch(wanted("azure"), NOW) == Catalogue()
    assert server.requests == []


def test_what_a_size_holds_comes_from_the_table(server: JsonServer) -> None:
    sizes = (H100, A100, "Standard_NC40ads_H100_v5", "Standard_NV12ads_A10_v5", "Standard_D4s_v5")
    h100, a100, nvl, third = sorted(fetch(server, [], *sizes).facts, key=lambda fact: sizes.index(fact.instance_type))
    assert h100 == InstanceFacts("azure", H100, "H100", 8.0, 80 * GIB, 96.0, 1900 * GIB)
    assert a100 == InstanceFacts("azure", A100, "A100 80GB", 1.0, 80 * GIB, 24.0, 220 * GIB)
    assert nvl.gpu_model == "H100 NVL"
    assert (third.gpu_model, third.gpus, third.gpu_memory_bytes) == ("A10", 1 / 3, 24 * GIB)


# --- successors, names, and what is not priced ---


def test_an_ended_row_of_one_meter_is_followed_by_another_meters(server: JsonServer) -> None:
    old = row(98.32, meterId="old", effectiveStartDate="2024-01-01T00:00:00Z", effectiveEndDate="2025-12-31T23:59:59Z")
    new = row(88.0, meterId="new", effectiveStartDate="2026-01-01T00:00:00Z")
    catalogue = fetch(server, [new, old])
    assert [step.usd_per_hour for step in catalogue.prices[0].steps] == [98.32, 88.0]
    assert catalogue.problems == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"effectiveEndDate": None}, "2 rows match, not one"),
        ({"effectiveEndDate": "2026-06-01T00:00:00Z"}, "2 rows match, not one"),
        ({"effectiveEndDate": "soon"}, "effectiveEndDate: 'soon' is not a date"),
    ],
)
def test_two_meters_of_one_time_are_no_price(server: JsonServer, changes: Row, message: str) -> None:
    old = row(98.32, meterId="old", effectiveStartDate="2024-01-01T00:00:00Z", **changes)
    new = row(88.0, meterId="new", effectiveStartDate="2026-01-01T00:00:00Z")
    with pytest.raises(PriceSourceError, match=message):
        fetch(server, [old, new])


def test_an_ended_price_without_a_successor_is_absent(server: JsonServer) -> None:
    ended_row = row(98.32, effectiveStartDate="2024-01-01T00:00:00Z", effectiveEndDate="2025-12-31T23:59:59Z")
    with pytest.raises(PriceSourceError, match="has ended"):
        fetch(server, [ended_row])


@pytest.mark.parametrize(
    ("size", "gpus", "model"),
    [
        ("Standard_NC24lds_xl_RTXPRO6000BSE_v6", 0.25, "RTX PRO 6000"),
        ("Standard_NC288ds_xl_RTXPRO6000BSE_v6", 2, "RTX PRO 6000"),
        ("Standard_ND96is_MI300X_v5", 8, "MI300X"),
        ("Standard_ND96is_H100_v5", 8, "H100"),
        ("Standard_NV8as_v4", 0.25, "MI25"),
        ("Standard_NC8ads_A10_v4", None, "A10"),
    ],
)
def test_newer_sizes_and_their_gpus(size: str, gpus: float | None, model: str) -> None:
    fact = size_facts(size)
    assert fact is not None
    assert (fact.gpus, fact.gpu_model) == (gpus, model)
    assert spelt(size.lower()) == size, "the metadata service may say it in lower case"


def test_rows_that_are_not_primary_are_reported_as_the_reason(server: JsonServer) -> None:
    catalogue = fetch(server, [row(98.32, isPrimaryMeterRegion=False)])
    (missing,) = unpriced(catalogue)
    assert "not of the primary meter region" in missing.reason


def test_an_unknown_size_is_named_with_the_nearest(server: JsonServer) -> None:
    (missing,) = unpriced(fetch(server, [], "Standard_ND96isr_H100_v9"))
    assert "Standard_ND96isr_H100_v5" in missing.nearest


def test_another_type_of_price_is_noticed(server: JsonServer) -> None:
    assert fetch(server, [row(98.32), row(1.0, type="Lottery")]).unknown == ("Lottery",)


def test_a_page_with_fewer_rows_than_its_count_is_an_error(server: JsonServer) -> None:
    server.on("/prices", Reply({"Items": [row(98.32)], "NextPageLink": None, "Count": 3}))
    with pytest.raises(PriceSourceError, match="1 of 3 rows were received"):
        source(server).fetch(wanted("azure", ("eastus", H100)), NOW)


def test_rows_are_found_in_any_case_of_a_size(server: JsonServer) -> None:
    server.on("/prices", page([row(98.32, H100.lower()), row(3.67, A100.upper())]))
    catalogue = source(server).fetch(wanted("azure", ("eastus", H100), ("eastus", A100)), NOW)
    assert dollars(catalogue) == {("eastus", H100, ON_DEMAND): 98.32, ("eastus", A100, ON_DEMAND): 3.67}
