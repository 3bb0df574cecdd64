"""The colours of the states, the same on the live page, in reports and in Grafana, in the order that bars stack them.

One colour each, for a dark and a light ground alike, since Grafana has one for both. Found by search, so that every two
of them stay apart for readers with any colour blindness, each has a contrast of at least 3:1 with either background;
``tests/page/test_palette.py`` measures both.
"""

from __future__ import annotations

from collections.abc import Mapping

from epochcost.model import RunState, State

PALETTE: Mapping[State, str] = {
    State.USEFUL: "#118469",
    State.IDLE: "#be7c04",
    State.STALLED: "#c72609",
    State.REPLAY: "#ff4a94",
    State.STARTUP: "#09a2b7",
    State.BOOT: "#2c5af2",
    State.UNALLOCATED: "#9b7fff",
    State.FINISHED: "#7a5a99",
    State.UNATTRIBUTED: "#7a9b5e",
    State.VACANT: "#875f42",
    State.UNKNOWN: "#8a8c90",
}
"""Money well spent first, then what a run wastes, then what is unused, then what was not observed."""

SHOWN_AS: Mapping[RunState, State] = {
    RunState.STARTUP: State.STARTUP,
    RunState.TRAINING: State.USEFUL,
    RunState.EVALUATING: State.USEFUL,
    RunState.CHECKPOINTING: State.USEFUL,
    RunState.REPLAY: State.REPLAY,
    RunState.STALLED: State.STALLED,
    RunState.FINISHED: State.FINISHED,
    RunState.FAILED: State.STALLED,
    RunState.PREEMPTED: State.REPLAY,
    RunState.LOST: State.UNKNOWN,
}
"""The state with the same colour as the state of a run; the name is shown beside it."""
