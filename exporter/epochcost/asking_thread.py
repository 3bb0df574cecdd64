"""A thread that polls an external source, so that nothing else waits for the responses."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod

END_SECONDS = 1.0
"""A request in progress ends by itself, and is not waited for longer than this."""


class AskingThread(ABC):
    """A daemon thread; ``_run`` sends requests until ``_stop`` is set.

    Args:
        name: of the thread.
        end_seconds: how long `stop` waits for a request in progress.

    Attributes:
        asking_since: when the request in progress was sent, in monotonic seconds; None between two.
        error: why the last request failed; empty if it did not.
        last_duration: seconds of the last request; None before the first, and while there is nothing to request.
    """

    def __init__(self, name: str, end_seconds: float = END_SECONDS) -> None:
        self.asking_since: float | None = None
        self.error = ""
        self.last_duration: float | None = None
        self._end_seconds = end_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to send requests."""
        self._thread.start()

    def stop(self) -> None:
        """Send no more requests, whether or not `start` was called."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=self._end_seconds)

    def ask(self) -> bool:
        """Send one request, if there is anything to request; whether nothing failed. Never raises."""
        self.asking_since = time.monotonic()
        try:
            return self._ask()
        finally:
            self.asking_since = None

    @abstractmethod
    def _ask(self) -> bool:
        """What `ask` does."""

    @abstractmethod
    def _run(self) -> None:
        """Call `ask` until ``_stop`` is set."""
