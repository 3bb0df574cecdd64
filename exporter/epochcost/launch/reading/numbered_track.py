"""One kind of line that numbers epochs: how far the run is by them, and what they are worth. Pure."""

from __future__ import annotations

import math

from epochcost.launch.moment import Moment
from epochcost.launch.reading.current_epoch import CurrentEpoch
from epochcost.launch.reading.end_marks import EndMarks
from epochcost.launch.reading.epoch_numbers import EpochNumbers
from epochcost.launch.reading.inner_counters import InnerCounters
from epochcost.launch.reading.progress import Form, Progress, Trust
from epochcost.launch.reading.track import NEARLY, Track


class NumberedTrack(Track):
    """Lines with the number of an epoch, of one kind; `EpochTrack` decides where epochs begin and end.

    Attributes:
        per_epoch: steps of one epoch, as another line or a heading states them.
        counters: those under headings; None where the lines are not headings.
    """

    def __init__(self, line: Progress, at: Moment, ending: EndMarks, start: Moment | None = None) -> None:
        super().__init__(line, at)
        self._command_began = start
        self._ending = ending
        self._numbers = EpochNumbers(line.usual)
        self._rises = 0
        self._fits = 0
        self._epoch = CurrentEpoch(at)
        self._usual_last: float | None = None
        self._shortest = math.inf
        self._runwide: bool | None = None
        self._solid = False
        self._first_step: int | None = None
        self._waiting_end: tuple[int, Moment] | None = None
        self._whole = False
        self._whole_steps = False
        self._ahead: tuple[int, Moment] | None = None
        self._stepping = self.source == "table" and line.run_step is not None
        self.per_epoch: int | None = None
        self.counters = InnerCounters() if line.form is Form.HEAD else None

    # What it is worth

    @property
    def confirmed(self) -> bool:
        if self.broken or self._numbers.current is None:
            return False
        if self._numbers.first is None or (self._numbers.assumed and self._numbers.total is None and self._rises < 2):  # noqa: PLR2004
            return False
        if self.trust >= Trust.FILE:
            return True
        if self.trust is Trust.KNOWN or self.kind_is_table:
            return self._rises > 0 or self._solid or (self.form is Form.END and self.lines == 1 and not self._stepping)
        return self._solid or self._rises > 0

    @property
    def assumed(self) -> bool:
        """Whether no line states if the first epoch is 0 or 1."""
        return self._numbers.assumed

    @property
    def sure(self) -> bool:
        return self._solid or self.trust is Trust.USER

    @property
    def kind_is_table(self) -> bool:
        """The head of a table names its first column."""
        return self.source == "table"

    @property
    def tier(self) -> int:
        if (tier := self.tier_of_origin) is not None:
            return tier
        if self.evaluation:
            return 20
        known = 1 if self.trust is Trust.KNOWN else 0
        if self.form is Form.END:
            return 46 + known
        if self.form is Form.HEAD:
            return 48 + known if self.counters is not None and self.counters.chosen is not None else 38 + known
        return (50 if self.steps is not None and self._solid else 40) + known

    @property
    def plausible(self) -> bool:
        """Whether its position may be shown before an epoch of it has ended: a bar that names the epoch and moves."""
        named = self.trust >= Trust.NAMED and self.form is Form.WITHIN and not self.evaluation and not self.broken
        return (
            named
            and self._epoch.rising > 1
            and self._epoch.fraction is not None
            and (not self._numbers.assumed or self._numbers.total is not None)
        )

    # Where the run is

    def _count_steps(self, line: Progress) -> None:
        if line.run_step is not None:
            self._epoch.run_steps = (
                line.run_step if self._epoch.run_steps is None else self._epoch.run_steps[0],
                line.run_step,
            )
            self.step = max(self.step or 0, line.run_step) if not self._fits else None
        elif self._epoch.own_step is not None and line.counted and self._runwide:
            self.step = self._epoch.own_step if not self._fits else None
        elif self._epoch.own_step is not None and line.counted and self.steps is not None and self._runwide is not True:
            self.step = self._numbers.index * self.steps + min(self._epoch.own_step, self.steps)
            self._whole_steps = True

    def _fraction_of_run(self, line: Progress) -> float | None:
        """Of the epoch, by the steps of the run, where it is known how many an epoch has."""
        if not self.per_epoch or line.run_step is None:
            return None
        return max(0.0, min(1.0, line.run_step / self.per_epoch - self._numbers.index_in_fit))

    def inner(self, line: Progress, at: Moment) -> None:
        counters = self.counters
        if counters is None or self._numbers.current is None:
            return
        full_before = counters.full
        counters.take(line, at)
        if counters.full is not None and full_before is None and counters.sure:
            self.close(self._numbers.index + 1, counters.full)
            self._epoch.fraction = 1.0
        self._place()

    def _place(self) -> None:
        """Where the run is, by what is known now."""
        counters = self.counters
        fraction: float | None = 0.0 if self._runwide else self._epoch.fraction
        if counters is not None:
            fraction = counters.fraction
            if counters.steps is not None and counters.step is not None:
                self.steps = counters.steps
                self.step = counters.step if counters.runwide else self._numbers.index * counters.steps + counters.step
            elif counters.run_step is not None:
                self.step = counters.run_step
        if self.form is Form.END or self._numbers.current is None:
            self.position = float(self.count)
        else:
            if self._whole_steps and self.steps is not None and not self._runwide:
                self.step = max(self.step or 0, self.count * self.steps)
            self.position = max(
                self.position or 0.0, self._numbers.index + min(fraction or 0.0, 1.0 - 10 * NEARLY), float(self.count)
            )
        if self.form is Form.HEAD and self.per_epoch is not None and (counters is None or counters.step is None):
            self.steps, self.step = self.per_epoch, self.count * self.per_epoch
        self._plan()

    def _plan(self) -> None:
        planned = self._numbers.planned
        if planned is not None:
            self.planned = planned

    def announced(self, epochs: float | None, per_epoch: int | None) -> None:
        """What another line announced: planned epochs and batches of one."""
        self._numbers.announced = epochs
        if per_epoch is not None and self.per_epoch is None:
            self.per_epoch = per_epoch
        if epochs is not None and self._numbers.may_be_announced:
            self.planned = self._numbers.before + epochs
