"""Threads that call the driver and may be left behind in a call that does not come back."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Protocol


class Pollable(Protocol):
    """Something to be read on its own, such as one GPU."""

    @property
    def busy(self) -> bool:
        """A thread is in a call of it."""

    @property
    def call_seconds(self) -> float:
        """How long the call under way has taken; 0 when none is."""

    @property
    def known(self) -> bool:
        """Its previous reading may be used while it is read."""

    def read(self, t: float) -> None:
        """Read it now; keeps what it learns for itself."""


class WorkerThread:
    """One thread that does its work in order. A daemon: a process can end while it is stuck."""

    def __init__(self, name: str) -> None:
        self._tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def do(self, work: Callable[[], None]) -> None:
        """Do ``work``, which never raises, after all earlier work."""
        self._tasks.put(work)

    def leave(self) -> None:
        """The thread ends when it has done its work."""
        self._tasks.put(None)

    def _run(self) -> None:
        while (work := self._tasks.get()) is not None:
            work()


class PollRound:
    """One reading of all places: first what concerns them all, then one after the other.

    It is meant for one worker. `spread` has the places that no thread has begun read all at once, each by a thread of
    its own, so that every thread left behind holds a place that no later round reads.
    """

    def __init__(self, t: float, prepare: Callable[[float], Sequence[Pollable]], *, spread: bool = False) -> None:
        """``prepare`` returns the places; it may raise, as may reading one: that is the `fault` of the round.

        ``spread``: the driver is known to be slow, so the places are read side by side from the beginning.
        """
        self.t = t
        self.prepared = False
        self.fault: Exception | None = None
        self.finished = threading.Event()
        self._prepare = prepare
        self._spread = spread
        self._since = math.inf
        self._waiting: deque[Pollable] = deque()
        self._begun: list[Pollable] = []
        """Not done yet."""
        self._left = 0
        self._lock = threading.Lock()

    def run(self) -> None:
        """The whole of it, on a worker."""
        try:
            self._waiting.extend(place for place in self._prepare(self.t) if not place.busy)
        except Exception as err:  # noqa: BLE001 - raised by the thread that waits for the round
            self._fail(err)
            return
        self._left = len(self._waiting)
        self._since = time.monotonic()
        self.prepared = True
        if not self._left:
            self.finished.set()
        if self._spread:
            self.spread()
        self._work()

    def held_up(self, patience: float) -> bool:
        """Nothing more is to be expected of it within ``patience`` seconds that must be waited for.

        Either every call under way has taken as long, or the round has, and what was read before of the places that
        are left may be used for them.
        """
        begun = list(self._begun)
        if not begun or self._waiting:
            return False
        late = time.monotonic() - self._since >= patience and all(place.known for place in begun)
        return late or all(place.call_seconds >= patience for place in begun)

    def spread(self) -> bool:
        """Read what no thread has begun, by as many threads; False when nothing is left to begin."""
        places = len(self._waiting)
        for _ in range(places):
            threading.Thread(target=self._work, name="epochcost-gpu", daemon=True).start()
        return places > 0

    def _work(self) -> None:
        while True:
            try:
                place = self._waiting.popleft()
            except IndexError:
                return
            self._begun.append(place)
            try:
                place.read(self.t)
            except Exception as err:  # noqa: BLE001 - as above
                self._fail(err)
                return
            with self._lock:
                self._begun.remove(place)
                self._left -= 1
                if not self._left:
                    self.finished.set()

    def _fail(self, err: Exception) -> None:
        self.fault = err
        self._waiting.clear()
        self.finished.set()
