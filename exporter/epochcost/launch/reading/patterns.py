"""Patterns of the user's own: regular expressions with named groups, each held to a time."""

from __future__ import annotations

import dataclasses
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from epochcost.launch.reading.program_rows import Row, compiled, rows_of
from epochcost.launch.reading.progress import Progress, Trust, plain

MAX_SECONDS = 0.05
"""Processor time that one pattern may take over one line; one that takes longer is not used again."""


class TooSlow(Exception):  # noqa: N818 - it is a signal, not a fault
    """A pattern took longer than it may."""


def own_rows(patterns: Sequence[str], files: Sequence[str], first: int | None = None) -> tuple[Row, ...]:
    """The rows of single patterns, then those of the texts of pattern files.

    Raises:
        RowError: one of them cannot be used.
    """
    single = [Row("pattern", compiled(one, "pattern"), first=first) for one in patterns]
    of_files = [
        row if row.first is not None else dataclasses.replace(row, first=first)
        for text in files
        for row in rows_of(text)
    ]
    return (*single, *of_files)


class OwnPatterns:
    """Looks for the rows in lines. `within` bounds the time of a search, and raises `TooSlow`.

    Attributes:
        dropped: patterns that were too slow once.
    """

    def __init__(self, rows: Sequence[Row], within: Callable[[], object] | None = None) -> None:
        self._rows = list(rows)
        self._within = within or limited
        self.dropped: list[str] = []
        self.matched: dict[str, int] = {row.line: 0 for row in rows}

    def __bool__(self) -> bool:
        return bool(self._rows)

    def parse(self, line: bytes) -> Progress | None:
        """What the first pattern that matches ``line`` extracts."""
        text = plain(line)
        for row in tuple(self._rows):
            if row.has not in text:
                continue
            match = self._search(row, text)
            if match is None or row.ignored or (progress := row.progress(match, "", Trust.USER)) is None:
                continue
            self.matched[row.line] += 1
            at = progress
            known = (at.number, at.position, at.step, at.run_step, at.samples, at.share, at.epochs)
            if any(value is not None for value in known):
                return progress
        return None

    def _search(self, row: Row, text: str) -> re.Match[str] | None:
        try:
            with self._within():  # type: ignore[attr-defined]
                return row.pattern.search(text)
        except TooSlow:
            self._rows.remove(row)
            self.dropped.append(row.line)
            return None


@contextmanager
def limited() -> Iterator[None]:
    """At most `MAX_SECONDS` of processor time; `re` looks for signals while it searches. Main thread only."""
    before = signal.signal(signal.SIGVTALRM, _give_up)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, MAX_SECONDS)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    finally:
        signal.signal(signal.SIGVTALRM, before)


def _give_up(_number: int, _frame: FrameType | None) -> NoReturn:
    raise TooSlow
