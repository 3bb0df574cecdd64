"""Lines at the ends of some epochs only, such as every tenth, of a program that prints how many there are. Pure."""

from __future__ import annotations

from epochcost.launch.moment import Moment
from epochcost.launch.reading.progress import Form, Progress
from epochcost.launch.reading.track import Track

SURE_STRIDES = 2
LONGEST_STRIDE = 1000
ABOUT = 0.5
"""Minimum part of the expected time of the remaining epochs that must have passed after the last line."""


class SparseTrack(Track):
    """``Epoch [10/100]``, ``Epoch [20/100]``: equal strides, of which the number of epochs is a multiple.

    So the last line is the last epoch's, or as many epochs follow as lie between two lines, which end evenly between
    their moments.
    """

    def __init__(self, line: Progress, at: Moment, start: Moment) -> None:
        super().__init__(line, at)
        self.form = Form.END
        self.from_start = False
        self._command_began = start
        self._total = int(line.epochs or 0)
        self._number: int | None = None
        self._first = 1
        self._stride = self._strides = 0
        self._last = self._begun = at

    @property
    def confirmed(self) -> bool:
        return not self.broken and self._strides >= SURE_STRIDES and self._stride > 1

    @property
    def sure(self) -> bool:
        return True

    @property
    def tier(self) -> int:
        return 37

    def take(self, line: Progress, at: Moment) -> None:
        if line.number is None or self.broken:
            return
        self.lines += 1
        if self._number is None:
            self._number, self._first = line.number, min(line.number, 1)
        elif line.number != self._number:
            self._stride_to(line.number, int(line.epochs or 0), at)
        self._last = self.active = at

    def _stride_to(self, number: int, total: int, at: Moment) -> None:
        stride = number - (self._number or 0)
        if self._strides and 0 < stride < self._stride and number == self._total + self._first - 1:
            self._evenly(self._total, at)  # the last one is always printed
            self._number = number
            return
        fits = self._number is not None and self._number in (0, 1, stride) if not self._strides else True
        if total != self._total or not 1 < stride <= LONGEST_STRIDE or (self._stride or stride) != stride or not fits:
            self.broken = "its numbers do not increase in equal steps"
            return
        if (self._total + self._first - 1 - number) % stride and (self._total - number) % stride:
            self.broken = "its last line would not be of the last epoch"
            return
        done = number - self._first + 1
        if not self._strides:
            self._before(done - stride, at.mono - self._last.mono, stride)
        self._stride, self._number = stride, number
        self._strides += 1
        self._evenly(done, at)

    def _before(self, done: int, took: float, stride: int) -> None:
        """The epochs up to the first line, as long as those after it, from the command's beginning at most."""
        room = self._last.mono - self._command_began.mono
        self.begun = self._last.later(-min(took / stride * done, room))
        self.began = self.count = 0
        before, self._last = self._last, self.begun
        self._evenly(done, before)
        self._last = before

    def _evenly(self, done: int, at: Moment) -> None:
        steps, since = done - self.count, self._last
        for one in range(1, steps + 1):
            self.close(self.count + 1, since.toward(at, one / steps))
        self.position, self.planned = float(self.count), float(self._total)

    def finish(self, at: Moment) -> None:
        left = self._total - self.count
        if not self.confirmed or not 0 < left < self._stride or self._number is None:
            return
        usual = (self._last.mono - self.begun.mono) / max(self.count, 1)
        if at.mono - self._last.mono >= ABOUT * usual * left:
            self._evenly(self._total, at)
