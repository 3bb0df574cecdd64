"""EC2's spot price history by the real boto3 against a simulated AWS."""

from __future__ import annotations

import gc
from datetime import datetime, timezone

import botocore.utils
import pytest
from botocore.client import BaseClient
from tests.prices.aws_server import (
    AwsPriceServer,
    Fault,
    ec2_error,
    spot,
)
from tests.prices.aws_source import DAY, NOW, dollars, wanted

from epochcost.model import Price, PurchaseOption
from epochcost.prices.aws import aws_client
from epochcost.prices.aws.aws_client import KEPT_CLIENTS
from epochcost.prices.aws.aws_on_demand import AwsOnDemand
from epochcost.prices.aws.aws_spot import AwsSpot, readable
from epochcost.prices.price_source import Catalogue, PriceRequests, PriceSourceError, Want

SPOT_OPERATION = "DescribeSpotPriceHistory"


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
    assert spot_source.fetch(PriceRequests(), NOW) == Catalogue()
    assert on_demand.fetch(PriceRequests(frozenset({Want("gcp", "us-east1", "a2-highgpu-1g")})), NOW) == Catalogue()
    assert aws.requests == []


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
