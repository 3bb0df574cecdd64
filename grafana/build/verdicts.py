"""Words instead of figures: whether an epoch costs less or more than usual."""

from __future__ import annotations

from typing import Any

from panels import AMBER, GREEN, RED, worse_when_higher

LOWER, HIGHER, FAR_HIGHER = 0.8, 1.25, 2.0
"""Multiples of the usual cost below or from which on it has another word."""
DONE_ENOUGH = 0.1
"""Share of an epoch that has to be done before its cost is extrapolated to a whole one."""


def against_usual() -> dict[str, Any]:
    """Field settings of a figure that is a multiple of the usual cost: a word in its place."""
    words = (
        (None, LOWER, "lower", GREEN),
        (LOWER, HIGHER, "as usual", GREEN),
        (HIGHER, FAR_HIGHER, "higher", AMBER),
        (FAR_HIGHER, None, "far higher", RED),
    )
    return {
        "mappings": [
            {
                "type": "range",
                "options": {"from": low, "to": high, "result": {"text": text, "color": colour, "index": i}},
            }
            for i, (low, high, text, colour) in enumerate(words)
        ]
    }


def times_usual(unit: str = "suffix:x") -> dict[str, Any]:
    """Field settings of the same figure as a number, coloured by it."""
    return worse_when_higher(unit, 1, amber=HIGHER, red=FAR_HIGHER)
