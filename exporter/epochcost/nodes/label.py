"""Text that becomes a label: short, printable, without blanks around it."""

from __future__ import annotations

from epochcost.nodes.node_source import NodeError

MAX_CHARACTERS = 200


def label_text(value: str, what: str) -> str:
    """``value`` without blanks around it.

    Raises:
        NodeError: when it is too long, or holds a character that cannot be shown (a newline, half a surrogate pair);
            the text begins with ``what``.
    """
    text = value.strip()
    if len(text) > MAX_CHARACTERS:
        raise NodeError(f"{what}: {len(text)} characters, at most {MAX_CHARACTERS} are allowed: {text[:40]!r}...")
    if not text.isprintable():
        raise NodeError(f"{what}: {text!r} contains unprintable characters; expected printable text on one line")
    return text
