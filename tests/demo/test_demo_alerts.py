"""Each alert of the project fires in the demo when it should, and no other does.

``TABLE`` has the begin and end of each alert's condition by the script (seconds since the beginning). It may be seen
as much later as its window is long and an evaluation takes to come: `slack`. It fires after its wait, and not before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from tests.demo.truth import STALL_SECONDS, cost, dollars, epoch_marks, price_of

from epochcost.demo.fleet import FLEET
from epochcost.demo.rules_for_replay import config_dir, every_rule, seconds
from epochcost.demo.scenario import CLUSTER, Machine

pytestmark = pytest.mark.stack
END = 21_600.0
EVALUATION = 120.0
"""Once a minute, over samples and recording rules of every 30 s."""
WINDOW = 300.0
"""Of the rates that most alerts look at."""
KEEP = 900.0
"""An agent still exports an ended run for so long."""
STALE = 60.0
GIVEN = ("severity", "window", "kind", "source", "reason", "node", "run", "gpu", "instance_type")


@dataclass(frozen=True)
class Expected:
    """From ``begin`` to ``end`` the condition holds; ``slack`` is how much later either end may be observed."""

    alert: str
    labels: Mapping[str, str]
    begin: float
    end: float = END
    slack: float = EVALUATION


def machine_of(name: str) -> Machine:
    return next(m for m in FLEET.machines if m.name == name)


LLM, H100 = machine_of("sim-a100-01"), machine_of("sim-h100-01")
TAKEN, NEXT = machine_of("sim-g5-01"), machine_of("sim-g5-02")
L4, LAMBDA, CPU = machine_of("sim-l4-01"), machine_of("sim-lambda-01"), machine_of("sim-cpu-01")
VIT = H100.attempts[0]
NOTEBOOK, TRANSLATOR = machine_of("sim-lab-01"), machine_of("sim-lab-02").attempts[0]
DOWN, UP_AGAIN = FLEET.poller_down[0]
UNALERTED = 5400.0
"""Only waste of so long ago is known to have had no alert."""


def spent_usd(t: float) -> float:
    """Dollars of the larger cluster by ``t``, of machines with a known price."""
    machines = [m for m in FLEET.machines if m.cluster == CLUSTER and price_of(FLEET, m) is not None]
    return sum(cost(FLEET, m, t) for m in machines if t > m.agent_starts)


def first(condition, start: float = 0.0, step: float = 30.0) -> float:
    """The first instant at which ``condition`` holds."""
    t = start
    while not condition(t):
        t += step
        assert t < 2 * END, "it never holds"
    return t


def burn(hours: int, t: float) -> float:
    """The budget's burn over the hours before."""
    usd = spent_usd(t) - spent_usd(max(0.0, t - 3600 * hours))
    return usd / hours / (FLEET.budget_usd_per_month / (30 * 24))


def budget_ratio(t: float, *, projected: bool) -> float:
    """What llm-7b has cost, or will cost, over its budget."""
    job = FLEET.job("llm-7b-4417")
    machines = [m for m in FLEET.machines if any(a.run == job.run for a in m.attempts)]
    usd = sum(dollars(price_of(FLEET, m), a.start, min(a.end, t)) for m in machines for a in m.attempts if a.start < t)  # type: ignore[arg-type, misc]
    if not projected:
        return usd / job.budget_usd
    now = [a for a in LLM.attempts if a.start <= t][-1:]
    if not now or now[0].position(t) < 0.01:
        return 0.0
    (now,) = now  # type: ignore[assignment]
    marks = epoch_marks(LLM, job.run, t)
    if marks:
        each = sum(dollars(price_of(FLEET, m), *mark) for m in machines for mark in marks) / len(marks)  # type: ignore[arg-type, misc]
    else:  # an estimate: the cost of the fraction so far, without start-up
        startup = sum(dollars(price_of(FLEET, m), now.start, now.first_step) for m in machines)  # type: ignore[arg-type, attr-defined, misc]
        each = (usd - startup) / now.position(t)  # type: ignore[attr-defined]
    return (usd + (job.epochs - now.position(t)) * each) / job.budget_usd  # type: ignore[attr-defined]


def is_more_expensive(t: float) -> bool:
    """Whether tabular-7's mean epoch costs 20 % more than that of the run before, whose figures have expired."""
    after, before = epoch_marks(CPU, "tabular-7", t), epoch_marks(CPU, "tabular-6", t)
    expires = CPU.attempts[0].end + KEEP
    if not after or t < expires:
        return False
    mean = [sum(b - a for a, b in marks) / len(marks) for marks in (after, before)]
    return mean[0] > 1.2 * mean[1]


def lost_ratio(t: float) -> float:
    """Lost epochs over executed ones of llm-7b: the work repeated so far."""
    one, two = LLM.attempts
    epochs_done = one.position(one.end) + max(0.0, two.position(t) - two.from_epoch)
    return (epochs_done - max(one.position(one.end), two.position(t))) / epochs_done if t >= two.start else 0.0


def node(machine: Machine, **more: str) -> dict[str, str]:
    return {"node": machine.name, **more}


G5_JUMP = 12_000.0
WORSE = first(lambda t: lost_ratio(t) > 0.1)
SPOT_L4 = {"instance_type": "g2-standard-8"}
TABLE = [
    Expected("EpochcostAgentDown", node(TAKEN), TAKEN.gone),
    Expected("EpochcostAgentNotSampling", node(LAMBDA), 16_000 - 5 + WINDOW, 17_200),
    Expected("EpochcostBudgetBurn", {"severity": "critical", "window": "1h"},
             first(lambda t: (spent_usd(t) - spent_usd(t - 3600)) / (4000 / 720) > 14.4), slack=WINDOW),
    Expected("EpochcostBudgetBurn", {"severity": "critical", "window": "6h"}, first(lambda t: burn(6, t) > 6)),
    Expected("EpochcostBudgetBurn", {"severity": "warning", "window": "1d"},
             first(lambda t: burn(24, t) > 3), slack=WINDOW + EVALUATION),
    Expected("EpochcostCheaperZone", {"instance_type": "g5.xlarge"}, G5_JUMP, DOWN, slack=300 + EVALUATION),
    Expected("EpochcostCheaperZone", {"instance_type": "g5.xlarge"}, UP_AGAIN),
    Expected("EpochcostCreditLow", {"provider": "vast"}, 11_000, 14_000, slack=180),
    Expected("EpochcostDayWasted", node(H100), UNALERTED, slack=600 + EVALUATION),
    Expected("EpochcostEpochCostWorse", {"run": "tabular-7"}, first(is_more_expensive), slack=2 * WINDOW),
    # While the poller is down, the machine that cannot reach it has no price: EpochcostPriceUnknown fires.
    Expected("EpochcostCollectorFailing", {"collector": "price"}, 0.0, DOWN, slack=300 + EVALUATION),
    Expected("EpochcostCollectorFailing", {"collector": "price"}, UP_AGAIN),
    Expected("EpochcostGpuHeldIdle", node(NOTEBOOK), NOTEBOOK.strangers[1].start, slack=1800.0),
    Expected("EpochcostGpuUnderfilled", {"run": VIT.run}, VIT.first_step, slack=WINDOW),
    Expected("EpochcostGpuUnderfilled", {"run": "bert-tiny-2"}, 240, slack=WINDOW),
    Expected("EpochcostGpuUnreadable", node(L4, gpu="0"), 12_000, 13_200),
    *(Expected("EpochcostIdleCost", node(H100, severity=s), VIT.first_step, slack=WINDOW)
      for s in ("warning", "critical")),
    Expected("EpochcostLostWork", {"run": "llm-7b-4417"}, WORSE,
             first(lambda t: lost_ratio(t) <= 0.1, WORSE)),
    Expected("EpochcostNodeUnmatched", {"node": "sim-azure-03"}, 0.0, DOWN),
    Expected("EpochcostNodeUnmatched", {"node": "sim-azure-03"}, UP_AGAIN),
    Expected("EpochcostNodeUpAfterRun", {"node": "sim-p3-02"}, 11_040, DOWN, slack=WINDOW + STALE),
    Expected("EpochcostNodeUpAfterRun", {"node": "sim-p3-02"}, UP_AGAIN),
    *(Expected("EpochcostNodeVacant", node(H100, severity=s), 0.0, VIT.start) for s in ("warning", "critical")),
    Expected("EpochcostOwnedNodeIdle", {"node": "sim-desktop-2"}, 0.0),
    Expected("EpochcostPollersContradict", {}, 6060, 7800, slack=900 + 2 * EVALUATION),
    Expected("EpochcostPreemptionNotice", node(TAKEN, kind="rebalance"), TAKEN.rebalance, TAKEN.notice),  # type: ignore[arg-type]
    Expected("EpochcostPreemptionNotice", node(TAKEN, kind="interruption"), TAKEN.notice, TAKEN.gone),  # type: ignore[arg-type]
    Expected("EpochcostPriceHeldBack", {"source": "gcp", "reason": "zero"}, 10_200, 13_200),
    Expected("EpochcostPriceSourceFailing", {"source": "vast"}, 5100, 8700),
    Expected("EpochcostPriceStale", node(LAMBDA), 0.0),
    Expected("EpochcostPriceUnknown", {"node": "sim-azure-03"}, 0.0),
    Expected("EpochcostPriceUnknown", {"node": "sim-p3-02"}, DOWN, UP_AGAIN),
    Expected("EpochcostPricesDown", {}, DOWN, UP_AGAIN),
    Expected("EpochcostRunOverBudget", {"run": "llm-7b-4417", "severity": "warning"},
             first(lambda t: budget_ratio(t, projected=True) > 1), LLM.attempts[0].end),
    Expected("EpochcostRunOverBudget", {"run": "llm-7b-4417", "severity": "warning"}, LLM.attempts[1].start),
    Expected("EpochcostRunOverBudget", {"run": "llm-7b-4417", "severity": "critical"},
             first(lambda t: budget_ratio(t, projected=False) > 1)),
    Expected("EpochcostRunStalled", {"run": "diffusion-55", "severity": "warning"}, 14_000 + STALL_SECONDS),
    Expected("EpochcostSpotCheaper", {"instance_type": "a3-highgpu-8g"}, VIT.start, DOWN),
    Expected("EpochcostSpotNotCheaper", {**SPOT_L4, "severity": "info"}, 9000),
    Expected("EpochcostSpotNotCheaper", {**SPOT_L4, "severity": "warning"}, 15_000),
    Expected("EpochcostStartupLong", {"run": TRANSLATOR.run}, TRANSLATOR.start, TRANSLATOR.first_step),
    *(Expected("EpochcostStartupLong", {"run": VIT.run, "severity": s}, VIT.start, VIT.first_step)
      for s in ("warning", "critical")),
]  # fmt: skip


ELSEWHERE = {
    "EpochcostAgentVersion", "EpochcostGpuIdle", "EpochcostGuardBlind", "EpochcostGuardGaveUp",
    "EpochcostGuardStopsSoon", "EpochcostIdleShare", "EpochcostLabelTaken", "EpochcostMachineNameShared",
    "EpochcostNothingScraped", "EpochcostPriceBehind", "EpochcostRunPartMissing", "EpochcostSessionEnding",
    "EpochcostSpendUnusual", "EpochcostTwoLeaders",
}  # fmt: skip
"""Alerts of faults that this world does not have; the tests beside the rules hold them."""


def fits(fired, expected: Expected) -> bool:
    return fired.alert == expected.alert and all(fired.labels.get(k) == v for k, v in expected.labels.items())


def during(fired, expected: Expected, epoch_ts: float) -> bool:
    """Whether it fired at all while the condition held."""
    return fired.pending_ts - epoch_ts < expected.end and fired.last_ts - epoch_ts >= expected.begin


def name(expected: Expected) -> str:
    return " ".join([expected.alert, *expected.labels.values(), f"{expected.begin:g}"])


@pytest.fixture(scope="session")
def waits() -> dict[tuple[str, ...], float]:
    """How long each alert waits, by name, severity and window."""
    return {
        (r["alert"], r["labels"]["severity"], r["labels"].get("window", "")): seconds(r.get("for", "0s"))
        for r in every_rule(config_dir() / "rules", "alert")
    }


@pytest.mark.parametrize("expected", TABLE, ids=name)
def test_it_fires_when_it_should_and_no_longer(demo_history, waits, expected):
    firings = [
        f
        for f in demo_history.fired
        if f.firing_ts is not None and fits(f, expected) and during(f, expected, demo_history.epoch_ts)
    ]
    start = demo_history.epoch_ts
    alike = [(f.labels, f.pending_ts - start, f.last_ts - start) for f in demo_history.fired if fits(f, expected)]
    assert len(firings) == 1, alike
    (fired,) = firings
    pending, last = fired.pending_ts - demo_history.epoch_ts, fired.last_ts - demo_history.epoch_ts
    assert expected.begin <= pending <= expected.begin + expected.slack
    wait = waits[fired.alert, fired.labels["severity"], fired.labels.get("window", "")]
    assert fired.firing_ts == fired.pending_ts + wait
    assert expected.end - EVALUATION <= last <= expected.end + expected.slack


def test_nothing_else_fires(demo_history):
    unexpected = [
        f for f in demo_history.fired
        if f.firing_ts is not None and not any(fits(f, e) and during(f, e, demo_history.epoch_ts) for e in TABLE)
    ]  # fmt: skip
    assert [
        (f.alert, {k: f.labels[k] for k in GIVEN if k in f.labels}, f.pending_ts - demo_history.epoch_ts)
        for f in unexpected
    ] == []


def test_every_alert_of_the_project_fires_here_or_in_the_rule_tests():
    covered = {e.alert for e in TABLE}
    assert covered.isdisjoint(ELSEWHERE)
    alerts = {rule["alert"] for rule in every_rule(config_dir() / "rules", "alert")}
    assert (covered | ELSEWHERE) ^ alerts == set(), "each alert is in TABLE or in ELSEWHERE of this file"
    texts = "".join(path.read_text(encoding="utf-8") for path in (config_dir() / "rules" / "tests").glob("*.yml"))
    assert [alert for alert in sorted(ELSEWHERE) if f"alertname: {alert}" not in texts] == []
