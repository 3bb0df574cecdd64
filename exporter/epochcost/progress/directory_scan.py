"""Listing a directory in which any user may create a million files, a bounded piece at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Protocol

ENTRIES_PER_STEP = 8_000


class _Entries(Iterator["os.DirEntry[str]"], AbstractContextManager["_Entries"], Protocol):
    def close(self) -> None: ...


class DirectoryScan:
    """Walks ``directory`` again and again, each entry once a round.

    Args:
        directory: may be missing, and come later.
        entries_per_step: looked at in one `step`; a round of a usual directory is one step.
    """

    def __init__(self, directory: Path, entries_per_step: int = ENTRIES_PER_STEP) -> None:
        self._directory = directory
        self._most = entries_per_step
        self._entries: _Entries | None = None

    def step(self, begin: Callable[[], None], take: Callable[[os.DirEntry[str]], None]) -> bool:
        """Continue, calling ``begin`` before the first entry of a round; True when the round is complete.

        Raises:
            OSError: when the directory cannot be listed; the next step begins a new round.
        """
        try:
            if self._entries is None:
                self._entries = os.scandir(self._directory)
                begin()
            count = 0
            for entry in islice(self._entries, self._most):
                take(entry)
                count += 1
        except OSError:
            self.close()
            raise
        if count < self._most:
            self.close()
            return True
        return False

    def close(self) -> None:
        """Close the directory."""
        entries, self._entries = self._entries, None
        if entries is not None:
            entries.close()
