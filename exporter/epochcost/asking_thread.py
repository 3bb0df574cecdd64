"""A thread on which others are asked over and over, so that nothing else waits for their answers."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

END_SECONDS = 1.0
"""A request under way ends by itself, and is not waited for longer than this."""


class AskingThread(ABC):
    """A daemon thread; ``_run`` asks until ``_stop`` is set.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Stop asking, whether or not it has begun."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=END_SECONDS)

    @abstractmethod
    def _run(self) -> None:
        """Ask until ``_stop`` is set."""
