"""Poller, network and disk die in turn while a real agent meters: no dollar lost or doubled, and every age is true."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.agent.driven_agent import T0, DrivenAgent, SimulatedMachine
from tests.line import Line
from tests.poller.asking import get
from tests.poller.test_poller_app import value
from tests.prices.aws_server import AwsPriceServer, spot
from tests.waiting import wait_for

from epochcost.poller.app import PollerApp
from epochcost.poller.poller_settings import PollerSettings
from epochcost.prices.aws import aws_client

CHANGES = ((-7200.0, 0.30), (600.0, 0.60), (1500.0, 0.45), (2400.0, 0.90), (3300.0, 1.20))
"""When the simulated market changes, in seconds after T0, and its $/h from then on."""
NODE = {
    "node__provider": "aws",
    "node__region": "us-east-1",
    "node__zone": "us-east-1a",
    "node__instance_type": "p2.xlarge",
    "node__purchase_option": "spot",
}
SPOT = "epochcost_price_source_last_success_timestamp_seconds"
PRICE = "epochcost_instance_price_usd_per_hour"
PRICE_TS = "epochcost_instance_price_timestamp_seconds"


def true_usd(until: float) -> float:
    """The cost of ``until`` seconds from T0 on, by the market above."""
    ends = [ts for ts, _ in CHANGES[1:]] + [float("inf")]
    return sum(
        usd * max(0.0, min(end, until) - max(0.0, begin)) / 3600
        for (begin, usd), end in zip(CHANGES, ends, strict=True)
    )


@dataclasses.dataclass
class Site:
    """A poller whose clock is the machine's, over a simulated AWS."""

    machine: SimulatedMachine
    aws: AwsPriceServer
    line: Line
    """Between the two."""
    state: Path
    port: int = 0
    app: PollerApp | None = None

    def start(self) -> None:
        options = PollerSettings(
            web_listen_address=("127.0.0.1", self.port),
            state_dir=str(self.state),
            prices_sources=("aws",),
            aws_regions=("us-east-1",),
            aws_instance_types=("p2.xlarge",),
            aws_spot_interval=0.2,
            aws_on_demand_interval=3600.0,
        )
        self.app = PollerApp(options, clock=lambda: self.machine.wall)
        self.app.start()
        self.port = self.app.port

    def kill(self) -> None:
        assert self.app is not None
        self.app.stop()
        self.app = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def publish(self) -> None:
        """Publish the market's changes up to now."""
        changes_so_far = [(T0 + ts, usd) for ts, usd in CHANGES if T0 + ts <= self.machine.wall]
        self.aws.spot_history = [spot("p2.xlarge", "us-east-1a", usd, ts) for ts, usd in changes_so_far]

    def refreshed(self) -> None:
        """Wait until the poller has polled since the clock was last moved."""
        self.publish()
        wait_for(lambda: value(self.url, SPOT, source="aws_spot") == self.machine.wall, 60, "a refresh")

    def metered(self) -> DrivenAgent:
        """An agent on the node, with a run and the current price."""
        self.refreshed()
        it = DrivenAgent(self.machine, prices__url=self.url, **NODE)
        self.machine.write_event("start")
        wait_for(it.ask_price, what="the first price")
        return it

    def price_age(self) -> float | None:
        ts = value(self.url, PRICE_TS, zone="us-east-1a")
        return None if ts is None else self.machine.wall - ts


@pytest.fixture
def site(tmp_path: Path, aws: AwsPriceServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    line = Line(os.environ["AWS_ENDPOINT_URL_EC2"])
    monkeypatch.setenv("AWS_ENDPOINT_URL_EC2", line.url)
    monkeypatch.setattr(aws_client, "READ_TIMEOUT_SECONDS", 0.5)  # for a line that passes nothing
    it = Site(SimulatedMachine(tmp_path / "node"), aws, line, tmp_path / "poller")
    it.publish()
    it.start()
    yield it
    if it.app is not None:
        it.kill()
    line.close()


def test_poller_network_and_disk_die_in_turn_and_no_dollar_is_lost_or_doubled(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    it = site.metered()
    it.run(300, every=10)
    assert it.dollars("node_cost_usd") == pytest.approx(true_usd(300), rel=1e-12)

    # The poller dies; the market changes meanwhile, at 600 s.
    last_ts = it.sum("node_price_timestamp_seconds")
    site.kill()
    it.run(600, every=10)
    assert not it.ask_price()
    assert it.sum("node_price_timestamp_seconds") == last_ts == T0, "the agent's price grows old"
    assert it.dollars("node_cost_usd") == pytest.approx(900 * 0.30 / 3600), "at the last known price, for now"
    site.publish()
    site.start()
    site.refreshed()
    wait_for(it.ask_price, what="the price after the poller's restart")
    it.run(10)
    assert it.dollars("node_cost_usd") == pytest.approx(true_usd(910), rel=1e-12), "what was missed is dated right"

    # The network dies: connections break and none is accepted. The market changes at 1500 s and 2400 s.
    site.refreshed()
    site.line.cut()
    wait_for(lambda: value(site.url, "epochcost_price_source_success", source="aws_spot") == 0, 60, "the failure")
    it.run(1690, every=10)
    assert it.ask_price(), "the poller still answers, from its last good prices"
    assert site.price_age() == pytest.approx(1690, abs=1e-6), "and says how old they are"
    assert value(site.url, PRICE, zone="us-east-1a") == 0.60
    it.run(1)
    assert site.machine.wall - it.sum("node_price_timestamp_seconds") == pytest.approx(1691)
    site.publish()
    site.line.mend()
    site.refreshed()
    it.ask_price()
    it.run(99, every=10)  # a counter never goes down: it waits until the truth has caught up with what was charged
    assert it.dollars("node_cost_usd") == pytest.approx(true_usd(2700), rel=1e-12)

    # The disk is full; the market changes at 3300 s. Prices continue, and one log line says that they are not saved.
    (site.state / "prices.json").rename(site.state / "as it was")
    (site.state / "prices.json").mkdir()
    it.run(990, every=10)
    site.refreshed()
    it.ask_price()
    it.run(10)
    assert site.price_age() <= 10
    assert it.dollars("node_cost_usd") == pytest.approx(true_usd(3700), rel=1e-12)
    messages = [record for record in caplog.records if "prices cannot be saved" in record.message]
    assert len(messages) == 1
    assert "Is a directory" in messages[0].message

    # Killed without a disk, and started again without a network: the last prices that reached the disk, at their age.
    site.kill()
    (site.state / "prices.json").rmdir()
    (site.state / "as it was").rename(site.state / "prices.json")
    site.line.cut()
    site.start()
    it.run(390, every=10)
    assert it.ask_price()
    assert site.price_age() > 1300, "older than the outage of the disk"
    assert get(f"{site.url}/-/ready")[0] == 200
    site.line.mend()
    site.refreshed()
    it.ask_price()
    it.run(10)
    assert it.dollars("node_cost_usd") == pytest.approx(true_usd(4100), rel=1e-12)
    assert it.sum("node_unpriced_seconds") == 0
    assert sum(v for (name, _), v in it.scrape().items() if name == "epochcost_node_seconds_total") == pytest.approx(
        4100, rel=1e-12
    )
    it.close()


def test_a_silent_line_ends_in_a_reported_failure_and_delays_no_scrape(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    it = site.metered()
    site.line.silence()
    port = site.line.port
    wait_for(lambda: value(site.url, "epochcost_price_source_success", source="aws_spot") == 0, 60, "the failure")
    (messages,) = {r.message for r in caplog.records if "price source failed: aws_spot" in r.message}
    assert "ReadTimeoutError" in messages
    assert f"127.0.0.1:{port}" in messages
    it.run(1000, every=10)
    assert it.ask_price(), "the poller answers while it waits for an answer itself"
    assert site.price_age() == pytest.approx(1000, abs=1e-6)
    site.line.mend()
    site.refreshed()
    it.ask_price()
    it.run(10)
    assert it.dollars("node_cost_usd") == pytest.approx(true_usd(1010), rel=1e-12)
    it.close()
