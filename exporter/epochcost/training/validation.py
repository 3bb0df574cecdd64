"""What a user passed in, made reportable: a figure that cannot be true is said once and reported as not known."""

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


def text(value: object, limit: int = 500) -> str:
    """``value`` as text of at most ``limit`` characters; empty for None."""
    if value is None:
        return ""
    try:
        return str(value)[:limit]
    except Exception:  # noqa: BLE001 - the user's object, the user's exceptions
        return f"<{type(value).__name__}>"


def _refuse(name: str, value: object, wanted: str) -> None:
    warn_once(f"argument {name}", f"{name}={shown(value)} is not {wanted}; it is not reported")
