"""What the snapshot shows of a run with many epochs: right, and not rebuilt each second."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.agent.driven import T0, Driven, World

from epochcost.agent.snapshot import RunView
from epochcost.model import PriceStep


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Driven]:
    one = Driven(World(tmp_path), price__usd_per_hour="3.6")
    one.ask_price()
    one.run(1)
    one.world.say("start")
    one.world.say("phase", phase="train", epoch=0)
    yield one
    one.close()


def view(it: Driven) -> RunView:
    assert it.app.snapshot is not None
    (run,) = it.app.snapshot.runs
    return run


def epoch(it: Driven, number: int, seconds: float) -> None:
    it.run(seconds)
    it.world.say("epoch_end", epoch=number)
    it.run(1)


def test_the_history_stays_as_it_is_until_an_epoch_ends(it: Driven) -> None:
    epoch(it, 1, 5)
    first = view(it).history
    it.run(3)
    assert view(it).history is first
    epoch(it, 2, 4)
    assert [record.cost_usd for record in view(it).history] == pytest.approx([0.005, 0.008])
    assert view(it).epoch_cost_usd_sum == pytest.approx(0.013)
    assert (view(it).epoch_count, view(it).epoch_seconds_sum) == (2, pytest.approx(13))


def test_a_price_learnt_late_changes_every_epoch_of_the_history_and_their_sum(it: Driven) -> None:
    epoch(it, 1, 5)
    epoch(it, 2, 4)
    it.app.meter.ledger.set_price([PriceStep(T0 - 60, 7.2)], it.world.wall)
    it.run(1)
    assert [record.cost_usd for record in view(it).history] == pytest.approx([0.010, 0.010])
    assert view(it).epoch_cost_usd_sum == pytest.approx(0.020)


def test_a_run_that_is_no_longer_shown_leaves_no_history(it: Driven) -> None:
    epoch(it, 1, 5)
    it.world.say("end", status="finished")
    it.run(1)
    assert it.app.meter._histories._made.keys() == {"r"}
    it.run(2000, every=500)
    assert it.app.snapshot is not None
    assert it.app.snapshot.runs == ()
    assert not it.app.meter._histories._made


def test_a_part_of_the_first_epoch_projects_and_is_marked_as_such(it: Driven) -> None:
    it.world.say("progress", epoch=0.0, epochs=4)
    it.run(10)
    assert view(it).projected_cost_usd is None
    it.world.say("progress", epoch=0.1, step=10)
    it.run(1)
    run = view(it)
    assert run.projected_from_part
    # A tenth of an epoch has taken eleven seconds, a tenth of a cent each; 3.9 epochs are left.
    assert run.projected_cost_usd == pytest.approx(0.011 + 3.9 * 0.110, abs=1e-9)
    assert run.eta_seconds == pytest.approx(3.9 * 110, abs=1e-6)
    it.run(88)
    it.world.say("epoch_end", epoch=1)
    it.run(1)
    run = view(it)
    assert not run.projected_from_part
    assert run.projected_cost_usd == pytest.approx(0.100 + 3 * 0.099, abs=1e-9)


def test_a_training_of_one_epoch_has_its_cost_at_its_end_where_progress_alone_is_reported(it: Driven) -> None:
    for part in range(1, 10):
        it.run(10)
        it.world.say("progress", epoch=part / 10, epochs=1)
    it.run(10)
    it.world.say("end", epoch=1.0, status="finished")
    it.run(1)
    assert view(it).last_epoch_cost_usd == pytest.approx(0.100, abs=1e-9)
    assert view(it).projected_cost_usd == pytest.approx(0.100, abs=1e-9)
