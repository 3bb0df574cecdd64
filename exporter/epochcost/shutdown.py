"""When a program ends: by SIGTERM or SIGINT, or by its own decision."""

from __future__ import annotations

import queue
import signal
import threading

BEAT_SECONDS = 1.0


class Ending:
    """Receives SIGTERM and SIGINT from its creation on; only in the main thread.

    It does not simply wait for an event that the signal handler sets: a handler runs between two steps of the main
    thread, so it could find the event's lock held by the very wait that it interrupts; and a signal that comes just
    before a wait without limit begins is not handled until that ends. A queue's ``put`` may be interrupted by itself,
    and the wait has a timeout.
    """

    def __init__(self) -> None:
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: self._signals.put(number))

    def wait(self, finished: threading.Event) -> None:
        """Return when the process gets a signal to end, or when ``finished`` is set."""
        while not finished.is_set():
            try:
                self._signals.get(timeout=BEAT_SECONDS)
            except queue.Empty:
                continue
            return
