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
"""Window in which the only epoch ends; it lasts 1500 s."""
LEADER, OTHER = NodeKey("a"), NodeKey("b")


def growing(first: int, last: int, per_window: float) -> Track:
    """A counter from 0 that grows from window ``first`` to ``last`` and stays."""
    return Track(first, array("d", [per_window * min(i, last - first) for i in range(11 - first)]))


def ran(first: int, last: int, share: float = 1.0, **counters: Track) -> Member:
    """A part at $3.60 an hour that ran ``share`` of each window."""
    both = {
        "run_seconds_total": growing(first, last, 300.0 * share),
        "run_cost_usd_total": growing(first, last, 0.3 * share),
    }
    useful = {(f"run_state_{what}_total", "useful"): track for what, track in zip(
        ("seconds", "cost_usd"), both.values(), strict=True
    )}  # fmt: skip
    return Member(counters={**both, **counters}, states=useful, started=300.0 * first)


def epoch_usd_sum(other: Member, part: str = "q") -> float | None:
    """Of a run whose machine of rank 0 has an epoch of $1.50, beside ``other``."""
    leader = ran(
        0, 10,
        run_epoch_seconds_count=growing(EPOCH_ENDS - 1, EPOCH_ENDS, 1.0),
        run_epoch_seconds_sum=growing(EPOCH_ENDS - 1, EPOCH_ENDS, 1500.0),
        run_epoch_cost_usd_sum=growing(EPOCH_ENDS - 1, EPOCH_ENDS, 1.5),
    )  # fmt: skip
    run = RunHistory(members={PartKey(LEADER, "p"): leader, PartKey(OTHER, part): other})
    history = History(SPAN, nodes={LEADER: NodeHistory(), OTHER: NodeHistory()}, runs={RunKey("r"): run})
    return row(RunKey("r"), run, history, Prices(history), {}).epoch_usd_sum


@pytest.mark.parametrize(("first", "last", "share"), [(1, 4, 1.0), (4, 7, 1.0), (7, 8, 0.5), (8, 9, 1.0), (6, 9, 0.5)])
def test_a_machine_on_which_no_epoch_finished_adds_nothing(first: int, last: int, share: float) -> None:
    assert epoch_usd_sum(ran(first, last, share)) == pytest.approx(1.5)


def test_a_machine_that_left_and_came_back_after_the_epoch_adds_nothing() -> None:
    seconds = [0, 300, 600, 600, 600, 600, 600, 600, 750, 1050, 1350]
    other = ran(0, 10)
    other.counters["run_seconds_total"] = Track(0, array("d", seconds))
    assert epoch_usd_sum(other) == pytest.approx(1.5)


def test_a_machine_adds_its_own_dollars_of_the_epoch() -> None:
    other = ran(4, 10, run_epoch_cost_usd_sum=growing(EPOCH_ENDS - 1, EPOCH_ENDS, 1.2))
    assert epoch_usd_sum(other) == pytest.approx(2.7)


@pytest.mark.parametrize(("first", "last"), [(4, 10), (7, 8), (4, 8)])
def test_dollars_that_the_agent_does_not_have_of_an_epoch_that_finished_there_are_those_of_its_seconds(
    first: int, last: int
) -> None:
    usd = epoch_usd_sum(ran(first, last))
    assert usd is not None
    assert usd > 1.5 + 0.2


def test_an_agent_of_the_version_before_has_dollars_by_its_seconds() -> None:
    usd = epoch_usd_sum(ran(1, 4), part="")
    assert usd is not None
    assert usd >= 1.5


@pytest.mark.parametrize(
    ("count_first", "usd_first", "epochs", "usd"),
    [
        (5, 5, 1.0, 2.0),  # the first epoch of the run
        (5, 8, 1.0, 2.0),  # its price came later
        (0, 0, 0.0, None),  # it had finished before the span
        (0, 5, 0.0, None),  # so had it, and only its price came in the span
    ],
)
def test_the_first_epoch_of_a_run_that_began_before_the_span_counts_if_it_finished_within(
    count_first: int, usd_first: int, epochs: float, usd: float | None
) -> None:
    """An agent exports counters of epochs from the first finished epoch on."""

    def constant(first: int, value: float) -> Track:
        return Track(first, array("d", [value] * (11 - first)))

    member = ran(
        0, 10,
        run_epoch_seconds_count=constant(count_first, 1.0),
        run_epoch_seconds_sum=constant(count_first, 2000.0),
        run_epoch_cost_usd_sum=constant(usd_first, 2.0),
    )  # fmt: skip
    member.started = -1000.0
    member.provisional_epochs = Track(usd_first, array("d", [0.5] + [0.0] * (10 - usd_first)))  # settled one step later
    member.counters["run_epoch_cost_usd_sum"].values[0] = 1.5
    run = RunHistory(members={PartKey(LEADER, "p"): member})
    history = History(SPAN, nodes={LEADER: NodeHistory()}, runs={RunKey("r"): run})
    report_row = row(RunKey("r"), run, history, Prices(history), {})
    assert (report_row.epochs, report_row.epoch_seconds_sum) == (epochs, 2000.0 * epochs)
    assert report_row.epoch_usd_sum == (None if usd is None else pytest.approx(usd))
