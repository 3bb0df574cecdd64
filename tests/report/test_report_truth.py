"""Every figure of a report against the known, simulated truth."""

from __future__ import annotations

import pytest
from tests.grafana.simulated_fleet import PEAK, progress
from tests.report.conftest import run_of
from tests.report.stored import EVERY
from tests.report.worlds import COMPLETE_RUNS, FLEET, LENGTH, MOVED, cost, last_scrape, node

from epochcost.model import State
from epochcost.reports import runs as of_run

pytestmark = pytest.mark.stack
EXACT = [r.run for r in FLEET.runs if r.run not in ("nobody-1", "restarted-1", "pricefree-1", "resnet-12")]


@pytest.mark.parametrize("run", EXACT)
def test_the_dollars_of_a_run_are_exact(store, run):
    assert run_of(store.full_report(), run).usd == pytest.approx(cost(run), rel=1e-9)


def test_price_components_sum_to_the_cost_of_machines_with_known_components(full_report):
    parts = dict(full_report.fleet.parts)
    traffic = parts.pop("traffic (counted traffic, in addition to the hours)")
    assert traffic > 0
    assert set(parts) == {"published", "extra disk"}
    assert parts["extra disk"] / sum(parts.values()) == pytest.approx(0.1)
    priced = [n for n in FLEET.nodes if n.prices and n.agent_knows_price]
    total_usd = sum(usd for n in priced for _, usd in n.totals(last_scrape(n, LENGTH)).values())
    assert sum(parts.values()) == pytest.approx(total_usd, rel=0.03)


@pytest.mark.parametrize("run", EXACT)
def test_the_dollars_of_a_part_of_a_run_are_exact_too(store, run):
    row = next((r for r in store.middle_report().runs if r.label == run), None)
    if cost(run, 7200, 14_400) == 0:  # it ended before
        assert row is None
        return
    assert row is not None
    assert row.usd == pytest.approx(cost(run, 7200, 14_400), rel=1e-9, abs=1e-9)
    assert of_run.BEFORE in row.notes


@pytest.mark.parametrize(
    "run", ["llm-7b-4417", "vit-large-902", "char-lm-31", "char-lm-cpu-7", "diffusion-55", "resnet-12"]
)
def test_epochs_are_counted_once_and_their_mean_cost_is_exact(full_report, run):
    simulated = next(r for r in FLEET.runs if r.run == run)
    nodes = [n for n in FLEET.nodes if any(s.run == run for s in n.stretches)]
    p = progress(nodes[0], simulated, LENGTH)
    first = next(s.start for s in nodes[0].stretches if s.run == run and s.state is not State.STARTUP)
    row = run_of(full_report, run)
    assert row.epochs == len(p.ends)
    assert row.seconds_per_epoch == pytest.approx((p.ends[-1] - first) / len(p.ends), rel=1e-9)
    usd = sum(n.run_cost(run, p.ends[-1]) - n.run_cost(run, first) for n in nodes) / len(p.ends)
    assert row.usd_per_epoch == pytest.approx(usd, rel=1e-9)
    assert row.useful_epochs == pytest.approx(p.useful)
    assert row.epochs_executed == pytest.approx(p.executed)
    assert row.usd_per_useful_epoch == pytest.approx(cost(run) / p.useful, rel=1e-9)


@pytest.mark.parametrize("run", ["llm-7b-4417", "char-lm-31", "resnet-12", "moved-1"])
def test_hours_states_and_utilisation_are_those_of_the_run(full_report, run):
    totals = [n.totals(last_scrape(n, LENGTH), run) for n in FLEET.nodes]
    row = run_of(full_report, run)
    for state in (State.USEFUL, State.IDLE, State.REPLAY, State.STARTUP, State.STALLED):
        seconds, usd = (sum(t[state][i] for t in totals) for i in (0, 1))
        assert row.seconds.get(state.value, 0.0) == pytest.approx(seconds)
        assert row.dollars.get(state.value, 0.0) == pytest.approx(usd, rel=1e-6)
    assert row.node_hours == pytest.approx(sum(s for t in totals for s, _ in t.values()) / 3600)
    useful, idle = (sum(t[s][0] for t in totals) for s in (State.USEFUL, State.IDLE))
    assert row.utilization == pytest.approx(useful / (useful + idle))


def test_two_nodes_at_once_make_one_hour_of_the_run_and_two_of_nodes(full_report):
    row = run_of(full_report, "llm-7b-4417")
    assert row.nodes == 2
    assert row.hours == pytest.approx((LENGTH - 300) / 3600)
    assert row.node_hours == pytest.approx(2 * row.hours)
    assert row.usd_per_hour == pytest.approx(cost("llm-7b-4417") / row.hours)


def test_a_run_that_a_preemption_moved_keeps_its_dollars_and_its_epochs(store):
    row = run_of(store.full_report(), "moved-1")
    simulated = next(r for r in FLEET.runs if r.run == "moved-1")
    parts = [progress(n, simulated, last_scrape(n, LENGTH)) for n in MOVED]
    assert row.nodes == 2
    assert row.usd == pytest.approx(cost("moved-1"))
    assert row.epochs == sum(len(p.ends) for p in parts)
    assert row.hours == pytest.approx((last_scrape(MOVED[0], LENGTH) + 9000) / 3600)
    assert row.useful_epochs == pytest.approx(parts[1].useful)
    assert row.seconds["replay"] == pytest.approx(600)


def test_memory_is_the_peak_that_the_run_reports_over_the_memory_of_its_gpu(full_report):
    assert run_of(full_report, "vit-large-902").fill == pytest.approx(PEAK * 0.31)
    assert run_of(full_report, "char-lm-cpu-7").fill is None


def test_savings_are_against_the_same_hours_and_against_the_useful_ones_on_demand(full_report):
    row = run_of(full_report, "llm-7b-4417")
    totals = [n.totals(last_scrape(n, LENGTH), "llm-7b-4417") for n in FLEET.nodes]
    every = sum(s for t in totals for s, _ in t.values()) / 3600 * 32.7726
    useful = sum(t[State.USEFUL][0] for t in totals) / 3600 * 32.7726
    assert row.price_saving == pytest.approx(1 - cost("llm-7b-4417") / every)
    assert row.realised_saving == pytest.approx(1 - cost("llm-7b-4417") / useful)
    assert run_of(full_report, "diffusion-55").price_saving is None


def test_without_the_agents_dollars_they_come_from_seconds_and_stored_prices(store):
    report = store.full_report()
    for run in ("pricefree-1", "resnet-12"):
        row = run_of(report, run)
        assert row.source == "prices"
        assert row.usd == pytest.approx(cost(run), rel=0.005)
        assert of_run.PRICED in row.notes
    assert any("pricefree-1" in note and "stored prices" in note for note in report.notes)


def test_an_epoch_that_began_before_the_period_costs_as_much_as_the_others(store):
    row = run_of(store.middle_report(), "resnet-12")
    assert row.source == "prices"
    assert of_run.BEFORE in row.notes
    assert row.usd_per_epoch == pytest.approx(3.06 / 10, rel=1e-6), "ten epochs an hour at $3.06"


def test_without_any_price_there_are_epochs_and_no_dollars(full_report):
    row = run_of(full_report, "nobody-1")
    assert row.epochs > 0
    assert row.seconds_per_epoch == pytest.approx(600)
    assert (row.usd, row.usd_per_epoch, row.usd_per_hour, row.dollars) == (None, None, None, {})
    assert any("without dollars" in note and "nobody-1" in note for note in full_report.notes)
    assert "sim-nobody" in full_report.fleet.unpriced


def test_a_gap_in_the_scrapes_loses_nothing_and_is_noted(full_report):
    assert run_of(full_report, "gappy-1").usd == pytest.approx(cost("gappy-1"))
    assert of_run.GAP in run_of(full_report, "gappy-1").notes
    assert any("not scraped" in note and "sim-gappy" in note for note in full_report.notes)


def test_a_counter_reset_is_added_up_and_noted(store):
    row = run_of(store.full_report(), "restarted-1")
    lost_usd = node("sim-restarted").run_cost("restarted-1", 12_120) - node("sim-restarted").run_cost(
        "restarted-1", 12_120 - EVERY
    )
    assert row.usd == pytest.approx(cost("restarted-1") - lost_usd, rel=1e-6)
    assert row.usd == pytest.approx(cost("restarted-1"), rel=0.01)
    assert of_run.COUNTER_RESET in row.notes


def test_an_agent_under_a_new_address_is_the_same_node(full_report):
    row = run_of(full_report, "roaming-1")
    assert (row.nodes, row.usd) == (1, pytest.approx(cost("roaming-1")))


def test_the_cost_of_all_nodes_is_included_whether_or_not_a_run_used_them(full_report):
    expected = {}
    for n in FLEET.nodes:
        if n.prices:
            for state, (_, usd) in n.totals(last_scrape(n, LENGTH)).items():
                expected[state.value] = expected.get(state.value, 0.0) + usd
    for state, usd in expected.items():  # type: ignore[assignment]
        assert full_report.fleet.usd.get(state, 0.0) == pytest.approx(usd, rel=0.002, abs=1e-6), state
    assert full_report.fleet.nodes == len(FLEET.nodes)
    assert full_report.fleet.unpriced == ("sim-azure-03", "sim-nobody")


def test_the_frontier_holds_the_undominated_runs_of_the_experiment(full_report):
    assert {r.instance_type: r.frontier for r in full_report.groups if r.experiment == "char-lm"} == {
        "g5.xlarge": True,
        "c7i.8xlarge": False,
    }


def test_only_the_requested_experiment_or_run_is_shown(in_prometheus):
    assert {r.label for r in in_prometheus.report(experiment="char-.*").runs} == {"char-lm-31", "char-lm-cpu-7"}
    assert {r.label for r in in_prometheus.report(run="moved-1|gappy-1").runs} == {"moved-1", "gappy-1"}
    empty = in_prometheus.report(experiment="no such")
    assert empty.runs == []
    assert any("No run matches experiment 'no such'" in note for note in empty.notes)


def test_matchers_narrow_what_is_read(in_prometheus):
    report = in_prometheus.report(matchers='instance=~"sim-g5.*"')
    assert ({r.label for r in report.runs}, report.fleet.nodes) == ({"char-lm-31"}, 1)


def test_data_missing_at_the_start_of_the_span_is_noted_and_simulated_figures_are_labelled(in_prometheus):
    report = in_prometheus.report(begin=-3 * LENGTH)
    assert any(note.startswith("Nothing is stored before 2023-11-14 22:") for note in report.notes)
    assert report.simulated
    assert run_of(report, "gappy-1").usd == pytest.approx(cost("gappy-1"))


def test_every_run_is_there(full_report):
    assert {r.label for r in full_report.runs} == {r.run for r in FLEET.runs}
    assert set(COMPLETE_RUNS) <= {r.label for r in full_report.runs}
