"""By how much the clocks of senders over the network are behind ours."""

from __future__ import annotations

from collections import OrderedDict

from epochcost.model import ClockReading

MAX_SENDERS = 2000
EXACT_SECONDS = 1.0
ROUGH_SECONDS = 3.0
"""Clocks that differ by less are taken for equal: a request takes time, and HTTP's own date has whole seconds."""


class SenderClocks:
    """What is to be added to a sender's times, the same for all of them until either clock is set."""

    def __init__(self) -> None:
        self._behind: OrderedDict[str, float] = OrderedDict()

    def behind(self, sender: str, theirs: ClockReading | None, wall: float) -> float:
        """Seconds to add to the times of ``sender``, whose clock was at ``theirs`` when ours was at ``wall``.

        0 if its clock is not reported.
        """
        if theirs is None:
            return self._behind.get(sender, 0.0)
        same = EXACT_SECONDS if theirs.exact else ROUGH_SECONDS
        offset = wall - theirs.ts - (0.0 if theirs.exact else 0.5)
        known = self._behind.pop(sender, 0.0)
        self._behind[sender] = known if abs(offset - known) < same else offset
        if len(self._behind) > MAX_SENDERS:
            self._behind.popitem(last=False)
        return self._behind[sender]


def clock_of(now: str, date: str) -> ClockReading | None:
    """A sender's clock: its ``now`` (seconds since the Unix epoch), else its HTTP ``date``; None for neither."""
    try:
        ts = float(now)
        if 0 < ts < 1e11:  # noqa: PLR2004 - seconds, not milliseconds
            return ClockReading(ts)
    except ValueError:
        pass
    from epochcost.http_client.http_date import http_date

    second = http_date(date)
    return None if second is None else ClockReading(second, exact=False)
