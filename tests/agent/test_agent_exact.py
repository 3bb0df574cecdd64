"""Events in, metrics out, through the real agent: the project's guarantees."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.agent.driven_agent import SAME, T0, DrivenAgent, SimulatedMachine
from tests.waiting import wait_for

from epochcost.model import State
from epochcost.poller.app import PollerApp
from epochcost.poller.poller_settings import PollerSettings
from epochcost.settings import load

REFERENCE = [
    # instance type, purchase option, $/h, seconds of an epoch, cents per epoch exactly
    ("c4.8xlarge", 1404, 65.325),
    ("g2.2xlarge", 3779, 0.65 * 3779 / 36),
    ("p2.xlarge", 428, 10.70),
    ("p2.xlarge", 170, 4.25),  # batch_size 100 instead of 20
]


@pytest.fixture
def agent(machine: SimulatedMachine) -> Iterator[Callable[..., DrivenAgent]]:
    agents: list[DrivenAgent] = []

    def make(**flags: str) -> DrivenAgent:
        agents.append(DrivenAgent(machine, **flags))
        return agents[-1]

    yield make
    for one in agents:
        one.close()


@pytest.fixture
def poller(tmp_path: Path) -> Iterator[Callable[..., PollerApp]]:
    pollers: list[PollerApp] = []

    def make(**flags: str) -> PollerApp:
        options = {"web.listen-address": "127.0.0.1:0", "state.dir": str(tmp_path / "prices")}
        options |= {name.replace("__", ".").replace("_", "-"): value for name, value in flags.items()}
        pollers.append(PollerApp(load(PollerSettings, "prices", options, {})))
        pollers[-1].start()
        return pollers[-1]

    yield make
    for one in pollers:
        one.stop()


@pytest.mark.parametrize(("instance_type", "epoch_seconds", "cents"), REFERENCE)
def test_the_reference_table_replays_from_listed_price_to_metric(
    machine: SimulatedMachine, agent: Callable[..., DrivenAgent], poller: Callable[..., PollerApp], instance_type: str,
    epoch_seconds: int, cents: float,
) -> None:  # fmt: skip
    prices = poller(prices__sources="listed")
    identity = {"node__provider": "aws", "node__region": "us-east-1", "node__instance_type": instance_type}
    it = agent(prices__url=f"http://127.0.0.1:{prices.port}", node__purchase_option="on_demand", **identity)
    wait_for(it.ask_price, what="a price from the poller")
    it.run(1)
    begin = machine.wall - T0
    machine.write_event("start", experiment="char-lm", epochs=25, batch_size=20)
    machine.write_event("phase", phase="train", epoch=0)
    for k in range(1, 26):
        machine.advance(epoch_seconds, 0.9)
        machine.write_event("epoch_end", begin + epoch_seconds * k, epoch=k)
        it.app.sampling_loop.tick()
        assert it.value("run_last_epoch_cost_usd", run="r") == pytest.approx(cents / 100, abs=1e-11)
    assert it.dollars("run_epoch_cost_usd_sum", run="r") == pytest.approx(25 * cents / 100, abs=1e-9)
    assert it.dollars("run_cost_usd", run="r") == pytest.approx(25 * cents / 100, abs=1e-9)
    machine.write_event("end", status="finished")
    it.run(61)
    assert it.ask_price()
    it.run(1)  # the price of all of it is confirmed
    assert it.value("run_epoch_cost_usd_sum", run="r") == pytest.approx(25 * cents / 100, abs=1e-9)
    assert it.value("run_epoch_cost_usd_count", run="r") == 25
    assert it.value("run_cost_usd_total", run="r") == pytest.approx(25 * cents / 100, abs=1e-9)
    assert it.value("run_epoch_seconds_sum", run="r") == pytest.approx(25 * epoch_seconds)


def test_the_owned_desktop_of_the_reference_has_the_expected_cost(
    agent: Callable[..., DrivenAgent], poller: Callable[..., PollerApp]
) -> None:
    prices = poller(
        prices__sources="owned", owned__price_usd="2000", owned__years="2", owned__watts="355",
        owned__tariff_usd_per_kwh="0.12",
    )  # fmt: skip
    it = agent(
        prices__url=f"http://127.0.0.1:{prices.port}", node__provider="owned", node__instance_type="desktop",
        node__purchase_option="owned",
    )  # fmt: skip
    wait_for(it.ask_price, what="a price from the poller")
    it.run(1)
    assert it.value("node_price_usd_per_hour") == pytest.approx(2000 / (2 * 8766) + 0.355 * 0.12, abs=1e-12)
    assert it.value("node_price_usd_per_hour") == pytest.approx(0.1566771, abs=1e-7)


class OneAnswer:
    """A price source whose steps the test sets."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, float]] = []

    def fetch(self, now: float) -> Any:
        from epochcost.model import Price, PriceKey, PriceStep, PurchaseOption
        from epochcost.prices.quote import NodePrice

        key = PriceKey("aws", "us-east-1", "us-east-1a", "p3.2xlarge", PurchaseOption.SPOT)
        steps = tuple(PriceStep(T0 + t if t > -math.inf else t, p) for t, p in self.steps)
        return NodePrice(Price(key, steps, "aws", now), 3.06)


def priced(it: DrivenAgent, source: OneAnswer) -> DrivenAgent:
    """Have ``it`` request its price from ``source`` through its own feed."""
    from epochcost.agent.price_feed import PriceFeed

    it.app.machine.prices = PriceFeed(source, 60.0, lambda: it.machine.wall)  # type: ignore[arg-type]
    it.ask_price()
    return it


def test_two_price_changes_one_published_late_a_restart_and_a_kill_within_one_epoch_are_exact(
    machine: SimulatedMachine, agent: Callable[..., DrivenAgent]
) -> None:
    source = OneAnswer()
    source.steps = [(-5000, 3.6)]
    it = priced(agent(), source)
    it.run(10)
    machine.advance(0.25)
    machine.write_event("start", epochs=10)
    machine.advance(1.25)
    machine.write_event("phase", phase="train", epoch=0)
    it.run(18.5, utilization=0.5)  # to 30
    source.steps = [(-5000, 3.6), (30, 7.2)]
    it.ask_price()
    it.run(10)  # to 40
    it.save()
    it.kill()  # orderly: the state is that of its last tick
    machine.advance(15)
    it = priced(agent(), source)
    it.run(10)  # to 65
    it.save()
    it.run(7)  # to 72, never saved
    it.kill()  # kill -9
    machine.write_event("progress", 75, epoch=0.5, step=50)
    machine.advance(20)  # to 92
    it = priced(agent(), source)
    it.run(3)
    source.steps = [(-5000, 3.6), (30, 7.2), (88.75, 1.8)]  # published at 95
    it.ask_price()
    it.run(15.5, utilization=0.25)  # to 110.5
    machine.write_event("epoch_end", epoch=1)
    it.run(5.5)  # to 116
    exact = ((30 - 11.5) * 3.6 + (88.75 - 30) * 7.2 + (110.5 - 88.75) * 1.8) / 3600
    total = exact + ((11.5 - 10.25) * 3.6 + (116 - 110.5) * 1.8) / 3600
    bill = total + 9.25 * 3.6 / 3600  # its ledger was opened at the first tick, at 1
    (run,) = it.app.snapshot.runs  # type: ignore[union-attr]
    assert run.last_epoch_cost_usd == pytest.approx(exact, abs=1e-15)
    assert run.cost_usd == pytest.approx(total, abs=1e-15)
    totals = it.app.meter.ledger.node_ledger.totals(it.app.meter.ledger.price)
    assert math.fsum(totals.cost_usd.values()) == pytest.approx(bill, abs=1e-9)
    assert it.value("run_last_epoch_cost_usd", run="r") == pytest.approx(exact, abs=1e-15)
    assert it.sum("node_seconds_total") == pytest.approx(115, abs=1e-9)


def test_a_reboot_assumes_nothing_and_counters_continue(
    machine: SimulatedMachine, agent: Callable[..., DrivenAgent]
) -> None:
    it = agent(price__usd_per_hour="3.6")
    it.ask_price()
    machine.write_event("start", 0)
    it.run(50)
    it.save()
    it.kill()
    machine.reboot(after=600)
    it = agent(price__usd_per_hour="3.6")
    it.ask_price()
    it.run(10)
    assert it.value("node_seconds_total", state="boot") == pytest.approx(21)
    assert it.sum("node_cost_usd_total") == pytest.approx((50 + 30) * 0.001)
    (run,) = it.app.snapshot.runs  # type: ignore[union-attr]
    assert run.state.value == "lost"
    assert run.cost_usd == pytest.approx(0.050)


def test_a_boot_whose_clock_was_ahead_keeps_its_dollars_and_charges_nothing_in_the_next(
    machine: SimulatedMachine, agent: Callable[..., DrivenAgent]
) -> None:
    machine.wall += 7200
    machine.boot_ts = machine.wall - 7200
    machine.write_proc()
    it = agent(price__usd_per_hour="3.6")
    it.ask_price()
    machine.write_event("start", 7200, run="dead", epochs=9)
    machine.write_event("phase", 7200, run="dead", phase="train", epoch=0)
    it.run(20)
    machine.write_event("epoch_end", run="dead", epoch=1)
    it.run(30)
    it.save()
    it.kill()
    machine.wall -= 7200
    machine.reboot(after=100)
    it = agent(price__usd_per_hour="3.6")
    it.ask_price()
    it.run(5)
    machine.write_event("start", run="new")
    machine.write_event("phase", run="new", phase="train", epoch=0)
    it.run(10)
    machine.write_event("epoch_end", run="new", epoch=1)
    it.run(1)
    assert it.value("run_cost_usd_total", run="dead") == pytest.approx(0.050, abs=1e-9)
    assert it.sum("node_cost_usd_total") == pytest.approx(0.050 + (20 + 16) * 0.001, abs=1e-9)
    assert it.value("run_last_epoch_cost_usd", run="dead") == pytest.approx(0.020, abs=1e-9)
    assert it.value("run_last_epoch_cost_usd", run="new") == pytest.approx(0.010, abs=1e-9)
    assert it.value("run_state", run="dead", state="lost") == 1


def test_a_clock_that_jumps_back_an_hour_changes_no_duration(
    machine: SimulatedMachine, agent: Callable[..., DrivenAgent]
) -> None:
    it = agent(price__usd_per_hour="3.6")
    it.ask_price()
    it.run(5)
    machine.write_event("start")
    machine.write_event("phase", phase="train", epoch=0)
    it.run(20)
    machine.wall -= 3600
    it.run(20)
    machine.write_event("epoch_end", epoch=1)
    it.run(1)
    assert it.value("run_last_epoch_seconds", run="r") == pytest.approx(40)
    assert it.value("run_last_epoch_cost_usd", run="r") == pytest.approx(0.040)
    assert it.value("clock_jumps_total") == 1
    assert it.sum("node_seconds_total") == pytest.approx(45)


def test_a_machine_that_becomes_another_type_is_not_charged_the_old_price(
    machine: SimulatedMachine, agent: Callable[..., DrivenAgent]
) -> None:
    source = OneAnswer()
    source.steps = [(-5000, 3.6)]
    it = priced(agent(node__instance_type="p3.2xlarge"), source)
    it.run(11)
    it.save()
    it.kill()
    source.steps = [(-5000, 7.2)]
    it = priced(agent(node__instance_type="p3.8xlarge"), source)
    it.run(10)
    assert it.dollars("node_cost_usd") == pytest.approx(10 * 0.001 + 10 * 0.002)


def test_the_metrics_as_a_whole_are_an_exposition_with_the_samples_that_tests_read(
    machine: SimulatedMachine, agent: Callable[..., DrivenAgent], monkeypatch: pytest.MonkeyPatch
) -> None:
    it = agent(price__usd_per_hour="3.6")
    it.ask_price()
    it.run(1)
    machine.write_event("start", epochs=4, experiment='a "quoted" name \\n, with {braces} 1')
    machine.write_event("phase", phase="train", epoch=0)
    it.run(10)
    machine.write_event("epoch_end", epoch=1)
    machine.write_event("progress", epoch=1.5, phase="train", metrics={"loss": 0.5})
    it.run(1)
    text = it.metrics()
    monkeypatch.setattr(it, "metrics", lambda: text)  # another scrape has other durations
    families = list(text_string_to_metric_families(text))
    samples = [
        ((s.name, tuple(sorted((k, v) for k, v in s.labels.items() if k not in SAME))), s.value)
        for family in families
        for s in family.samples
    ]
    assert len(samples) == len(dict(samples)), "no series twice"
    assert dict(samples) == it.scrape()
    assert [family.name for family in families if not family.documentation or family.type == "unknown"] == []
    assert it.value("run_reported_value", run="r", metric="loss") == 0.5


def test_dollars_are_written_back_for_the_training_code(
    machine: SimulatedMachine, agent: Callable[..., DrivenAgent]
) -> None:
    it = agent(price__usd_per_hour="3.6")
    it.ask_price()
    it.run(1)
    machine.write_event("start", epochs=4)
    machine.write_event("phase", phase="train", epoch=0)
    it.run(10)
    machine.write_event("epoch_end", epoch=1)
    it.run(1)
    cost_file = json.loads((machine.events / "r.cost.json").read_text())
    assert cost_file["cost_usd"] == pytest.approx(0.011)
    assert cost_file["cost_per_epoch_usd"] == pytest.approx(0.010)
    assert cost_file["projected_cost_usd"] == pytest.approx(0.041)


@pytest.mark.parametrize(("configured", "priced_as"), [("n1-standard-8", "n1-standard-8+none"), ("g2-standard-4",) * 2])
def test_an_n1_machine_of_google_is_priced_with_the_gpus_that_are_attached(
    agent: Callable[..., DrivenAgent], configured: str, priced_as: str
) -> None:
    it = agent(node__provider="gcp", node__region="us-central1", node__instance_type=configured)
    it.run(1)
    assert it.app.node.instance_type == priced_as


def test_an_n1_machine_has_no_price_before_its_gpus_are_known(
    machine: SimulatedMachine, agent: Callable[..., DrivenAgent]
) -> None:
    from epochcost.gpus.replay import ReplaySource
    from epochcost.gpus.sampler import Sampler
    from epochcost.model import GpuReading, GpuSample

    it = agent(node__provider="gcp", node__region="us-central1", node__instance_type="n1-standard-16")
    source = ReplaySource([GpuReading(0.0, (GpuSample("0", "GPU-1", "Tesla P4"),))])
    it.app.gpus.source = source
    it.app.sampling_loop.tick()
    assert it.app.node.instance_type == ""
    it.app.gpus.sampler = Sampler(source, 60.0, it.app.clock.now)
    it.app.gpus.sampler._sample()
    it.app.sampling_loop.tick()
    assert it.app.node.instance_type == "n1-standard-16+nvidia-tesla-p4:1"
    source.close()


def test_a_run_thought_lost_that_reports_again_has_every_second_in_a_state(
    machine: SimulatedMachine, agent: Callable[..., DrivenAgent]
) -> None:
    it = agent(price__usd_per_hour="3.6", states__lost_after="60s")
    it.ask_price()
    it.run(1)
    machine.write_event("start")
    it.run(100)
    assert it.app.snapshot.runs[0].state.value == "lost"  # type: ignore[union-attr]
    machine.write_event("progress", step=5)
    it.run(10)
    (run,) = it.app.snapshot.runs  # type: ignore[union-attr]
    assert run.seconds == pytest.approx(110)
    assert math.fsum(run.totals.seconds.values()) == pytest.approx(110)
    assert math.fsum(run.totals.cost_usd.values()) == pytest.approx(run.cost_usd) == pytest.approx(0.110)
    assert run.totals.seconds[State.UNKNOWN] == pytest.approx(39)  # marked lost after 61 s of silence
