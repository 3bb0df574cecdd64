"""One cause, one notification: the alerts of each kind of trouble at their times, counted at a real receiver."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
from tests.prometheus.rule_files import ALERTS, seconds
from tests.stack import Alertmanager, WebhookReceiver, available
from tests.waiting import wait_for

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(not available(), reason="prometheus and prometheus-alertmanager are not installed"),
]
SPEED = 600
NODE = {"epochcost_machine": "sim-a-1", "node": "sim-a"}
RUN = {"run": "sim-run", "experiment": "sim", "epochcost_machine": "sim-a-1", "node": "sim-a"}
WIDE = {"run": "sim-wide", "experiment": "sim"}
"""A run over several machines names none of them."""
WAITS = {
    (rule.name, rule.severity, rule.body["labels"].get("window", "")): seconds(rule.body["for"]) for rule in ALERTS
}


@dataclass(frozen=True, slots=True)
class Firing:
    """An alert and the seconds from the start of its cause until it fires, its wait included."""

    labels: dict[str, str]
    after: float


def _alert(name: str, severity: str, **labels: str) -> Firing:
    name = f"Epochcost{name}"
    wait = WAITS[name, severity, labels.get("window", "")]
    return Firing({"alertname": name, "severity": severity, **labels}, wait)


def _later(firing: Firing, seconds_later: float) -> Firing:
    return replace(firing, after=firing.after + seconds_later)


def _both(name: str, **labels: str) -> list[Firing]:
    return [_alert(name, severity, **labels) for severity in ("warning", "critical")]


HOUR = 3600.0
GPUS = [_alert("GpuIdle", "warning", **NODE, gpu=str(n), uuid=f"GPU-{n}") for n in range(8)]
WASTED = _alert("DayWasted", "info", **NODE)
WORSE = _alert("EpochCostWorse", "warning", **RUN)
UNDERFILLED = _alert("GpuUnderfilled", "info", **RUN)
IDLE_COST, STALLED, STARTS = _both("IdleCost", **NODE), _both("RunStalled", **RUN), _both("StartupLong", **RUN)
PRICELESS = [{"epochcost_machine": f"sim-{n}", "node": f"sim-{n}"} for n in range(5)]
SERVED = "served by a poller of no cluster"
CAUSES = {
    "data too slow, dear": [*IDLE_COST, WASTED],
    "data too slow, cheap": [_alert("IdleShare", "info", **NODE), WASTED],
    "one GPU unused by the run": [GPUS[5]],
    "a long compile": [*STARTS, WASTED, WORSE, UNDERFILLED],
    "a run that hangs": [*STALLED, WORSE, WASTED, UNDERFILLED],
    "a run over machines that hangs": [
        *_both("RunStalled", **WIDE), _alert("EpochCostWorse", "warning", **WIDE),
    ],
    "nobody uses a machine": [*_both("NodeVacant", **NODE), WASTED],
    "a machine after its run": [
        *_both("NodeUpAfterRun", **NODE), *_both("GpuHeldIdle", **NODE), WASTED,
    ],
    "a notebook left open": [*_both("GpuHeldIdle", **NODE), WASTED],
    "taken away": [
        _alert("PreemptionNotice", "critical", **NODE, kind="interruption"), _alert("AgentDown", "warning", **NODE),
        _alert("PreemptionNotice", "info", **NODE, kind="rebalance"), STALLED[0],
        _alert("NodeUpAfterRun", "warning", **NODE),
    ],
    "a dead agent": [
        _alert("AgentDown", "warning", **NODE), _alert("PriceStale", "warning", **NODE, source="aws"), *STALLED, *GPUS,
        _alert("AgentNotSampling", "warning", **NODE), _alert("NodeVacant", "warning", **NODE),
    ],
    "an agent that hangs": [
        _alert("AgentNotSampling", "warning", **NODE), *GPUS, *IDLE_COST, _alert("IdleShare", "info", **NODE),
    ],
    "a budget that burns": [
        *(_alert("BudgetBurn", "critical", window=window) for window in ("1h", "6h")),
        *(_alert("BudgetBurn", "warning", window=window) for window in ("1d", "3d")),
        _alert("SpendUnusual", "warning", window="1h"), _alert("SpendUnusual", "info", window="1d"),
    ],
    "two hundred agents that nobody reaches": [
        _alert("AgentDown", "warning", epochcost_machine=f"sim-{n}", node=f"sim-{n}") for n in range(200)
    ],
    "a type that no source prices": [
        *(_alert("PriceUnknown", "warning", **machine) for machine in PRICELESS),
        *(_alert("NodeUnmatched", "info", **machine) for machine in PRICELESS),
    ],
    "no poller": [
        _alert("PricesDown", "warning", job="epochcost-prices", instance="prices:10836"),
        *(_alert("PriceUnknown", "warning", **machine) for machine in PRICELESS),
        *(_alert("NodeUnmatched", "info", **machine) for machine in PRICELESS),
        _alert("CollectorFailing", "warning", collector="price"),
    ],
    "a type of machine without a price": [
        *(_alert("PriceUnknown", "warning", **machine) for machine in PRICELESS),
        *(_alert("NodeUnmatched", "info", **machine) for machine in PRICELESS),
    ],
    "a source of prices that fails": [
        _alert("PriceSourceFailing", "warning", source="aws", instance="prices:10836"),
        *(_later(_alert("PriceStale", "warning", **machine, source="aws"), 6 * HOUR) for machine in PRICELESS),
    ],
    "an old row of a price list": [
        _alert("PriceStale", "warning", **machine, source="listed") for machine in PRICELESS
    ],
    "no way to the poller": [
        _alert("CollectorFailing", "warning", collector="price"), _later(_alert("PriceBehind", "warning"), HOUR),
    ],
    "a GPU that is lost": [
        *_both("GpuUnreadable", **NODE, gpu="3", uuid="GPU-3"), *GPUS, WASTED, *STALLED, WORSE,
    ],
    "idle GPUs of an agent of the version before": [
        _alert("IdleCost", "warning", node="old"), _alert("IdleShare", "info", node="old"),
    ],
}  # fmt: skip


TWO_CAUSES = {
    "one run hangs, another one waits for data": [_alert("RunStalled", "warning", **RUN), IDLE_COST[0]],
    "a GPU is lost, the others wait for data": [
        _alert("GpuUnreadable", "warning", **NODE, gpu="3", uuid="GPU-3"), IDLE_COST[0],
    ],
    "one run waits for data, another one of the machine is dearer": [IDLE_COST[0], WORSE],
    "one run waits for data, another one of the machine is underfilled": [IDLE_COST[0], UNDERFILLED],
    "one GPU is not used, the others wait for data": [GPUS[5], _alert("IdleShare", "info", **NODE)],
    "one GPU is not used, and much was wasted within the day": [GPUS[5], WASTED],
    "work was lost, and epochs are dearer": [_alert("LostWork", "warning", **RUN), WORSE],
    "a budget burns slowly, and spend jumps": [
        _alert("BudgetBurn", "warning", window="3d"), _alert("SpendUnusual", "warning", window="1h"),
    ],
    "a machine is taken away, and its run is over its budget": [
        _alert("PreemptionNotice", "critical", **NODE, kind="interruption"), _alert("RunOverBudget", "critical", **RUN),
    ],
    "a poller is down, and a source of another one fails": [
        _alert("PricesDown", "warning", job="epochcost-prices", instance="one:10836"),
        _alert("PriceSourceFailing", "warning", source="gcp", instance="other:10836"),
    ],
}  # fmt: skip
"""Neither implies the other, and the missing one may be the larger problem."""


class NotificationLog:
    """Notifications by cause, each cause in a cluster of its own; repetitions do not count."""

    def __init__(self, alertmanager: Alertmanager, webhook: WebhookReceiver) -> None:
        self._alertmanager, self._webhook = alertmanager, webhook

    def by_cause(self) -> dict[str, list[list[str]]]:
        """For each cause, the alerts that were new in each notification."""
        names_by_cause: dict[str, list[list[str]]] = {}
        announced: set[str] = set()
        for note in list(self._webhook.notifications):
            fresh = [alert for alert in note["alerts"] if str(alert["labels"]) not in announced]
            announced.update(str(alert["labels"]) for alert in fresh)
            if fresh:
                names = sorted(f"{alert['labels']['alertname']} {alert['labels']['severity']}" for alert in fresh)
                names_by_cause.setdefault(note["groupLabels"].get("cluster", ""), []).append(names)
        return names_by_cause

    def _arrived(self, cause: str) -> bool:
        return cause in self.by_cause()

    def post_everywhere(self) -> None:
        """A poller that belongs to no cluster, and what follows from its end in one."""
        follows = CAUSES["no poller"][1:]
        self._alertmanager.post({**CAUSES["no poller"][0].labels, "cluster": ""})
        self._alertmanager.post(*({**one.labels, "cluster": SERVED} for one in follows))
        self._settle("a poller of no cluster")

    def post(self, after: float) -> None:
        """Post the alerts that fire by ``after`` seconds; returns when all notifications have been sent."""
        every = [*CAUSES.items(), *TWO_CAUSES.items()]
        due = [(cause, one) for cause, alerts in every for one in alerts if one.after <= after]
        self._alertmanager.post(*({**one.labels, "cluster": cause} for cause, one in due))
        self._settle(f"after {after:g} s")

    def _settle(self, when: str) -> None:
        """Return when all that was posted has been sent."""
        # A group waits no longer than an alert for information, before its first notification and between two. So
        # when the second such alert has arrived that was posted after the first had, all others have.
        for turn in ("first", "second"):
            last = f"{turn} {when}"
            self._alertmanager.post({"alertname": "EpochcostSpendUnusual", "severity": "info", "cluster": last})
            wait_for(partial(self._arrived, last), 60, last)


@pytest.fixture(scope="module")
def notifications(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[list[str]]]]:
    folder: Path = tmp_path_factory.mktemp("one") / "alertmanager"
    with WebhookReceiver() as webhook, Alertmanager(folder, webhook.url, speed=SPEED) as alertmanager:
        log = NotificationLog(alertmanager, webhook)
        for after in sorted({one.after for alerts in [*CAUSES.values(), *TWO_CAUSES.values()] for one in alerts}):
            log.post(after)
        log.post_everywhere()
        yield log.by_cause()


@pytest.mark.parametrize("cause", CAUSES)
def test_one_cause_is_one_notification(notifications: dict[str, list[list[str]]], cause: str) -> None:
    (names,) = notifications[cause]
    assert {name.split()[0] for name in names} == {CAUSES[cause][0].labels["alertname"]}


@pytest.mark.parametrize("causes", TWO_CAUSES)
def test_two_causes_are_both_notified(notifications: dict[str, list[list[str]]], causes: str) -> None:
    names = {name.split()[0] for notification in notifications[causes] for name in notification}
    assert names == {one.labels["alertname"] for one in TWO_CAUSES[causes]}


def test_a_poller_without_a_cluster_represents_all_clusters(notifications: dict[str, list[list[str]]]) -> None:
    assert ["EpochcostPricesDown warning"] in notifications[""]
    assert SERVED not in notifications
