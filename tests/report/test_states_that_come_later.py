"""A run exports a state once it occurs: its growth before its first scrape belongs to the span."""

from __future__ import annotations

from array import array

import pytest

from epochcost.reports.format import dollars
from epochcost.reports.history import History, Member, NodeHistory, NodeKey, PartKey, RunHistory, RunKey
from epochcost.reports.money import Prices
from epochcost.reports.runs import row
from epochcost.reports.span import Span
from epochcost.reports.tracks import Track

SPAN = Span(0.0, 3000.0, 10)
NODE = NodeKey("a")


def track(first: int, *values: float) -> Track:
    return Track(first, array("d", values))


def member(start: float) -> Member:
    """$3.60 an hour; unknown from the sixth window on."""
    counters = {
        "run_seconds_total": track(0, *(1000.0 + 300 * i for i in range(11))),
        "run_cost_usd_total": track(0, *(1.0 + 0.3 * i for i in range(11))),
    }
    states = {
        ("run_state_seconds_total", "useful"): track(0, *(1000.0 + 300 * min(i, 5) for i in range(11))),
        ("run_state_seconds_total", "unknown"): track(6, *(300.0 * i for i in range(1, 6))),
        ("run_state_cost_usd_total", "useful"): track(0, *(1.0 + 0.3 * min(i, 5) for i in range(11))),
        ("run_state_cost_usd_total", "unknown"): track(6, *(0.3 * i for i in range(1, 6))),
    }
    return Member(counters=counters, states=states, started=start)


def test_a_state_first_seen_within_the_span_counts_from_zero_even_for_an_earlier_run() -> None:
    run = RunHistory(members={PartKey(NODE, "p"): member(start=-1000.0)})
    history = History(SPAN, nodes={NODE: NodeHistory()}, runs={RunKey("r"): run})
    report_row = row(RunKey("r"), run, history, Prices(history), {})
    assert report_row.seconds == pytest.approx({"useful": 1500.0, "unknown": 1500.0})
    assert report_row.dollars == pytest.approx({"useful": 1.5, "unknown": 1.5})
    assert report_row.usd == pytest.approx(3.0)
    assert report_row.node_hours == pytest.approx(report_row.hours)


@pytest.mark.parametrize(("runs", "fill"), [(["r"], 0.75), (["r", "s"], None)])
def test_a_run_that_does_not_report_its_memory_is_as_full_as_the_gpu_if_it_was_there_alone(
    runs: list[str], fill: float | None
) -> None:
    known = {RunKey(name): RunHistory(members={PartKey(NODE, name): member(start=-1000.0)}) for name in runs}
    node = NodeHistory(gpu_memory_bytes=80.0, gpu_memory_used=track(0, *[20.0] * 5, *[60.0] * 6))
    history = History(SPAN, nodes={NODE: node}, runs=known)
    assert row(RunKey("r"), known[RunKey("r")], history, Prices(history), {}).fill == fill


def test_the_sums_do_not_differ() -> None:
    assert [dollars(usd) for usd in (2e-13, -2e-13, 1e-8, 0.0)] == ["$0.00", "$0.00", "$0.00000001", "$0.00"]
