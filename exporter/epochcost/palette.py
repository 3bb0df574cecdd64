"""The colours of the states, the same on the live page and in Grafana, in the order in which bars stack them.

Found by search, so that every two of them stay apart for readers with any colour blindness, and each stands out from
its ground by 3:1 at least; ``tests/page/test_palette.py`` measures both.
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
    State.USEFUL: Shade("#57c3a5", "#238962"),
    State.IDLE: Shade("#ffb104", "#c38905"),
    State.STALLED: Shade("#f2794a", "#c44d11"),
    State.REPLAY: Shade("#bf226f", "#6f0d55"),
    State.STARTUP: Shade("#93e2fd", "#189be3"),
    State.BOOT: Shade("#4366f7", "#4159a2"),
    State.UNALLOCATED: Shade("#8159ac", "#39298f"),
    State.FINISHED: Shade("#b6a1fc", "#844ee8"),
    State.UNATTRIBUTED: Shade("#d2db9f", "#494000"),
    State.VACANT: Shade("#a86729", "#724f46"),
    State.UNKNOWN: Shade("#8b8e97", "#8e949f"),
}
"""Money well spent first, then what a run wastes, then what nobody uses, then what nobody saw."""
