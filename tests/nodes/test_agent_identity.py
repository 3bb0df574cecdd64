"""The agent learns which machine it is on while it works, and hears when that machine is taken away."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path

import pytest
from tests.agent.driven import T0, Driven, World
from tests.nodes.clouds import Aws, Azure, Cloud, Gcp, Reply, Request, hangs, raw
from tests.waiting import wait_for

from epochcost.agent.agent_settings import AgentSettings
from epochcost.agent.app import AgentApp
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
        answer = {
            "v": 1,
            **{name: requests.get(name, "") for name in ("provider", "region", "zone")},
            "instance_type": requests["instance_type"],
            "purchase_option": requests["purchase_option"],
            "steps": [{"ts": None, "usd_per_hour": price}],
            "source": "simulated",
            "fetched_ts": T0,
            "on_demand_usd_per_hour": None,
        }
        return Reply(200, json.dumps(answer).encode())


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def agent(world: World) -> Iterator[Callable[..., Driven]]:
    made: list[Driven] = []

    def make(url: str, **flags: str) -> Driven:
        made.append(Driven(world, node__metadata="aws", node__metadata_url=url, **flags))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_the_agent_works_before_it_knows_its_machine_and_loses_no_dollar(world: World, agent: Callable[..., Driven]):
    poller = Poller(**{"p4d.24xlarge": 36.0})
    with Aws().serving() as url, poller.serving() as prices:
        it = agent(url, prices__url=prices)
        it.run(11)  # the books open with the first second
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


def test_a_first_identification_is_no_change_of_machine(world: World, agent: Callable[..., Driven]):
    with Aws().serving() as url, Poller(**{"p4d.24xlarge": 36.0}).serving() as prices:
        known = {"node__provider": "aws", "node__instance_type": "p4d.24xlarge", "node__purchase_option": "spot"}
        it = agent(url, prices__url=prices, **known)
        assert it.ask_price()
        it.run(11)  # the books open with the first second
        it.save()
        it.app.machine.identity.ask()
        it.run(10)
        assert it.value("node_price_usd_per_hour") == 36.0
        assert it.value("node_unpriced_seconds") == 0
        it.save()
        it.kill()
        again = agent(url, prices__url=prices, **known)
        again.run(10)
    assert again.value("node_price_usd_per_hour") == 36.0
    assert again.dollars("node_cost_usd") == pytest.approx(30 * 36 / 3600, abs=1e-12)


def test_what_was_found_holds_for_this_boot_and_no_longer(world: World, agent: Callable[..., Driven]):
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
        world.reboot(60)
        rebooted = agent(url)
        assert not rebooted.app.machine.identity.settled
        rebooted.run(1)
        assert rebooted.app.node.instance_type == ""


def test_a_machine_that_became_another_one_is_not_charged_at_the_old_price(world: World, agent: Callable[..., Driven]):
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
        world.reboot(100)
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


def test_an_answer_about_what_was_known_before_is_dropped(world: World, agent: Callable[..., Driven]):
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


def test_a_machine_that_cannot_be_identified_is_said_to_people(world: World, agent: Callable[..., Driven]):
    with raw(hangs) as url:
        it = agent(url)
        it.app.machine.identity._seconds = 0.2
        it.app.machine.identity.ask()
        it.run(1)
    assert it.value("collector_success", collector="identity") == 0
    assert it.app.snapshot is not None
    assert any(p.startswith("identity: AWS instance metadata: PUT") for p in it.app.snapshot.problems)


def test_a_metadata_service_that_hangs_does_not_delay_the_start(world: World):
    options = {"web.listen-address": "127.0.0.1:0", "events.dir": str(world.events), "gpus.source": "none"}
    options |= {"state.dir": str(world.root / "state"), "node.metadata": "aws", "price.usd-per-hour": "3"}
    with raw(hangs) as url:
        began = time.monotonic()
        app = AgentApp(load(AgentSettings, "agent", {**options, "node.metadata-url": url}, {}), {})
        app.start()
        try:
            wait_for(lambda: app.snapshot, seconds=2, what="a snapshot")
            assert time.monotonic() - began < 1.0
            wait_for(lambda: app.machine.identity.error, seconds=4, what="the end of the questions")
            assert time.monotonic() - began < 3.5
            wait_for(
                lambda: app.machine.prices.started if app.machine.prices else False,
                seconds=3,
                what="the price being asked",
            )
        finally:
            app.stop()


def test_a_running_agent_finds_its_machine_then_its_price_then_hears_of_its_end(world: World):
    options = {"web.listen-address": "127.0.0.1:0", "events.dir": str(world.events), "gpus.source": "none"}
    options |= {"state.dir": str(world.root / "state"), "node.metadata": "aws"}
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
            wait_for((world.events / "preemption.json").exists, what="the word to the training")
        finally:
            app.stop()


# -- interruption ------------------------------------------------------------------------------------------------------


def test_an_interruption_is_a_metric_a_problem_and_a_file_for_the_training(world: World, agent: Callable[..., Driven]):
    cloud = Aws()
    notice_file = world.events / "preemption.json"
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
    ("date", "left"),
    [
        (formatdate(T0 - 7200, usegmt=True), 120.0 - 0.5),
        (formatdate(T0 + 86400, usegmt=True), 120.0 - 0.5),
        ("", -7080.0),
        ("yesterday", -7080.0),
    ],
)
def test_what_a_cloud_with_another_clock_announces_is_as_far_away_as_it_says(
    world: World, agent: Callable[..., Driven], date: str, left: float
):
    cloud = Aws()
    theirs = parsedate_to_datetime(date).timestamp() if date.endswith("GMT") else T0 - 7200
    at = datetime.fromtimestamp(theirs + 120, timezone.utc)
    cloud.date, cloud.action = date, {"action": "terminate", "time": at.strftime("%Y-%m-%dT%H:%M:%SZ")}
    with cloud.serving() as url:
        it = agent(url)
        it.app.machine.identity.ask()
        it.app.notices.ask()
        it.run(1)
        deadline = it.value("node_preemption_deadline_timestamp_seconds")
        assert deadline == T0 + left
        assert json.loads((world.events / "preemption.json").read_text())["at_ts"] == T0 + left
        assert it.app.snapshot is not None
        assert at.strftime("at %H:%M:%S UTC") in it.app.snapshot.problems[0]

        world.wall += 3600.0  # somebody sets this machine's clock: the machine goes when it goes
        it.run(10)
        if date.endswith("GMT"):
            cloud.date = formatdate(theirs + 11, usegmt=True)
            it.app.notices.ask()
            it.run(1)
            assert it.value("node_preemption_deadline_timestamp_seconds") == deadline
            assert json.loads((world.events / "preemption.json").read_text())["at_ts"] == deadline + 3600


def test_a_question_that_fails_takes_no_notice_back(world: World, agent: Callable[..., Driven]):
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
def test_every_cloud_is_listened_to(world: World, cloud: Cloud, name: str):
    if isinstance(cloud, Azure):
        cloud.events = [{"EventType": "Preempt", "Resources": ["train_3"], "NotBefore": ""}]
    with cloud.serving() as url:
        it = Driven(world, node__metadata=name, node__metadata_url=url)
        it.app.machine.identity.ask()
        it.app.notices.ask()
        it.run(1)
        assert it.value("node_preemption_notice_timestamp_seconds", kind="interruption") == T0
        assert it.app.snapshot is not None
        assert "will preempt this machine within seconds" in it.app.snapshot.problems[0]
        it.close()


def test_a_machine_paid_on_demand_listens_to_nobody(world: World, agent: Callable[..., Driven]):
    cloud = Aws("on-demand")
    with cloud.serving() as url:
        it = agent(url)
        it.app.machine.identity.ask()
        requests = len(cloud.requests)
        it.app.notices.ask()
        it.run(1)
        assert len(cloud.requests) == requests
    assert it.value("collector_success", collector="preemption") is None


def test_what_an_earlier_agent_announced_is_taken_back(world: World, agent: Callable[..., Driven]):
    left_behind = world.events / "preemption.json"
    left_behind.write_text("{}")
    agent("").run(1)
    assert not left_behind.exists()
