"""Patterns of the user's own: regular expressions with named groups, each held to a time."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from epochcost.launch.reading.progress import MAX_EPOCH, Progress, Rank, amount, count, plain

GROUPS = frozenset({"epoch", "position", "epochs", "step", "steps", "run_step", "run_steps", "samples", "batch_size"})
MAX_SECONDS = 0.05
"""Processor time that one pattern may take over one line; one that takes longer is not used again."""
MAX_PATTERN = 1000


class PatternError(ValueError):
    """A pattern cannot be used; the text says which and why."""


class TooSlow(Exception):  # noqa: N818 - it is a signal, not a fault
    """A pattern took longer than it may."""


def compiled(pattern: str) -> re.Pattern[str]:
    """``pattern``, checked.

    Raises:
        PatternError: it is no regular expression, names an unknown group, or none that tells a position.
    """
    if len(pattern) > MAX_PATTERN:
        raise PatternError(f"pattern {pattern[:40]!r}...: longer than {MAX_PATTERN} characters")
    try:
        found = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as err:
        raise PatternError(f"pattern {pattern!r}: {err}") from None
    names = set(found.groupindex)
    if odd := sorted(names - GROUPS):
        raise PatternError(f"pattern {pattern!r}: no group may be called {odd[0]}; known: {', '.join(sorted(GROUPS))}")
    if not names & {"epoch", "position", "run_step", "samples", "step"}:
        raise PatternError(f"pattern {pattern!r}: needs a group named epoch, position, step, run_step or samples")
    return found


class OwnPatterns:
    """Looks for the patterns in lines. `within` bounds the time of a search, and raises `TooSlow`.

    Attributes:
        dropped: patterns that were too slow once.
    """

    def __init__(
        self, patterns: Sequence[str], first: int | None = None, within: Callable[[], object] | None = None
    ) -> None:
        self._patterns = [compiled(pattern) for pattern in patterns]
        self._first = first
        self._within = within or limited
        self.dropped: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def parse(self, line: bytes) -> Progress | None:
        """What the first pattern that is found in ``line`` says."""
        text = plain(line)
        for pattern in tuple(self._patterns):
            try:
                with self._within():  # type: ignore[attr-defined]
                    found = pattern.search(text)
            except TooSlow:
                self._patterns.remove(pattern)
                self.dropped.append(pattern.pattern)
                continue
            if found is not None and (said := _said(found.groupdict(), self._first)) is not None:
                return said
        return None


def _said(groups: dict[str, str | None], first: int | None) -> Progress | None:
    number, position = groups.get("epoch"), amount(groups.get("position"))
    if number is not None and count(number) is None:  # 3.25 is a position
        number, position = None, amount(number)
    said = Progress(
        "pattern",
        Rank.TOLD,
        number=_small(number),
        first=first,
        position=position,
        epochs=amount(groups.get("epochs")),
        step=count(groups.get("step")),
        steps=count(groups.get("steps"), 1),
        run_step=count(groups.get("run_step")),
        run_steps=count(groups.get("run_steps"), 1),
        samples=count(groups.get("samples")),
        batch_size=count(groups.get("batch_size"), 1),
    )
    known = (said.number, said.position, said.step, said.run_step, said.samples)
    return None if all(value is None for value in known) else said


def _small(number: str | None) -> int | None:
    found = count(number)
    return None if found is None or found > MAX_EPOCH else found


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
