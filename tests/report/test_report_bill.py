"""Cost allocation, how runs ended, and machine cost outside runs: sums of a small simulated history."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.grafana.scenarios import DESK, G5
from tests.grafana.simulated_fleet import SimulatedFleet, SimulatedNode, SimulatedRun, Stretch
from tests.grafana.simulated_prometheus import prometheus
from tests.report.conftest import HistoryStore, run_of
from tests.report.stored import EVERY, Sample, past
from tests.report.test_report_command import epochcost

from epochcost.model import State
from epochcost.reports import runs as of_run
from epochcost.reports.pieces import Split
from epochcost.reports.report import Report
from epochcost.reports.report_page import page
from epochcost.reports.tables import beside, ended
from epochcost.reports.text import markdown, terminal

pytestmark = pytest.mark.stack
LENGTH = 6 * 3600.0
U = State.USEFUL
CHEAP = ((0, 1.0),)


def _node(name: str, *stretches: Stretch, option: str = "spot", usd: float = 1.0, **fields: Any) -> SimulatedNode:
    return replace(
        G5, node=name, prices=((0, usd),), stretches=stretches, purchase_option=option, on_demand_usd_per_hour=2.0,
        notice_at=None, **fields,
    )  # fmt: skip


def _stretches(run: str, end: float, then: State = State.FINISHED, batch: int = 32) -> tuple[Stretch, ...]:
    return (
        Stretch(0, 600, State.STARTUP, run),
        Stretch(600, end, U, run, 0.5, 0, 6, batch),
        Stretch(end, LENGTH + 3600, then),
    )


NODES = (
    _node("sim-vision", *_stretches("vision-1", 10_800)),
    _node("sim-slurm", *_stretches("job-7", LENGTH + 3500), usd=3.0, option="on_demand"),
    _node("sim-failed", *_stretches("trial-2", 7200), usd=2.0),
    _node("sim-empty", Stretch(0, LENGTH + 3600, State.VACANT), usd=10.0, option="on_demand", user="ada"),
    replace(DESK, node="sim-desk", prices=((0, 0.5),), stretches=_stretches("desk-1", LENGTH + 3500)),
    _node("sim-larger", *_stretches("grown-1", 7200, batch=32)),
    _node(
        "sim-other-type",
        Stretch(7200, LENGTH + 3500, U, "grown-1", 0.5, 0, 6, 64, rewind=-12),
        instance_type="g5.12xlarge",
        usd=4.0,
    ),
    replace(
        _node("sim-priceless", Stretch(0, LENGTH + 3600, State.UNATTRIBUTED)), prices=(), on_demand_usd_per_hour=None
    ),
)
RUNS = tuple(
    SimulatedRun(run, experiment, 1000, 10_000)
    for run, experiment in (
        ("vision-1", "vit"), ("job-7", "llm"), ("trial-2", "sweep"), ("desk-1", "desk"), ("grown-1", "grown"),
    )
)  # fmt: skip
FLEET = SimulatedFleet(NODES, RUNS, with_poller=False)
TEAMS = {"sim-vision": "vision", "sim-empty": "research"}


def labelled(samples: Iterable[Sample]) -> Iterator[Sample]:
    """Teams of machines and of a Slurm job, its owner, and a run that failed."""
    for t, name, labels, value in samples:
        node = labels.get("instance", "").partition(":")[0]
        if name == "epochcost_node_info" and node in TEAMS:
            yield t, name, {**labels, "team": TEAMS[node]}, value
        elif name == "epochcost_run_info" and labels["run"] == "job-7":
            yield t, name, {**labels, "team": "chem-lab", "launcher": "slurm", "owner_user": "grace"}, value
        elif name == "epochcost_run_state" and labels["run"] == "trial-2" and labels["state"] in ("finished", "failed"):
            state = {"finished": "failed", "failed": "finished"}[labels["state"]]
            yield t, name, {**labels, "state": state}, value
        elif name == "epochcost_gpu_owner_share_ratio" and labels["owner"] == "job-7":
            yield t, name, {**labels, "owner_namespace": "batch"}, value
        else:
            yield t, name, labels, value


@pytest.fixture(scope="module")
def bill_store(write_blocks) -> Iterator[HistoryStore]:
    with prometheus(write_blocks(list(past(FLEET, LENGTH, labelled)), FLEET.epoch_ts)) as url:
        yield HistoryStore(url)


@pytest.fixture(scope="module")
def bill(bill_store) -> Report:
    return bill_store.report(0, LENGTH)


def machine_usd(node: str, state: State | None = None, until: float = LENGTH) -> float:
    """Dollars of one machine, as far as scrapes could see them."""
    (machine,) = [n for n in NODES if n.node == node]
    totals = machine.totals(min(until, LENGTH))
    return sum(usd for s, (_, usd) in totals.items() if state in (None, s))


WHOLE = sum(machine_usd(n.node) for n in NODES if n.prices)


def rows(report: Report) -> dict[str, Split]:
    return {row.name: row for row in report.split}


@pytest.mark.parametrize("by", ["team", "owner", "namespace", "account", "experiment", "purchase-option"])
def test_a_split_cost_sums_to_the_total(bill_store, by):
    report = bill_store.report(0, LENGTH, by=by)
    assert sum(row.usd or 0 for row in report.split) == pytest.approx(sum(report.fleet.usd.values()), rel=1e-6)
    assert sum(row.share or 0 for row in report.split) == pytest.approx(1)
    assert sum(row.usd or 0 for row in report.split) == pytest.approx(WHOLE, rel=0.01)


def test_a_run_belongs_to_its_own_team_else_to_its_machines_and_the_rest_to_no_team(bill_store):
    split = rows(bill_store.report(0, LENGTH, by="team"))
    assert set(split) == {"vision", "chem-lab", "research", "no team"}
    assert split["chem-lab"].usd == pytest.approx(machine_usd("sim-slurm"), rel=0.01)
    assert split["research"].outside_usd == pytest.approx(60, rel=0.01)
    assert split["vision"].usd == pytest.approx(6, rel=0.01)
    assert split["vision"].outside_usd == pytest.approx(machine_usd("sim-vision", State.FINISHED), rel=0.02)
    assert all(row.outside_usd == 0 or abs(row.outside_usd) > 1e-6 for row in split.values()), "no rounding as dollars"
    assert list(split)[-1] == "no team"
    assert split["no team"].unpriced_hours == pytest.approx(6, rel=0.02)


def test_a_vacant_gpu_belongs_to_the_owner_of_its_memory(bill_store):
    split = rows(bill_store.report(0, LENGTH, by="owner"))
    assert split["ada"].usd == pytest.approx(60, rel=0.01)
    assert split["grace"].usd == pytest.approx(machine_usd("sim-slurm"), rel=0.01)


def test_account_namespace_experiment_and_purchase_option_have_rows(bill_store):
    assert set(rows(bill_store.report(0, LENGTH, by="account"))) == {"chem-lab", "no account"}
    assert set(rows(bill_store.report(0, LENGTH, by="namespace"))) == {"batch", "no namespace"}
    experiments = rows(bill_store.report(0, LENGTH, by="experiment"))
    assert experiments["no run"].usd == pytest.approx(experiments["no run"].outside_usd)
    options = rows(bill_store.report(0, LENGTH, by="purchase-option"))
    assert options["owned"].usd == pytest.approx(3, rel=0.01)
    assert set(options) == {"spot", "on_demand", "owned"}


def test_the_cost_of_machines_outside_runs_is_a_table_by_state(bill):
    assert bill.outside.usd["vacant"] == pytest.approx(machine_usd("sim-empty"), rel=0.01)
    finished = sum(machine_usd(n.node, State.FINISHED) for n in NODES)
    assert bill.outside.usd["finished"] == pytest.approx(finished, rel=0.02)
    of_runs = sum(row.usd for row in bill.runs)
    assert of_runs + sum(bill.outside.usd.values()) == pytest.approx(sum(bill.fleet.usd.values()))
    for text in (terminal(bill), markdown(bill), page(bill)):
        assert "Outside runs" in text


def test_hours_of_a_machine_without_a_price_have_no_dollars_not_even_zero(bill):
    unpriced = [row for row in beside(bill) if row.state == "unattributed"]
    assert [row.hours for row in unpriced] == [pytest.approx(6, rel=0.02)]
    assert [(row.usd, row.share) for row in unpriced] == [(None, None)]
    assert all(row.usd is not None for row in beside(bill) if row not in unpriced)


def test_runs_show_how_they_ended_and_the_cost_of_failed_ones(bill):
    assert {row.label: row.ended for row in bill.runs} == {
        "vision-1": "finished", "trial-2": "failed", "job-7": "", "desk-1": "", "grown-1": "",
    }  # fmt: skip
    (failed_run,) = [row for row in ended(bill.runs) if row.ended == "failed"]
    assert failed_run.usd == pytest.approx(2 * (7200 - EVERY) / 3600, rel=0.04)
    assert "How runs ended" in terminal(bill)


def test_another_batch_and_another_machine_type_are_noted(bill):
    notes = run_of(bill, "grown-1").notes
    assert {of_run.SIZES, of_run.TYPES} <= set(notes)
    assert any("machine type changed (grown-1)" in note for note in bill.notes)
    assert of_run.TYPES not in run_of(bill, "vision-1").notes
    assert of_run.OPTIONS not in notes


def test_a_machine_without_a_price_is_a_note_in_every_format(bill_store, bill):
    note = "1 node without a price (sim-priceless): not in any sum of dollars."
    for text in (terminal(bill), markdown(bill), page(bill)):
        assert note in text
    span = ("--from", str(FLEET.epoch_ts), "--to", str(FLEET.epoch_ts + LENGTH))
    completed = epochcost("report", "--prometheus.url", bill_store.url, *span, "--format", "json", "--by", "team")
    document = json.loads(completed.stdout)
    assert note in document["notes"]
    assert document["by"]["what"] == "team"
    assert {row["name"] for row in document["by"]["rows"]} >= {"vision", "no team"}
    assert {row["ended"] for row in document["ended"]} == {"finished", "failed", "not ended"}
    completed = epochcost("report", "--prometheus.url", bill_store.url, *span, "--format", "csv", "--by", "team")
    assert note in completed.stderr
    assert "SIMULATED" in completed.stderr
    lines = list(csv.DictReader(io.StringIO(completed.stdout)))
    assert {line["team"] for line in lines} == {"vision", "chem-lab", "research", "no team"}
    assert {line["simulated"] for line in lines} == {"True"}


def test_savings_are_realised_on_spot_machines_alone(bill):
    assert run_of(bill, "vision-1").realised_saving is not None
    assert run_of(bill, "job-7").realised_saving is None
    assert run_of(bill, "desk-1").realised_saving is None


def test_no_star_where_there_is_one_option_only(bill):
    assert not any(row.frontier for row in (*bill.runs, *bill.groups))
    assert "★" not in terminal(bill)


def test_only_the_requested_runs_are_read(bill_store):
    report = bill_store.report(0, LENGTH, run="trial-.*|job-7")
    assert {row.label for row in report.runs} == {"trial-2", "job-7"}
    assert report.outside.pieces == []
    assert any("of machines outside runs is not computed" in note for note in report.notes)


def test_truncation_of_too_many_runs_is_noted_first_and_the_expensive_ones_stay(bill_store):
    span = ("--from", str(FLEET.epoch_ts), "--to", str(FLEET.epoch_ts + LENGTH))
    completed = epochcost("report", "--prometheus.url", bill_store.url, *span, "--format", "json", "--most-runs", "2")
    document = json.loads(completed.stdout)
    dearest = sorted(RUNS, key=lambda run: -sum(n.run_cost(run.run, LENGTH) for n in NODES))
    assert {row["run"] for row in document["runs"]} == {run.run for run in dearest[:2]}
    assert "3 of 5 runs are left out, those with the lowest cost" in completed.stderr
    assert any("3 of 5 runs are left out" in note for note in document["notes"])
    assert document["outside"] == []


@pytest.mark.parametrize("text", ["-1", "many", "1.5", "", "9999999999"])
def test_an_invalid_number_of_runs_is_named(text):
    completed = epochcost("report", "--most-runs", text)
    assert (completed.returncode, "--most-runs" in completed.stderr) == (2, True)


def test_an_unknown_way_to_split_the_bill_is_named():
    completed = epochcost("report", "--by", "colour")
    assert (completed.returncode, "--by: 'colour'" in completed.stderr, "purchase-option" in completed.stderr) == (
        2,
        True,
        True,
    )
