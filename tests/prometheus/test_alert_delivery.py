"""End to end: simulated figures -> real Prometheus with the real rules -> real Alertmanager -> a webhook."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.stack import Alertmanager, ExpositionServer, Prometheus, WebhookReceiver, available
from tests.waiting import wait_for

SPEED = 150  # fifteen minutes pass in six seconds

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(not available(), reason="prometheus and prometheus-alertmanager are not installed"),
]


@dataclass
class SimulatedNode:
    """A node with one GPU and a run, whose figures are made up: $4.00 an hour, busy or idle as the test sets."""

    busy: bool = False
    stalled: bool = False
    memory_fill: float = 0.8
    run_idle: float = 0.0
    budget_usd: float | None = None
    _start: float = field(default_factory=time.monotonic)
    _read_at: float = field(default_factory=time.monotonic)
    _busy_seconds: float = 0.0

    def exposition(self) -> str:
        now = time.monotonic()
        self._busy_seconds += (now - self._read_at) * self.busy
        self._read_at = now
        age = now - self._start
        gpu = 'gpu="0",uuid="GPU-simulated"'
        lines = {
            'node_info{node="sim-a",provider="simulated",instance_type="sim.1x",purchase_option="spot"}': 1,
            "node_price_usd_per_hour": 4,
            "node_gpus": 1,
            'node_seconds_total{state="useful"}': self._busy_seconds,
            'node_seconds_total{state="idle"}': age - self._busy_seconds,
            f"gpu_utilization_seconds_total{{{gpu}}}": self._busy_seconds,
            f'gpu_seconds_total{{{gpu},state="useful"}}': self._busy_seconds,
            f'gpu_seconds_total{{{gpu},state="idle"}}': age - self._busy_seconds,
            'run_state{run="sim-run",state="training"}': 1 - self.stalled,
            'run_state{run="sim-run",state="stalled"}': int(self.stalled),
            'run_state_seconds_total{run="sim-run",state="useful"}': age * (1 - self.run_idle),
            'run_state_seconds_total{run="sim-run",state="idle"}': age * self.run_idle,
            'run_state_cost_usd_total{run="sim-run",state="useful"}': 30,
            'run_leader{run="sim-run"}': 1,
            "node_boot_time_seconds": 1,
            'run_epochs_planned{run="sim-run"}': 10,
            'run_epoch{run="sim-run"}': 6,
            'run_epoch_seconds_sum{run="sim-run"}': 360,
            'run_epoch_seconds_count{run="sim-run"}': 6,
            'run_epoch_cost_usd_sum{run="sim-run"}': 30,
            'run_epoch_cost_usd_count{run="sim-run"}': 6,
            'run_batch_size{run="sim-run"}': 16,
            'run_memory_peak_bytes{run="sim-run"}': self.memory_fill * 80e9,
            f"gpu_memory_total_bytes{{{gpu}}}": 80e9,
            'run_node_share_ratio{run="sim-run"}': 1,
            'run_seconds_total{run="sim-run"}': age,
            'run_phase_seconds_total{run="sim-run",phase="train"}': age,
            "sample_timestamp_seconds": age,
        }
        if self.budget_usd is not None:
            lines['run_budget_usd{run="sim-run"}'] = self.budget_usd
        return "".join(f"epochcost_{identified(series)} {value}\n" for series, value in lines.items())


def identified(series: str) -> str:
    """With the labels of an agent: its machine, and the ledger (part) of a run's series."""
    name, _, labels = series.partition("{")
    own = 'epochcost_machine="sim-a-1"' + (',part="p"' if name.startswith("run_") else "")
    return f"{name}{{{own}{',' + labels if labels else '}'}"


@dataclass(frozen=True)
class Stack:
    node: SimulatedNode
    agent: ExpositionServer
    prometheus: Prometheus
    alertmanager: Alertmanager
    webhook: WebhookReceiver


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    node = SimulatedNode()
    with (
        WebhookReceiver() as webhook,
        ExpositionServer(node.exposition) as agent,
        Alertmanager(tmp_path / "alertmanager", webhook.url, speed=SPEED) as alertmanager,
        Prometheus(
            tmp_path / "prometheus",
            {"agents": [agent.address], "prices": []},
            alertmanager.address,
            scrape_interval="250ms",
            evaluation_interval="250ms",
            speed=SPEED,
        ) as prometheus,
    ):
        yield Stack(node, agent, prometheus, alertmanager, webhook)


OF_THE_RUN = {"run": "sim-run", "node": "sim-a", "epochcost_machine": "sim-a-1"}


def test_an_idle_gpu_arrives_at_the_webhook_with_its_dollars_and_resolves(stack: Stack) -> None:
    fired = wait_for(lambda: stack.webhook.alerts("EpochcostGpuIdle"), 40, "the alert of the idle GPU")[0]
    assert fired["labels"] == {
        "alertname": "EpochcostGpuIdle",
        "severity": "warning",
        "epochcost_machine": "sim-a-1",
        "node": "sim-a",
        "gpu": "0",
        "uuid": "GPU-simulated",
    }
    assert fired["annotations"]["summary"] == "A paid GPU does almost nothing while a run is on its node."
    assert "GPU 0 (GPU-simulated) of node sim-a has" in fired["annotations"]["description"]
    assert "wastes $4.00 an hour" in fired["annotations"]["description"]
    assert (
        fired["annotations"]["dashboard_url"]
        == "http://127.0.0.1:3000/d/epochcost-node?var-cluster=&var-machine=sim-a-1"
    )
    assert stack.webhook.group_labels("EpochcostGpuIdle") == {"epochcost_machine": "sim-a-1"}
    assert stack.prometheus.value("run:epochcost_cost_usd_per_hour:sum") == 4
    assert stack.prometheus.unhealthy_rules() == []

    stack.node.busy = True
    resolved = wait_for(lambda: stack.webhook.alerts("EpochcostGpuIdle", "resolved"), 40, "its end")
    assert resolved[0]["labels"]["uuid"] == "GPU-simulated"


def test_an_agent_that_ends_is_notified_with_its_node_and_its_last_price(stack: Stack) -> None:
    wait_for(lambda: stack.prometheus.query("node:epochcost_price_usd_per_hour:archive"), 20, "the archived price")
    stack.agent.stop()
    down = wait_for(lambda: stack.webhook.alerts("EpochcostAgentDown"), 40, "the alert of the agent that is down")
    assert down[0]["labels"]["node"] == "sim-a"
    assert "At its last known price the node costs $4.00 an hour." in down[0]["annotations"]["description"]


def test_an_underfilled_gpu_arrives_with_its_batch_size_and_the_possible_savings(stack: Stack) -> None:
    stack.node.busy = True
    stack.node.memory_fill = 0.225
    stack.node.run_idle = 0.5
    fired = wait_for(lambda: stack.webhook.alerts("EpochcostGpuUnderfilled"), 60, "the alert of the empty memory")[0]
    assert fired["labels"] == {"alertname": "EpochcostGpuUnderfilled", "severity": "info", **OF_THE_RUN}
    assert "Run sim-run has left more than half of its GPUs' memory empty" in fired["annotations"]["description"]
    assert "at a batch size of 16. This has been the case since " in fired["annotations"]["description"]
    assert "A larger batch might save up to $1.50 an hour" in fired["annotations"]["description"]
    assert fired["annotations"]["dashboard_url"] == "http://127.0.0.1:3000/d/epochcost-run?var-cluster=&var-run=sim-run"

    stack.node.memory_fill = 0.8
    wait_for(lambda: stack.webhook.alerts("EpochcostGpuUnderfilled", "resolved"), 60, "its end")


def test_a_stalled_run_arrives_with_the_cost_of_its_nodes_and_resolves(stack: Stack) -> None:
    stack.node.busy = True
    stack.node.stalled = True
    fired = wait_for(lambda: stack.webhook.alerts("EpochcostRunStalled"), 40, "the alert of the stalled run")[0]
    assert fired["labels"] == {"alertname": "EpochcostRunStalled", "severity": "warning", **OF_THE_RUN}
    assert "Run sim-run has made no progress" in fired["annotations"]["description"]
    assert "Its nodes cost $4.00 an hour." in fired["annotations"]["description"]

    stack.node.stalled = False
    wait_for(lambda: stack.webhook.alerts("EpochcostRunStalled", "resolved"), 40, "its end")


def test_a_run_over_its_budget_arrives_with_both_sums_and_resolves_when_it_gets_more(stack: Stack) -> None:
    stack.node.busy = True
    stack.node.budget_usd = 40
    fired = wait_for(lambda: stack.webhook.alerts("EpochcostRunOverBudget"), 40, "the alert of the budget")[0]
    assert fired["labels"] == {"alertname": "EpochcostRunOverBudget", "severity": "warning", **OF_THE_RUN}
    description = fired["annotations"]["description"]
    assert (
        "$50.00 in the end, where $40.00 is planned. It costs $4.00 an hour. This has been the case since "
        in description
    )
    assert fired["annotations"]["runbook_url"].endswith("/docs/runbooks/EpochcostRunOverBudget.md")
    assert stack.prometheus.unhealthy_rules() == []

    stack.node.budget_usd = 60
    wait_for(lambda: stack.webhook.alerts("EpochcostRunOverBudget", "resolved"), 40, "its end")


AGENT_DOWN = {"alertname": "EpochcostAgentDown", "severity": "warning", "epochcost_machine": "sim-a-1", "node": "sim-a"}
IDLE_GPU = {"alertname": "EpochcostGpuIdle", "severity": "warning", "gpu": "5"}
STALLED = {"alertname": "EpochcostRunStalled", "severity": "warning", "run": "sim-run"}


@pytest.fixture(scope="module")
def delivery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Alertmanager, WebhookReceiver]]:
    """An Alertmanager for all cases, each of which has a cluster of its own."""
    folder = tmp_path_factory.mktemp("delivery") / "alertmanager"
    with WebhookReceiver() as webhook, Alertmanager(folder, webhook.url, speed=100) as alertmanager:
        yield alertmanager, webhook


@pytest.mark.parametrize(
    ("source", "silenced", "unrelated"),
    [
        pytest.param(
            AGENT_DOWN,
            {
                "alertname": "EpochcostGpuIdle",
                "severity": "warning",
                "epochcost_machine": "sim-a-1",
                "node": "sim-a",
                "gpu": "0",
            },
            {
                "alertname": "EpochcostGpuIdle",
                "severity": "warning",
                "epochcost_machine": "sim-b-1",
                "node": "sim-b",
                "gpu": "0",
            },
            id="agent down silences its own node alone",
        ),
        pytest.param(
            {k: v for k, v in AGENT_DOWN.items() if k not in ("node", "epochcost_machine")},
            None,
            STALLED,
            id="an agent without a known node silences no run",
        ),
        pytest.param(
            {
                "alertname": "EpochcostPreemptionNotice",
                "severity": "critical",
                "epochcost_machine": "sim-a-1",
                "node": "sim-a",
                "kind": "interruption",
            },
            AGENT_DOWN,
            {
                "alertname": "EpochcostNodeVacant",
                "severity": "warning",
                "epochcost_machine": "sim-b-1",
                "node": "sim-b",
            },
            id="a node that is taken away",
        ),
        pytest.param(
            {
                "alertname": "EpochcostGpuUnreadable",
                "severity": "warning",
                "epochcost_machine": "sim-a-1",
                "node": "sim-a",
                "gpu": "0",
            },
            {**IDLE_GPU, "epochcost_machine": "sim-a-1"},
            {"alertname": "EpochcostIdleCost", "severity": "warning", "epochcost_machine": "sim-a-1", "node": "sim-a"},
            id="a lost GPU, and what the others idle away for another reason",
        ),
        pytest.param(
            {"alertname": "EpochcostIdleCost", "severity": "warning", "epochcost_machine": "sim-a-1", "node": "sim-a"},
            {**IDLE_GPU, "epochcost_machine": "sim-a-1"},
            {**IDLE_GPU, "epochcost_machine": "sim-b-1"},
            id="the idle time of a node holds that of its GPUs, and never the other way round",
        ),
        pytest.param(
            {"alertname": "EpochcostSpotNotCheaper", "severity": "warning", "zone": "a", "instance_type": "t"},
            {"alertname": "EpochcostSpotNotCheaper", "severity": "info", "zone": "a", "instance_type": "t"},
            {"alertname": "EpochcostSpotNotCheaper", "severity": "info", "zone": "b", "instance_type": "t"},
            id="a warning silences its own info",
        ),
        pytest.param(
            {"alertname": "EpochcostRunOverBudget", "severity": "warning", "run": "sim-run"},
            {"alertname": "EpochcostEpochCostWorse", "severity": "warning", "run": "sim-run"},
            STALLED,
            id="a budget",
        ),
        pytest.param({**STALLED, "severity": "critical"}, STALLED, {**STALLED, "run": "other"}, id="critical"),
        pytest.param(
            {"alertname": "EpochcostPricesDown", "severity": "warning", "instance": "p:1"},
            {
                "alertname": "EpochcostPriceUnknown",
                "severity": "warning",
                "epochcost_machine": "sim-a-1",
                "node": "sim-a",
            },
            STALLED,
            id="no poller",
        ),
    ],
)
def test_an_alert_inhibits_its_consequences(delivery, request, source, silenced, unrelated) -> None:
    alertmanager, webhook = delivery
    cluster = {"cluster": request.node.callspec.id}
    source, unrelated = {**source, **cluster}, {**unrelated, **cluster}
    follows = [{**silenced, **cluster}] if silenced else []
    alertmanager.post(source)
    alertmanager.post(unrelated, *follows)
    wait_for(lambda: unrelated in _arrived(webhook), 20, "the unrelated alert")
    in_cluster = [alert for alert in alertmanager.alerts() if alert["labels"]["cluster"] == cluster["cluster"]]
    assert sorted(alert["status"]["state"] for alert in in_cluster) == [
        "active",
        "active",
        *["suppressed"] * len(follows),
    ]
    assert not [alert for alert in follows if alert in _arrived(webhook)]


def _arrived(webhook: WebhookReceiver) -> list[dict[str, str]]:
    return [alert["labels"] for notification in webhook.notifications for alert in notification["alerts"]]
