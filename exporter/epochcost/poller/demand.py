"""What agents requested recently: it stays wanted for a day after the last request."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from epochcost.prices.price_source import Want

KEEP_SECONDS = 86400.0
MOST = 1000
"""More types and regions than any fleet mixes; a bound on what clients can make the poller request of providers."""


class TooManyWantsError(Exception):
    """No more can be wanted; the text contains how many are."""


class RequestedTypes:
    """Thread-safe; times in seconds since the Unix epoch. ``watched`` is wanted always."""

    def __init__(self, known: Iterable[Want], now: float, watched: Iterable[Want] = ()) -> None:
        self._lock = threading.Lock()
        self._watched = frozenset(watched)
        self._requested: dict[Want, float] = dict.fromkeys(known, now)

    def touch(self, want: Want, now: float) -> None:
        """``want`` was requested.

        Raises:
            TooManyWantsError: when it is new and `MOST` others are wanted.
        """
        with self._lock:
            if want not in self._requested and len(self._requested) >= MOST:
                self._forget(now)
            if want not in self._requested and len(self._requested) >= MOST:
                raise TooManyWantsError(f"{MOST} other machine types and regions are already being requested")
            self._requested[want] = now

    def current(self, provider: str, now: float) -> frozenset[Want]:
        """What is wanted of ``provider``."""
        return frozenset(want for want in self.all(now) if want.provider == provider)

    def all(self, now: float) -> frozenset[Want]:
        """All that is wanted."""
        with self._lock:
            self._forget(now)
            return self._watched | frozenset(self._requested)

    def _forget(self, now: float) -> None:
        self._requested = {want: ts for want, ts in self._requested.items() if now - ts <= KEEP_SECONDS}
