"""Every query of both dashboards, asked of a real Prometheus with the real rules over simulated history."""

from __future__ import annotations

import pytest
from tests.grafana.boards import Asked, queries
from tests.grafana.scenarios import FLEETS, LENGTH
from tests.grafana.simulated_fleet import progress
from tests.grafana.simulated_prometheus import STEP_SECONDS, instant, over

from epochcost.model import State

pytestmark = pytest.mark.stack
RUN = "llm-7b-4417"
ALL = list(queries())
MANY = FLEETS["many"]
WITHOUT_PRICE = {
    "fleet/Machines", "fleet/Nodes", "fleet/Runs", "fleet/Waste and utilisation", "fleet/Firing alerts",
    "run/Progress", "run/Epoch", "run/Time left", "run/Time by phase", "run/Utilisation and memory", "run/Speed",
    "run/Batch size and length of an epoch", "run/Nodes of the run",
}  # fmt: skip
"""Panels that need no price; every other one must be empty where nobody knows it: never zero."""


def answer(history, query: Asked, run: str = RUN):
    expr = query.filled(run=run)
    if query.instant:
        return instant(history.url, expr, history.now)
    return over(history.url, expr, history.now - 6 * 3600, history.now, 60)


def one(history, board: str, panel: str, ref: str = "A", run: str = RUN) -> float:
    (query,) = [q for q in ALL if (q.board, q.panel, q.ref) == (board, panel, ref)]
    (result,) = instant(history.url, query.filled(run=run), history.now)
    return float(result["value"][1])


def recorded_at(history) -> float:
    """The instant (s since the start) of the sample that the newest evaluation of a rule saw."""
    (result,) = instant(history.url, f'timestamp(run:epochcost_cost_usd:sum{{run="{RUN}"}})', history.now)
    since_start = float(result["value"][1]) - MANY.epoch_ts
    return since_start // STEP_SECONDS * STEP_SECONDS


@pytest.mark.parametrize("query", ALL, ids=str)
def test_every_query_answers_with_data_of_the_right_shape(many, query):
    result = answer(many, query)
    assert result, query.expr
    if query.kind in ("stat", "gauge"):
        assert len(result) == 1
    names = [tuple(series["metric"].get(n, "") for n in ("state", "run", "phase")) for series in result]
    if query.kind in ("bargauge", "timeseries"):
        assert len(set(names)) == len(names), "two series would have one name"
    if query.kind == "table" and query.panel != "Firing alerts":
        key = "run" if query.panel == "Runs" else "node"
        assert len({s["metric"][key] for s in result}) == len(result), "two rows for one thing"


@pytest.mark.parametrize("query", [q for q in ALL if q.kind != "table"], ids=str)
def test_a_node_without_a_gpu_is_shown_too(cpu, query):
    gpu_only = ("gpu" in query.expr and "node_gpus" not in query.expr) or "memory_fill" in query.expr
    budget = "budget" in query.expr
    assert bool(answer(cpu, query, run="char-lm-cpu-7")) is not (gpu_only or budget or "underfill" in query.expr)


@pytest.mark.parametrize("query", ALL, ids=str)
def test_where_no_price_is_known_no_dollar_is_shown(unpriced, query):
    if f"{query.board}/{query.panel}" not in WITHOUT_PRICE:
        assert answer(unpriced, query, run="char-lm-31") == []


@pytest.mark.parametrize("query", ALL, ids=str)
def test_a_run_that_nobody_reports_shows_nothing(many, query):
    if query.board == "run":
        assert answer(many, query, run="no-such-run") == []


class TestTheFiguresAreTheSimulatedTruth:
    def test_spend_now_is_the_sum_of_the_prices(self, many):
        known = [node.price(LENGTH) for node in MANY.nodes]
        assert one(many, "fleet", "Spend now") == pytest.approx(sum(p for p in known if p is not None))

    def test_today_is_what_the_nodes_cost_in_the_time_range(self, many):
        spent = sum(usd for node in MANY.nodes for _, usd in node.totals(LENGTH).values())
        assert one(many, "fleet", "Today so far") == pytest.approx(spent, rel=0.005)

    def test_the_states_now_add_up_to_the_spend(self, many):
        (query,) = [q for q in ALL if q.panel == "Spend by state"]
        states = instant(many.url, query.filled(), many.now)
        assert {s["metric"]["state"] for s in states} == {"useful", "idle", "stalled", "finished"}
        assert sum(float(s["value"][1]) for s in states) == pytest.approx(one(many, "fleet", "Spend now"))

    def test_useful_and_idle_are_always_named_even_where_nothing_else_is_known(self, cpu):
        (query,) = [q for q in ALL if q.panel == "Where its dollars went"]
        at_startup = FLEETS["cpu"].epoch_ts + 60
        states = instant(cpu.url, query.filled(run="char-lm-cpu-7"), at_startup + 30)
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
        (query,) = [q for q in ALL if q.panel == "Where its dollars went"]
        states = {
            s["metric"]["state"]: float(s["value"][1]) for s in instant(many.url, query.filled(run=RUN), many.now)
        }
        assert sum(states.values()) == pytest.approx(one(many, "run", "Cost so far"))
        # The replay was over long before the last evaluation.
        replay = sum(node.totals(LENGTH, RUN)[State.REPLAY][1] for node in MANY.nodes)
        assert states["replay"] == pytest.approx(replay)

    def test_a_node_whose_agent_knows_no_price_has_the_pollers(self, many):
        (query,) = [q for q in ALL if (q.panel, q.ref) == ("Nodes", "C")]
        prices = {s["metric"]["node"]: float(s["value"][1]) for s in instant(many.url, query.filled(), many.now)}
        assert prices["sim-p3-02"] == 3.06
        assert "sim-azure-03" not in prices, "unknown is absent, never zero"

    def test_a_left_on_node_and_a_stalled_run_are_alerts(self, many):
        (query,) = [q for q in ALL if q.panel == "Firing alerts"]
        firing = {s["metric"]["where"].strip() for s in instant(many.url, query.filled(), many.now)}
        assert {"sim-p3-02", "diffusion-55", "sim-azure-03"} <= firing
