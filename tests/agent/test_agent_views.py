"""What the snapshot shows of a run with many epochs: right, and not made anew each second."""

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
