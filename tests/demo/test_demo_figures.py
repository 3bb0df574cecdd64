"""Every figure of the dashboards Fleet, Run, Node, Market and Health at the end of the demo, against the script."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from tests.demo.finale import (
    A100,
    ASKED,
    BREAK_EVEN,
    BUDGET,
    CHOSEN,
    HERE,
    JOB,
    KNOWN_RUNS,
    LISTED,
    MINE,
    NODE,
    NOW,
    OPEN,
    P4D,
    P4D_GPU,
    PAID_BOTH,
    PER_GPU,
    PRICED,
    RUN,
    RUNS,
    SAVING,
    SOURCES,
    SPOT,
    TYPE,
    WITH_GPUS,
    age,
    burn,
    busy,
    by_machine,
    by_run,
    by_state,
    by_the_end,
    cheapest_by_model,
    cpu,
    epochs_done,
    epochs_seconds,
    epochs_usd,
    fills,
    in_use,
    in_whole_hours,
    kind,
    last_to_usual,
    load,
    location,
    mean,
    month_by_option,
    offer_key,
    offers,
    oldest,
    on_demand,
    paid_usd,
    position,
    price,
    projected,
    run_states,
    shares,
    spend_of,
    top_six,
    waste_of,
    wasted,
    would_save,
)
from tests.demo.truth import (
    begins,
    cost,
    current_epoch_start,
    dollars,
    price_of,
    run_cost,
    state_seconds,
    states,
)
from tests.grafana.boards import PanelQuery, queries
from tests.grafana.simulated_prometheus import instant

from epochcost.demo.fleet import FLEET, H100, LEFT_ON, UNPRICED
from epochcost.demo.market import REFRESH_SECONDS
from epochcost.demo.scenario import HOUR, Machine
from epochcost.demo.simulated_agent import machine_name
from epochcost.demo.simulated_machine import loss_at, steps_per_epoch
from epochcost.model import State
from epochcost.palette import PALETTE

pytestmark = pytest.mark.stack
RUN_STATE_CODES = ("finished", "training")
"""As Run's words are numbered; all of them: tests/grafana."""
Truth = float | dict[str, float]
One: TypeAlias = Callable[[], Any]
By: TypeAlias = tuple[str, Callable[[], Any]]

FIGURES: dict[str, One | By] = {
    "fleet/Spend now/A": lambda: sum(price(m) for m in PRICED),
    "fleet/Spend now/B": lambda: len(HERE) - len(PRICED),
    "fleet/Today/A": lambda: sum(cost(FLEET, m, NOW) for m in FLEET.machines if price_of(FLEET, m)),
    "fleet/Wasted now/A": lambda: sum(wasted(m) for m in PRICED),
    "fleet/Wasted now/B": lambda: sum(wasted(m) for m in PRICED) / sum(price(m) for m in PRICED),
    "fleet/Machines/A": lambda: len(HERE),
    "fleet/Machines/B": lambda: sum(m.kind.gpus for m in HERE),
    "fleet/Machines/C": lambda: len(RUNS),
    "fleet/Spend by state/A": ("state", by_state),
    "fleet/Cost per epoch/A": ("run", lambda: dict(sorted(
        ((run, mean(epochs_usd(run))) for run in KNOWN_RUNS), key=lambda pair: -pair[1])[:6])),
    "fleet/Spend by state over time/A": ("state", lambda: {s: usd for s, usd in by_state().items() if usd > 1e-9}),
    "fleet/Waste and utilisation/A": lambda: mean([load(m, g) for m in WITH_GPUS for g in range(m.kind.gpus)]),
    "fleet/Waste and utilisation/B": lambda: mean(fills()),
    "fleet/Waste and utilisation/C": lambda: sum(wasted(m) for m in PRICED) / sum(price(m) for m in PRICED),
    "fleet/Clusters/A": ("cluster", lambda: {
        c: sum(price(m) for m in PRICED if m.cluster == c) for c in {m.cluster for m in PRICED}}),
    "fleet/Spend by team/A": ("team", lambda: top_six("team", price)),
    "fleet/Wasted by team/A": ("team", lambda: top_six("team", wasted)),
    "fleet/Wasted by owner/A": ("owner", lambda: top_six("owner", wasted)),
    "fleet/Wasted by experiment/A": ("experiment", lambda: top_six("experiment", wasted)),
    "fleet/Budget of the month/A": lambda: in_whole_hours() / BUDGET,
    "fleet/Budget of the month/B": lambda: by_the_end() / BUDGET,
    "fleet/Budget of the month/C": burn,
    "fleet/Nodes/A": by_machine(lambda: {m.name: 1.0 for m in HERE}),
    "fleet/Nodes/B": by_machine(lambda: {m.name: m.kind.gpus for m in HERE}),
    "fleet/Nodes/C": by_machine(lambda: {m.name: price(m) for m in PRICED}),
    "fleet/Nodes/D": by_machine(lambda: {m.name: wasted(m) for m in PRICED}),
    "fleet/Nodes/E": by_machine(lambda: {m.name: max(shares(m).values()) for m in HERE}),
    "fleet/Nodes/F": by_machine(lambda: {m.name: shares(m)[State.USEFUL] for m in HERE}),
    "fleet/Nodes/G": by_machine(lambda: {m.name: busy(m) for m in HERE}),
    "fleet/Runs/A": by_run(lambda: dict.fromkeys(RUNS, 1.0)),
    "fleet/Runs/B": by_run(lambda: dict.fromkeys(RUNS, 1.0)),
    "fleet/Runs/E": by_run(lambda: {run: position(run) / FLEET.job(run).epochs for run in RUNS}),
    "fleet/Runs/F": by_run(lambda: {run: spend_of(run) for run in KNOWN_RUNS}),
    "fleet/Runs/G": by_run(lambda: {run: run_cost(FLEET, run, NOW) for run in KNOWN_RUNS}),
    "fleet/Runs/I": by_run(lambda: {run: mean(epochs_usd(run)) for run in KNOWN_RUNS}),
    "fleet/Runs/J": by_run(lambda: {run: projected(run) for run in KNOWN_RUNS}),
    "fleet/Runs/K": by_run(lambda: {run: waste_of(run) for run in KNOWN_RUNS}),
    "fleet/Runs/M": by_run(lambda: {
        run: last_to_usual(run) for run in KNOWN_RUNS if len(epochs_usd(run)) > 1}),
    "health/Agents/A": lambda: len(HERE),
    "health/Agents/B": lambda: len(FLEET.machines) - len(HERE),
    "health/Price pollers/A": lambda: 1,
    "health/Price pollers/B": lambda: 0,
    "health/Failing/A": lambda: sum(not m.priced for m in HERE),
    "health/Failing/B": lambda: 0,
    "health/Failing GPUs/A": lambda: 0,
    "health/Clock jumps/A": lambda: 0,
    "health/Every agent/A": by_machine(lambda: {m.name: float(m in HERE) for m in FLEET.machines}),
    "health/Every agent/C": by_machine(lambda: {m.name: 1.0 for m in HERE}),
    "health/Every agent/D": by_machine(lambda: {m.name: ASKED - NOW for m in HERE}),
    "health/Every agent/F": by_machine(lambda: {m.name: 0.0 if m.priced else NOW - begins(m) for m in HERE}),
    "health/Every agent/G": by_machine(lambda: {m.name: float(not m.priced) for m in HERE}),
    "health/Every agent/I": by_machine(lambda: {m.name: 0.0 for m in HERE}),
    "health/Price sources/A": ("source", lambda: dict.fromkeys(SOURCES, 1.0)),
    "health/Price sources/B": ("source", lambda: dict.fromkeys(SOURCES, ASKED % REFRESH_SECONDS)),
    "health/Price sources/D": ("source", lambda: {
        s: sum((b - a) / REFRESH_SECONDS for name, a, b in FLEET.failing if name == s) for s in SOURCES}),
    "health/Price sources/E": ("source", lambda: {s: sum(o.source == s for o in offers()) for s in SOURCES}),
    "health/Time since the last complete refresh/A": ("source", lambda: dict.fromkeys(
        SOURCES, ASKED % REFRESH_SECONDS / 60)),
    "health/Age of the newest sample/A": lambda: 0,
    "health/Age of the newest sample/B": lambda: 0,
    "finance/This month/A": in_whole_hours,
    "finance/This month/B": lambda: BUDGET,
    "finance/Forecast/B": by_the_end,
    "finance/Budget used/A": lambda: in_whole_hours() / BUDGET,
    "finance/Budget used/B": lambda: by_the_end() / BUDGET,
    "finance/This month by purchase option/A": ("purchase_option", month_by_option),
    "market/Saved by the fleet/A": lambda: 1 - sum(price(m) for m in PAID_BOTH) / sum(LISTED.values()),  # type: ignore[arg-type]
    "market/Cheapest GPU-hour/A": lambda: min(PER_GPU.values()),
    "market/Largest saving of spot/A": lambda: max(SAVING.values()),
    "market/Oldest price/A": lambda: max(age(o) for o in offers()),
    "market/Price by zone and purchase option/A": ("offer", lambda: {
        location(o.purchase_option.value, o.zone or o.region): o.price.at(NOW) for o in P4D}),
    "market/Price history/A": ("offer", lambda: {
        location(o.purchase_option.value, o.zone or o.region): o.price.at(NOW) for o in P4D}),
    "market/Savings of spot/A": ("offer", lambda: {
        location(o.provider, o.region, o.zone, o.instance_type): o.price.at(NOW) for o in SPOT}),
    "market/Savings of spot/B": ("offer", lambda: {
        location(o.provider, o.region, o.zone, o.instance_type): on_demand(o) for o in SPOT if on_demand(o)}),
    "market/Savings of spot/E": ("offer", lambda: {
        location(o.provider, o.region, o.zone, o.instance_type): in_use(o) for o in SPOT}),
    "market/Savings of spot/F": ("offer", lambda: {
        location(o.provider, o.region, o.zone, o.instance_type): would_save(o) for o in SPOT}),
    "market/Missed spot saving/A": lambda: max(would_save(o) for o in SPOT),
    "market/Savings of spot/C": ("offer", lambda: {
        location(o.provider, o.region, o.zone, o.instance_type): saving for o, saving in SAVING.items()}),
    f"{BREAK_EVEN}/A": ("offer", lambda: {offer_key(o): o.price.at(NOW) for o in offers()}),
    f"{BREAK_EVEN}/B": ("offer", lambda: {offer_key(o): v for o, v in PER_GPU.items()}),
    f"{BREAK_EVEN}/D": ("offer", lambda: {
        offer_key(o): 2.0 if o.instance_type == TYPE else float(kind(o) is not None and kind(o).gpu_model == P4D_GPU)
        for o in offers()}),
    f"{BREAK_EVEN}/C": ("offer", lambda: {
        offer_key(o): o.price.at(NOW) / price(A100) for o in offers()}),
    "market/Price of a GPU-hour/A": ("offer", cheapest_by_model),
    "market/Age of prices by source/A": ("source", lambda: {s: oldest(s) for s in SOURCES}),
    "market/Prices known/A": ("source", lambda: {s: sum(o.source == s for o in offers()) for s in SOURCES}),
    "node/Price/A": lambda: price(A100),
    "node/Saved/A": lambda: 1 - price(A100) / LISTED[NODE],
    "node/Machine/A": lambda: 1,
    "node/Bought/A": lambda: 1,
    "node/In this range/A": lambda: cost(FLEET, A100, NOW),
    "node/Wasted now/A": lambda: wasted(A100),
    "node/Price by purchase option/A": lambda: price(A100),
    "node/Spend by state over time/A": ("state", lambda: {
        s.value: price(A100) * v for s, v in shares(A100).items() if state_seconds(A100, NOW)[s] > 0}),
    "node/Utilisation/A": ("gpu", lambda: {str(g): load(A100, g) for g in range(8)}),
    "node/Memory fill/A": ("gpu", lambda: {str(g): A100.memory_fill(NOW - 1) for g in range(8)}),
    "node/CPU and main memory/A": lambda: cpu(A100),
    "node/CPU and main memory/B": lambda: 0.35,
    "node/Disk and network/A": lambda: 180e6,
    "node/Disk and network/B": lambda: 12e6,
    "node/Disk and network/C": lambda: 95e6,
    "node/Disk and network/D": lambda: 20e6,
    "node/Temperature/A": ("gpu", lambda: {str(g): 34 + 42 * A100.load(g, NOW - 1) for g in range(8)}),
    # Time before the first scrape is not an increase.
    "node/Hours by state/A": ("state", lambda: {
        s.value: v - state_seconds(A100, A100.agent_starts)[s] for s, v in state_seconds(A100, NOW).items()}),
    "node/Runs on this machine/A": by_run(lambda: {RUN: 1.0}),
    "node/Runs on this machine/B": by_run(lambda: {RUN: 1.0}),
    "node/Runs on this machine/C": by_run(lambda: {RUN: paid_usd(A100)}),
    "node/Runs on this machine/D": by_run(lambda: {RUN: mean(epochs_usd(RUN))}),
    "run/Cost so far/A": lambda: run_cost(FLEET, RUN, NOW),
    "run/Cost so far/B": lambda: run_cost(FLEET, RUN, NOW) / JOB.budget_usd,
    "run/This epoch/A": lambda: sum(dollars(price_of(FLEET, m), current_epoch_start(m, RUN, NOW), NOW) for m in MINE),  # type: ignore[arg-type, misc]
    "run/State/A": lambda: RUN_STATE_CODES.index("training"),
    "run/Last epoch/A": lambda: epochs_usd(RUN)[-1],
    "run/Last epoch/B": lambda: last_to_usual(RUN),
    "run/Epoch vs. usual/B": lambda: last_to_usual(RUN),
    "run/Mean cost per epoch/A": lambda: mean(epochs_usd(RUN)),
    "run/Mean cost per epoch/B": lambda: run_cost(FLEET, RUN, NOW) / position(RUN),
    "run/Projected total/A": lambda: projected(RUN),
    "run/Projected total/B": lambda: (JOB.epochs - position(RUN)) * mean(epochs_seconds(RUN)),
    "run/Progress/A": lambda: position(RUN) / JOB.epochs,
    "run/Epoch/A": lambda: position(RUN),
    "run/Epoch/B": lambda: JOB.epochs,
    "run/Spend now/A": lambda: sum(price(m) for m in MINE),
    "run/Wasted so far/A": lambda: waste_of(RUN),
    "run/Wasted so far/B": lambda: waste_of(RUN) * run_cost(FLEET, RUN, NOW),
    "run/Wasted so far/C": lambda: (epochs_done() - position(RUN)) * mean(epochs_usd(RUN)),
    "run/Cost per epoch and per hour/A": lambda: epochs_usd(RUN)[-1],
    "run/Cost per epoch and per hour/C": lambda: sum(price(m) for m in MINE),
    "run/Cost by state/A": ("state", lambda: {
        s: usd for s, usd in run_states(RUN).items() if usd > 0 or s in ("useful", "idle")}),
    "run/Useful and lost epochs/A": epochs_done,
    "run/Useful and lost epochs/B": lambda: position(RUN),
    "run/Useful and lost epochs/C": lambda: epochs_done() - position(RUN),
    "run/Utilisation and memory/A": lambda: mean([load(m, g) for m in MINE for g in range(8)]),
    "run/Utilisation and memory/B": lambda: mean([m.memory_fill(NOW - 1) for m in MINE]),
    "run/Utilisation and memory/D": lambda: mean([cpu(m) for m in MINE]),
    "run/Reported metrics and cost/A": ("metric", lambda: {"loss": loss_at(position(RUN))}),
    "run/Reported metrics and cost/B": lambda: run_cost(FLEET, RUN, NOW),
    "run/Speed/A": lambda: A100.attempts[1].epochs_per_hour / HOUR * steps_per_epoch(JOB, A100.attempts[1]),
    "run/Speed/B": lambda: A100.attempts[1].epochs_per_hour / HOUR * JOB.samples_per_epoch,
    "run/Batch size and epoch duration/A": lambda: A100.attempts[1].batch_size,
    "run/Batch size and epoch duration/B": lambda: HOUR / A100.attempts[1].epochs_per_hour,
    "run/Nodes of the run/H": by_machine(lambda: {m.name: paid_usd(m) for m in MINE}),
    "run/Nodes of the run/A": by_machine(lambda: {m.name: 1.0 for m in MINE}),
    "run/Nodes of the run/B": by_machine(lambda: {m.name: 8.0 for m in MINE}),
    "run/Nodes of the run/C": by_machine(lambda: {m.name: price(m) for m in MINE}),
    "run/Nodes of the run/D": by_machine(lambda: {m.name: 1.0 for m in MINE}),
    "run/Nodes of the run/E": by_machine(lambda: {m.name: paid_usd(m) for m in MINE}),
    "run/Nodes of the run/F": by_machine(lambda: {m.name: mean([load(m, g) for g in range(8)]) for m in MINE}),
    "run/Nodes of the run/G": by_machine(lambda: {m.name: cpu(m) for m in MINE}),
}  # fmt: skip
"""One figure, or the label that tells several apart and all of them."""

ELSEWHERE = {
    "fleet/Forecast": "the calendar's hours: promtool's tests of month_projected",
    "fleet/Firing alerts": "test_demo_alerts.py; their dollars: tests/grafana",
    "finance/": "tests/grafana, where every state's hours are known: what is not above",
    "run/State/B": "of a stalled run alone: tests/grafana",
    "run/Alerts about this run": "as fleet/Firing alerts",
    "run/Epoch vs. usual/A": "as run/This epoch/A over run/Mean cost per epoch/A: tests/grafana",
    "run/This epoch/B": "likewise",
    "run/State over time": "as node/State of the machine and of each GPU: the same states",
    "run/Speed/C": "the demo's trainings count no tokens: tests/grafana",
    "node/GPUs by owner": "as node/Owners, which are below",
    "fleet/Guard": "test_demo_guard.py, and tests/grafana over a simulated fleet",
    "health/Every agent": "the cost of a scrape is the machine's that runs the test",
    "health/Rejected events": "tests/grafana: the demo's trainings write no wrong line",
    "health/Price sources/C": "the time of an attempt is the machine's that runs the test",
    "health/Slowest run by collector": "likewise",
    "health/Training events by result": "one line in 15 s and run: tests/grafana",
    "health/Scrape duration": "the cost of scrapes and rules is the machine's that runs the test",
    "health/Rule evaluation by group": "likewise",
    "health/Series scraped": "counted by Prometheus",
    "market/Savings of spot/D": "names of GPUs: tests/prices",
    "node/Price/B": "as health/Price sources/B",
    "node/Price by purchase option/B": "as market/Price history/A",
    "node/State of the machine": "below, machine by machine",
    "node/Power": "test_demo_counters.py",
    "node/Owners": "below, machine by machine",
    "node/Useful dollars by SM activity": "the demo's GPUs have no such counters: tests/ledger/test_useful_cut.py",
    "node/SM and tensor activity": "the demo's GPUs have no such counters: tests/gpus",
    "node/Energy": "as node/Power",
    "node/Throttling": "the demo's GPUs are never throttled: tests/gpus",
    "node/Errors of GPUs": "the demo's GPUs have none: tests/gpus",
    "node/Driver response time": "the demo has no driver: tests/gpus",
    "node/Parts of the price": "the demo's agents know no parts: tests/agent, tests/grafana",
    "node/Ends in": "the demo's machines have no limits: promtool's tests of alerts-prices",
    "node/Credit left": "the demo's credit is the poller's: promtool's tests of credit",
    "node/Electricity": "electricity has no price in the demo: energy.yml of promtool's tests",
    "run/Energy per epoch": "likewise",
    "run/Useful dollars by SM activity": "the demo's GPUs have no such counters: tests/ledger/test_useful_cut.py",
    "health/Unrecognised GPU owners": "the demo's owners are all understood: tests/owners",
    "run/Empty memory": "a potential: promtool's tests",
    "run/Cost per epoch and per hour/B": "a mean over the hour: promtool's tests",
    "run/Spend by state over time": "as run/Cost by state, per hour: promtool's tests",
    "run/Time by phase": "test_demo_counters.py, by state",
    "run/Utilisation and memory/C": "what a run reports of its memory: the demo's trainings do not",
    "compare/": "test_demo_compare.py",
}
"""What is not held here, and where it is."""
ALL = list(queries())
STATES = [state.value for state in PALETTE]
"""By the number that a panel draws them from."""


@pytest.mark.parametrize("query", [q for q in ALL if str(q) in FIGURES], ids=str)
def test_the_figure_matches_the_script(demo_history, query: PanelQuery):
    truth = FIGURES[str(query)]
    chosen = CHOSEN if query.board != "fleet" else {}
    results = instant(demo_history.url, query.filled(**chosen), demo_history.epoch_ts + ASKED)
    if callable(truth):
        (result,) = results
        assert float(result["value"][1]) == pytest.approx(truth(), rel=0.01, abs=1e-6)
        return
    label, of_each = truth
    figures = {r["metric"].get(label, ""): float(r["value"][1]) for r in results}
    assert len(figures) == len(results)
    expected = of_each()
    if label == "state":  # one that took no time may be shown, at zero; the unsettled part depends on the last price
        figures, expected = (
            {k: v for k, v in some.items() if v > 1e-9 and k != "unsettled"} for some in (figures, expected)
        )
    assert figures.keys() == expected.keys()
    assert figures == pytest.approx(expected, rel=0.01, abs=1e-6)


def test_every_figure_is_tested_somewhere():
    assert FIGURES.keys() <= {str(q) for q in ALL}, "a figure of this table is no more"
    missing = [str(q) for q in ALL if str(q) not in FIGURES and not str(q).startswith(tuple(ELSEWHERE))]
    assert missing == []


def mostly(m: Machine, t: float, device: int | None = None) -> State | None:
    """The state of most of the two minutes before ``t``; None if two have nearly as much."""
    before, now = state_seconds(m, t - 120, device=device), state_seconds(m, t, device=device)
    by_share = sorted(((now[s] - before[s], s) for s in State), key=lambda pair: -pair[0])
    (most, state), (next_one, _) = by_share[:2]
    return state if most - next_one > 30 else None


@pytest.mark.parametrize("machine", FLEET.machines, ids=lambda m: m.name)
def test_the_activity_of_the_machine_and_each_gpu_matches_the_script(demo_history, machine: Machine):
    of_all, of_each = (q for q in ALL if str(q).startswith("node/State of the machine"))
    counts = Counter()
    for t in range(900, int(min(machine.gone, NOW)), 600):
        if t - 180 < machine.agent_starts or any(start - 150 < t < end + 150 for start, end in machine.asleep):
            continue
        at = demo_history.epoch_ts + t + 29.9
        (figures,) = instant(demo_history.url, of_all.filled(machine=machine_name(machine.name)), at)
        if (state := mostly(machine, t)) is not None:
            assert STATES[int(figures["value"][1])] == state.value, t
            counts[state] += 1
        lanes = instant(demo_history.url, of_each.filled(machine=machine_name(machine.name)), at)
        gpus = {int(r["metric"]["gpu"]): int(r["value"][1]) for r in lanes}
        assert sorted(gpus) == list(range(machine.kind.gpus))
        for gpu, code in gpus.items():
            if (state := mostly(machine, t, gpu)) is not None:
                assert STATES[code] == state.value, (t, gpu)
    assert counts.total() > 5


@pytest.mark.parametrize("machine", [m for m in HERE if m.kind.gpus], ids=lambda m: m.name)
def test_the_owners_of_each_gpu_match_the_script(demo_history, machine: Machine):
    (query,) = (q for q in ALL if q.panel == "Owners")
    results = instant(demo_history.url, query.filled(machine=machine_name(machine.name)), demo_history.epoch_ts + ASKED)
    figures = {
        (int((use := r["metric"])["gpu"]), use["owner_kind"], use["owner"]): float(r["value"][1]) for r in results
    }
    user = [("user", s.user) for s in machine.strangers if s.start <= NOW < s.end]
    owner = ("run", OPEN[machine.name]) if machine.name in OPEN else (user[0] if user else None)
    assert figures == ({} if owner is None else {(gpu, *owner): 1.0 for gpu in range(machine.kind.gpus)})


def test_the_dollars_of_each_team_are_those_of_its_runs_and_of_its_machines_remainder(demo_history):
    truth = Counter()
    for m in PRICED:
        run = OPEN.get(m.name)
        team = (FLEET.job(run).team if run else "") or m.team
        for state, share in shares(m).items():
            truth[m.cluster, team, state.value] += price(m) * share  # type: ignore[assignment]
    results = instant(
        demo_history.url, "team_state:epochcost_cost_usd_per_hour:rate5m > 1e-9", demo_history.epoch_ts + ASKED
    )
    figures = {
        ((labels := r["metric"])["cluster"], labels.get("team", ""), labels["state"]): float(r["value"][1])
        for r in results
    }
    assert figures == pytest.approx({key: usd for key, usd in truth.items() if usd > 1e-9}, rel=0.01, abs=1e-3)
    assert {team for _, team, _ in figures} == {"", "language", "vision", "research"}


@pytest.mark.parametrize("run", RUNS)
def test_the_owner_of_a_run_is_shown_with_it(demo_history, run):
    (result,) = instant(demo_history.url, f'run:epochcost_owner:info{{run="{run}"}}', demo_history.epoch_ts + ASKED)
    machines = [m for m in HERE if OPEN.get(m.name) == run]
    job = FLEET.job(run)
    truth = {"cluster": machines[0].cluster, "run": run, "experiment": job.experiment, "owner_user": job.user}
    truth["team"] = job.team or machines[0].team
    if len(machines) == 1:
        truth |= {"node": machines[0].name, "epochcost_machine": machine_name(machines[0].name)}
    assert {k: v for k, v in result["metric"].items() if k != "__name__"} == {k: v for k, v in truth.items() if v}


def test_the_demo_covers_the_cases_of_the_dashboards():
    assert any(s is State.REPLAY for _, _, s in states(A100, NOW))
    assert LEFT_ON.name in {m.name for m in HERE}
    assert LEFT_ON.name not in OPEN
    assert UNPRICED not in PRICED
    assert H100.attempts[0].memory_fill < 0.5
