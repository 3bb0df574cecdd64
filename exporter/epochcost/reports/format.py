"""Figures as people read them; an unknown one is a dash."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence

from epochcost.shown_text import printable

UNKNOWN = "\N{EN DASH}"
_MINUTE, _HOUR = 60, 3600
_NOTHING = 5e-9
"""Dollars below it are what sums of figures differ by."""


def figure(value: float, digits: int = 4) -> str:
    """With ``digits`` significant digits, thousands apart: ``65.33``, ``4.250``, ``1,234``."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else UNKNOWN
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{round(value, decimals):,.{min(max(decimals, 0), 8)}f}"


def cents(usd: float | None) -> str:
    """Dollars as cents: ``65.33 ¢``; from a dollar on as dollars."""
    if usd is None:
        return UNKNOWN
    return f"{figure(usd * 100)} ¢" if abs(usd) < 1 else f"${usd:,.2f}"


def dollars(usd: float | None) -> str:
    """``$16.33``; small ones with four digits."""
    if usd is None:
        return UNKNOWN
    if abs(usd) < _NOTHING:
        return "$0.00"
    return f"${usd:,.2f}" if abs(usd) >= 1 else f"${figure(usd)}"


def same_money(values: Sequence[float | None]) -> list[str]:
    """Those of one column: cents where all are below a dollar, else dollars."""
    in_cents = all(abs(usd) < 1 for usd in values if usd is not None)
    return [cents(usd) if in_cents else dollars(usd) for usd in values]


def same_length(values: Sequence[float | None]) -> list[str]:
    """Those of one column, in the unit that suits the middle one: ``45.00 s``, ``12.94 min``, ``2.083 h``."""
    known = sorted(seconds for seconds in values if seconds is not None)
    middle = known[len(known) // 2] if known else 0.0
    size, unit = (1, "s") if middle < 2 * _MINUTE else (_MINUTE, "min") if middle < 2 * _HOUR else (_HOUR, "h")
    return [UNKNOWN if seconds is None else f"{figure(seconds / size)} {unit}" for seconds in values]


def percent(ratio: float | None) -> str:
    """``72.1 %``; never ``-0.0 %``."""
    return UNKNOWN if ratio is None else f"{round(ratio * 100, 1) + 0.0:.1f} %"


def length(seconds: float | None) -> str:
    """``23 min 24 s``, ``2 h 05 min``, ``0.42 s``."""
    if seconds is None:
        return UNKNOWN
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{figure(seconds, 3)} s"
    if whole < _HOUR:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // _HOUR} h {whole % _HOUR // 60:02d} min"


def number(value: float | None) -> str:
    """A count: ``25``, ``12.5``."""
    return UNKNOWN if value is None else f"{value:,.4g}" if value < 10_000 else f"{value:,.0f}"  # noqa: PLR2004


def name(text: str) -> str:
    """A name from training code on one line: what steers a terminal or ends a line of Markdown becomes ``?``."""
    return printable(text)


def breadth(text: str) -> int:
    """How many cells of a terminal it takes: East Asian letters take two, accents none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
