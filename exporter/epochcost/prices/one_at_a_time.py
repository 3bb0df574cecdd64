"""One price source computes at a time, so that a scrape shares the interpreter with only one of them.

Python passes the interpreter's lock around among all threads that want it: beside six sources that parse responses at
the same time, a scrape of 2 ms takes 14. None of them finishes sooner for that, for only one computes at any instant.
So a source waits for its turn to compute, first come, first served, and yields it while it waits for a server.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
LONGEST_WAIT_SECONDS = 1.0
"""A source that has waited this long computes beside the other: no source ever depends on another one's end."""


class Turns:
    """The source that computes now, and those that wait."""

    def __init__(self, longest_wait_seconds: float = LONGEST_WAIT_SECONDS) -> None:
        self._longest_wait_seconds = longest_wait_seconds
        self._lock = threading.Lock()
        self._holder: threading.Event | None = None
        self._queue: deque[threading.Event] = deque()
        self._mine = threading.local()

    @contextmanager
    def computing(self) -> Iterator[None]:
        """For the length of a block, the turn of this thread, but for what is within `waiting`."""
        if self.takes_turns:
            yield
            return
        self._take()
        try:
            yield
        finally:
            self._give()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Yield the turn for the length of a block; does nothing in a thread that takes no turns."""
        rested = self.rest()
        try:
            yield
        finally:
            if rested:
                self.resume()

    def rest(self) -> bool:
        """Yield the turn until `resume`; False in a thread that has none."""
        if not self.takes_turns:
            return False
        self._give()
        self._mine.rests = True
        return True

    def resume(self) -> None:
        """Take the turn again that `rest` yielded; does nothing in any other thread."""
        if getattr(self._mine, "rests", False):
            self._mine.rests = False
            self._take()

    @property
    def takes_turns(self) -> bool:
        """Whether this thread is within `computing`, and not within `waiting`."""
        return getattr(self._mine, "turn", None) is not None

    def _take(self) -> None:
        mine = self._mine.turn = threading.Event()
        with self._lock:
            if self._holder is None:
                self._holder = mine
                return
            self._queue.append(mine)
        if not mine.wait(self._longest_wait_seconds):
            with self._lock:
                if mine in self._queue:
                    self._queue.remove(mine)

    def _give(self) -> None:
        mine, self._mine.turn = self._mine.turn, None
        with self._lock:
            if self._holder is mine:
                self._holder = self._queue.popleft() if self._queue else None
                if self._holder is not None:
                    self._holder.set()

    def awaited(self, items: Iterator[T]) -> Iterator[T]:
        """Each of ``items``, with the turn yielded while the next one is waited for."""
        while True:
            with self.waiting():
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item


TURNS = Turns()
"""Of this process."""
computing, waiting, awaited = TURNS.computing, TURNS.waiting, TURNS.awaited
