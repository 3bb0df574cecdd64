"""EC2's on-demand prices by the real boto3 against a simulated AWS, with the traps of the real one."""

from __future__ import annotations

import logging
import math
from typing import Any

import pytest
from tests.prices.aws_server import (
    AwsPriceServer,
    Fault,
    TypeFacts,
    capacity_block_twin,
    ec2_error,
    pricing_error,
    product,
    windows_twin,
)
from tests.prices.aws_source import DAY, NOW, dollars, wanted

from epochcost.model import InstanceFacts, PurchaseOption
from epochcost.prices.aws.aws_on_demand import AwsOnDemand, parse_facts
from epochcost.prices.aws.aws_spot import AwsSpot
from epochcost.prices.price_source import NotConfiguredError, PriceRequests, PriceSourceError, Want
from epochcost.prices.unpriced import unpriced

SPOT_OPERATION = "DescribeSpotPriceHistory"


# --- on demand ---


def test_the_on_demand_price_is_that_of_the_one_linux_row_among_its_twins(
    aws: AwsPriceServer, on_demand: AwsOnDemand
) -> None:
    aws.products = [
        capacity_block_twin("p5.48xlarge", "us-east-1"),
        windows_twin("p5.48xlarge", "us-east-1", 63.296),
        product("p5.48xlarge", "us-east-1", "0.0", capacitystatus="AllocatedCapacityReservation"),
        product("p5.48xlarge", "us-east-1", 55.04, capacitystatus="UnusedCapacityReservation"),
        product("p5.48xlarge", "us-east-1", 60.5, tenancy="Dedicated"),
        product("p5.48xlarge", "us-east-1", 99.0, preInstalledSw="SQL Std"),
        product("p5.48xlarge", "us-east-1", 55.04),
        product("p5.48xlarge", "eu-west-1", 66.0),
    ]
    aws.filters = False  # the source must not trust the filters of the API alone
    (price,) = on_demand.fetch(wanted("p5.48xlarge"), NOW).prices
    assert price.usd_per_hour == 55.04
    assert (price.key.region, price.key.zone, price.key.purchase_option) == ("us-east-1", "", PurchaseOption.ON_DEMAND)
    assert (price.source, price.fetched_ts, price.steps[0].ts) == ("aws", NOW, -math.inf)


TWINS = {
    "locationType": "AWS Local Zone",
    "operatingSystem": "Windows",
    "licenseModel": "Bring your own license",
    "tenancy": "Dedicated",
    "preInstalledSw": "SQL Web",
    "capacitystatus": "UnusedCapacityReservation",
    "marketoption": "CapacityBlock",
    "operation": "RunInstances:0002",
    "regionCode": "us-east-1-bos-1",
    "instanceType": "p5.4xlarge",
}


@pytest.mark.parametrize("attribute", TWINS)
def test_each_guard_alone_keeps_a_priced_twin_of_the_row_out(
    aws: AwsPriceServer, on_demand: AwsOnDemand, attribute: str
) -> None:
    """A twin that differs from the Linux row in this one attribute only: without the guard there would be two rows."""
    twin = {"instanceType": "p5.48xlarge", "regionCode": "us-east-1", attribute: TWINS[attribute]}
    aws.products = [
        product(twin.pop("instanceType"), twin.pop("regionCode"), 17.5, **twin),
        product("p5.48xlarge", "us-east-1", 55.04),
    ]
    aws.filters = False
    assert dollars(on_demand.fetch(wanted("p5.48xlarge"), NOW)) == {("us-east-1", "", "p5.48xlarge"): 55.04}


def test_a_price_in_yuan_is_never_used_as_dollars(aws: AwsPriceServer, on_demand: AwsOnDemand) -> None:
    aws.products = [
        product("p3.2xlarge", "cn-north-1", 29.97, currency="CNY"),
        product("p3.2xlarge", "us-east-1", 3.06),
    ]
    result = on_demand.fetch(wanted("p3.2xlarge", regions=("cn-north-1", "us-east-1")), NOW)
    assert dollars(result) == {("us-east-1", "", "p3.2xlarge"): 3.06}


def test_rows_of_another_unit_or_without_a_price_are_not_used(aws: AwsPriceServer, on_demand: AwsOnDemand) -> None:
    aws.products = [
        product("p2.xlarge", "us-east-1", 700.0, unit="Quantity"),
        product("p2.xlarge", "us-east-1", "0.0000000000"),
        product("p2.xlarge", "us-east-1", 0.9),
    ]
    assert dollars(on_demand.fetch(wanted("p2.xlarge"), NOW)) == {("us-east-1", "", "p2.xlarge"): 0.9}


def test_the_dollars_of_a_row_in_two_currencies_count(aws: AwsPriceServer, on_demand: AwsOnDemand) -> None:
    row = product("g5.xlarge", "us-east-1", 1.006)
    (term,) = row["terms"]["OnDemand"].values()
    (dimension,) = term["priceDimensions"].values()
    dimension["pricePerUnit"] = {"CNY": "7.2", "USD": "1.006"}
    aws.products = [row]
    result = on_demand.fetch(PriceRequests(frozenset({Want("aws", "us-east-1", "g5.xlarge")})), NOW)
    assert [price.usd_per_hour for price in result.prices] == [1.006]


def test_two_rows_are_an_error_for_that_type_alone(aws: AwsPriceServer, on_demand: AwsOnDemand) -> None:
    aws.products = [
        product("g5.xlarge", "us-east-1", 1.006),
        product("g5.xlarge", "us-east-1", 9.99, usagetype="BoxUsage:g5.xlarge-odd"),
        product("p2.xlarge", "us-east-1", 0.9),
    ]
    result = on_demand.fetch(wanted("g5.xlarge", "p2.xlarge"), NOW)
    assert dollars(result) == {("us-east-1", "", "p2.xlarge"): 0.9}
    assert "get_products for g5.xlarge in us-east-1: 2 rows match, not one" in result.problems[0]
    assert "$1.006" in result.problems[0]


def test_the_price_list_is_read_to_its_last_page_from_an_endpoint_that_exists(
    aws: AwsPriceServer, on_demand: AwsOnDemand
) -> None:
    aws.page_size = 1
    aws.filters = False
    aws.products = [
        *(product("x.large", "us-east-1", 1.0, tenancy="Host", n=str(n)) for n in range(4)),
        product("p2.xlarge", "eu-west-3", 0.9),
    ]
    assert dollars(on_demand.fetch(wanted("p2.xlarge", regions=("eu-west-3",)), NOW)) != {}
    assert aws.count("GetProducts") == 5
    assert {q.region for q in aws.requests if q.operation == "GetProducts"} == {"us-east-1"}


def test_facts_of_a_type_come_from_ec2(aws: AwsPriceServer, on_demand: AwsOnDemand) -> None:
    aws.products = [product(name, "us-east-1", 1.0) for name in ("p4d.24xlarge", "g6f.large", "c5.large")]
    aws.types = [
        TypeFacts("p4d.24xlarge", 96, 1152 * 1024, "A100", 8, 40960),
        TypeFacts("g6f.large", 2, 8192, "L4", 1, 2861, partition=0.125),
        TypeFacts("c5.large", 2, 4096),
    ]
    facts = {f.instance_type: f for f in on_demand.fetch(wanted("p4d.24xlarge", "g6f.large", "c5.large"), NOW).facts}
    gib = 1024**3
    assert facts["p4d.24xlarge"] == InstanceFacts("aws", "p4d.24xlarge", "A100 40GB", 8.0, 40 * gib, 96, 1152 * gib)
    assert facts["g6f.large"].gpus == 0.125
    assert (facts["c5.large"].gpus, facts["c5.large"].gpu_memory_bytes) == (0.0, None)


def test_a_trainium_or_inferentia_chip_counts_as_a_gpu(aws: AwsPriceServer, on_demand: AwsOnDemand) -> None:
    aws.products = [product(name, "us-east-1", 1.0) for name in ("trn1.32xlarge", "inf2.xlarge")]
    aws.types = [
        TypeFacts("trn1.32xlarge", 128, 512 * 1024, "Trainium", 16, 32768, neuron=True),
        TypeFacts("inf2.xlarge", 4, 16 * 1024, "Inferentia2", 1, 32768, neuron=True),
    ]
    facts = {f.instance_type: f for f in on_demand.fetch(wanted("trn1.32xlarge", "inf2.xlarge"), NOW).facts}
    gib = 1024**3
    assert facts["trn1.32xlarge"] == InstanceFacts("aws", "trn1.32xlarge", "Trainium", 16.0, 32 * gib, 128, 512 * gib)
    assert (facts["inf2.xlarge"].gpu_model, facts["inf2.xlarge"].gpus) == ("Inferentia2", 1.0)


def test_without_permission_for_facts_the_prices_still_come(aws: AwsPriceServer, on_demand: AwsOnDemand) -> None:
    aws.products = [product("p2.xlarge", "us-east-1", 0.9)]
    aws.faults = [ec2_error("DescribeInstanceTypes", "UnauthorizedOperation", "You are not authorized", 403)]
    result = on_demand.fetch(wanted("p2.xlarge"), NOW)
    assert len(result.prices) == 1
    assert "describe_instance_types for 1 types in us-east-1: HTTP 403 UnauthorizedOperation" in result.problems[0]


def test_a_type_sold_nowhere_is_requested_and_has_no_price(aws: AwsPriceServer) -> None:
    aws.products = [product("p2.xlarge", "us-east-1", 0.9)]
    regions = ("us-east-1", "eu-west-1")
    source = AwsOnDemand(wanted("p2.xlarge", "p2.xlagre", regions=regions).items, DAY)
    result = source.fetch(PriceRequests(source.watched | wanted("asked.large").items), NOW)
    assert result.problems == ()
    missing = {(each.want.region, each.want.instance_type): each.nearest for each in unpriced(result)}
    assert missing == {
        ("eu-west-1", "p2.xlarge"): (),
        ("eu-west-1", "p2.xlagre"): ("p2.xlarge",),
        ("us-east-1", "p2.xlagre"): ("p2.xlarge",),
        ("us-east-1", "asked.large"): (),
    }
    source.clients.forget()


def test_throttled_requests_are_retried(aws: AwsPriceServer, on_demand: AwsOnDemand) -> None:
    aws.products = [product("p2.xlarge", "us-east-1", 0.9)]
    aws.faults = [
        pricing_error("ThrottlingException", "Rate exceeded", status=429),
        pricing_error("ThrottlingException", "Rate exceeded", status=400),
        pricing_error("InternalErrorException", "try again", status=500),
    ]
    assert len(on_demand.fetch(wanted("p2.xlarge"), NOW).prices) == 1
    assert aws.count("GetProducts") == 4


def test_a_permanent_error_is_reported_with_request_and_response(aws: AwsPriceServer, on_demand: AwsOnDemand) -> None:
    aws.faults = [pricing_error("InvalidParameterException", "bad filter", times=None)]
    with pytest.raises(
        PriceSourceError,
        match=r"^aws: get_products for p2.xlarge in us-east-1: HTTP 400 InvalidParameter\w+ bad filter",
    ):
        on_demand.fetch(wanted("p2.xlarge"), NOW)


@pytest.mark.parametrize(
    "body",
    [
        '{"FormatVersion":"aws_v1","PriceList":["{\\"pro',
        "{}",
        '{"PriceList":["{\\"product\\":7}"]}',
        '{"PriceList":["["]}',
    ],
)
def test_a_truncated_response_or_one_of_another_form_is_an_error_without_a_price(
    aws: AwsPriceServer, on_demand: AwsOnDemand, body: str
) -> None:
    aws.faults = [Fault("GetProducts", 200, body, times=None)]
    with pytest.raises(PriceSourceError, match=r"aws: get_products for p2.xlarge in us-east-1"):
        on_demand.fetch(wanted("p2.xlarge"), NOW)


def test_expired_credentials_are_logged_once_without_any_secret(
    aws: AwsPriceServer, on_demand: AwsOnDemand, caplog: pytest.LogCaptureFixture
) -> None:
    message = "The security token session-token-of-the-test included in the request is expired"
    aws.faults = [pricing_error("ExpiredTokenException", message, times=None)]
    with caplog.at_level(logging.DEBUG, logger="epochcost"), pytest.raises(PriceSourceError) as caught:
        on_demand.fetch(wanted("a.large", "b.large", "c.large"), NOW)
    assert "HTTP 400 ExpiredTokenException The security token (secret) included" in str(caught.value)
    assert aws.count("GetProducts") == 1  # the other types would fail the same way
    messages = str(caught.value) + "".join(
        record.getMessage() for record in caplog.records if "epochcost" in record.name
    )
    assert not [s for s in ("AKIATEST", "secret-key-of-the-test", "session-token-of-the-test") if s in messages]


def test_new_credentials_are_read_after_a_failure(
    aws: AwsPriceServer, on_demand: AwsOnDemand, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws.products = [product("p2.xlarge", "us-east-1", 0.9)]
    aws.faults = [pricing_error("ExpiredTokenException", "expired")]
    with pytest.raises(PriceSourceError):
        on_demand.fetch(wanted("p2.xlarge"), NOW)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIANEWNEWNEWNEWNEW1")
    assert len(on_demand.fetch(wanted("p2.xlarge"), NOW).prices) == 1
    assert "AKIANEWNEWNEWNEWNEW1" in aws.requests[-1].headers["Authorization"]


def test_a_signature_error_never_repeats_what_was_signed(aws: AwsPriceServer, spot_source: AwsSpot) -> None:
    message = "The canonical string for this request should have been x-amz-security-token:anything"
    aws.faults = [ec2_error(SPOT_OPERATION, "SignatureDoesNotMatch", message, 403, times=None)]
    with pytest.raises(PriceSourceError) as caught:
        spot_source.fetch(wanted("p2.xlarge"), NOW)
    assert "canonical" not in str(caught.value)
    assert "HTTP 403 SignatureDoesNotMatch" in str(caught.value)


def test_a_signature_error_occurs_once_and_not_for_every_type(aws: AwsPriceServer, on_demand: AwsOnDemand) -> None:
    aws.faults = [pricing_error("InvalidSignatureException", "canonical string", times=None)]
    with pytest.raises(PriceSourceError):
        on_demand.fetch(wanted("a.large", "b.large", "c.large"), NOW)
    assert aws.count("GetProducts") == 1


@pytest.mark.parametrize("kind", [AwsOnDemand, AwsSpot])
def test_without_credentials_the_source_is_skipped_with_a_remedy(
    aws: AwsPriceServer, monkeypatch: pytest.MonkeyPatch, kind: type
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    source = AwsOnDemand(frozenset(), DAY) if kind is AwsOnDemand else AwsSpot(frozenset(), 300.0, DAY)
    with pytest.raises(NotConfiguredError, match="no AWS credentials found; give the poller a role"):
        source.fetch(wanted("p2.xlarge"), NOW)
    assert aws.requests == []


def test_an_endpoint_that_does_not_respond_is_named(
    aws: AwsPriceServer, on_demand: AwsOnDemand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_PRICING", "http://127.0.0.1:9")
    with pytest.raises(PriceSourceError, match=r"EndpointConnectionError.*127\.0\.0\.1:9"):
        on_demand.fetch(wanted("p2.xlarge", "p3.2xlarge"), NOW)
    assert aws.requests == []


# --- many regions at once ---

REGIONS = ("us-east-1", "us-west-2", "eu-west-1", "ap-south-1")


def test_many_regions_of_a_type_are_one_request_and_each_has_its_own_row(
    aws: AwsPriceServer, on_demand: AwsOnDemand
) -> None:
    aws.products = [
        *(product("p2.xlarge", region, 0.9 + n / 10) for n, region in enumerate(REGIONS)),
        *(capacity_block_twin("p2.xlarge", region) for region in REGIONS),
        product("p2.xlarge", "sa-east-1", 9.9),
        product("p2.xlarge", "us-west-2", 0.5, unit="Quantity"),
    ]
    aws.page_size = 3
    aws.filters = False
    result = on_demand.fetch(wanted("p2.xlarge", regions=REGIONS), NOW)
    assert dollars(result) == {(region, "", "p2.xlarge"): 0.9 + n / 10 for n, region in enumerate(REGIONS)}
    requests = [q for q in aws.requests if q.operation == "GetProducts" and "NextToken" not in q.arguments]
    assert len(requests) == 1


def test_two_rows_in_one_of_many_regions_do_not_affect_the_others(aws: AwsPriceServer, on_demand: AwsOnDemand) -> None:
    aws.products = [product("p2.xlarge", region, 0.9) for region in REGIONS] + [product("p2.xlarge", "us-west-2", 1.1)]
    result = on_demand.fetch(wanted("p2.xlarge", regions=REGIONS), NOW)
    assert {price.key.region for price in result.prices} == set(REGIONS) - {"us-west-2"}
    assert "p2.xlarge in us-west-2: 2 rows match, not one" in result.problems[0]


# --- currencies, fractions, invalid responses ---

PORTAL = "<html><body>sign in</body></html>"


@pytest.mark.parametrize(("rates", "usd"), [({}, None), ({"CNY": 0.14}, 1.4)])
def test_on_demand_prices_of_china_are_requested_from_china_and_need_a_rate(
    aws: AwsPriceServer, rates: dict[str, float], usd: float | None
) -> None:
    aws.products = [product("g5.xlarge", "cn-north-1", 10.0, currency="CNY")]
    source = AwsOnDemand(frozenset(), DAY, rates)
    types_of_china = wanted("g5.xlarge", regions=("cn-north-1",))
    if usd is None:
        with pytest.raises(PriceSourceError, match="'CNY', which has no rate"):
            source.fetch(types_of_china, NOW)
    else:
        assert [price.usd_per_hour for price in source.fetch(types_of_china, NOW).prices] == [pytest.approx(usd)]
    assert {wanted_types.region for wanted_types in aws.requests if wanted_types.operation == "GetProducts"} == {
        "cn-northwest-1"
    }
    source.clients.forget()


@pytest.mark.parametrize(
    ("device", "gpus"),
    [
        ({"Count": 0, "GpuPartitionSize": 0.125, "LogicalGpuCount": 1}, 0.125),
        ({"Count": 0, "GpuPartitionSize": 0.5, "LogicalGpuCount": 2}, 1.0),
        ({"Count": 0, "GpuPartitionSize": 0.25}, 0.25),
        ({"Count": 8}, 8.0),
        ({"Count": 1, "GpuPartitionSize": 0.5}, 0.5),
        ({"Count": 0}, None),
    ],
)
def test_a_partial_gpu_is_a_fraction_and_missing_facts_are_not_zero(device: dict[str, Any], gpus: float | None) -> None:
    raw = {
        "InstanceType": "g6f.xlarge",
        "GpuInfo": {"Gpus": [{"Name": "L4", "MemoryInfo": {"SizeInMiB": 2861}, **device}]},
    }
    fact = parse_facts(raw)
    assert (fact.gpus, fact.gpu_model) == (gpus, "L4")


def test_memory_is_of_a_whole_gpu_where_only_a_part_is_rented() -> None:
    part = {
        "Name": "L4",
        "Count": 0,
        "GpuPartitionSize": 0.125,
        "LogicalGpuCount": 1,
        "MemoryInfo": {"SizeInMiB": 2861},
    }
    fact = parse_facts({"InstanceType": "g6f.xlarge", "GpuInfo": {"Gpus": [part]}})
    assert fact.gpu_memory_bytes == 22888 * 1024**2


@pytest.mark.parametrize("operation", ["DescribeSpotPriceHistory", "DescribeInstanceTypes", "GetProducts"])
def test_an_html_page_with_status_200_is_an_error(
    aws: AwsPriceServer, on_demand: AwsOnDemand, spot_source: AwsSpot, operation: str
) -> None:
    aws.products = [product("p2.xlarge", "us-east-1", 0.9)]
    aws.faults = [Fault(operation, 200, PORTAL, "text/html", None)]
    source = spot_source if operation == "DescribeSpotPriceHistory" else on_demand
    if operation == "DescribeInstanceTypes":
        assert "not a response of AWS: InstanceTypes is not in it" in source.fetch(wanted("p2.xlarge"), NOW).problems[0]
    else:
        with pytest.raises(PriceSourceError, match=r"not a response of AWS|not a price list"):
            source.fetch(wanted("p2.xlarge"), NOW)


def test_a_new_purchase_option_is_noticed(aws: AwsPriceServer, on_demand: AwsOnDemand) -> None:
    aws.filters = False
    aws.products = [
        product("p2.xlarge", "us-east-1", 0.9),
        product("p2.xlarge", "us-east-1", 0.5, marketoption="Lottery"),
    ]
    result = on_demand.fetch(wanted("p2.xlarge"), NOW)
    assert result.unknown == ("marketoption=Lottery",)
    assert len(result.prices) == 1
