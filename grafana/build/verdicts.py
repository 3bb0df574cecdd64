"""Words instead of figures: dearer or cheaper than usual, and how a run is."""

from __future__ import annotations

from typing import Any

from panels import AMBER, GREEN, RED

CHEAPER, DEARER, FAR_DEARER = 0.8, 1.25, 2.0
"""Times the usual cost from which on it has another word."""
DONE_ENOUGH = 0.1
"""Share of an epoch that has to be done before its cost is taken for a whole one."""


def against_usual() -> dict[str, Any]:
    """Field settings of a figure that is how many times as dear something is as usual: a word in its place."""
    words = (
        (None, CHEAPER, "cheaper", GREEN),
        (CHEAPER, DEARER, "as usual", GREEN),
        (DEARER, FAR_DEARER, "dearer", AMBER),
        (FAR_DEARER, None, "far dearer", RED),
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


def times_usual() -> dict[str, Any]:
    """Field settings of the same figure as a number, coloured by it."""
    coming = [
        {"value": None, "color": GREEN},
        {"value": DEARER, "color": AMBER},
        {"value": FAR_DEARER, "color": RED},
    ]
    return {"unit": "suffix:x usual", "decimals": 1, "thresholds": {"mode": "absolute", "steps": coming}}
