"""The whole path with real parts: a training run, an agent, a poller with the real boto3, Prometheus, Alertmanager.

The AWS price APIs and the NVIDIA driver are the tests' own local ones; everything else is what users run.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.e2e.programs import Program, spot_agent, spot_poller, train
from tests.e2e.truth import truth_of
from tests.fake_nvml import FakeDriver, build
from tests.grafana.boards import queries
from tests.loopback import WebhookReceiver
from tests.prices.aws_server import AwsPriceServer, TypeFacts, capacity_block_twin, product, spot
from tests.stack import Alertmanager, Prometheus
from tests.waiting import wait_for

pytestmark = pytest.mark.stack
TYPE, REGION, ZONE = "p3.16xlarge", "us-east-1", "us-east-1a"
SPEED = 75.0
BOARDS = ("fleet", "run")
"""The others need more than one machine; tests/grafana asks them about a simulated fleet whose truth is known."""
MAY_BE_EMPTY = {
    *(f"fleet/Budget of the month/{ref}" for ref in "ABC"),  # none is set
    "fleet/Forecast/A",  # a mean over the day by 5 minutes, which the test does not last
    "run/Cost so far/B",  # the example has no budget
    "run/Useful and lost epochs/C",  # and it has lost nothing
    *(f"run/Energy per epoch/{ref}" for ref in "BC"),  # electricity has no price here
    "run/Useful dollars by SM activity/A",  # this driver has no such counters
    "fleet/Spend now/B",  # every node has a price
    "run/State/B",  # the run is not stalled
    "run/Wasted so far/C",  # nothing was lost
    *(f"run/Reported metrics and cost/{ref}" for ref in "AB"),  # the example reports no loss
    "run/Speed/C",  # nor tokens
}


@dataclass
class Site:
    """One node, its monitoring, and the market that its price comes from."""

    root: Path
    aws: AwsPriceServer
    poller: Program
    agent: Program
    prometheus: Prometheus
    hook: WebhookReceiver
    driver: FakeDriver | None
    steps: list[tuple[float, float]] = field(default_factory=list)

    @property
    def events(self) -> Path:
        return self.root / "events"

    def spot_price(self, usd: float, ts: float) -> None:
        """The market changes its price, with a date that may lie in the past."""
        ts = round(ts, 3)
        self.steps.append((ts, usd))
        self.aws.spot_history = [*self.aws.spot_history, spot(TYPE, ZONE, usd, ts)]

    def priced_at(self, usd: float) -> bool:
        return self.agent.json("/v1/live")["node"]["price_usd_per_hour"] == usd


@pytest.fixture(params=["cpu", "nvml"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    driver = None
    if request.param == "nvml":
        driver = FakeDriver(build(tmp_path), tmp_path / "driver.txt", gpus=8)
        driver.gpu("*", util=80, memory_used=20 << 30, memory_total=80 << 30)
        driver.gpu(5, util=1)
    aws = AwsPriceServer(
        [product(TYPE, REGION, 24.48), capacity_block_twin(TYPE, REGION)],
        types=[TypeFacts(TYPE, 64, 499712, "V100", 8, 16384)],
    )
    poller = spot_poller(tmp_path, REGION, TYPE, aws.environment(aws.start()))
    gpus, env = ("nvml", driver.env()) if driver else ("none", {})
    agent = spot_agent(tmp_path, poller, REGION, ZONE, TYPE, gpus, env)
    with (
        WebhookReceiver() as hook,
        Alertmanager(tmp_path / "am", hook.url, speed=SPEED) as alertmanager,
        Prometheus(
            tmp_path / "prom",
            {"agents": [agent.address], "prices": [poller.address]},
            alertmanager.address,
            scrape_interval="500ms",
            evaluation_interval="500ms",
            speed=SPEED,
        ) as prometheus,
    ):
        it = Site(tmp_path, aws, poller, agent, prometheus, hook, driver)
        it.spot_price(7.5, time.time() - 3600)
        poller.start()
        agent.start()
        yield it
        agent.end()
        poller.end()
        aws.stop()


def test_the_cost_of_a_real_training_is_exact_despite_restarts_and_price_changes(site: Site) -> None:
    prometheus, agent = site.prometheus, site.agent
    wait_for(lambda: site.priced_at(7.5), 30, "the spot price")
    training = train(site.events, "lm", epochs=6, samples=1600)
    wait_for(lambda: prometheus.value('epochcost_run_last_epoch_cost_usd{run="lm"}'), 120, "the first epoch")
    site.spot_price(9.25, time.time() - 0.5)  # published late
    wait_for(lambda: site.priced_at(9.25), 30, "the higher price")
    agent.end(signal.SIGKILL)
    agent.start()
    wait_for(lambda: site.priced_at(9.25), 30, "the price after the kill")
    assert agent.end() == 0
    site.spot_price(6.0, time.time() - 0.25)  # while no agent runs
    agent.start()
    wait_for(lambda: site.priced_at(6.0), 30, "the lower price")
    assert training.wait(timeout=240) == 0
    truth = truth_of(site.events, "lm", site.steps)
    assert len(truth.epochs) == 6
    wait_for(
        lambda: (
            prometheus.value('epochcost_run_epoch_seconds_count{run="lm"}') == 6
            and prometheus.value('epochcost_run_state{run="lm",state="finished"}') == 1
        ),
        30,
        "six epochs in Prometheus",
    )
    rule, metric = 'run:epochcost_epoch_cost_usd:last{run="lm"}', 'epochcost_run_last_epoch_cost_usd{run="lm"}'
    read_ts, live = time.time(), agent.json("/v1/live")
    last = live["runs"][0]["history"][-1]["cost_usd"]
    # Earlier scrapes may have the previous price, if the training ended while no agent ran.
    wait_for(lambda: (prometheus.value(f"timestamp({metric})") or 0) > read_ts, 30, "a scrape")
    wait_for(lambda: prometheus.value(rule) == last, 30, "the rule, which may be an epoch behind")
    # Where the price changes, two clocks meet that were read some microseconds apart: a few billionths of a dollar.
    assert last == pytest.approx(truth.epochs[-1], abs=2e-8)
    epochs = 'epochcost_run_epoch_cost_usd_sum{run="lm"} + epochcost_run_provisional_epoch_cost_usd{run="lm"}'
    assert prometheus.value(epochs) == pytest.approx(sum(truth.epochs), abs=2e-8)
    run_cost = 'epochcost_run_cost_usd_total{run="lm"} + epochcost_run_provisional_cost_usd{run="lm"}'
    assert prometheus.value(run_cost) == pytest.approx(truth.run, abs=2e-8)
    costs = [epoch["cost_usd"] for epoch in live["runs"][0]["history"]]
    assert costs == pytest.approx(truth.epochs, abs=2e-8)
    assert truth.at_one_price, "at least one epoch without a change of price"
    for k in truth.at_one_price:
        assert costs[k] == pytest.approx(truth.epochs[k], abs=1e-12)
    bill = sum(state["cost_usd"] for state in live["node"]["states"].values())
    assert live["node"]["seconds"] == pytest.approx(
        sum(s["seconds"] for s in live["node"]["states"].values()), abs=1e-9
    )
    assert bill == pytest.approx(live["node"]["cost_usd"], abs=1e-9)
    assert prometheus.unhealthy_rules() == []

    # The node stays up after its only run, which fires an alert with its cost.
    (alert,) = wait_for(lambda: site.hook.alerts("EpochcostNodeUpAfterRun"), 60, "the notification")[:1]
    assert "n1" in alert["annotations"]["description"]
    assert "$6.00 an hour" in alert["annotations"]["description"]


def test_an_idle_gpu_is_notified_and_every_panel_shows_something(site: Site) -> None:
    if site.driver is None:
        pytest.skip("about GPUs")
    prometheus = site.prometheus
    wait_for(lambda: site.priced_at(7.5), 30, "the spot price")
    training = train(site.events, "lm", 100_000, 800, "--batch-size", "10")
    try:
        wait_for(lambda: prometheus.value("count(epochcost_gpu_info)") == 8, 30, "eight GPUs")
        wait_for(lambda: (prometheus.value('epochcost_run_epoch_seconds_count{run="lm"}') or 0) >= 3, 120, "epochs")
        (alert,) = wait_for(lambda: site.hook.alerts("EpochcostGpuIdle"), 90, "the notification")[:1]
        assert alert["labels"]["gpu"] == "5"
        assert "$0.93 an hour" in alert["annotations"]["description"]  # 99 % of an eighth of $7.50
        windows = {"__rate_interval": "6s", "__range": "60s"}

        expressions = {str(q): q.filled(run="lm", **windows) for q in queries() if q.board in BOARDS}
        # No policy here. Some have data for a part of each epoch only, so one result of each is enough.
        waiting = {name: expr for name, expr in expressions.items() if not name.startswith("fleet/Guard")}

        def all_have_data() -> bool:
            for name in [name for name, expr in waiting.items() if prometheus.query(expr)]:
                del waiting[name]
            return waiting.keys() <= MAY_BE_EMPTY

        with contextlib.suppress(AssertionError):
            wait_for(all_have_data, 90, "data for every query", every=1)
        assert not {name for name in waiting if name not in MAY_BE_EMPTY}, "\n".join(
            f"{n}: {e}" for n, e in waiting.items()
        )
    finally:
        training.terminate()
        training.wait(timeout=20)
    wait_for(lambda: prometheus.value('epochcost_run_state{run="lm",state="preempted"}') == 1, 30, "its end by SIGTERM")
