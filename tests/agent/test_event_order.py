"""The order of what one poll has read: a process is gone after its last event, and before its successor starts."""

from __future__ import annotations

from epochcost.agent.event_order import in_order
from epochcost.model import EventKind, RunId, TrainingEvent


def event(kind: EventKind, t: float, writer: str) -> TrainingEvent:
    return TrainingEvent(kind, t, RunId("r"), writer)


def test_a_death_at_the_instant_of_the_last_event_comes_after_it() -> None:
    last, gone = event(EventKind.PROGRESS, 5.0, "a"), event(EventKind.GONE, 5.0, "a")
    assert in_order([gone, last]) == [last, gone]


def test_a_death_noticed_late_precedes_the_successors_start_and_follows_its_own_last_event() -> None:
    last, start, gone = (
        event(EventKind.PROGRESS, 5.0, "a"),
        event(EventKind.START, 5.0, "b"),
        event(EventKind.GONE, 6.0, "a"),
    )
    ordered = in_order([last, start, gone])
    assert [(e.kind, e.writer) for e in ordered] == [
        (EventKind.PROGRESS, "a"), (EventKind.GONE, "a"), (EventKind.START, "b"),
    ]  # fmt: skip


def test_a_process_that_ends_at_the_instant_of_its_start_has_started_first() -> None:
    start, gone = event(EventKind.START, 5.0, "a"), event(EventKind.GONE, 5.0, "a")
    assert in_order([gone, start]) == [start, gone]
