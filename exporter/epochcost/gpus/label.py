"""A driver's text as a label."""

from __future__ import annotations

from epochcost import shown_text


def printable(text: str) -> str:
    """``text`` with a question mark for what cannot be shown."""
    return shown_text.printable(text).strip()
