"""The last good prices: one immutable book, swapped whole, kept on disk over restarts."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from epochcost.prices import state_file
from epochcost.prices.book import PriceBook, Shelf, bind, stock
from epochcost.prices.source import Catalogue

DEFAULT_PRECEDENCE = ("listed_file", "owned", "*", "listed")
"""What the user wrote wins over a live API, and that over the list in the package."""
_log = logging.getLogger(__name__)


class PriceStore:
    """Holds the book. Any thread may read `book`; sources `put` from their own threads.

    Args:
        path: of the state file; None keeps nothing on disk.
        sources: names of the sources in use; what others left in the file is dropped.
        precedence: names of sources, best first; ``*`` for those not named.
    """

    def __init__(
        self, path: Path | None, sources: Iterable[str], precedence: Sequence[str] = DEFAULT_PRECEDENCE
    ) -> None:
        self._path = path
        self._precedence = tuple(precedence)
        self._lock = threading.Lock()
        self._write_error = ""
        kept = self._load()
        self._book = bind({name: kept.get(name, Shelf()) for name in sources}, self._precedence)

    @property
    def book(self) -> PriceBook:
        """The prices now; a value that never changes."""
        return self._book

    def put(self, source: str, catalogue: Catalogue, now: float, *, partial: bool = False) -> None:
        """Take an answer of ``source`` at ``now``: build the next book aside, swap it in, write it down.

        Args:
            source: its name.
            catalogue: its answer.
            now: seconds since the Unix epoch.
            partial: only some of what is wanted was asked, so nothing of the rest is dropped.
        """
        with self._lock:
            shelf = stock(self._book.shelves.get(source, Shelf()), catalogue, now, partial=partial)
            self._book = bind({**self._book.shelves, source: shelf}, self._precedence)
            self._save()

    def _load(self) -> dict[str, Shelf]:
        if self._path is None:
            return {}
        try:
            return state_file.read(self._path)
        except FileNotFoundError:
            return {}
        except state_file.StateFileError as err:
            aside = self._path.with_name(f"{self._path.name}.corrupt")
            _log.error("%s is no price state (%s): moved to %s, starting without prices", self._path, err, aside.name)
            self._move(aside)
        except OSError as err:
            _log.error("%s cannot be read (%s): starting without the last good prices", self._path, err)
        return {}

    def _move(self, aside: Path) -> None:
        assert self._path is not None  # noqa: S101 - for mypy: only called where a path was read
        try:
            self._path.replace(aside)
        except OSError as err:
            _log.error("%s cannot be moved aside: %s", self._path, err)

    def _save(self) -> None:
        if self._path is None:
            return
        try:
            state_file.write(self._path, self._book.shelves)
            error = ""
        except OSError as err:
            error = str(err)
            if error != self._write_error:
                _log.error("prices cannot be kept on disk, a restart would forget them: %s", err)
        self._write_error = error
