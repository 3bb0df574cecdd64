"""The states and the colours that they have on every panel and on the agent's live page."""

from __future__ import annotations

from typing import Any

from epochcost.model import NOT_WASTED, UNSETTLED, RunState
from epochcost.palette import PALETTE, SHOWN_AS

STATE_COLOURS = {state.value: colour for state, colour in PALETTE.items()}
WASTED = f'state!~"{"|".join(NOT_WASTED)}"'
"""Matches the states in which what is paid trains nothing, as far as that is known."""
COST_COLOURS = {**STATE_COLOURS, UNSETTLED: "#7d8289"}
RUN_STATE_COLOURS = {run.value: PALETTE[state] for run, state in SHOWN_AS.items()}


def coloured_text(colours: dict[str, str]) -> tuple[tuple[str, Any], ...]:
    """Field settings of a table column whose words have colours."""
    options = {word: {"color": colour, "index": i} for i, (word, colour) in enumerate(colours.items())}
    return (
        ("mappings", [{"type": "value", "options": options}]),
        ("custom.cellOptions", {"type": "color-text"}),
    )


BY_WEIGHT = (
    RunState.FINISHED, RunState.TRAINING, RunState.EVALUATING, RunState.CHECKPOINTING, RunState.STARTUP,
    RunState.REPLAY, RunState.PREEMPTED, RunState.LOST, RunState.FAILED, RunState.STALLED,
)  # fmt: skip
RUN_STATE_CODES = {state.value: code for code, state in enumerate(BY_WEIGHT)}
"""Prometheus has no words as values: of a run whose machines have different states, the worst is shown."""


def shown_as_code(codes: dict[str, int], seconds: str) -> str:
    """The largest of ``codes`` among the states that ``seconds``, a series by state, has."""
    known = "\n  or ".join(
        f'label_replace(vector({code}), "state", "{state}", "", "")' for state, code in codes.items()
    )
    return f"max((\n  max by (state) ({seconds}) > bool -1\n) * on (state) group_left () (\n  {known}\n))"


def words_for(codes: dict[str, int], colours: dict[str, str]) -> list[dict[str, Any]]:
    """A value mapping from codes to words and their colours."""
    options = {str(code): {"text": word, "color": colours[word], "index": code} for word, code in codes.items()}
    return [{"type": "value", "options": options}]
