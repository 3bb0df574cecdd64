"""The clock of a server, or a client: the header ``Date`` of HTTP."""

from __future__ import annotations

import math
from datetime import timezone
from email.utils import parsedate_to_datetime


def http_date(text: object) -> float | None:
    """``Mon, 19 Sep 2026 18:29:47 GMT`` in seconds since the Unix epoch; None when it is not that."""
    try:
        moment = parsedate_to_datetime(str(text))
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return seconds if math.isfinite(seconds) else None
