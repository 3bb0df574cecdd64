"""The colours of the states, the same on the live page and in Grafana, in the order in which bars stack them.

Chosen so that neighbours stay apart for readers with red-green or blue-yellow colour blindness: see
``tests/page/test_palette.py``, which measures it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from epochcost.model import State


@dataclass(frozen=True, slots=True)
class Shade:
    """One colour on a dark and on a light ground, as ``#rrggbb``."""

    dark: str
    light: str


PALETTE: Mapping[State, Shade] = {
    State.USEFUL: Shade("#2fbf8f", "#0b8a63"),
    State.IDLE: Shade("#f2b33d", "#d98e00"),
    State.STALLED: Shade("#e8613c", "#c8401b"),
    State.REPLAY: Shade("#e79ac6", "#c45c98"),
    State.STARTUP: Shade("#62b8f0", "#3d9bdc"),
    State.BOOT: Shade("#3a6fd8", "#1f4fb0"),
    State.UNALLOCATED: Shade("#c9b8ff", "#9b86e0"),
    State.FINISHED: Shade("#8d6be8", "#6a45c8"),
    State.UNATTRIBUTED: Shade("#efe08a", "#b8a53a"),
    State.VACANT: Shade("#a3542f", "#7d3a1c"),
    State.UNKNOWN: Shade("#8b93a1", "#757d8a"),
}
"""Money well spent first, then what a run wastes, then what nobody uses, then what nobody saw."""
