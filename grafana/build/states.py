"""The states and the colours that they have on every panel and on the agent's live page."""

from __future__ import annotations

from typing import Any

from epochcost.palette import PALETTE, SHOWN_AS

STATE_COLOURS = {state.value: colour for state, colour in PALETTE.items()}
UNSETTLED = "unsettled"
"""Dollars of a run whose price may still change: the rules show them beside its states."""
COST_COLOURS = {**STATE_COLOURS, UNSETTLED: "#7d8289"}
RUN_STATE_COLOURS = {run.value: PALETTE[state] for run, state in SHOWN_AS.items()}


def coloured_text(colours: dict[str, str]) -> tuple[tuple[str, Any], ...]:
    """Field settings of a table column whose words have colours."""
    options = {word: {"color": colour, "index": i} for i, (word, colour) in enumerate(colours.items())}
    return (
        ("mappings", [{"type": "value", "options": options}]),
        ("custom.cellOptions", {"type": "color-text"}),
    )
