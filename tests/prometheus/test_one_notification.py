"""One cause, one notification: what fires together in each kind of trouble, counted at a real receiver."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.stack import Alertmanager, WebhookReceiver, available
from tests.waiting import wait_for

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(not available(), reason="prometheus and prometheus-alertmanager are not installed"),
]
SPEED = 100
NODE = {"epochcost_machine": "sim-a-1", "node": "sim-a"}
RUN = {"run": "sim-run", "experiment": "sim", "epochcost_machine": "sim-a-1", "node": "sim-a"}
WIDE = {"run": "sim-wide", "experiment": "sim"}
"""A run over several machines names none of them."""


def _alert(name: str, severity: str, **labels: str) -> dict[str, str]:
    return {"alertname": f"Epochcost{name}", "severity": severity, **labels}


GPUS = [_alert("GpuIdle", "warning", **NODE, gpu=str(n), uuid=f"GPU-{n}") for n in range(8)]
WASTED = _alert("DayWasted", "info", **NODE)
WORSE = _alert("EpochCostWorse", "warning", **RUN)
UNDERFILLED = _alert("GpuUnderfilled", "info", **RUN)
CAUSES = {
    "data too slow, dear": [
        *GPUS, _alert("IdleCost", "warning", **NODE), _alert("IdleCost", "critical", **NODE), WASTED, WORSE,
        UNDERFILLED,
    ],
    "data too slow, cheap": [_alert("IdleShare", "info", **NODE), WASTED, WORSE, UNDERFILLED],
    "one GPU unused by the run": [GPUS[5], _alert("IdleShare", "info", **NODE), WASTED],
    "a long compile": [
        _alert("StartupLong", "warning", **RUN), _alert("StartupLong", "critical", **RUN), *GPUS, WASTED, WORSE,
    ],
    "a run that hangs": [
        _alert("RunStalled", "warning", **RUN), _alert("RunStalled", "critical", **RUN), WORSE, WASTED, *GPUS,
        _alert("IdleCost", "warning", **NODE),
    ],
    "a run over machines that hangs": [
        _alert("RunStalled", "warning", **WIDE), _alert("RunStalled", "critical", **WIDE),
        _alert("EpochCostWorse", "warning", **WIDE),
    ],
    "nobody uses a machine": [
        _alert("NodeVacant", "warning", **NODE), _alert("NodeVacant", "critical", **NODE), WASTED,
    ],
    "a machine after its run": [
        _alert("NodeUpAfterRun", "warning", **NODE), _alert("NodeUpAfterRun", "critical", **NODE), WASTED,
    ],
    "a notebook left open": [_alert("GpuHeldIdle", "warning", **NODE), WASTED],
    "taken away": [
        _alert("PreemptionNotice", "critical", **NODE, kind="interruption"), _alert("AgentDown", "warning", **NODE),
        _alert("RunStalled", "warning", **RUN), _alert("NodeUpAfterRun", "warning", **NODE),
    ],
    "a dead agent": [
        _alert("AgentDown", "warning", **NODE), _alert("PriceStale", "warning", **NODE, source="aws"),
        _alert("RunStalled", "critical", **RUN),
    ],
    "a budget that burns": [
        *(_alert("BudgetBurn", "critical", window=window) for window in ("1h", "6h")),
        *(_alert("BudgetBurn", "warning", window=window) for window in ("1d", "3d")),
        _alert("SpendUnusual", "warning", window="1h"), _alert("SpendUnusual", "info", window="1d"),
    ],
    "no poller": [
        _alert("PricesDown", "warning", job="epochcost-prices", instance="prices:10836"),
        *(_alert("PriceUnknown", "warning", epochcost_machine=f"sim-{n}", node=f"sim-{n}") for n in range(5)),
        *(_alert("NodeUnmatched", "info", epochcost_machine=f"sim-{n}", node=f"sim-{n}") for n in range(5)),
        _alert("CollectorFailing", "warning", collector="price"),
    ],
    "a GPU that is lost": [_alert("GpuUnreadable", "warning", **NODE, gpu="3", uuid="GPU-3"), *GPUS, WASTED],
    "idle GPUs of an agent of the version before": [
        _alert("IdleCost", "warning", node="old"), _alert("GpuIdle", "warning", node="old", gpu="1"),
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[dict]]]:
    """Notifications of firing alerts by cause, each cause in a cluster of its own, all of them posted at once."""
    folder: Path = tmp_path_factory.mktemp("one") / "alertmanager"
    with WebhookReceiver() as webhook, Alertmanager(folder, webhook.url, speed=SPEED) as alertmanager:
        alertmanager.post(*({**alert, "cluster": cause} for cause, alerts in CAUSES.items() for alert in alerts))

        def by_cause() -> dict[str, list[dict]]:
            found: dict[str, list[dict]] = {}
            for note in webhook.notifications:
                found.setdefault(note["groupLabels"].get("cluster", ""), []).append(note)
            return found

        wait_for(lambda: set(CAUSES) <= set(by_cause()), 60, "a notification of each cause")
        # One that waits as long as any other begins to wait now: when it is there, all others have been sent.
        last = _alert("SpendUnusual", "info", window="1d", cluster="last")
        alertmanager.post(last)
        wait_for(lambda: "last" in by_cause(), 60, "the last notification")
        yield by_cause()


@pytest.mark.parametrize("cause", CAUSES)
def test_one_cause_is_one_notification(told: dict[str, list[dict]], cause: str) -> None:
    groups = {tuple(sorted(note["groupLabels"].items())) for note in told[cause]}
    named = [sorted(alert["labels"]["alertname"] for alert in note["alerts"]) for note in told[cause]]
    assert len(groups) == 1, named
    assert len(told[cause]) == 1, named
