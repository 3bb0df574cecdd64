"""The real boto3 against a simulated AWS, with the traps of the real one."""

from __future__ import annotations

import gc
import logging
import math
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import botocore.utils
import pytest
from botocore.client import BaseClient
from tests.prices.aws_server import (
    AwsPriceServer,
    Fault,
    TypeFacts,
    capacity_block_twin,
    ec2_error,
    pricing_error,
    product,
    spot,
    windows_twin,
)

from epochcost.model import InstanceFacts, Price, PurchaseOption
from epochcost.prices.aws import aws_client
from epochcost.prices.aws.aws_client import KEPT_CLIENTS
from epochcost.prices.aws.aws_on_demand import AwsOnDemand, parse_facts
from epochcost.prices.aws.aws_sagemaker import AwsSageMaker
from epochcost.prices.aws.aws_spot import AwsSpot, readable
from epochcost.prices.price_source import Catalogue, NotConfiguredError, PriceSourceError, Want, Wanted
from epochcost.prices.unpriced import unpriced

NOW = 1_795_000_000.0
DAY = 86400.0
SPOT_OPERATION = "DescribeSpotPriceHistory"


def wanted(*types: str, regions: tuple[str, ...] = ("us-east-1",)) -> Wanted:
    return Wanted(frozenset(Want("aws", region, name) for region in regions for name in types))


@pytest.fixture
def on_demand() -> Iterator[AwsOnDemand]:
    source = AwsOnDemand(frozenset(), DAY)
    yield source
    source.clients.forget()


@pytest.fixture
def spot_source() -> Iterator[AwsSpot]:
    source = AwsSpot(frozenset(), 300.0, 3 * DAY)
    yield source
    source.clients.forget()


def dollars(catalogue: Catalogue) -> dict[tuple[str, str, str], float]:
    return {(p.key.region, p.key.zone, p.key.instance_type): p.usd_per_hour for p in catalogue.prices}


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
    result = on_demand.fetch(Wanted(frozenset({Want("aws", "us-east-1", "g5.xlarge")})), NOW)
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
    result = source.fetch(Wanted(source.watched | wanted("asked.large").items), NOW)
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


# --- spot ---


def by_zone(catalogue: Catalogue) -> dict[str, Price]:
    return {price.key.zone: price for price in catalogue.prices}


def test_unsorted_rows_over_several_pages_become_one_history_a_zone(aws: AwsPriceServer, spot_source: AwsSpot) -> None:
    aws.page_size = 2
    aws.spot_history = [
        spot("p2.xlarge", "us-east-1b", 0.31, NOW - 500),
        spot("p2.xlarge", "us-east-1a", 0.28, NOW - 600),
        spot("p2.xlarge", "us-east-1a", 0.30, NOW - 60),
        spot("p2.xlarge", "us-east-1a", 0.29, NOW - 300),
        spot("p2.xlarge", "us-east-1a", 0.29, NOW - 300),
    ]
    history = by_zone(spot_source.fetch(wanted("p2.xlarge"), NOW))
    assert [(s.ts, s.usd_per_hour) for s in history["us-east-1a"].steps] == [
        (NOW - 600, 0.28),
        (NOW - 300, 0.29),
        (NOW - 60, 0.30),
    ]
    assert history["us-east-1a"].usd_per_hour == 0.30
    assert history["us-east-1b"].usd_per_hour == 0.31
    assert (history["us-east-1a"].source, history["us-east-1a"].key.purchase_option) == (
        "aws_spot",
        PurchaseOption.SPOT,
    )
    assert aws.count(SPOT_OPERATION) == 3  # the empty token of the last page ends the paging


def test_windows_and_other_descriptions_are_not_used(aws: AwsPriceServer, spot_source: AwsSpot) -> None:
    aws.spot_history = [
        spot("p2.xlarge", "us-east-1a", 0.28, NOW - 60),
        spot("p2.xlarge", "us-east-1a", 1.28, NOW - 30, description="Windows"),
        spot("p2.xlarge", "us-east-1a", 2.28, NOW - 20, description="Linux/UNIX (Amazon VPC)"),
    ]
    assert by_zone(spot_source.fetch(wanted("p2.xlarge"), NOW))["us-east-1a"].usd_per_hour == 0.28
    assert aws.requests[0].arguments["ProductDescription.1"] == "Linux/UNIX"


def test_a_type_that_was_not_requested_is_not_used(aws: AwsPriceServer, spot_source: AwsSpot) -> None:
    aws.filters = False
    aws.spot_history = [spot(name, "us-east-1a", 0.28, NOW - 60) for name in ("p2.xlarge", "p2.8xlarge")]
    result = spot_source.fetch(wanted("p2.xlarge"), NOW)
    assert [price.key.instance_type for price in result.prices] == ["p2.xlarge"]


def test_the_price_in_effect_when_the_window_begins_is_known_too(aws: AwsPriceServer, spot_source: AwsSpot) -> None:
    aws.spot_history = [
        spot("p2.xlarge", "us-east-1a", 0.20, NOW - 9 * DAY),
        spot("p2.xlarge", "us-east-1a", 0.25, NOW - 5 * DAY),
        spot("p2.xlarge", "us-east-1a", 0.28, NOW - DAY),
    ]
    (price,) = spot_source.fetch(wanted("p2.xlarge"), NOW).prices
    assert [(s.ts, s.usd_per_hour) for s in price.steps] == [(NOW - 5 * DAY, 0.25), (NOW - DAY, 0.28)]


def test_many_regions_are_queried_through_few_clients(aws: AwsPriceServer, spot_source: AwsSpot) -> None:
    """A client takes 1.4 MiB: those of 20 regions in two sources were a third of the poller."""
    regions = tuple(f"us-east-{n}" for n in range(1, 3 * KEPT_CLIENTS))
    aws.spot_history = [spot("p2.xlarge", f"{region}a", 0.28, NOW - 60) for region in regions]
    before = _clients()
    for _ in range(2):  # a client that was closed is rebuilt
        result = spot_source.fetch(wanted("p2.xlarge", regions=regions), NOW)
        assert {price.key.region for price in result.prices} == set(regions)
    assert _clients() - before <= KEPT_CLIENTS


@pytest.mark.parametrize(
    "raw_time",
    [
        "2026-11-26T20:00:00.000Z",
        "2026-11-26T20:00:00Z",
        "2026-11-26T20:00:00+02:00",
        "2026-11-26T20:00:00.123456Z",
        "Wed, 26 Nov 2025 20:00:00 GMT",
        "1764187200",
        1764187200,
        1764187200.5,
    ],
)
def test_a_time_is_read_as_botocore_reads_it(raw_time: object) -> None:
    read = aws_client._timestamp(raw_time)
    assert read == botocore.utils.parse_timestamp(raw_time)
    assert read.utcoffset() is not None


@pytest.mark.parametrize("raw_time", ["", "yesterday", "2026-13-01T00:00:00Z", None])
def test_an_invalid_time_is_absent_and_does_not_affect_the_response(raw_time: object) -> None:
    assert aws_client._timestamp(raw_time) is None
    with pytest.raises((ValueError, TypeError)):
        botocore.utils.parse_timestamp(raw_time)


def _clients() -> int:
    gc.collect()
    return sum(isinstance(each, BaseClient) for each in gc.get_objects())


def test_a_failing_region_does_not_affect_the_others(aws: AwsPriceServer, spot_source: AwsSpot) -> None:
    aws.spot_history = [spot("p2.xlarge", "us-east-1a", 0.28, NOW - 60)]
    aws.faults = [ec2_error(SPOT_OPERATION, "AuthFailure", "not subscribed to this region", 401)]
    result = spot_source.fetch(wanted("p2.xlarge", regions=("af-south-1", "us-east-1")), NOW)
    assert set(by_zone(result)) == {"us-east-1a"}
    assert result.problems == (
        (
            "aws_spot: describe_spot_price_history for p2.xlarge in af-south-1: "
            "HTTP 401 AuthFailure not subscribed to this region"
        ),
    )


def test_a_nonexistent_type_does_not_affect_the_others(aws: AwsPriceServer, spot_source: AwsSpot) -> None:
    aws.spot_history = [spot("p2.xlarge", "us-east-1a", 0.28, NOW - 60)]
    result = spot_source.fetch(wanted("p2.xlarge", "p2.xlagre"), NOW)
    assert set(by_zone(result)) == {"us-east-1a"}
    assert not result.problems


def test_one_row_without_a_price_does_not_affect_the_others(aws: AwsPriceServer, spot_source: AwsSpot) -> None:
    aws.spot_history = [spot("p2.xlarge", "us-east-1a", 0.28, NOW - 60), spot("p2.xlarge", "us-east-1b", "free", NOW)]
    result = spot_source.fetch(wanted("p2.xlarge"), NOW)
    assert set(by_zone(result)) == {"us-east-1a"}
    (problem,) = result.problems
    assert "a row of us-east-1 is not a price" in problem


def test_a_row_without_a_zone_does_not_affect_the_others() -> None:
    good = {"InstanceType": "t", "ProductDescription": "Linux/UNIX", "SpotPrice": "1.5", "AvailabilityZone": "a",
            "Timestamp": datetime.fromtimestamp(NOW, timezone.utc)}  # fmt: skip
    rows, problems = readable([good, {**good, "AvailabilityZone": None}], "us-east-1")
    assert rows == [good]
    assert "its type or zone is not a name" in problems[0]


@pytest.mark.parametrize("usd", ["NaN", "free", ""])
def test_a_row_without_a_price_is_rejected_with_its_content(
    aws: AwsPriceServer, spot_source: AwsSpot, usd: str
) -> None:
    aws.spot_history = [spot("p2.xlarge", "us-east-1a", usd, NOW - 60)]
    with pytest.raises(
        PriceSourceError, match=r"a row of us-east-1 is not a price: .*'AvailabilityZone': 'us-east-1a'"
    ):
        spot_source.fetch(wanted("p2.xlarge"), NOW)


@pytest.mark.parametrize("usd", ["0.0000", "-1"])
def test_a_row_of_zero_or_less_is_rejected_and_the_others_stay(
    aws: AwsPriceServer, spot_source: AwsSpot, usd: str
) -> None:
    aws.spot_history = [spot("p2.xlarge", "us-east-1a", usd, NOW - 60), spot("p2.xlarge", "us-east-1b", 0.3, NOW - 60)]
    result = spot_source.fetch(wanted("p2.xlarge"), NOW)
    assert dollars(result) == {("us-east-1", "us-east-1b", "p2.xlarge"): 0.3}
    assert [(rejected.key.zone, rejected.usd_per_hour) for rejected in result.refused] == [("us-east-1a", float(usd))]
    assert not result.problems


def test_zones_come_with_their_ids(aws: AwsPriceServer, spot_source: AwsSpot) -> None:
    aws.spot_history = [spot("p2.xlarge", f"us-east-1{letter}", 0.3, NOW - 60) for letter in "ab"]
    result = spot_source.fetch(wanted("p2.xlarge"), NOW)
    assert [(zone.zone, zone.zone_id) for zone in result.zones] == [
        ("us-east-1a", "use1-az2"),
        ("us-east-1b", "use1-az3"),
    ]


def test_truncated_xml_is_an_error_without_a_price(aws: AwsPriceServer, spot_source: AwsSpot) -> None:
    body = "<DescribeSpotPriceHistoryResponse><spotPriceHistorySet><item><spotPr"
    aws.faults = [Fault(SPOT_OPERATION, 200, body, "text/xml", times=None)]
    with pytest.raises(PriceSourceError, match=r"aws_spot: describe_spot_price_history for p2.xlarge in us-east-1"):
        spot_source.fetch(wanted("p2.xlarge"), NOW)


def test_a_connection_that_breaks_in_the_middle_is_an_error_after_a_few_attempts(
    aws: AwsPriceServer, spot_source: AwsSpot
) -> None:
    aws.faults = [Fault(SPOT_OPERATION, 200, "<DescribeSpot", "text/xml", times=None, truncated=True)]
    with pytest.raises(PriceSourceError, match=r"aws_spot: describe_spot_price_history for p2.xlarge in us-east-1"):
        spot_source.fetch(wanted("p2.xlarge"), NOW)
    assert 1 <= aws.count(SPOT_OPERATION) <= 4


def test_many_types_are_split_into_requests_that_ec2_accepts(aws: AwsPriceServer, spot_source: AwsSpot) -> None:
    names = [f"x{n}.large" for n in range(150)]
    aws.spot_history = [spot(name, "us-east-1a", 0.28, NOW - 60) for name in names]
    assert len(spot_source.fetch(wanted(*names), NOW).prices) == 150
    assert aws.count(SPOT_OPERATION) == 2


def test_without_wanted_types_there_is_no_request(
    aws: AwsPriceServer, spot_source: AwsSpot, on_demand: AwsOnDemand
) -> None:
    assert spot_source.fetch(Wanted(), NOW) == Catalogue()
    assert on_demand.fetch(Wanted(frozenset({Want("gcp", "us-east1", "a2-highgpu-1g")})), NOW) == Catalogue()
    assert aws.requests == []


# --- SageMaker ---


def training(instance_type: str, usd: float | str, component: str = "Training", region: str = "us-east-1") -> Any:
    attributes = {"instanceName": instance_type, "component": component, "instanceType": f"{instance_type}-{component}"}
    return product(instance_type, region, usd, **{**attributes, "usagetype": f"USE1-{component}:{instance_type}"})


@pytest.fixture
def sagemaker() -> Iterator[AwsSageMaker]:
    source = AwsSageMaker(frozenset(), DAY)
    yield source
    source.clients.forget()


def test_sagemaker_training_is_priced_by_its_own_row_not_by_that_of_hosting_or_of_ec2(
    aws: AwsPriceServer, sagemaker: AwsSageMaker
) -> None:
    aws.filters = False  # as if the API ignored the filters: then the source's own checks must work
    aws.products = [
        training("ml.p2.xlarge", 1.125),
        training("ml.p2.xlarge", 1.361, "Hosting"),
        training("ml.p3.2xlarge", 3.825),
        training("ml.p2.xlarge", 1.5, region="eu-west-1"),
        product("p2.xlarge", "us-east-1", 0.90),
    ]
    result = sagemaker.fetch(wanted("ml.p2.xlarge", "p2.xlarge"), NOW)
    assert dollars(result) == {("us-east-1", "", "ml.p2.xlarge"): 1.125}
    assert aws.count("GetProducts") == 1, "p2.xlarge is EC2's"
    assert result.prices[0].source == "aws_sagemaker"


def test_ec2_is_not_queried_for_types_of_sagemaker(aws: AwsPriceServer, on_demand: AwsOnDemand) -> None:
    assert on_demand.fetch(wanted("ml.p2.xlarge"), NOW) == Catalogue()
    assert not aws.requests


def test_two_training_rows_give_no_price(aws: AwsPriceServer, sagemaker: AwsSageMaker) -> None:
    aws.products = [training("ml.p2.xlarge", 1.125), training("ml.p2.xlarge", 1.2)]
    with pytest.raises(PriceSourceError, match=r"aws_sagemaker: .* ml.p2.xlarge in us-east-1: 2 rows match, not one"):
        sagemaker.fetch(wanted("ml.p2.xlarge"), NOW)


def test_nothing_of_sagemaker_wanted_needs_no_credentials(sagemaker: AwsSageMaker) -> None:
    assert sagemaker.fetch(wanted("p2.xlarge"), NOW) == Catalogue()


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


def with_rates(**rates: float) -> AwsSpot:
    return AwsSpot(frozenset(), 300.0, DAY, rates)


def test_spot_prices_without_a_currency_are_rejected_where_prices_are_not_in_dollars(aws: AwsPriceServer) -> None:
    aws.spot_history = [
        spot("g5.xlarge", "cn-north-1a", 3.8055, NOW - 60),
        spot("g5.xlarge", "us-east-1a", 0.5, NOW - 60),
    ]
    source = with_rates()
    result = source.fetch(wanted("g5.xlarge", regions=("cn-north-1", "us-east-1")), NOW)
    assert {price.key.region for price in result.prices} == {"us-east-1"}
    (problem,) = result.problems
    assert "cn-north-1" in problem
    assert "--prices.currencies CNY=" in problem
    source.clients.forget()


def test_spot_prices_of_china_become_dollars_by_a_configured_rate(aws: AwsPriceServer) -> None:
    aws.spot_history = [spot("g5.xlarge", "cn-north-1a", 3.8055, NOW - 60)]
    source = with_rates(CNY=0.14)
    (zone_price,) = source.fetch(wanted("g5.xlarge", regions=("cn-north-1",)), NOW).prices
    assert zone_price.usd_per_hour == pytest.approx(3.8055 * 0.14)
    source.clients.forget()


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


def test_a_type_that_sagemaker_sells_for_clusters_only_is_reported_as_such(
    aws: AwsPriceServer, sagemaker: AwsSageMaker
) -> None:
    aws.products = [training("ml.p6e-gb200.36xlarge", 100.0, component="Cluster")]
    (missing,) = unpriced(sagemaker.fetch(wanted("ml.p6e-gb200.36xlarge"), NOW))
    assert missing.reason == "SageMaker sells it there for Cluster only, not for training jobs"


def test_a_new_purchase_option_is_noticed(aws: AwsPriceServer, on_demand: AwsOnDemand) -> None:
    aws.filters = False
    aws.products = [
        product("p2.xlarge", "us-east-1", 0.9),
        product("p2.xlarge", "us-east-1", 0.5, marketoption="Lottery"),
    ]
    result = on_demand.fetch(wanted("p2.xlarge"), NOW)
    assert result.unknown == ("marketoption=Lottery",)
    assert len(result.prices) == 1


def test_a_new_kind_of_training_is_noticed(aws: AwsPriceServer, sagemaker: AwsSageMaker) -> None:
    aws.products = [
        training("ml.p2.xlarge", 1.125),
        training("ml.p2.xlarge", 1.361, "Hosting"),
        training("ml.p2.xlarge", 0.5, "TrainingLottery"),
    ]
    result = sagemaker.fetch(wanted("ml.p2.xlarge"), NOW)
    assert (result.unknown, dollars(result)) == (("TrainingLottery",), {("us-east-1", "", "ml.p2.xlarge"): 1.125})


def test_spot_prices_of_an_unknown_product_are_noticed(aws: AwsPriceServer, spot_source: AwsSpot) -> None:
    aws.filters = False
    aws.spot_history = [
        spot("p2.xlarge", "us-east-1a", 0.28, NOW - 60),
        spot("p2.xlarge", "us-east-1a", 0.38, NOW - 60, "SUSE Linux (Amazon VPC)"),
        spot("p2.xlarge", "us-east-1a", 0.48, NOW - 60, "Plan 9"),
    ]
    result = spot_source.fetch(wanted("p2.xlarge"), NOW)
    assert result.unknown == ("Plan 9",)
    assert [price.usd_per_hour for price in result.prices] == [0.28]
