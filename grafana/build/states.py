"""The states and the colours that they have on every panel and on the agent's live page."""

from __future__ import annotations

from typing import Any

from epochcost.model import RunState, State
from epochcost.palette import PALETTE

STATE_COLOURS = {state.value: shade.dark for state, shade in PALETTE.items()}
"""Grafana has one colour for both themes: the dark shade is readable on either."""

RUN_STATE_COLOURS = {
    RunState.STARTUP.value: STATE_COLOURS[State.STARTUP.value],
    RunState.TRAINING.value: STATE_COLOURS[State.USEFUL.value],
    RunState.EVALUATING.value: STATE_COLOURS[State.USEFUL.value],
    RunState.CHECKPOINTING.value: STATE_COLOURS[State.USEFUL.value],
    RunState.REPLAY.value: STATE_COLOURS[State.REPLAY.value],
    RunState.STALLED.value: STATE_COLOURS[State.STALLED.value],
    RunState.FINISHED.value: STATE_COLOURS[State.FINISHED.value],
    RunState.FAILED.value: STATE_COLOURS[State.STALLED.value],
    RunState.PREEMPTED.value: STATE_COLOURS[State.REPLAY.value],
    RunState.LOST.value: STATE_COLOURS[State.UNKNOWN.value],
}


def coloured_text(colours: dict[str, str]) -> tuple[tuple[str, Any], ...]:
    """Field settings of a table column whose words have colours."""
    options = {word: {"color": colour, "index": i} for i, (word, colour) in enumerate(colours.items())}
    return (
        ("mappings", [{"type": "value", "options": options}]),
        ("custom.cellOptions", {"type": "color-text"}),
    )
