"""The reference article's table (provider, configuration, $/h, spot $/h, saving) by PromQL in a real Prometheus.

First of the article's prices, dated rows of the list in the package, of which nothing is simulated; then of prices as
the sources read them now, from local servers that speak as AWS and Azure do.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.poller.test_poller_app import running, settings, value
from tests.prices import test_azure
from tests.prices.aws_server import AwsPriceServer, capacity_block_twin, product, spot
from tests.prices.json_server import JsonServer
from tests.stack import Prometheus, available
from tests.waiting import wait_for

pytestmark = [pytest.mark.stack, pytest.mark.skipif(not available(), reason="needs Debian's prometheus")]
TABLE = {
    ("azure", "NV6"): (1.14, 0.20, 0.82),
    ("gcp", "n1-standard-16+P4"): (1.36, 0.38, 0.72),
    ("aws", "g3.4xlarge"): (1.14, 0.34, 0.70),
}
"""As "Spot the difference in ML costs" prints it, in January 2021."""
USD = 'max by (provider, instance_type) (epochcost_instance_price_usd_per_hour{{purchase_option="{}",region="us"}})'


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Prometheus]:
    with running(settings(tmp_path, prices_sources=("listed",))) as app:
        wait_for(lambda: value(app.url, "epochcost_price_source_success", source="listed"), 60, "the list")
        targets = {"prices": [f"127.0.0.1:{app.port}"]}
        with Prometheus(tmp_path / "prometheus", targets) as it:
            yield it


def test_the_table_of_the_article_follows_from_the_pollers_metrics(prometheus: Prometheus) -> None:
    saving = "max without (region, zone) (market:epochcost_spot_saving_ratio:now)"
    wait_for(lambda: len(prometheus.query(saving)) >= 3, 60, "the rule of savings")

    def column(expr: str) -> dict[tuple[str, str], float]:
        return {(labels["provider"], labels["instance_type"]): usd for labels, usd in prometheus.query(expr)}

    on_demand, spot, saving_by_type = column(USD.format("on_demand")), column(USD.format("spot")), column(saving)
    for row, (usd, spot_usd, ratio) in TABLE.items():
        assert (on_demand[row], spot[row]) == (usd, spot_usd), row
        assert saving_by_type[row] == pytest.approx(1 - spot_usd / usd, abs=1e-12)
        assert round(saving_by_type[row], 2) == ratio
    cheapest = prometheus.query(f"topk(1, {saving})")[0][0]["provider"]
    assert cheapest == "azure"
    assert not prometheus.unhealthy_rules()


def test_every_row_is_marked_as_listed_with_its_age(prometheus: Prometheus) -> None:
    age = 'time() - epochcost_instance_price_timestamp_seconds{instance_type="g3.4xlarge",region="us"}'
    rows = wait_for(lambda: prometheus.query(age), 60, "the ages")
    assert {labels["source"] for labels, _ in rows} == {"listed"}
    assert all(seconds > 5 * 365 * 86400 for _, seconds in rows)


def test_one_gpu_is_compared_over_all_providers(prometheus: Prometheus) -> None:
    expr = 'sort(min by (provider) (market:epochcost_gpu_price_usd_per_hour:now{gpu_model="H100"}))'
    wait_for(lambda: len(prometheus.query(expr)) >= 4, 60, "the rule of prices a GPU")
    rates = [(labels["provider"], round(usd, 4)) for labels, usd in prometheus.query(expr)]
    assert rates == [("runpod", 2.69), ("lambda", 3.99), ("aws", 6.88), ("gcp", 11.0612), ("azure", 12.29)]


def test_the_same_table_follows_from_current_prices(tmp_path: Path, aws: AwsPriceServer) -> None:
    size = test_azure.H100
    aws.products = [product("g5.xlarge", "us-east-1", 1.006), capacity_block_twin("g5.xlarge", "us-east-1")]
    since = time.time() - 600
    aws.spot_history = [
        spot("g5.xlarge", "us-east-1a", 0.503, since),
        spot("g5.xlarge", "us-east-1b", 0.3018, since),
    ]
    with JsonServer() as azure:
        azure.on("/prices", test_azure.page([test_azure.row(98.32), test_azure.spot(24.58)]))
        options = settings(
            tmp_path,
            prices_sources=("aws", "azure"),
            aws_regions=("us-east-1",),
            aws_instance_types=("g5.xlarge",),
            azure_url=f"{azure.url}/prices",
            azure_regions=("eastus",),
            azure_instance_types=(size,),
        )
        with (
            running(options) as app,
            Prometheus(tmp_path / "prometheus", {"prices": [f"127.0.0.1:{app.port}"]}) as prometheus,
        ):
            saving = "market:epochcost_spot_saving_ratio:now"
            rows = wait_for(
                lambda: len(rows_found := prometheus.query(saving)) >= 3 and rows_found, 60, "the rule of savings"
            )
            saving_by_type = {(labels["instance_type"], labels.get("zone", "")): ratio for labels, ratio in rows}
            assert saving_by_type == pytest.approx(
                {("g5.xlarge", "us-east-1a"): 0.5, ("g5.xlarge", "us-east-1b"): 0.7, (size, ""): 0.75}
            )
            ages = prometheus.query("time() - epochcost_instance_price_timestamp_seconds")
            assert {labels["source"] for labels, _ in ages} == {"aws", "aws_spot", "azure"}
            assert all(seconds < 60 for _, seconds in ages), "prices of now, and no listed row among them"
            assert not prometheus.unhealthy_rules()
