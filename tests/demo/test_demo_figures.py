"""Every figure of the dashboards Fleet, Run, Node, Market and Health as the played world ends, against the script.

Figures of the last five minutes are the script's over the same five minutes. Compare is held to the reference article's
figures in tests/grafana.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from tests.demo.truth import (
    begins,
    busy_seconds,
    cost,
    current_epoch_start,
    dollars,
    epoch_marks,
    price_of,
    run_cost,
    state_dollars,
    state_seconds,
    states,
)
from tests.grafana.boards import Asked, queries
from tests.grafana.simulated_prometheus import instant

from epochcost.demo.fleet import FLEET, H100, LEFT_ON, UNPRICED
from epochcost.demo.life import steps_per_epoch
from epochcost.demo.market import REFRESH_SECONDS
from epochcost.demo.script import HOUR, Machine, Offer
from epochcost.model import PurchaseOption, State

pytestmark = pytest.mark.stack
NOW = 21_570.0
ASKED = 21_599.9
"""Just before the scrape after ``NOW``: the last evaluation, and all that it reads, saw the scrape of ``NOW``."""
WINDOW = 300.0
RUN, NODE, TYPE, EXPERIMENT = "llm-7b-4417", "sim-a100-01", "p4d.24xlarge", "tabular"
CHOSEN = {"run": RUN, "node": NODE, "instance_type": TYPE, "here": TYPE, "experiment": EXPERIMENT}
HERE = [m for m in FLEET.machines if m.gone > NOW]
PRICED = [m for m in HERE if price_of(FLEET, m) is not None]
WITH_GPUS = [m for m in HERE if m.kind.gpus]
OPEN = {m.name: m.attempt_at(NOW - 1).run for m in HERE if m.attempt_at(NOW - 1) is not None}
RUNS = sorted(set(OPEN.values()))
MINE = [m for m in HERE if OPEN.get(m.name) == RUN]
JOB = FLEET.job(RUN)
NOT_WASTE = {State.USEFUL, State.UNATTRIBUTED, State.UNKNOWN}
A100 = next(m for m in HERE if m.name == NODE)


def price(m: Machine) -> float:
    offer = price_of(FLEET, m)
    assert offer is not None
    return offer.price.at(NOW)


def shares(m: Machine) -> dict[State, float]:
    """Where the last five minutes of a machine went."""
    before, now = state_seconds(m, NOW - WINDOW), state_seconds(m, NOW)
    return {s: (now[s] - before[s]) / WINDOW for s in State}


def wasted(m: Machine) -> float:
    return price(m) * sum(share for s, share in shares(m).items() if s not in NOT_WASTE)


def by_state() -> dict[str, float]:
    spend = {s.value: sum(price(m) * shares(m)[s] for m in PRICED) for s in State}
    return {s: usd for s, usd in spend.items() if usd > 1e-9 or s in ("useful", "idle")}


def load(m: Machine, gpu: int) -> float:
    return busy_seconds(m, gpu, NOW - WINDOW, NOW) / WINDOW


def busy(m: Machine) -> float:
    """Of its GPUs over the window; of CPUs there is only the newest reading."""
    return mean([load(m, g) for g in range(m.kind.gpus)]) if m.kind.gpus else m.load(0, NOW - 1)


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def cpu(m: Machine) -> float:
    return m.cpu_load if m.kind.gpus else m.load(0, NOW - 1)


def who(run: str) -> list[Machine]:
    """The machines that report a run now."""
    return [m for m in HERE if any(a.run == run and a.start <= NOW < a.end + 900 for a in m.attempts)]


def epochs_usd(run: str) -> list[float]:
    """Dollars of each finished epoch of a run, over the machines that report it."""
    of_each = [[dollars(price_of(FLEET, m), a, b) for a, b in epoch_marks(m, run, NOW)] for m in who(run)]
    return [math.fsum(one) for one in zip(*of_each, strict=True)]


def position(run: str) -> float:
    """As last reported: every 15 s."""
    m = who(run)[0]
    a = [a for a in m.attempts if a.run == run][-1]
    at = min(NOW, a.hangs_at)
    return a.position(a.first_step + (at - a.first_step) // 15 * 15) if at == NOW else a.position(at)


def projected(run: str) -> float:
    return run_cost(FLEET, run, NOW) + (FLEET.job(run).epochs - position(run)) * mean(epochs_usd(run))


def run_states(run: str) -> dict[str, float]:
    totals = [state_dollars(FLEET, m, NOW, run=run) for m in who(run)]
    return {s.value: sum(t[s] for t in totals) for s in State}


def waste_of(run: str) -> float:
    usd = run_states(run)
    return sum(v for s, v in usd.items() if State(s) not in NOT_WASTE) / sum(usd.values())


def executed(m: Machine, run: str) -> float:
    return sum(min(position(run), a.position(a.end - 15)) - a.from_epoch for a in m.attempts if a.run == run)


def epochs_done() -> float:
    """Executed epochs of the run, as far as reported: a crash takes up to 15 s of reports with it."""
    one, two = A100.attempts
    return one.position(one.end - 15) + position(RUN) - two.from_epoch


def offers() -> list[Offer]:
    return [o for o in FLEET.offers if o.price.at(NOW) is not None]


def place(*parts: str) -> str:
    return ", ".join(parts)


def kind(o: Offer):
    known = [k for k in FLEET.kinds if (k.provider, k.instance_type) == (o.provider, o.instance_type)]
    return known[0] if known else None


def on_demand(o: Offer) -> float | None:
    same = [x for x in offers() if (x.provider, x.region, x.instance_type) == (o.provider, o.region, o.instance_type)]
    return next((x.price.at(NOW) for x in same if x.purchase_option is PurchaseOption.ON_DEMAND), None)


SPOT = [o for o in offers() if o.purchase_option is PurchaseOption.SPOT]
SAVING = {o: 1 - o.price.at(NOW) / on_demand(o) for o in SPOT if on_demand(o)}
P4D = [o for o in offers() if o.instance_type == TYPE]
PER_GPU = {o: o.price.at(NOW) / kind(o).gpus for o in offers() if kind(o) is not None and kind(o).gpus}


def five(o: Offer) -> str:
    return place(o.provider, o.region, o.zone, o.instance_type, o.purchase_option.value)


def cheapest_by_model() -> dict[str, float]:
    best: dict[str, float] = {}
    for o, usd in PER_GPU.items():
        key = place(kind(o).gpu_model, *dict.fromkeys((o.provider, o.purchase_option.value)))  # "owned" is both, once
        best[key] = min(usd, best.get(key, math.inf))
    return dict(sorted(best.items(), key=lambda pair: pair[1])[:10])


def age(o: Offer) -> float:
    return ASKED - (NOW - NOW % REFRESH_SECONDS if o.dated is None else o.dated)


def oldest(source: str) -> float:
    return max(age(o) for o in offers() if o.source == source)


def fills() -> list[float]:
    """Memory fill of each GPU."""
    return [m.memory_fill(NOW - 1) for m in WITH_GPUS for _ in range(m.kind.gpus)]


def spend_of(run: str) -> float:
    return sum(price(m) for m in HERE if OPEN.get(m.name) == run)


def paid(m: Machine) -> float:
    """What a machine has paid for the run."""
    return sum(state_dollars(FLEET, m, NOW, run=RUN).values())


def by_experiment(of_run: Callable[[str], float]) -> dict[str, float]:
    """The six largest."""
    sums: dict[str, float] = {}
    for run in KNOWN_RUNS:
        experiment = FLEET.job(run).experiment
        sums[experiment] = sums.get(experiment, 0.0) + of_run(run)
    return dict(sorted(sums.items(), key=lambda pair: -pair[1])[:6])


def fleet_usd(t: float) -> float:
    return sum(cost(FLEET, m, t) for m in FLEET.machines if price_of(FLEET, m) and t > m.agent_starts)


def burn() -> float:
    return (fleet_usd(NOW) - fleet_usd(NOW - HOUR)) / (FLEET.budget_usd_per_month / 720)


def in_whole_hours() -> float:
    """Dollars up to the last full hour."""
    return fleet_usd(NOW - NOW % HOUR)


def by_the_end() -> float:
    """At the mean price of what was played."""
    return in_whole_hours() + fleet_usd(NOW) / (NOW / HOUR) * HOURS_LEFT


HOURS_LEFT = 24 * (30 - 15 + 1) - 3 - 59 / 60
"""Of November 2023, as the played world ends: on the 15th at 3:59 h UTC."""
BREAK_EVEN = "market/Break-even speed-up against the machine in use"
SOURCES = sorted({o.source for o in FLEET.offers})
PAID_BOTH = [m for m in PRICED if price_of(FLEET, m, PurchaseOption.ON_DEMAND) is not None]
LISTED = {m.name: price_of(FLEET, m, PurchaseOption.ON_DEMAND).price.at(NOW) for m in PAID_BOTH}
KNOWN_RUNS = [run for run in RUNS if all(price_of(FLEET, m) is not None for m in who(run))]

Truth = float | dict[str, float]
One, By = Callable[[], float], tuple[str, Callable[[], dict[str, float]]]

FIGURES: dict[str, One | By] = {
    "fleet/Spend now/A": lambda: sum(price(m) for m in PRICED),
    "fleet/Today so far/A": lambda: sum(cost(FLEET, m, NOW) for m in FLEET.machines if price_of(FLEET, m)),
    "fleet/Wasted now/A": lambda: sum(wasted(m) for m in PRICED),
    "fleet/Wasted now/B": lambda: sum(wasted(m) for m in PRICED) / sum(price(m) for m in PRICED),
    "fleet/Machines/A": lambda: len(HERE),
    "fleet/Machines/B": lambda: sum(m.kind.gpus for m in HERE),
    "fleet/Machines/C": lambda: len(RUNS),
    "fleet/Cheapest run/A": ("run", lambda: dict([min(
        ((run, mean(epochs_usd(run))) for run in KNOWN_RUNS), key=lambda pair: pair[1])])),
    "fleet/Spend by state/A": ("state", by_state),
    "fleet/Cost per epoch/A": ("run", lambda: dict(sorted(
        ((run, mean(epochs_usd(run))) for run in KNOWN_RUNS), key=lambda pair: -pair[1])[:6])),
    "fleet/Spend by state over time/A": ("state", lambda: {s: usd for s, usd in by_state().items() if usd > 1e-9}),
    "fleet/Waste and utilisation/A": lambda: mean([load(m, g) for m in WITH_GPUS for g in range(m.kind.gpus)]),
    "fleet/Waste and utilisation/B": lambda: mean(fills()),
    "fleet/Waste and utilisation/C": lambda: sum(wasted(m) for m in PRICED) / sum(price(m) for m in PRICED),
    "fleet/Spend by experiment/A": ("experiment", lambda: by_experiment(spend_of)),
    "fleet/Wasted by experiment/A": ("experiment", lambda: by_experiment(
        lambda run: sum(wasted(m) for m in HERE if OPEN.get(m.name) == run))),
    "fleet/Budget of the month/A": lambda: in_whole_hours() / FLEET.budget_usd_per_month,
    "fleet/Budget of the month/B": lambda: by_the_end() / FLEET.budget_usd_per_month,
    "fleet/Budget of the month/C": burn,
    "fleet/Nodes/A": ("node", lambda: {m.name: 1.0 for m in HERE}),
    "fleet/Nodes/B": ("node", lambda: {m.name: m.kind.gpus for m in HERE}),
    "fleet/Nodes/C": ("node", lambda: {m.name: price(m) for m in PRICED}),
    "fleet/Nodes/D": ("node", lambda: {m.name: wasted(m) for m in PRICED}),
    "fleet/Nodes/E": ("node", lambda: {m.name: max(shares(m).values()) for m in HERE}),
    "fleet/Nodes/F": ("node", lambda: {m.name: shares(m)[State.USEFUL] for m in HERE}),
    "fleet/Nodes/G": ("node", lambda: {m.name: busy(m) for m in HERE}),
    "fleet/Nodes/H": ("node", lambda: {m.name: m.memory_fill(NOW - 1) for m in WITH_GPUS}),
    "fleet/Runs/A": ("run", lambda: dict.fromkeys(RUNS, 1.0)),
    "fleet/Runs/B": ("run", lambda: dict.fromkeys(RUNS, 1.0)),
    "fleet/Runs/C": ("run", lambda: {run: position(run) for run in RUNS}),
    "fleet/Runs/E": ("run", lambda: {run: position(run) / FLEET.job(run).epochs for run in RUNS}),
    "fleet/Runs/F": ("run", lambda: {run: spend_of(run) for run in KNOWN_RUNS}),
    "fleet/Runs/G": ("run", lambda: {run: run_cost(FLEET, run, NOW) for run in KNOWN_RUNS}),
    "fleet/Runs/I": ("run", lambda: {run: mean(epochs_usd(run)) for run in KNOWN_RUNS}),
    "fleet/Runs/J": ("run", lambda: {run: projected(run) for run in KNOWN_RUNS}),
    "fleet/Runs/K": ("run", lambda: {run: waste_of(run) for run in KNOWN_RUNS}),
    "fleet/Runs/L": ("run", lambda: {run: (FLEET.job(run).epochs - position(run)) * mean(
        [b - a for a, b in epoch_marks(who(run)[0], run, NOW)]) for run in RUNS}),
    "health/Agents/A": lambda: len(HERE),
    "health/Agents/B": lambda: len(FLEET.machines) - len(HERE),
    "health/Price pollers/A": lambda: 1,
    "health/Price pollers/B": lambda: 0,
    "health/Failing/A": lambda: sum(not m.priced for m in HERE),
    "health/Failing/B": lambda: 0,
    "health/Unreadable/A": lambda: 0,
    "health/Clock jumps/A": lambda: 0,
    "health/Every agent/A": ("instance", lambda: {m.name: 1.0 for m in HERE}),
    "health/Every agent/B": ("instance", lambda: {m.name: float(m in HERE) for m in FLEET.machines}),
    "health/Every agent/C": ("instance", lambda: {m.name: 1.0 for m in HERE}),
    "health/Every agent/D": ("instance", lambda: {m.name: ASKED - NOW for m in HERE}),
    "health/Every agent/F": ("instance", lambda: {m.name: 0.0 if m.priced else NOW - begins(m) for m in HERE}),
    "health/Every agent/G": ("instance", lambda: {m.name: float(not m.priced) for m in HERE}),
    "health/Every agent/I": ("instance", lambda: {m.name: 0.0 for m in HERE}),
    "health/Sources of prices/A": ("source", lambda: dict.fromkeys(SOURCES, 1.0)),
    "health/Sources of prices/B": ("source", lambda: dict.fromkeys(SOURCES, ASKED % REFRESH_SECONDS)),
    "health/Sources of prices/D": ("source", lambda: {
        s: sum((b - a) / REFRESH_SECONDS for name, a, b in FLEET.failing if name == s) for s in SOURCES}),
    "health/Sources of prices/E": ("source", lambda: {s: sum(o.source == s for o in offers()) for s in SOURCES}),
    "health/Time since a source answered/A": ("source", lambda: dict.fromkeys(SOURCES, ASKED % REFRESH_SECONDS / 60)),
    "health/Age of the newest sample/A": lambda: 0,
    "health/Age of the newest sample/B": lambda: 0,
    "market/Saved by the fleet/A": lambda: 1 - sum(price(m) for m in PAID_BOTH) / sum(LISTED.values()),
    "market/Cheapest GPU-hour/A": lambda: min(PER_GPU.values()),
    "market/Largest saving of spot/A": lambda: max(SAVING.values()),
    "market/Oldest price/A": lambda: max(age(o) for o in offers()),
    "market/Spot by zone against on demand/A": ("offer", lambda: {
        place(o.purchase_option.value, o.zone or o.region): o.price.at(NOW) for o in P4D}),
    "market/Price history/A": ("offer", lambda: {
        place(o.purchase_option.value, o.zone or o.region): o.price.at(NOW) for o in P4D}),
    "market/Savings of spot/A": ("offer", lambda: {
        place(o.provider, o.region, o.zone, o.instance_type): o.price.at(NOW) for o in SPOT}),
    "market/Savings of spot/B": ("offer", lambda: {
        place(o.provider, o.region, o.zone, o.instance_type): on_demand(o) for o in SPOT if on_demand(o)}),
    "market/Savings of spot/C": ("offer", lambda: {
        place(o.provider, o.region, o.zone, o.instance_type): saving for o, saving in SAVING.items()}),
    f"{BREAK_EVEN}/A": ("offer", lambda: {five(o): o.price.at(NOW) for o in offers()}),
    f"{BREAK_EVEN}/B": ("offer", lambda: {five(o): v for o, v in PER_GPU.items()}),
    f"{BREAK_EVEN}/C": ("offer", lambda: {
        five(o): o.price.at(NOW) / price(A100) for o in offers()}),
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
    # What had passed before the first scrape is no increase.
    "node/Hours by state/A": ("state", lambda: {
        s.value: v - state_seconds(A100, A100.agent_starts)[s] for s, v in state_seconds(A100, NOW).items()}),
    "node/Runs on this machine/A": ("run", lambda: {RUN: 1.0}),
    "node/Runs on this machine/B": ("run", lambda: {RUN: 1.0}),
    "node/Runs on this machine/C": ("run", lambda: {RUN: paid(A100)}),
    "node/Runs on this machine/D": ("run", lambda: {RUN: mean(epochs_usd(RUN))}),
    "run/Cost so far/A": lambda: run_cost(FLEET, RUN, NOW),
    "run/Cost so far/B": lambda: run_cost(FLEET, RUN, NOW) / JOB.budget_usd,
    "run/This epoch/A": lambda: sum(dollars(price_of(FLEET, m), current_epoch_start(m, RUN, NOW), NOW) for m in MINE),
    "run/Last epoch/A": lambda: epochs_usd(RUN)[-1],
    "run/Mean epoch/A": lambda: mean(epochs_usd(RUN)),
    "run/Useful epoch/A": lambda: run_cost(FLEET, RUN, NOW) / position(RUN),
    "run/Projected total/A": lambda: projected(RUN),
    "run/Progress/A": lambda: position(RUN) / JOB.epochs,
    "run/Epoch/A": lambda: position(RUN),
    "run/Epoch/B": lambda: JOB.epochs,
    "run/Time left/A": lambda: (JOB.epochs - position(RUN)) * mean([b - a for a, b in epoch_marks(A100, RUN, NOW)]),
    "run/Spend now/A": lambda: sum(price(m) for m in MINE),
    "run/Wasted so far/A": lambda: waste_of(RUN),
    "run/Wasted so far/B": lambda: waste_of(RUN) * run_cost(FLEET, RUN, NOW),
    "run/Cost per epoch, and the price of its hours/A": lambda: epochs_usd(RUN)[-1],
    "run/Cost per epoch, and the price of its hours/C": lambda: sum(price(m) for m in MINE),
    "run/Where its dollars went/A": ("state", lambda: {
        s: usd for s, usd in run_states(RUN).items() if usd > 0 or s in ("useful", "idle")}),
    "run/Useful against lost/A": epochs_done,
    "run/Useful against lost/B": lambda: position(RUN),
    "run/Useful against lost/C": lambda: epochs_done() - position(RUN),
    "run/Utilisation and memory/A": lambda: mean([load(m, g) for m in MINE for g in range(8)]),
    "run/Utilisation and memory/B": lambda: mean([m.memory_fill(NOW - 1) for m in MINE]),
    "run/Utilisation and memory/D": lambda: mean([cpu(m) for m in MINE]),
    "run/Speed/A": lambda: A100.attempts[1].epochs_per_hour / HOUR * steps_per_epoch(JOB, A100.attempts[1]),
    "run/Speed/B": lambda: A100.attempts[1].epochs_per_hour / HOUR * JOB.samples_per_epoch,
    "run/Batch size and length of an epoch/A": lambda: A100.attempts[1].batch_size,
    "run/Batch size and length of an epoch/B": lambda: HOUR / A100.attempts[1].epochs_per_hour,
    "run/Nodes of the run/A": ("node", lambda: {m.name: 1.0 for m in MINE}),
    "run/Nodes of the run/B": ("node", lambda: {m.name: 8.0 for m in MINE}),
    "run/Nodes of the run/C": ("node", lambda: {m.name: price(m) for m in MINE}),
    "run/Nodes of the run/D": ("node", lambda: {m.name: 1.0 for m in MINE}),
    "run/Nodes of the run/E": ("node", lambda: {m.name: paid(m) for m in MINE}),
    "run/Nodes of the run/F": ("node", lambda: {m.name: mean([load(m, g) for g in range(8)]) for m in MINE}),
    "run/Nodes of the run/G": ("node", lambda: {m.name: cpu(m) for m in MINE}),
}  # fmt: skip
"""One figure, or the label that tells several apart and all of them."""

ELSEWHERE = {
    "fleet/Forecast": "the calendar's hours: promtool's tests of month_projected",
    "fleet/Firing alerts": "test_demo_alerts.py",
    "health/Every agent": "the cost of a scrape is the machine's that runs the test",
    "health/Events refused": "tests/grafana: the demo's trainings write no wrong line",
    "health/Sources of prices/C": "the time of an attempt is the machine's that runs the test",
    "health/Slowest attempt by collector": "likewise",
    "health/Training events by result": "one line in 15 s and run: tests/grafana",
    "health/What a": "the cost of scrapes and rules is the machine's that runs the test",
    "health/Series scraped": "counted by Prometheus",
    "market/Savings of spot/D": "names of GPUs: tests/prices",
    "node/Price/B": "as health/Sources of prices/B",
    "node/Price by purchase option/B": "as market/Price history/A",
    "node/What the machine": "tests/grafana, state by state",
    "node/Power": "test_demo_counters.py",
    "node/Owners": "tests/grafana and tests/owners",
    "run/Empty memory": "a potential: promtool's tests",
    "run/Cost per epoch, and the price of its hours/B": "a mean over the hour: promtool's tests",
    "run/Spend by state over time": "as run/Where its dollars went, per hour: promtool's tests",
    "run/Time by phase": "test_demo_counters.py, by state",
    "run/Utilisation and memory/C": "what a run reports of its memory: the demo's trainings do not",
    **dict.fromkeys(
        (
            "compare/Cheapest epoch",
            "compare/Fastest epoch",
            "compare/Spread",
            "compare/Measured",
            "compare/Cost per epoch",
            "compare/Time per epoch by batch size",
            "compare/Memory fill by batch size",
            "compare/Cost of training by machine",
            "compare/Runs behind these figures",
        ),
        "the reference article's table: tests/grafana",
    ),
}
"""What is not held here, and where it is."""
ALL = list(queries())


@pytest.mark.parametrize("query", [q for q in ALL if str(q) in FIGURES], ids=str)
def test_the_figure_is_the_scripts(world, query: Asked):
    truth = FIGURES[str(query)]
    chosen = CHOSEN if query.board != "fleet" else {}
    results = instant(world.url, query.filled(**chosen), world.epoch_ts + ASKED)
    if callable(truth):
        (result,) = results
        assert float(result["value"][1]) == pytest.approx(truth(), rel=0.01, abs=1e-6)
        return
    label, of_each = truth
    shown = {r["metric"].get(label, ""): float(r["value"][1]) for r in results}
    assert len(shown) == len(results)
    expected = of_each()
    if label == "state":  # one that took no time may be shown, at zero
        shown, expected = ({k: v for k, v in some.items() if v > 1e-9} for some in (shown, expected))
    assert shown.keys() == expected.keys()
    assert shown == pytest.approx(expected, rel=0.01, abs=1e-6)


def test_every_figure_is_held_somewhere():
    assert FIGURES.keys() <= {str(q) for q in ALL}, "a figure of this table is no more"
    missing = [str(q) for q in ALL if str(q) not in FIGURES and not str(q).startswith(tuple(ELSEWHERE))]
    assert missing == []


def test_the_played_world_has_what_the_dashboards_are_for():
    assert any(s is State.REPLAY for _, _, s in states(A100, NOW))
    assert LEFT_ON.name in {m.name for m in HERE}
    assert LEFT_ON.name not in OPEN
    assert UNPRICED not in PRICED
    assert H100.attempts[0].memory_fill < 0.5
