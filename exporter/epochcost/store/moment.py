"""An instant as ``--from`` and ``--to`` take it, of commands that read a stored past."""

from __future__ import annotations

import re
from datetime import datetime, timezone

from epochcost.settings import SettingsError, duration


def moment(text: str, flag: str, now: float) -> float:
    """``now``, ``7d`` (ago), Unix seconds, or an ISO date or time (UTC unless it has an offset).

    Raises:
        SettingsError: naming the flag, its text and what is allowed.
    """
    plain = text.strip()
    if plain == "now":
        return now
    if re.fullmatch(r"\d{9,11}(\.\d+)?", plain):
        return float(plain)
    if plain[-1:].isalpha():  # a number alone is a year, or Unix seconds
        try:
            return now - duration(plain)
        except ValueError:
            pass
    try:
        when = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", plain))
    except ValueError:
        raise SettingsError(
            f"{flag}: {text!r} is not valid: expected now, an age such as 7d or 12h, Unix seconds, "
            "or a time such as 2026-05-01T00:00:00Z"
        ) from None
    return (when if when.tzinfo else when.replace(tzinfo=timezone.utc)).timestamp()
