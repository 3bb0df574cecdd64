"""A driver's text as a label."""

from __future__ import annotations

from epochcost import shown_text


def printable(text: str) -> str:
    """``text`` with a question mark for what cannot be shown, and not longer than a name."""
    return shown_text.printable(text[: 2 * shown_text.MAX_NAME]).strip()[: shown_text.MAX_NAME]
