"""The view of a run with many epochs: correct, and not rebuilt each second."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.agent.driven_agent import T0, DrivenAgent, SimulatedMachine

from epochcost.agent.snapshot import RunView
from epochcost.model import PriceStep


@pytest.fixture
def it(tmp_path: Path) -> Iterator[DrivenAgent]:
    one = DrivenAgent(SimulatedMachine(tmp_path), price__usd_per_hour="3.6")
    one.ask_price()
    one.run(1)
    one.machine.write_event("start")
    one.machine.write_event("phase", phase="train", epoch=0)
    yield one
    one.close()


def view(it: DrivenAgent) -> RunView:
    assert it.app.snapshot is not None
    (run,) = it.app.snapshot.runs
    return run


def epoch(it: DrivenAgent, number: int, seconds: float) -> None:
    it.run(seconds)
    it.machine.write_event("epoch_end", epoch=number)
    it.run(1)


def test_the_history_stays_as_it_is_until_an_epoch_ends(it: DrivenAgent) -> None:
    epoch(it, 1, 5)
    first = view(it).history
    it.run(3)
    assert view(it).history is first
    epoch(it, 2, 4)
    assert [record.cost_usd for record in view(it).history] == pytest.approx([0.005, 0.008])
    assert view(it).epoch_cost_usd_sum == pytest.approx(0.013)
    assert (view(it).epoch_count, view(it).epoch_seconds_sum) == (2, pytest.approx(13))


def test_a_price_published_late_changes_every_epoch_of_the_history_and_their_sum(it: DrivenAgent) -> None:
    epoch(it, 1, 5)
    epoch(it, 2, 4)
    it.app.meter.ledger.set_price([PriceStep(T0 - 60, 7.2)], it.machine.wall)
    it.run(1)
    assert [record.cost_usd for record in view(it).history] == pytest.approx([0.010, 0.010])
    assert view(it).epoch_cost_usd_sum == pytest.approx(0.020)


def test_a_run_that_is_no_longer_shown_leaves_no_history(it: DrivenAgent) -> None:
    epoch(it, 1, 5)
    it.machine.write_event("end", status="finished")
    it.run(1)
    assert it.app.meter._histories._made.keys() == {"r"}
    it.run(2000, every=500)
    assert it.app.snapshot is not None
    assert it.app.snapshot.runs == ()
    assert not it.app.meter._histories._made


def test_a_part_of_the_first_epoch_projects_and_is_marked_as_such(it: DrivenAgent) -> None:
    it.machine.write_event("progress", epoch=0.0, epochs=4)
    it.run(10)
    assert view(it).projected_cost_usd is None
    it.machine.write_event("progress", epoch=0.1, step=10)
    it.run(1)
    run = view(it)
    assert run.projected_from_part
    # A tenth of an epoch has taken eleven seconds, a tenth of a cent each; 3.9 epochs are left.
    assert run.projected_cost_usd == pytest.approx(0.011 + 3.9 * 0.110, abs=1e-9)
    assert run.eta_seconds == pytest.approx(3.9 * 110, abs=1e-6)
    it.run(88)
    it.machine.write_event("epoch_end", epoch=1)
    it.run(1)
    run = view(it)
    assert not run.projected_from_part
    assert run.projected_cost_usd == pytest.approx(0.100 + 3 * 0.099, abs=1e-9)


def test_a_run_of_one_epoch_that_reports_only_progress_has_its_cost_at_the_end(it: DrivenAgent) -> None:
    for part in range(1, 10):
        it.run(10)
        it.machine.write_event("progress", epoch=part / 10, epochs=1)
    it.run(10)
    it.machine.write_event("end", epoch=1.0, status="finished")
    it.run(1)
    assert view(it).last_epoch_cost_usd == pytest.approx(0.100, abs=1e-9)
    assert view(it).projected_cost_usd == pytest.approx(0.100, abs=1e-9)
