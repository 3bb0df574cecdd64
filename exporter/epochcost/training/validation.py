"""Validates what a user passed in: an impossible value logs one warning and is reported as unknown."""

from __future__ import annotations

import math
import operator
from typing import Any

from epochcost.training.warning import shown, warn_once

MAX_WHOLE = 2**63 - 1
MAX_AMOUNT = 1e12


def whole(name: str, value: Any, least: int = 0) -> int | None:  # noqa: ANN401 - NumPy and torch scalars come here
    """``value`` as an int from ``least`` to 2**63 - 1; None, with one warning, where it is none."""
    if value is None:
        return None
    try:
        number = operator.index(value)
    except Exception:  # noqa: BLE001 - whatever the user's object raises
        number = -1
    if isinstance(value, bool) or not least <= number <= MAX_WHOLE:
        _refuse(name, value, f"a whole number of {least} or more")
        return None
    return number


def amount(name: str, value: Any) -> float | None:  # noqa: ANN401
    """``value`` as a finite float of 0 or more; None, with one warning, where it is none."""
    if value is None:
        return None
    try:
        number = float(value)
    except Exception:  # noqa: BLE001 - whatever the user's object raises
        number = math.nan
    if isinstance(value, (bool, str)) or not 0 <= number <= MAX_AMOUNT:  # NaN fails too
        _refuse(name, value, "a finite number of 0 or more")
        return None
    return number


def planned_epochs(value: Any) -> Any:  # noqa: ANN401
    """The plan as a figure: a number in text counts, infinity is not a plan; anything else is left as it is."""
    try:
        number = float(value)
    except Exception:  # noqa: BLE001 - whatever the user's object raises
        return value
    return None if number == math.inf else number


def loop_end(epochs: Any) -> int | None:  # noqa: ANN401 - as the user gave it
    """Where a loop over ``epochs`` ends, None if it does not. Raises as ``range`` would; no empty loop.

    Raises:
        TypeError: it is not a number at all.
        ValueError: it is none that epochs can be counted by.
    """
    if epochs is None:
        return None
    try:
        number = float(epochs)
    except (TypeError, ValueError) as err:
        raise type(err)(f"epochs={shown(epochs)} is not a number of epochs") from None
    if math.isnan(number):
        raise ValueError("epochs=nan is not a number of epochs")
    return None if number == math.inf else max(0, math.ceil(number))


def loop_start(start: Any) -> int:  # noqa: ANN401 - as the user gave it
    """The first number of a loop. Raises TypeError or ValueError as ``range`` and ``int`` would."""
    if isinstance(start, (str, float)) and not float(start).is_integer():
        raise ValueError(f"start={shown(start)} is not a whole number")
    return int(float(start)) if isinstance(start, (str, float)) else operator.index(start)


def text(value: object, limit: int = 500) -> str:
    """``value`` as text of at most ``limit`` characters; empty for None."""
    if value is None:
        return ""
    try:
        return str(value)[:limit]
    except Exception:  # noqa: BLE001 - the user's object, the user's exceptions
        return f"<{type(value).__name__}>"


def _refuse(name: str, value: object, expected: str) -> None:
    warn_once(f"argument {name}", f"{name}={shown(value)} is not {expected}; it is not reported")
