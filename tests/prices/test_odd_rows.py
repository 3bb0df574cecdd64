"""One row of another form among good ones: it is left out and reported, and affects at most its own price."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.prices.asking_http import dollars
from tests.prices.aws_price_list import PriceListServer, header, line
from tests.prices.aws_server import AwsPriceServer, product, spot
from tests.prices.gcp_server import COMPUTE, GcpRestServer, recorded, sku
from tests.prices.json_server import JsonServer, Reply
from tests.prices.test_source_faults import KINDS, Site

from epochcost.prices.aws.aws_bulk import AwsBulk
from epochcost.prices.aws.aws_on_demand import AwsOnDemand
from epochcost.prices.aws.aws_sagemaker import AwsSageMaker
from epochcost.prices.aws.aws_spot import AwsSpot
from epochcost.prices.gcp.gcp_client import GcpCatalogue
from epochcost.prices.gcp.gcp_sources import GcpPrices
from epochcost.prices.price_source import PriceRequests, PriceSourceError, Want

NOW = 1_795_000_000.0
DAY = 86400.0
ODD: tuple[Any, ...] = (None, "sold out", 5, [], [{}])
UNREADABLE = (
    5,
    {},
    {"product": 5},
    {"product": {"sku": "X", "attributes": {"instanceType": "p2.xlarge"}}, "terms": {}},
    {"product": {"sku": "X", "attributes": None}},
)


def wanted(*types: str, region: str = "us-east-1") -> PriceRequests:
    return PriceRequests(frozenset(Want("aws", region, name) for name in types))


def _with_odd(body: Any, odd: object) -> Any:
    """``body`` with one entry more in each of its lists, which for Lambda is the object of its types."""
    if "data" in body and "gpuTypes" not in body["data"]:
        return {"data": {**body["data"], "gpu_odd": odd}}
    return {
        name: [*each, odd] if isinstance(each, list) else _with_odd(each, odd) if isinstance(each, dict) else each
        for name, each in body.items()
    }


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", KINDS)
def test_an_odd_entry_affects_no_price(name: str, odd: object, server: JsonServer, tmp_path: Path) -> None:
    site = Site(name, server, tmp_path / "key")
    good = dollars(site.fetch())
    site.answer_with(lambda reply: [Reply(_with_odd(reply.body, odd))])
    result = site.fetch()
    assert dollars(result) == good
    assert any("not an object" in problem for problem in result.problems)


@pytest.mark.parametrize("name", KINDS)
def test_a_response_of_odd_entries_alone_is_an_error(name: str, server: JsonServer, tmp_path: Path) -> None:
    site = Site(name, server, tmp_path / "key")
    site.answer_with(lambda reply: [Reply({field: ["x"] for field in reply.body})])  # type: ignore[attr-defined]
    site.error_message()


@pytest.mark.parametrize("odd", UNREADABLE)
def test_an_odd_row_of_the_price_list_of_aws_affects_no_price(aws: AwsPriceServer, odd: Any) -> None:
    aws.filters = False
    aws.products = [product("p2.xlarge", "us-east-1", 0.9), odd]
    result = AwsOnDemand(frozenset(), DAY).fetch(wanted("p2.xlarge"), NOW)
    assert [price.usd_per_hour for price in result.prices] == [0.9]
    assert "1 row left out" in result.notes[0]


def _without_prices(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "terms": {"OnDemand": {"X": {"priceDimensions": {"X": {"unit": "Hrs", "pricePerUnit": "free"}}}}}}


def test_an_unrelated_product_may_have_any_price(aws: AwsPriceServer) -> None:
    windows = _without_prices(product("p2.xlarge", "us-east-1", 1, operatingSystem="Windows"))
    aws.filters = False
    aws.products = [product("p2.xlarge", "us-east-1", 0.9), windows]
    result = AwsOnDemand(frozenset(), DAY).fetch(wanted("p2.xlarge"), NOW)
    assert [price.usd_per_hour for price in result.prices] == [0.9]
    assert not result.problems


def test_a_wanted_product_without_a_readable_price_affects_only_its_own_type(aws: AwsPriceServer) -> None:
    twin = _without_prices(product("p2.xlarge", "us-east-1", 1))
    aws.products = [product("p2.xlarge", "us-east-1", 0.9), twin, product("p3.2xlarge", "us-east-1", 3.06)]
    result = AwsOnDemand(frozenset(), DAY).fetch(wanted("p2.xlarge", "p3.2xlarge"), NOW)
    assert [price.key.instance_type for price in result.prices] == ["p3.2xlarge"]
    assert any("p2.xlarge" in problem and "cannot be read" in problem for problem in result.problems)


def test_a_price_list_of_odd_rows_alone_is_an_error(aws: AwsPriceServer) -> None:
    aws.filters = False
    aws.products = [{"product": 5}]
    with pytest.raises(PriceSourceError, match="not an AWS price list"):
        AwsOnDemand(frozenset(), DAY).fetch(wanted("p2.xlarge"), NOW)


@pytest.mark.parametrize("odd", UNREADABLE)
def test_an_odd_row_of_sagemaker_affects_no_price(aws: AwsPriceServer, odd: Any) -> None:
    training = product("x", "us-east-1", 1.125, instanceName="ml.p2.xlarge", component="Training")
    aws.filters = False
    aws.products = [training, odd]
    result = AwsSageMaker(frozenset(), DAY).fetch(wanted("ml.p2.xlarge"), NOW)
    assert [price.usd_per_hour for price in result.prices] == [1.125]
    assert "1 row left out" in result.notes[0]


def _spot_usd(aws: AwsPriceServer) -> tuple[dict[str, float], tuple[str, ...]]:
    result = AwsSpot(frozenset(), 300.0, 3 * DAY).fetch(wanted("p2.xlarge"), NOW)
    return {price.key.zone: price.usd_per_hour for price in result.prices}, result.problems


def test_an_odd_row_of_the_spot_history_affects_only_its_zone(aws: AwsPriceServer) -> None:
    aws.spot_history = [
        spot("p2.xlarge", "us-east-1a", 0.28, NOW - 60),
        spot("p2.xlarge", "us-east-1b", 0.30, NOW - 60),
        spot("p2.xlarge", "us-east-1b", "free", NOW - 30),
    ]
    result, problems = _spot_usd(aws)
    assert result == {"us-east-1a": 0.28}, "what holds in 1b now is not known"
    assert "aws_spot: 1 row left out: a row of us-east-1 is not a price" in problems[0]


def test_an_odd_row_that_is_older_than_another_affects_nothing(aws: AwsPriceServer) -> None:
    aws.spot_history = [
        spot("p2.xlarge", "us-east-1b", "free", NOW - 3600),
        spot("p2.xlarge", "us-east-1b", 0.30, NOW - 60),
    ]
    assert _spot_usd(aws)[0] == {"us-east-1b": 0.30}


@pytest.mark.parametrize(
    "odd", ['"OnDemand","p4d.24xlarge"\n', line("1", "X").replace("Shared", 'Sh\x00ared", extra="')]
)
def test_an_odd_line_of_the_public_list_affects_no_price(odd: str) -> None:
    server = PriceListServer(lambda: [(header() + odd + line("21.957642")).encode()])
    try:
        result = AwsBulk(server.url, frozenset(), DAY).fetch(wanted("p4d.24xlarge"), NOW)
    finally:
        server.stop()
    assert [price.usd_per_hour for price in result.prices] == [21.957642]
    assert "1 row left out" in result.problems[0]


def test_a_line_of_the_public_list_without_a_figure_affects_only_its_own_type() -> None:
    other = line("3.06", "Y", **{"Instance Type": "p3.2xlarge"})
    server = PriceListServer(lambda: [(header() + line("free") + other).encode()])
    try:
        result = AwsBulk(server.url, frozenset(), DAY).fetch(wanted("p4d.24xlarge", "p3.2xlarge"), NOW)
    finally:
        server.stop()
    assert [price.key.instance_type for price in result.prices] == ["p3.2xlarge"]
    assert "p4d.24xlarge" in result.problems[0]


def _without_units() -> dict[str, Any]:
    odd = sku("Nvidia L4 GPU running in Americas", 1.0, "us-central1")
    odd["pricingInfo"][0]["pricingExpression"]["tieredRates"][0]["unitPrice"]["units"] = "x"
    return odd


@pytest.mark.parametrize("odd", [None, 5, _without_units()])
def test_an_odd_sku_affects_no_price(odd: Any) -> None:
    rows = [*recorded()[COMPUTE], odd]
    server = GcpRestServer({COMPUTE: rows})
    try:
        catalogue = GcpCatalogue("gcp", make_client=server.client)
        result = GcpPrices(frozenset(), DAY, catalogue).fetch(
            PriceRequests(frozenset({Want("gcp", "us-central1", "a2-highgpu-1g")})), NOW
        )
    finally:
        server.stop()
    assert [price.key.instance_type for price in result.prices] == ["a2-highgpu-1g"] * len(result.prices)
    assert result.prices
    assert "gcp: Compute Engine: 1 row left out: SKU" in result.problems[0]
