"""Every query of the dashboards, against a real Prometheus with the real rules over simulated history."""

from __future__ import annotations

import pytest
from tests.each import each
from tests.grafana.answers import ALL, MANY, RUN, by, one, panel_query, panel_result
from tests.grafana.boards import PanelQuery
from tests.grafana.scenarios import FLEETS, LENGTH
from tests.grafana.simulated_fleet import progress
from tests.grafana.simulated_prometheus import STEP_SECONDS, instant

from epochcost.demo.simulated_agent import machine_name
from epochcost.model import State
from epochcost.palette import PALETTE

pytestmark = pytest.mark.stack
WITHOUT_PRICE = {
    "fleet/Machines", "fleet/Nodes", "fleet/Runs", "fleet/Waste and utilisation", "fleet/Firing alerts",
    "run/Progress", "run/Epoch", "run/Time left", "run/Time by phase", "run/Utilisation and memory", "run/Speed",
    "run/Batch size and epoch duration", "run/Nodes of the run", "run/Useful and lost epochs",
    "node/Machine", "node/Bought", "node/State of the machine and of each GPU", "node/Utilisation", "node/Memory fill",
    "node/Power", "node/CPU and main memory", "node/Temperature", "node/Hours by state", "node/Disk and network",
    "node/Owners", "node/Runs on this machine", "node/SM and tensor activity", "node/Energy",
    "node/Throttling", "node/Errors of GPUs", "node/Driver response time", "node/Electricity", "run/Energy per epoch",
    "node/Ends in", "node/Credit left", "run/State", "run/State over time", "run/Projected total/B",
    "run/Reported metrics and cost/A", "run/Alerts about this run",
    "node/GPUs by owner", "fleet/Spend now/B", "finance/This month/B", "finance/Days/C",
}  # fmt: skip
"""Panels that need no price; every other one must be empty if unknown it: never zero."""


NAMES = (
    "state",
    "run",
    "phase",
    "gpu",
    "purchase_option",
    "zone",
    "offer",
    "setup",
    "source",
    "collector",
    "result",
    "group",
    "experiment",
    "sm",
    "reason",
    "xid",
    "type",
    "call",
    "form",
    "credit",
    "metric",
    "team",
    "owner",
)
"""Labels that name the series of a panel."""
OF_GPUS_ALONE = ("node_useful_seconds", "run_useful_cost", "energy", "grid_grams")
WITH_MORE_TO_TELL = {
    "market/Largest saving of spot/A", "run/Useful and lost epochs/C", "run/State/B", "run/Wasted so far/C",
    "fleet/Spend now/B", "finance/Spot/A", "finance/Spot/B", "market/Missed spot saving/A",
}  # fmt: skip
"""Queries that need two things to compare, lost work, or what else not every fleet has."""
STALLED = {"run/State/B": "diffusion-55", "run/Alerts about this run/A": "diffusion-55"}
"""Queries that only a stalled run answers."""
OF_ALL = "compare/Best of every experiment"


def needs_a_price(query: PanelQuery) -> bool:
    """Whether a panel shows dollars, or figures derived from them."""
    if query.board == "health":
        return False
    if query.board == "compare":
        return "cost_usd" in query.expr
    return not {f"{query.board}/{query.panel}", str(query)} & WITHOUT_PRICE


def recorded_at(history) -> float:
    """The instant (s since the start) of the sample that the newest evaluation of a rule saw."""
    (result,) = instant(history.url, f'timestamp(run:epochcost_cost_usd:sum{{run="{RUN}"}})', history.now)
    since_start = float(result["value"][1]) - MANY.epoch_ts
    return since_start // STEP_SECONDS * STEP_SECONDS


@each("query", ALL)
def test_every_query_returns_data_of_the_right_shape(many, query):
    result = panel_result(many, query, **({"run": STALLED[str(query)]} if str(query) in STALLED else {}))
    assert result, query.expr
    if query.kind in ("stat", "gauge"):
        assert len(result) == 1
    names = [tuple(series["metric"].get(n, "") for n in NAMES) for series in result]
    if query.kind in ("bargauge", "timeseries"):
        assert len(set(names)) == len(names), "two series would have one name"
    if query.key:
        assert len({s["metric"][query.key] for s in result}) == len(result), "two rows for one thing"


@each("query", [q for q in ALL if q.kind != "table"])
def test_a_node_without_a_gpu_is_shown_too(cpu, query):
    gpu_only = ("gpu" in query.expr and "node_gpus" not in query.expr) or "memory_fill" in query.expr
    gpu_only = gpu_only or any(word in query.expr for word in OF_GPUS_ALONE)
    budget = query.board == "run" and "budget" in query.expr  # the run has none; the fleet does
    lonely = str(query) in WITH_MORE_TO_TELL
    assert bool(panel_result(cpu, query)) is not (gpu_only or budget or lonely or "underfill" in query.expr)


@each("query", ALL)
def test_without_a_known_price_no_dollars_are_shown(unpriced, query):
    if needs_a_price(query):
        assert panel_result(unpriced, query) == []


@each("query", ALL)
def test_an_unknown_run_node_and_experiment_show_nothing(many, query):
    if query.board in ("run", "node", "compare") and not str(query).startswith(OF_ALL):
        assert (
            panel_result(many, query, run="no-such-run", machine="no-such-machine", experiment="no-such-experiment")
            == []
        )


@each("query", ALL)
def test_without_reports_nothing_is_shown(empty, query):
    assert panel_result(empty, query) == []


class TestTheFiguresAreTheSimulatedTruth:
    def test_spend_now_is_the_sum_of_the_prices(self, many):
        prices = [node.price(LENGTH) for node in MANY.nodes]
        assert one(many, "fleet", "Spend now") == pytest.approx(sum(p for p in prices if p is not None))

    def test_today_is_the_cost_of_the_nodes_in_the_time_range(self, many):
        total_usd = sum(usd for node in MANY.nodes for _, usd in node.totals(LENGTH).values())
        assert one(many, "fleet", "Today") == pytest.approx(total_usd, rel=0.005)

    def test_the_states_now_add_up_to_the_spend(self, many):
        (query,) = [q for q in ALL if q.panel == "Spend by state"]
        states = panel_result(many, query)
        assert {s["metric"]["state"] for s in states} == {"useful", "idle", "stalled", "finished"}
        assert sum(float(s["value"][1]) for s in states) == pytest.approx(one(many, "fleet", "Spend now"))

    def test_useful_and_idle_are_always_named_even_where_nothing_else_is_known(self, cpu):
        (query,) = [q for q in ALL if q.panel == "Cost by state"]
        at_startup = FLEETS["cpu"].epoch_ts + 60
        states = instant(cpu.url, query.filled(**cpu.chosen), at_startup + 30)
        assert {"useful", "idle"} <= {s["metric"]["state"] for s in states}

    def test_nodes_gpus_and_runs_are_counted(self, many):
        assert [one(many, "fleet", "Machines", ref) for ref in "ABC"] == [8, 28, 5]

    def test_a_run_over_two_nodes_pays_both(self, many):
        cost = sum(node.run_cost(RUN, recorded_at(many)) for node in MANY.nodes)
        assert one(many, "run", "Cost so far") == pytest.approx(cost)
        assert one(many, "run", "Cost so far", "B") == pytest.approx(cost / 400)

    def test_the_last_and_the_current_epoch_are_exact(self, many):
        run = next(r for r in MANY.runs if r.run == RUN)
        ends = progress(MANY.nodes[0], run, LENGTH).ends
        cost = [sum(node.run_cost(RUN, t) for node in MANY.nodes) for t in (*ends[-2:], LENGTH)]
        assert one(many, "run", "Last epoch") == pytest.approx(cost[1] - cost[0], abs=1e-9)
        assert one(many, "run", "This epoch") == pytest.approx(cost[2] - cost[1], abs=1e-9)

    def test_progress_counts_an_epoch_once_however_many_nodes_train_it(self, many):
        run = next(r for r in MANY.runs if r.run == RUN)
        position = progress(MANY.nodes[0], run, LENGTH).position
        assert one(many, "run", "Epoch") == pytest.approx(position)
        assert one(many, "run", "Progress") == pytest.approx(position / 40)

    def test_the_states_of_a_run_add_up_to_its_cost(self, many):
        (query,) = [q for q in ALL if q.panel == "Cost by state"]
        states = {
            s["metric"]["state"]: float(s["value"][1]) for s in instant(many.url, query.filled(**many.chosen), many.now)
        }
        assert sum(states.values()) == pytest.approx(one(many, "run", "Cost so far"))
        # The replay ended long before the last evaluation.
        replay = sum(node.totals(LENGTH, RUN)[State.REPLAY][1] for node in MANY.nodes)
        assert states["replay"] == pytest.approx(replay)

    def test_a_node_whose_agent_knows_no_price_has_the_pollers(self, many):
        (query,) = [q for q in ALL if (q.panel, q.ref) == ("Nodes", "C")]
        results = instant(many.url, query.filled(), many.now)
        prices = {s["metric"]["row"]: float(s["value"][1]) for s in results}
        assert prices["/" + machine_name("sim-p3-02")] == 3.06
        assert "/" + machine_name("sim-azure-03") not in prices, "unknown is absent, never zero"

    def test_a_left_on_node_and_a_stalled_run_are_alerts(self, many):
        query = panel_query("fleet", "Firing alerts")
        firing = {s["metric"].get("where") for s in panel_result(many, query)}
        assert {"sim-p3-02", "diffusion-55", "sim-azure-03"} <= firing


class TestANode:
    def test_price_and_dollars_are_those_of_the_node_alone(self, many):
        node = MANY.nodes[0]
        assert one(many, "node", "Price") == node.price(LENGTH) == 12.2
        assert one(many, "node", "Saved") == pytest.approx(1 - 12.2 / 32.7726)
        total_usd = sum(usd for _, usd in node.totals(LENGTH).values())
        assert one(many, "node", "In this range") == pytest.approx(total_usd, rel=0.01)

    def test_the_states_of_its_gpus_are_the_simulated_ones(self, many):
        query = panel_query("node", "State of the machine and of each GPU", "B").filled(**many.chosen)
        for seconds, state in ((700, State.STARTUP), (5000, State.USEFUL), (9500, State.REPLAY)):
            lanes = instant(many.url, query, MANY.epoch_ts + seconds)
            assert {(s["metric"]["gpu"], float(s["value"][1])) for s in lanes} == {
                (str(gpu), list(PALETTE).index(state)) for gpu in range(8)
            }

    def test_every_gpu_has_its_owner_and_its_own_power(self, many):
        owners = panel_result(many, panel_query("node", "Owners"))
        assert {(s["metric"]["gpu"], s["metric"]["owner"]) for s in owners} == {(str(gpu), RUN) for gpu in range(8)}
        stretch = MANY.nodes[0].at(LENGTH)
        assert stretch is not None
        watts = {str(gpu): 300 * (0.3 + 0.7 * stretch.utilization_at(LENGTH, 0.4 * gpu)) for gpu in range(8)}
        query = panel_query("node", "Power").filled(**many.chosen)
        watts_by_gpu = {s["metric"]["gpu"]: float(s["value"][1]) for s in instant(many.url, query, many.now)}
        assert watts_by_gpu == pytest.approx(watts)

    def test_disk_and_network_are_bytes_a_second(self, many):
        rates = [one(many, "node", "Disk and network", ref) for ref in "ABCD"]
        assert rates == pytest.approx([180e6, 12e6, 95e6, 20e6])

    def test_its_price_is_shown_with_every_other_option_of_its_region(self, many):
        query = panel_query("node", "Price by purchase option", "B").filled(**many.chosen)
        prices = {
            (s["metric"]["purchase_option"], s["metric"].get("zone", "")): float(s["value"][1])
            for s in instant(many.url, query, many.now)
        }
        assert prices == {
            ("on_demand", ""): 32.7726,
            ("spot", "us-east-1a"): 12.2,
            ("spot", "us-east-1b"): 9.83,
            ("spot", "us-east-1d"): 14.4,
        }

    def test_lost_work_is_the_work_executed_beyond_the_high_water_mark(self, many):
        run = next(r for r in MANY.runs if r.run == RUN)
        truth = progress(MANY.nodes[0], run, LENGTH)
        assert one(many, "run", "Useful and lost epochs", "C") == pytest.approx(truth.executed - truth.useful)


class TestHealth:
    def test_failures_and_refusals_are_counted(self, many):
        assert [one(many, "health", "Agents", ref) for ref in "AB"] == [8, 0]
        assert [one(many, "health", "Failing", ref) for ref in "AB"] == [1, 1]
        assert one(many, "health", "Clock jumps") == 2
        assert one(many, "health", "Rejected events") == pytest.approx(12, rel=0.02)

    def test_a_failing_source_is_named(self, many):
        states = by("source", many, "health", "Price sources")
        assert {source for source, ok in states.items() if not ok} == {"vast"}
