"""A driver's text as a label."""

from __future__ import annotations


def printable(text: str) -> str:
    """``text`` with a question mark for what cannot be shown."""
    return "".join(char if char.isprintable() else "?" for char in text).strip()
