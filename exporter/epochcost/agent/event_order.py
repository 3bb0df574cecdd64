"""The order in which the events of one poll are accounted."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from epochcost.model import EventKind, TrainingEvent


def in_order(events: Sequence[TrainingEvent]) -> list[TrainingEvent]:
    """``events`` by time; one that came in the place of another began when that one was gone.

    A death is noticed up to a second late, and its successor may have started by then.
    """
    last: dict[str, float] = {}
    for event in events:
        if event.kind is not EventKind.GONE:
            last[event.writer] = max(event.t, last.get(event.writer, -math.inf))
    placed = [_before_successor(e, events, last) if e.kind is EventKind.GONE else e for e in events]
    dead = {event.writer for event in placed if event.kind is EventKind.GONE}
    return sorted(placed, key=lambda event: (event.t, _at_one_instant(event, dead)))


def _at_one_instant(event: TrainingEvent, dead: AbstractSet[str]) -> int:
    """A process is gone after its own last line, and before the first line of its successor."""
    if event.kind is EventKind.GONE:
        return 1
    return 0 if event.writer in dead else 2


def _before_successor(gone: TrainingEvent, events: Sequence[TrainingEvent], last: Mapping[str, float]) -> TrainingEvent:
    starts = [e.t for e in events if e.kind is EventKind.START and e.run == gone.run and e.writer != gone.writer]
    after = [t for t in starts if last.get(gone.writer, -math.inf) <= t <= gone.t]
    return dataclasses.replace(gone, t=min(after)) if after else gone
