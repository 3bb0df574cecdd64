"""Where lines state that an epoch ends. Pure."""

from __future__ import annotations

from epochcost.launch.moment import Moment


class EndMarks:
    """Moments at which lines stated that an epoch is finished, by the number that they printed.

    Another kind of lines may know less well where the epochs that it names end.
    """

    def __init__(self) -> None:
        self._marks: dict[int, tuple[Moment, str]] = {}

    def add(self, number: int, at: Moment, kind: str) -> None:
        """A line at an epoch's end."""
        if number not in self._marks and len(self._marks) > 64:  # noqa: PLR2004 - of epochs long ago
            self._marks.pop(next(iter(self._marks)))
        self._marks[number] = at, kind

    def of(self, number: int | None, after: Moment, kind: str) -> Moment | None:
        """The end of epoch ``number``, if it came after ``after`` and on another line than those of ``kind``."""
        mark = self._marks.get(number) if number is not None else None
        return mark[0] if mark is not None and mark[0].mono >= after.mono and mark[1] != kind else None
