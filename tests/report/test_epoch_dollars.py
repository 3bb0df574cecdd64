"""The cost of an epoch of a run on several machines: of each machine the dollars of the epochs that finished on it."""

from __future__ import annotations

from array import array

import pytest

from epochcost.reports.history import History, Member, NodeHistory, NodeKey, PartKey, RunHistory, RunKey
from epochcost.reports.money import Prices
from epochcost.reports.runs import row
from epochcost.reports.span import Span
from epochcost.reports.tracks import Track

SPAN = Span(0.0, 3000.0, 10)
EPOCH_ENDS = 8
"""Window in which the only epoch ends; it began after the second machine had left, or before."""
LEADER, OTHER = NodeKey("a"), NodeKey("b")


def growing(first: int, last: int, per_window: float) -> Track:
    """A counter from 0 that grows from window ``first`` to ``last`` and stays."""
    return Track(first, array("d", [per_window * min(i, last - first) for i in range(11 - first)]))


def ran(first: int, last: int, **counters: Track) -> Member:
    """A part at $3.60 an hour."""
    both = {"run_seconds_total": growing(first, last, 300.0), "run_cost_usd_total": growing(first, last, 0.3)}
    useful = {(f"run_state_{what}_total", "useful"): track for what, track in zip(
        ("seconds", "cost_usd"), both.values(), strict=True
    )}  # fmt: skip
    return Member(counters={**both, **counters}, states=useful, started=300.0 * first)


def epoch_usd_sum(other: Member) -> float | None:
    """Of a run whose machine of rank 0 has an epoch of $1.50, beside ``other``."""
    leader = ran(
        0, 10,
        run_epoch_seconds_count=growing(EPOCH_ENDS - 1, EPOCH_ENDS, 1.0),
        run_epoch_seconds_sum=growing(EPOCH_ENDS - 1, EPOCH_ENDS, 1500.0),
        run_epoch_cost_usd_sum=growing(EPOCH_ENDS - 1, EPOCH_ENDS, 1.5),
    )  # fmt: skip
    run = RunHistory(members={PartKey(LEADER, "p"): leader, PartKey(OTHER, "q"): other})
    history = History(SPAN, nodes={LEADER: NodeHistory(), OTHER: NodeHistory()}, runs={RunKey("r"): run})
    return row(RunKey("r"), run, history, Prices(history), {}).epoch_usd_sum


@pytest.mark.parametrize(("first", "last"), [(1, 4), (4, 7), (7, 8), (8, 9)])
def test_a_machine_on_which_no_epoch_finished_adds_nothing(first: int, last: int) -> None:
    assert epoch_usd_sum(ran(first, last)) == pytest.approx(1.5)


def test_a_machine_adds_its_own_dollars_of_the_epoch() -> None:
    other = ran(4, 10, run_epoch_cost_usd_sum=growing(EPOCH_ENDS - 1, EPOCH_ENDS, 1.2))
    assert epoch_usd_sum(other) == pytest.approx(2.7)


def test_where_the_agent_has_no_dollars_of_an_epoch_that_finished_there_they_are_those_of_its_seconds() -> None:
    usd = epoch_usd_sum(ran(4, 10))
    assert usd is not None
    assert usd > 1.5 + 0.3
