"""The poller's network dies under real programs: what is exported, which alerts fire and resolve, what is charged.

A node's agent, the poller with the real boto3, Prometheus with the project's rules (quickened) and Alertmanager; only
the AWS API and the line to it are the test's own.
"""

from __future__ import annotations

import shutil
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from tests.e2e.programs import Program, spot_agent, spot_poller
from tests.line import Line
from tests.loopback import WebhookReceiver
from tests.prices.aws_server import AwsPriceServer, product, spot
from tests.stack import RULES_DIR, Alertmanager, Prometheus
from tests.waiting import wait_for

pytestmark = pytest.mark.stack
TYPE, REGION, ZONE = "p3.16xlarge", "us-east-1", "us-east-1a"
SPEED = 150.0
STALE_SECONDS = 8
"""From when on a spot price is called stale here; 6 hours as the project comes."""


@dataclass
class Site:
    aws: AwsPriceServer
    line: Line
    poller: Program
    agent: Program
    prometheus: Prometheus
    hook: WebhookReceiver

    def metrics(self) -> str:
        """The agent's current metrics."""
        with urllib.request.urlopen(f"{self.agent.url}/metrics", timeout=5) as response:
            return str(response.read().decode())

    def charged(self) -> tuple[float, float]:
        """The time of the agent's last sample (seconds since the Unix epoch), and its dollars up to then."""
        families = {family.name: family for family in text_string_to_metric_families(self.metrics())}
        (looked,) = families["epochcost_sample_timestamp_seconds"].samples
        dollars = [families[f"epochcost_node_{which}cost_usd"].samples for which in ("", "provisional_")]
        return looked.value, sum(sample.value for samples in dollars for sample in samples)

    def firing(self, alert: str) -> bool:
        return any(each["labels"]["alertname"] == alert for each in self.prometheus.alerts())


def short_rules(directory: Path) -> Path:
    """The project's rules with the one figure of the file of thresholds changed, as users change them."""
    shutil.copytree(RULES_DIR, directory, ignore=shutil.ignore_patterns("tests"))
    path = directory / "epochcost-thresholds.yml"
    rules = yaml.safe_load(path.read_text())
    (limit,) = (
        rule
        for group in rules["groups"]
        for rule in group["rules"]
        if rule["record"] == "epochcost:threshold:spot_price_age_seconds"
    )
    limit["expr"] = f"vector({STALE_SECONDS})"
    path.write_text(yaml.safe_dump(rules, sort_keys=False))
    return directory


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    aws = AwsPriceServer([product(TYPE, REGION, 24.48)])
    aws.spot_history = [spot(TYPE, ZONE, 7.5, time.time() - 3600)]
    environment = aws.environment(aws.start())
    line = Line(environment["AWS_ENDPOINT_URL_EC2"])
    poller = spot_poller(tmp_path, REGION, TYPE, {**environment, "AWS_ENDPOINT_URL_EC2": line.url})
    agent = spot_agent(tmp_path, poller, REGION, ZONE, TYPE, "none", {})
    with (
        WebhookReceiver() as hook,
        Alertmanager(tmp_path / "am", hook.url, speed=SPEED) as alertmanager,
        Prometheus(
            tmp_path / "prom",
            {"agents": [agent.address], "prices": [poller.address]},
            alertmanager.address,
            rules=short_rules(tmp_path / "rules"),
            scrape_interval="500ms",
            evaluation_interval="500ms",
            speed=SPEED,
        ) as prometheus,
    ):
        poller.start()
        agent.start()
        yield Site(aws, line, poller, agent, prometheus, hook)
        agent.end()
        poller.end()
        line.close()
        aws.stop()


def test_alerts_of_a_failing_source_and_a_stale_price_fire_and_resolve_and_no_dollar_is_lost(site: Site) -> None:
    prometheus = site.prometheus
    wait_for(lambda: prometheus.value("node:epochcost_price_usd_per_hour:unified") == 7.5, 60, "the spot price")
    wait_for(lambda: "epochcost_node_cost_usd_total{" in site.metrics(), 30, "the agent's own first dollars")
    began_ts, began_usd = site.charged()
    assert not site.firing("EpochcostPriceStale")
    assert not site.firing("EpochcostPriceSourceFailing")

    site.line.cut()
    cut_ts = time.time()
    failing = wait_for(lambda: site.hook.alerts("EpochcostPriceSourceFailing"), 90, "the alert of the failing source")
    assert failing[0]["labels"]["source"] == "aws_spot"
    assert "Nodes that cost $7.50 an hour are priced by it" in failing[0]["annotations"]["description"]
    wait_for(lambda: site.firing("EpochcostPriceStale"), 90, "the alert of the stale price")
    age = prometheus.value("node:epochcost_price_age_seconds:now")
    assert STALE_SECONDS < age <= time.time() - cut_ts + 5, "as old as the last answer, and no older"
    assert prometheus.value("node:epochcost_price_usd_per_hour:unified") == 7.5, "the last good price is still used"
    assert "secret-key-of-the-test" not in site.poller.log.read_text()

    assert not site.hook.alerts("EpochcostPriceStale"), "its source's alert says why"

    # The price rose during the outage.
    rose_ts = round(time.time() - 5, 3)
    site.aws.spot_history = [*site.aws.spot_history, spot(TYPE, ZONE, 9.0, rose_ts)]
    site.line.mend()
    wait_for(lambda: site.hook.alerts("EpochcostPriceSourceFailing", "resolved"), 120, "the source's alert to end")
    wait_for(lambda: not site.firing("EpochcostPriceStale"), 120, "the price's alert to end")
    wait_for(lambda: prometheus.value("node:epochcost_price_usd_per_hour:unified") == 9.0, 30, "the new price")
    ts, usd = site.charged()
    truth = (7.5 * (rose_ts - began_ts) + 9.0 * (ts - rose_ts)) / 3600
    assert usd - began_usd == pytest.approx(truth, rel=1e-4)
    assert prometheus.unhealthy_rules() == []
