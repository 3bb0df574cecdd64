"""One kind of line that numbers epochs: where they begin and end. Pure."""

from __future__ import annotations

import math
from collections import deque

from epochcost.launch.moment import Moment
from epochcost.launch.reading.current_epoch import CurrentEpoch
from epochcost.launch.reading.numbered_track import NumberedTrack
from epochcost.launch.reading.progress import Form, Progress, Trust
from epochcost.launch.reading.track import BEGINNING, KEPT_ENDS, NEARLY, TOGETHER_SECONDS

ENOUGH = 0.7
"""Part of the shortest epoch: if the last one took this long, it was done when the command ended successfully."""
JUST = 0.1
TOO_SOON = 0.4
"""Of an epoch: a line that comes so soon after the command began is not at an epoch's end."""
FIRST_DRAWN = 0.1
"""A share of an epoch that a bar may show when it is first read."""
MOST_SKIPPED = 100
FEW_LINES = 3
"""Lines per epoch from which on a line without counts shows where the epoch ends."""


class EpochTrack(NumberedTrack):
    """Lines with the number of an epoch, of one kind: each epoch begins and ends where they show it."""

    def take(self, line: Progress, at: Moment) -> None:
        number = line.number
        if number is None:
            return
        self.lines += 1
        self._learn(line)
        if self._numbers.current is None:
            self._start_at(number, at)
            self._begin_within(line)
        elif number == self._numbers.current:
            self._again(line, at)
        elif number == self._numbers.current + 1:
            self._next(line, at)
        elif number > self._numbers.current:
            self._skip(number, line, at)
        else:
            self._back(number, line, at)
        if number == self._numbers.current:
            self._inside(line, at)
        self._place()

    def _learn(self, line: Progress) -> None:
        shift = self._numbers.learn(line, settled=self.count > self.began)
        if shift is None:
            return
        if shift:
            self.began += shift
            self.count += shift
            self.ends = deque(((number + shift, at) for number, at in self.ends), maxlen=KEPT_ENDS)
        if line.form is Form.HEAD and line.steps is not None:
            self.per_epoch = line.steps

    def _start_at(self, number: int, at: Moment) -> None:
        self.began = self.count = self._numbers.begin(number)
        self._enter(at)
        if self.form is Form.END:
            self.close(self._numbers.index + 1, at)

    def _begin_within(self, line: Progress) -> None:
        """A bar is drawn from its beginning, unless the run was resumed within an epoch."""
        share = line.fraction
        if share is not None and self.trust is Trust.NAMED and not self.kind_is_table and FIRST_DRAWN < share < 1.0:
            self.began_within = share

    def _enter(self, at: Moment) -> None:
        self._epoch = CurrentEpoch(at)
        if self.counters is not None:
            self.counters.begin_epoch()

    def _again(self, line: Progress, at: Moment) -> None:
        """A line of the epoch that is being done; or the only epoch of another fit."""
        only = self._numbers.start == self._numbers.current and (
            self._numbers.bound is None or self._numbers.current == self._numbers.bound
        )
        if not only:
            return
        if self._counts_again(line) and line.step == 0 and not self._epoch.emptied:
            self._epoch.emptied = True  # Lightning empties its bar before it names the next epoch
            return
        if self._counts_again(line) or (self.counters is not None and self.counters.full is not None):
            self._end_now(at)
            self._waiting_end = None
            self._refit(self._numbers.start, at)
            self._whole = self._numbers.total is None and self._numbers.last is None and not self._numbers.stated
        elif self.form is Form.END and self._numbers.total is not None and self._apart(at):
            self._refit(self._numbers.start, at)
            self.close(self._numbers.index + 1, at)

    def _counts_again(self, line: Progress) -> bool:
        if self._epoch.full is None or line.fraction is None or line.fraction > BEGINNING:
            return False
        if self.steps is not None and line.steps is not None and line.steps != self.steps:
            return False
        return self._epoch.emptied or self._first_step is None or line.step is None or line.step <= self._first_step

    def _apart(self, at: Moment) -> bool:
        """The line is about as far from the one before as epochs are: no second print of the same."""
        least = 1.0 if math.isinf(self._shortest) else max(TOGETHER_SECONDS, 0.3 * self._shortest)
        return at.mono - self._epoch.last.mono > least

    def _refit(self, number: int, at: Moment) -> None:
        """Another fit begins: its epochs are added to those before."""
        self._fits += 1
        self._numbers.refit(number, self.count)
        self._runwide = None
        self._enter(at)

    def _next(self, line: Progress, at: Moment) -> None:
        if self._whole and self._fits == 1:  # the lines before were of one epoch, not of two fits
            self._numbers.before -= 1
            self._waiting_end = None
        self._whole = False
        self._notice_runwide(line)
        if self.form is Form.END and self._epoch.is_spread(at):
            self._turn_within()
        if self._with_figures(at):
            self.form, self.counters, self.from_start = Form.END, None, False
            self.close(self._numbers.index + 1, self._epoch.begun)
        counts = self.form is not Form.WITHIN or self._epoch.fraction is not None or self._epoch.own_step is not None
        counts = counts or self.trust is Trust.USER
        if self._evaluated_before(at):
            self._numbers.first = 1
            self.ends.clear()
            self.count = self.began = 0
        apart = at.mono - self._epoch.begun.mono >= TOGETHER_SECONDS or self.trust is Trust.USER
        if apart and (counts or self._epoch.lines >= FEW_LINES):
            self._rises += 1
        self._end_now(at, line)
        self._numbers.current = (self._numbers.current or 0) + 1
        self._enter(at)
        if self.form is Form.END:
            self.close(self._numbers.index + 1, at)

    def figures(self, at: Moment) -> None:
        """Figures without an epoch number were printed: they belong to the epoch named on a line before them."""
        if self.form is Form.HEAD and self._numbers.current is not None:
            self._epoch.figures = at

    def _with_figures(self, at: Moment) -> bool:
        """Figures came with the heading, and nothing after them until the next one: it is printed where epochs end."""
        if self.form is not Form.HEAD or self._rises or self.trust is not Trust.GUESS or self._epoch.figures is None:
            return False
        if self._command_began is None or (self.counters is not None and self.counters.counting):
            return False
        whole = at.mono - self._epoch.begun.mono
        before = self._epoch.begun.mono - self._command_began.mono  # as long as an epoch, or it only prepared
        return self._epoch.figures.mono - self._epoch.begun.mono < JUST * whole and before >= ENOUGH * whole

    def _evaluated_before(self, at: Moment) -> bool:
        """The line of epoch 0 came so soon that no epoch can have ended there: an evaluation before the training."""
        if (
            self.form is not Form.END
            or self._numbers.start
            or self._numbers.current != 0
            or self._numbers.stated
            or self._command_began is None
        ):
            return False
        soon = self._epoch.begun.mono - self._command_began.mono
        return self.trust is Trust.GUESS and not self._rises and soon < TOO_SOON * (at.mono - self._epoch.begun.mono)

    def _end_now(self, at: Moment, following: Progress | None = None) -> None:
        """The epoch that was being done is over: when, is known more or less well."""
        if self.form is not Form.END:
            self.close(self._numbers.index + 1, self._end_moment(at, following))
        took = at.mono - self._epoch.begun.mono
        self._shortest = min(self._shortest, took)
        if self._epoch.fraction is not None:
            self._usual_last = (
                self._epoch.fraction if self._usual_last is None else min(self._usual_last, self._epoch.fraction)
            )

    def _end_moment(self, at: Moment, following: Progress | None) -> Moment:
        known = self._epoch.full or (self._epoch.last if self.evaluation else None)
        known = known or (self.counters.full if self.counters is not None else None)
        known = known or self._ending.of(self._numbers.current, self._epoch.last, self.kind)
        if known is not None:
            return known
        if (
            following is not None
            and self._epoch.fraction is not None
            and following.fraction is not None
            and not self._runwide
        ):
            left, done = 1.0 - self._epoch.fraction, following.fraction
            if left + done > 0:
                return self._epoch.last.toward(at, left / (left + done))
        if following is not None and self.form is Form.WITHIN and self._epoch.lines >= FEW_LINES:
            return self._epoch.end_before(at, following, runwide=bool(self._runwide))
        return at

    def _turn_within(self) -> None:
        if self._rises or self.trust is Trust.KNOWN:
            return
        self.form = Form.WITHIN
        self.ends.clear()
        self.count = self.began

    def _notice_runwide(self, line: Progress) -> None:
        """A counter that is not reset when an epoch begins counts the steps of the run."""
        step = line.step
        if step is None or self._epoch.own_step is None or (line.steps is not None and line.steps != self.steps):
            return
        goes_on = step > self._epoch.own_step or (step == self._epoch.own_step and step > 1 and line.steps is not None)
        full = self._epoch.full is not None
        if self._runwide is None or not goes_on:
            self._runwide = goes_on and not full

    def _skip(self, number: int, line: Progress, at: Moment) -> None:
        """Epochs of which nothing was printed, or nothing was read: only when another line agrees."""
        if not self.confirmed:
            self._relearn(number, at)
            return
        ahead, self._ahead = self._ahead, (number, at)
        if ahead is None or number not in (ahead[0], ahead[0] + 1):
            return
        self._ahead = None
        if ahead[0] - (self._numbers.current or 0) > MOST_SKIPPED:
            self._relearn(number, at)
            return
        self.close(self._numbers.before + ahead[0] - (self._numbers.first or 0), ahead[1])
        self._numbers.current = ahead[0]
        self._enter(ahead[1])
        if self.form is Form.END:
            self.close(self._numbers.index + 1, ahead[1])
        if number == ahead[0] + 1:
            self._next(line, at)

    def _relearn(self, number: int, at: Moment) -> None:
        """What was seen before was something else."""
        self.ends.clear()
        self._rises = self._fits = 0
        self._numbers.relearn()
        self.position = None
        self._start_at(number, at)

    def _back(self, number: int, line: Progress, at: Moment) -> None:
        """A smaller number: another fit, or another rank that is behind."""
        if number not in (self._numbers.start, self._numbers.first):
            return
        if line.fraction is not None and not (line.fraction <= BEGINNING and self._near_first(line)):
            return
        if line.fraction is None and self.form is not Form.HEAD and not self._apart(at):
            return
        if not self.confirmed:
            self._relearn(number, at)
            return
        if self._complete(at):
            self._end_now(at)
        self._refit(number, at)
        if self.form is Form.END:
            self.close(self._numbers.index + 1, at)

    def _near_first(self, line: Progress) -> bool:
        return self._first_step is None or line.step is None or line.step <= max(1, 2 * self._first_step)

    def _complete(self, at: Moment) -> bool:
        """Whether the epoch that is being done looks finished, now that nothing more of it comes."""
        if self.form is Form.END:
            return False
        if (
            self._epoch.full is not None
            or self._ending.of(self._numbers.current, self._epoch.last, self.kind) is not None
        ):
            return True
        if self.counters is not None and self.counters.chosen is not None:
            return self.counters.full is not None
        if self._epoch.fraction is not None and not self._runwide:
            least = 1.0 if self._usual_last is None else self._usual_last
            return self._epoch.fraction >= least - NEARLY
        bound = self._numbers.bound
        took = at.mono - self._epoch.begun.mono
        usual = self._shortest if self._rises else 0.0
        if bound is not None and self._numbers.current == bound and (self.form is Form.HEAD or self._epoch.lines > 1):
            return took >= JUST * usual
        return self._rises > 0 and took >= ENOUGH * usual

    def _printed_at_ends(self, at: Moment) -> bool:
        """The heading of the last planned epoch came just before the command ended well."""
        if self.form is not Form.HEAD or not self._rises or self._numbers.current != self._numbers.bound:
            return False
        bare = self.counters is None or (self.counters.chosen is None and self.counters.full is None)
        ended = self._ending.of(self._numbers.current, self._epoch.last, self.kind) is not None
        return bare and not ended and at.mono - self._epoch.begun.mono < JUST * self._shortest

    def _inside(self, line: Progress, at: Moment) -> None:
        """What the line reports about the epoch in progress."""
        self._epoch.lines += 1
        self._epoch.last = self.active = at
        step, fraction = line.step, line.fraction
        if line.steps is not None and step is not None:
            another = self.steps is not None and line.steps != self.steps
            if another and self._epoch.fraction is not None and self._epoch.lines > 1:
                return  # another bar of the same name
            self.steps = line.steps
        if fraction is None:
            fraction = self._fraction_of_run(line)
        if step is not None:
            if self._epoch.own_step is None:
                self._epoch.first_own = step
                self._first_step = step if self._first_step is None else min(step, self._first_step)
            if self._epoch.own_step is None or step > self._epoch.own_step:
                self._epoch.own_step = step
                self._epoch.rising += 1
        if fraction is not None and (self._epoch.fraction is None or fraction > self._epoch.fraction):
            self._epoch.rising += step is None
            self._epoch.fraction = fraction
            if fraction >= 1.0 and self._epoch.full is None and self._may_be_full(line):
                self._filled(at)
        self._count_steps(line)

    def _may_be_full(self, line: Progress) -> bool:
        if self.form is Form.END or self.form is Form.HEAD:
            return False
        bound = self._numbers.bound
        if self._runwide:
            return bound is not None and self._numbers.current == bound
        return self._epoch.rising > 1 or self._rises > 0 or line.steps == 1

    def _filled(self, at: Moment) -> None:
        self._epoch.full = at
        if self._epoch.rising > 1 or self._rises:
            self._solid = self._solid or self.trust >= Trust.NAMED or self._epoch.rising >= FEW_LINES
        if self._whole and self._fits:
            self._waiting_end = self._numbers.index + 1, at
        else:
            self.close(self._numbers.index + 1, at)

    def finish(self, at: Moment) -> None:
        if self._waiting_end is not None:
            self.close(*self._waiting_end)
        if self._numbers.current is None:
            return
        if self._printed_at_ends(at):
            self.broken = "printed where epochs end, and read as if they began there"
            return
        if self.evaluation and self.form is not Form.END:
            self.close(self._numbers.index + 1, self._epoch.last)
        if self.form is not Form.END and self._complete(at):
            end = self._epoch.full or (self.counters.full if self.counters is not None else None)
            end = end or self._ending.of(self._numbers.current, self._epoch.last, self.kind) or at
            self.close(self._numbers.index + 1, end)
        if self._numbers.at_last_from_zero and self.count == self._numbers.index + 1:
            self.planned = float(self.count)
        self._place()
