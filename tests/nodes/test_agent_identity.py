"""The agent learns which machine it is on while it works, and detects its preemption."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path

import pytest
from tests.agent.driven_agent import T0, DrivenAgent, SimulatedMachine
from tests.nodes.clouds import Aws, Azure, Cloud, Gcp, Reply, Request, never_responds, raw
from tests.waiting import wait_for

from epochcost.agent.agent_settings import AgentSettings
from epochcost.agent.app import AgentApp
from epochcost.nodes.metadata import DETECT_SECONDS
from epochcost.settings import load


class Poller(Cloud):
    """Answers ``/v1/price`` as the price poller does: simulated prices by (instance type, zone, purchase option)."""

    def __init__(self, **usd_per_hour: float) -> None:
        super().__init__()
        self.prices = usd_per_hour

    def reply(self, request: Request) -> Reply:
        requests = {name: values[0] for name, values in request.query.items()}
        price = self.prices.get(requests.get("instance_type", ""))
        if price is None:
            return Reply(404, b'{"error":"no such price"}')
        response = {
            "v": 1,
            **{name: requests.get(name, "") for name in ("provider", "region", "zone")},
            "instance_type": requests["instance_type"],
            "purchase_option": requests["purchase_option"],
            "steps": [{"ts": None, "usd_per_hour": price}],
            "source": "simulated",
            "fetched_ts": T0,
            "on_demand_usd_per_hour": None,
        }
        return Reply(200, json.dumps(response).encode())


@pytest.fixture
def machine(tmp_path: Path) -> SimulatedMachine:
    return SimulatedMachine(tmp_path)


@pytest.fixture
def agent(machine: SimulatedMachine) -> Iterator[Callable[..., DrivenAgent]]:
    agents: list[DrivenAgent] = []

    def make(url: str, **flags: str) -> DrivenAgent:
        agents.append(DrivenAgent(machine, node__metadata="aws", node__metadata_url=url, **flags))
        return agents[-1]

    yield make
    for one in agents:
        one.close()


def test_the_agent_works_before_it_knows_its_machine_and_loses_no_dollar(
    machine: SimulatedMachine, agent: Callable[..., DrivenAgent]
):
    poller = Poller(**{"p4d.24xlarge": 36.0})
    with Aws().serving() as url, poller.serving() as prices:
        it = agent(url, prices__url=prices)
        it.run(11)  # the ledger opens with the first second
        assert not it.ask_price()
        unknown = dict.fromkeys(("team", "provider", "region", "zone", "instance_type", "purchase_option"), "")
        assert it.value("node_info", node="n1", **unknown)
        assert it.app.machine.identity.ask()
        it.run(10)
        spot = {"region": "us-east-1", "zone": "us-east-1b", "purchase_option": "spot"}
        assert it.value("node_info", node="n1", team="", provider="aws", instance_type="p4d.24xlarge", **spot) == 1
        assert it.ask_price()
        it.run(10)
    assert it.sum("node_cost_usd_total") == pytest.approx(30 * 36 / 3600, abs=1e-12)
    assert poller.requests[-1].query["zone"] == ["us-east-1b"]


def test_a_first_identification_is_not_a_change_of_machine(
    machine: SimulatedMachine, agent: Callable[..., DrivenAgent]
):
    with Aws().serving() as url, Poller(**{"p4d.24xlarge": 36.0}).serving() as prices:
        options = {"node__provider": "aws", "node__instance_type": "p4d.24xlarge", "node__purchase_option": "spot"}
        it = agent(url, prices__url=prices, **options)
        assert it.ask_price()
        it.run(11)  # the ledger opens with the first second
        it.save()
        it.app.machine.identity.ask()
        it.run(10)
        assert it.value("node_price_usd_per_hour") == 36.0
        assert it.value("node_unpriced_seconds") == 0
        it.save()
        it.kill()
        again = agent(url, prices__url=prices, **options)
        again.run(10)
    assert again.value("node_price_usd_per_hour") == 36.0
    assert again.dollars("node_cost_usd") == pytest.approx(30 * 36 / 3600, abs=1e-12)


def test_a_detected_identity_is_valid_for_this_boot_only(machine: SimulatedMachine, agent: Callable[..., DrivenAgent]):
    cloud = Aws()
    with cloud.serving() as url:
        it = agent(url)
        it.app.machine.identity.ask()
        it.run(2)
        it.save()
        it.kill()
        requests = len(cloud.requests)
        again = agent(url)
        assert again.app.machine.identity.settled
        again.run(1)
        assert again.app.node.instance_type == "p4d.24xlarge"
        assert len(cloud.requests) == requests
        again.save()
        again.kill()
        machine.reboot(60)
        rebooted = agent(url)
        assert not rebooted.app.machine.identity.settled
        rebooted.run(1)
        assert rebooted.app.node.instance_type == ""


def test_a_machine_that_became_another_one_is_not_charged_at_the_old_price(
    machine: SimulatedMachine, agent: Callable[..., DrivenAgent]
):
    cloud = Aws()
    with cloud.serving() as url, Poller(**{"p4d.24xlarge": 36.0, "p5.48xlarge": 72.0}).serving() as prices:
        it = agent(url, prices__url=prices)
        it.app.machine.identity.ask()
        it.run(1)
        assert it.ask_price()
        it.run(100)
        it.save()
        it.kill()
        assert it.sum("node_cost_usd_total") == pytest.approx(1.0, abs=1e-12)
        cloud.document["instanceType"] = "p5.48xlarge"
        machine.reboot(100)
        again = agent(url, prices__url=prices)
        again.run(10)
        assert again.app.machine.identity.ask()
        again.run(1)
        assert again.value("node_unpriced_seconds") == pytest.approx(31)  # 20 s of booting, 11 of working
        assert again.value("node_price_usd_per_hour") is None
        assert again.ask_price()
        again.run(9)
        assert again.value("node_unpriced_seconds") == 0
    assert again.sum("node_cost_usd_total") == pytest.approx(1.0 + 40 * 72 / 3600, abs=1e-12)


def test_a_price_of_the_previous_identity_is_dropped(machine: SimulatedMachine, agent: Callable[..., DrivenAgent]):
    it = agent("", prices__url="http://127.0.0.1:9", node__purchase_option="spot")
    feed = it.app.machine.prices
    assert feed is not None
    new = feed._source

    class Late:
        def fetch(self, now: float):
            feed.ask_about(new)
            raise AssertionError("the old question fails after the new one was put")

    feed.ask_about(Late())
    assert not feed.ask()
    assert feed.quote is None


def test_a_machine_that_cannot_be_identified_is_reported_as_a_problem(
    machine: SimulatedMachine, agent: Callable[..., DrivenAgent]
):
    with raw(never_responds) as url:
        it = agent(url)
        it.app.machine.identity._seconds = 0.2
        it.app.machine.identity.ask()
        it.run(1)
    assert it.value("collector_success", collector="identity") == 0
    assert it.app.snapshot is not None
    assert any(p.startswith("identity: AWS instance metadata: PUT") for p in it.app.snapshot.problems)


def test_a_metadata_service_that_hangs_does_not_delay_the_start(machine: SimulatedMachine):
    options = {"web.listen-address": "127.0.0.1:0", "events.dir": str(machine.events), "gpus.source": "none"}
    options |= {"state.dir": str(machine.root / "state"), "node.metadata": "aws", "price.usd-per-hour": "3"}
    held, release = threading.Event(), threading.Event()

    def is_held(connection: socket.socket, _: threading.Event) -> None:
        connection.recv(65536)
        held.set()
        release.wait()

    with raw(is_held) as url:
        app = AgentApp(load(AgentSettings, "agent", {**options, "node.metadata-url": url}, {}), {})
        identity = app.machine.identity
        assert identity._seconds == DETECT_SECONDS == 2.0
        identity._seconds = 3600.0  # the test ends the request, and not its deadline
        starting = threading.Thread(target=app.start)
        starting.start()
        try:
            wait_for(held.is_set, what="the request")
            wait_for(lambda: not starting.is_alive(), what="the end of the start")
            price = wait_for(lambda: app.snapshot and app.snapshot.node.price_usd_per_hour, what="a price")
            assert price == 3.0
            assert identity.asking_since is not None
            assert not identity.settled
            assert not identity.error
            release.set()
            wait_for(lambda: identity.error, what="the end of the request")
            assert identity.settled
        finally:
            release.set()
            starting.join()
            app.stop()


def test_a_running_agent_detects_its_machine_then_its_price_then_its_preemption(machine: SimulatedMachine):
    options = {"web.listen-address": "127.0.0.1:0", "events.dir": str(machine.events), "gpus.source": "none"}
    options |= {"state.dir": str(machine.root / "state"), "node.metadata": "aws"}
    cloud = Aws()
    cloud.action = {"action": "terminate", "time": "2026-11-21T08:22:00Z"}
    with cloud.serving() as url, Poller(**{"p4d.24xlarge": 36.0}).serving() as prices:
        settings = load(AgentSettings, "agent", {**options, "node.metadata-url": url, "prices.url": prices}, {})
        app = AgentApp(settings, {})
        app.start()
        try:
            price = wait_for(lambda: app.snapshot and app.snapshot.node.price_usd_per_hour, what="a price")
            assert price == 36.0
            assert (
                wait_for(lambda: app.snapshot and app.snapshot.node.preemption, what="a notice").action == "terminate"  # type: ignore[attr-defined]
            )
            wait_for((machine.events / "preemption.json").exists, what="the word to the training")
        finally:
            app.stop()


# -- interruption ------------------------------------------------------------------------------------------------------


def test_an_interruption_is_a_metric_a_problem_and_a_file_for_the_training(
    machine: SimulatedMachine, agent: Callable[..., DrivenAgent]
):
    cloud = Aws()
    notice_file = machine.events / "preemption.json"
    with cloud.serving() as url:
        it = agent(url)
        it.app.machine.identity.ask()
        it.app.notices.ask()
        it.run(1)
        assert it.value("collector_success", collector="preemption") == 1
        assert it.value("node_preemption_notice_timestamp_seconds", kind="interruption") is None
        assert not notice_file.exists()

        cloud.rebalance = {"noticeTime": "2026-11-21T08:20:00Z"}
        it.app.notices.ask()
        it.run(1)
        assert it.value("node_preemption_notice_timestamp_seconds", kind="rebalance") == T0 + 1
        assert it.value("node_preemption_deadline_timestamp_seconds") is None

        cloud.action = {"action": "terminate", "time": "2026-11-21T08:22:00Z"}
        it.app.notices.ask()
        it.run(10)
        it.app.notices.ask()
        it.run(1)
        assert it.value("node_preemption_notice_timestamp_seconds", kind="interruption") == T0 + 2
        assert it.value("node_preemption_notice_timestamp_seconds", kind="rebalance") is None
        assert it.value("node_preemption_deadline_timestamp_seconds") == 1795249320.0
        assert it.app.snapshot is not None
        sentence = "preemption: the provider will preempt this machine at 08:22:00 UTC (terminate). Save a checkpoint."
        assert it.app.snapshot.problems[0] == sentence
        assert json.loads(notice_file.read_text()) == {
            "v": 1, "kind": "interruption", "action": "terminate", "at_ts": 1795249320.0, "seen_ts": T0 + 2,
        }  # fmt: skip

        cloud.action = cloud.rebalance = None
        it.app.notices.ask()
        it.run(1)
    assert it.value("node_preemption_notice_timestamp_seconds", kind="interruption") is None
    assert not notice_file.exists()


@pytest.mark.parametrize(
    ("date", "seconds_left"),
    [
        (formatdate(T0 - 7200, usegmt=True), 120.0 - 0.5),
        (formatdate(T0 + 86400, usegmt=True), 120.0 - 0.5),
        ("", -7080.0),
        ("yesterday", -7080.0),
    ],
)
def test_a_notice_of_a_cloud_with_another_clock_keeps_its_distance_in_time(
    machine: SimulatedMachine, agent: Callable[..., DrivenAgent], date: str, seconds_left: float
):
    cloud = Aws()
    cloud_clock = parsedate_to_datetime(date).timestamp() if date.endswith("GMT") else T0 - 7200
    at = datetime.fromtimestamp(cloud_clock + 120, timezone.utc)
    cloud.date, cloud.action = date, {"action": "terminate", "time": at.strftime("%Y-%m-%dT%H:%M:%SZ")}
    with cloud.serving() as url:
        it = agent(url)
        it.app.machine.identity.ask()
        it.app.notices.ask()
        it.run(1)
        deadline = it.value("node_preemption_deadline_timestamp_seconds")
        assert deadline == T0 + seconds_left
        assert json.loads((machine.events / "preemption.json").read_text())["at_ts"] == T0 + seconds_left
        assert it.app.snapshot is not None
        assert at.strftime("at %H:%M:%S UTC") in it.app.snapshot.problems[0]

        machine.wall += 3600.0  # this machine's clock is set: the end of the machine does not move
        it.run(10)
        if date.endswith("GMT"):
            cloud.date = formatdate(cloud_clock + 11, usegmt=True)
            it.app.notices.ask()
            it.run(1)
            assert it.value("node_preemption_deadline_timestamp_seconds") == deadline
            assert json.loads((machine.events / "preemption.json").read_text())["at_ts"] == deadline + 3600


def test_a_failed_request_clears_no_notice(machine: SimulatedMachine, agent: Callable[..., DrivenAgent]):
    cloud = Aws()
    with cloud.serving() as url:
        it = agent(url)
        cloud.action = {"action": "stop", "time": "2026-11-21T08:22:00Z"}
        it.app.notices.ask()
    it.app.notices.ask()
    it.run(1)
    assert it.value("collector_success", collector="preemption") == 0
    assert it.value("node_preemption_notice_timestamp_seconds", kind="interruption") == T0


@pytest.mark.parametrize(("cloud", "name"), [(Gcp(preempted="TRUE"), "gcp"), (Azure(), "azure")])
def test_notices_of_every_cloud_are_polled(machine: SimulatedMachine, cloud: Cloud, name: str):
    if isinstance(cloud, Azure):
        cloud.events = [{"EventType": "Preempt", "Resources": ["train_3"], "NotBefore": ""}]
    with cloud.serving() as url:
        it = DrivenAgent(machine, node__metadata=name, node__metadata_url=url)
        it.app.machine.identity.ask()
        it.app.notices.ask()
        it.run(1)
        assert it.value("node_preemption_notice_timestamp_seconds", kind="interruption") == T0
        assert it.app.snapshot is not None
        assert "will preempt this machine within seconds" in it.app.snapshot.problems[0]
        it.close()


def test_an_on_demand_machine_polls_for_no_notices(machine: SimulatedMachine, agent: Callable[..., DrivenAgent]):
    cloud = Aws("on-demand")
    with cloud.serving() as url:
        it = agent(url)
        it.app.machine.identity.ask()
        requests = len(cloud.requests)
        it.app.notices.ask()
        it.run(1)
        assert len(cloud.requests) == requests
    assert it.value("collector_success", collector="preemption") is None


def test_a_notice_of_an_earlier_agent_is_removed(machine: SimulatedMachine, agent: Callable[..., DrivenAgent]):
    left_behind = machine.events / "preemption.json"
    left_behind.write_text("{}")
    agent("").run(1)
    assert not left_behind.exists()
