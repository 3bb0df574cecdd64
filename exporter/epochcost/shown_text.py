"""Text of others as it may be shown: cleaned where it comes in, written by one CSV writer and one terminal writer.

Names come from price APIs, stores, drivers and training code. None of them moves a cursor, ends a line, turns the
direction of writing, or is a formula to a spreadsheet.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence

from epochcost.sha256 import sha256

MAX_NAME = 200
MAX_FIGURE = 1e24
"""Larger than any count, sum or integral that there is; sums of such figures are still figures."""
_FORMULA = ("=", "+", "-", "@", "\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH PLUS SIGN}", "\N{FULLWIDTH HYPHEN-MINUS}",
            "\N{FULLWIDTH COMMERCIAL AT}")  # fmt: skip


def is_name(text: str, most: int = MAX_NAME) -> bool:
    """Whether ``text`` can be shown as it is: printable, on one line, not too long."""
    return len(text) <= most and text.isprintable()


def printable(text: str) -> str:
    """``text`` with a question mark for each character that cannot be shown: control bytes, direction marks, halves."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


def one_line(text: str, most: int = 200) -> str:
    """Text of others, as a part of a sentence: printable, on one line, of bounded length."""
    plain = "".join(char if char.isprintable() else " " for char in text[: 4 * most])
    words = " ".join(plain.split())
    return words if len(words) <= most else f"{words[: most - 3]}..."


def clean_name(text: str, most: int = MAX_NAME) -> str:
    """``text`` where it is a name, else its likeness with a digest: different names stay different."""
    if is_name(text, most):
        return text
    digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{printable(text[: most - 13])}-{digest}"


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """Rows as CSV with a line of titles; None is empty. No text of others is run by a spreadsheet."""
    import csv

    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return out.getvalue()


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    plain = printable(value)
    return f"'{plain}" if plain.lstrip(" '\N{NO-BREAK SPACE}").startswith(_FORMULA) else plain
