"""One kind of line that numbers epochs: where they begin and end, and whether that can be believed. Pure."""

from __future__ import annotations

import math
from collections import deque

from epochcost.launch.moment import Moment
from epochcost.launch.reading.current_epoch import CurrentEpoch
from epochcost.launch.reading.end_marks import EndMarks
from epochcost.launch.reading.inner_counters import InnerCounters
from epochcost.launch.reading.progress import Form, Progress, Trust
from epochcost.launch.reading.track import BEGINNING, KEPT_ENDS, NEARLY, TOGETHER_SECONDS, Track

ENOUGH = 0.7
"""Of the shortest epoch: the last one took so long, so it was done when the command ended well."""
JUST = 0.1
TOO_SOON = 0.4
"""Of an epoch: a line that comes so soon after the command began is not at an epoch's end."""
FIRST_DRAWN = 0.1
"""A share of an epoch that a bar may show when it is first read."""
MOST_SKIPPED = 100
FEW_LINES = 3
"""Lines an epoch from which on one that counts nothing tells about where the epoch ends."""


class EpochTrack(Track):
    """Lines with the number of an epoch, of one kind."""

    def __init__(self, said: Progress, at: Moment, ending: EndMarks, start: Moment | None = None) -> None:
        super().__init__(said, at)
        self._command_began = start
        self._ending = ending
        self._first: int | None = None
        self._assumed = False
        self._start = 0
        self._offset = 0
        self._number: int | None = None
        self._rises = 0
        self._fits = 0
        self._total: int | None = None
        self._last: int | None = None
        self._announced: float | None = None
        self._epoch = CurrentEpoch(at)
        self._usual_last: float | None = None
        self._usual_lines = 0
        self._shortest = math.inf
        self._runwide: bool | None = None
        self._solid = False
        self._first_step: int | None = None
        self._stale = 0
        self._held: tuple[int, Moment] | None = None
        self._whole = False
        self._given = self._whole_steps = False
        self._ahead: tuple[int, Moment] | None = None
        self._usual = said.usual
        self._stepping = self.source == "table" and said.run_step is not None
        self.per_epoch: int | None = None
        self.counters = InnerCounters() if said.form is Form.HEAD else None

    # What it is worth

    @property
    def confirmed(self) -> bool:
        if self.broken or self._number is None:
            return False
        if self._first is None or (self._assumed and self._total is None and self._rises < 2):  # noqa: PLR2004
            return False
        if self.trust >= Trust.FILE:
            return True
        if self.trust is Trust.KNOWN or self.kind_is_table:
            return self._rises > 0 or self._solid or (self.form is Form.END and self.lines == 1 and not self._stepping)
        return self._solid or self._rises > 0

    @property
    def assumed(self) -> bool:
        """Whether nothing said if the first epoch is 0 or 1."""
        return self._assumed

    @property
    def sure(self) -> bool:
        return self._solid or self.trust is Trust.TOLD

    @property
    def kind_is_table(self) -> bool:
        """A table says by its head what its first column is."""
        return self.source == "table"

    @property
    def tier(self) -> int:
        if self.trust is Trust.TOLD:
            return 100
        if self.trust is Trust.FILE:
            return 28
        if self.evaluation:
            return 20
        known = 1 if self.trust is Trust.KNOWN else 0
        if self.form is Form.END:
            return 46 + known
        if self.form is Form.HEAD:
            return 48 + known if self.counters is not None and self.counters.chosen is not None else 38 + known
        return (50 if self.steps is not None and self._solid else 40) + known

    # Its statements

    def take(self, said: Progress, at: Moment) -> None:
        number = said.number
        if number is None:
            return
        self.lines += 1
        self._learn(said)
        if self._number is None:
            self._start_at(number, at)
            self._begin_within(said)
        elif number == self._number:
            self._again(said, at)
        elif number == self._number + 1:
            self._next(said, at)
        elif number > self._number:
            self._skip(number, said, at)
        else:
            self._back(number, said, at)
        if number == self._number:
            self._inside(said, at)
        self._place()

    def _learn(self, said: Progress) -> None:
        if said.first is not None and self._first != said.first:
            if self._first is not None and self.count > self.began and not self._assumed:
                return
            shift = 0 if self._first is None else self._first - said.first
            self._first, self._assumed = said.first, False
            if shift and self._number is not None:
                self.began += shift
                self.count += shift
                self.ends = deque(((number + shift, at) for number, at in self.ends), maxlen=KEPT_ENDS)
        if said.first is not None:
            self._given = True
        if said.last is not None:
            self._last = said.last
        elif said.first is not None and said.epochs is not None and said.trust in (Trust.KNOWN, Trust.TOLD):
            self._last = said.first + int(said.epochs) - 1
        elif said.epochs is not None and said.epochs.is_integer():
            self._total = int(said.epochs)
        if said.form is Form.HEAD and said.steps is not None:
            self.per_epoch = said.steps

    def _start_at(self, number: int, at: Moment) -> None:
        self._number = self._start = number
        if self._first is None:
            self._first = min(number, 1) if number <= 1 or self._usual is None else self._usual
            self._assumed = number > 1 and self._usual is None
        self.began = self.count = max(0, number - self._first)
        self._enter(at)
        if self.form is Form.END:
            self.close(self._index + 1, at)

    def _begin_within(self, said: Progress) -> None:
        """A bar is drawn from its beginning, unless the run was resumed within an epoch."""
        share = said.fraction
        if share is not None and self.trust is Trust.NAMED and not self.kind_is_table and FIRST_DRAWN < share < 1.0:
            self.began_within = share

    @property
    def _index(self) -> int:
        """Epochs that are finished before the one that is being done."""
        return self._offset + max(0, (self._number or 0) - (self._first or 0))

    def _enter(self, at: Moment) -> None:
        self._epoch = CurrentEpoch(at)
        if self.counters is not None:
            self.counters.begin_epoch()

    def _again(self, said: Progress, at: Moment) -> None:
        """A line of the epoch that is being done; or the only epoch of another fit."""
        only = self._start == self._number and (self._bounds() is None or self._number == self._bounds())
        if not only:
            return
        if self._counts_again(said) and said.step == 0 and not self._epoch.emptied:
            self._epoch.emptied = True  # Lightning empties its bar before it names the next epoch
            return
        if self._counts_again(said) or (self.counters is not None and self.counters.full is not None):
            self._end_now(at)
            self._held = None
            self._refit(self._start, at)
            self._whole = self._total is None and self._last is None and not self._given
        elif self.form is Form.END and self._total is not None and self._apart(at):
            self._refit(self._start, at)
            self.close(self._index + 1, at)

    def _counts_again(self, said: Progress) -> bool:
        if self._epoch.full is None or said.fraction is None or said.fraction > BEGINNING:
            return False
        if self.steps is not None and said.steps is not None and said.steps != self.steps:
            return False
        return self._epoch.emptied or self._first_step is None or said.step is None or said.step <= self._first_step

    def _apart(self, at: Moment) -> bool:
        """The line is about as far from the one before as epochs are: no second print of the same."""
        least = 1.0 if math.isinf(self._shortest) else max(TOGETHER_SECONDS, 0.3 * self._shortest)
        return at.mono - self._epoch.last.mono > least

    def _refit(self, number: int, at: Moment) -> None:
        """Another fit begins: its epochs are added to those before."""
        self._fits += 1
        self._number = self._start = number
        self._offset = self.count - max(0, number - (self._first or 0))
        self._runwide = None
        self._enter(at)

    def _next(self, said: Progress, at: Moment) -> None:
        if self._whole and self._fits == 1:  # the lines before were of one epoch, not of two fits
            self._offset -= 1
            self._held = None
        self._whole = False
        self._notice_runwide(said)
        if self.form is Form.END and self._epoch.is_spread(at):
            self._turn_within()
        if self._with_figures(at):
            self.form, self.counters, self.from_start = Form.END, None, False
            self.close(self._index + 1, self._epoch.begun)
        counts = self.form is not Form.WITHIN or self._epoch.fraction is not None or self._epoch.own_step is not None
        counts = counts or self.trust is Trust.TOLD
        if self._evaluated_before(at):
            self._first = 1
            self.ends.clear()
            self.count = self.began = 0
        apart = at.mono - self._epoch.begun.mono >= TOGETHER_SECONDS or self.trust is Trust.TOLD
        if apart and (counts or self._epoch.lines >= FEW_LINES):
            self._rises += 1
        self._end_now(at, said)
        self._number = (self._number or 0) + 1
        self._enter(at)
        if self.form is Form.END:
            self.close(self._index + 1, at)

    def figures(self, at: Moment) -> None:
        """Figures without an epoch number were printed: they belong to the epoch named on a line before them."""
        if self.form is Form.HEAD and self._number is not None:
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
        if self.form is not Form.END or self._start or self._number != 0 or self._given or self._command_began is None:
            return False
        soon = self._epoch.begun.mono - self._command_began.mono
        return self.trust is Trust.GUESS and not self._rises and soon < TOO_SOON * (at.mono - self._epoch.begun.mono)

    def _end_now(self, at: Moment, following: Progress | None = None) -> None:
        """The epoch that was being done is over: when, is known more or less well."""
        if self.form is not Form.END:
            self.close(self._index + 1, self._end_moment(at, following))
        took = at.mono - self._epoch.begun.mono
        self._shortest = min(self._shortest, took)
        if self._epoch.fraction is not None:
            self._usual_last = (
                self._epoch.fraction if self._usual_last is None else min(self._usual_last, self._epoch.fraction)
            )
        self._usual_lines = self._epoch.lines

    def _end_moment(self, at: Moment, following: Progress | None) -> Moment:
        known = self._epoch.full or (self._epoch.last if self.evaluation else None)
        known = known or (self.counters.full if self.counters is not None else None)
        known = known or self._ending.of(self._number, self._epoch.last, self.kind)
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

    def _notice_runwide(self, said: Progress) -> None:
        """A counter that is not reset when an epoch begins counts the steps of the run."""
        step = said.step
        if step is None or self._epoch.own_step is None or (said.steps is not None and said.steps != self.steps):
            return
        goes_on = step > self._epoch.own_step or (step == self._epoch.own_step and step > 1 and said.steps is not None)
        full = self._epoch.full is not None
        if self._runwide is None or not goes_on:
            self._runwide = goes_on and not full

    def _skip(self, number: int, said: Progress, at: Moment) -> None:
        """Epochs of which nothing was printed, or nothing was read: only when another line agrees."""
        if not self.confirmed:
            self._relearn(number, at)
            return
        ahead, self._ahead = self._ahead, (number, at)
        if ahead is None or number not in (ahead[0], ahead[0] + 1):
            return
        self._ahead = None
        if ahead[0] - (self._number or 0) > MOST_SKIPPED:
            self._relearn(number, at)
            return
        self.close(self._offset + ahead[0] - (self._first or 0), ahead[1])
        self._number = ahead[0]
        self._enter(ahead[1])
        if self.form is Form.END:
            self.close(self._index + 1, ahead[1])
        if number == ahead[0] + 1:
            self._next(said, at)

    def _relearn(self, number: int, at: Moment) -> None:
        """What was seen before was something else."""
        self.ends.clear()
        self._rises = self._offset = self._fits = 0
        self._first = None if self._assumed or not self._given else self._first
        self._assumed = False
        self.position = None
        self._start_at(number, at)

    def _back(self, number: int, said: Progress, at: Moment) -> None:
        """A smaller number: another fit, or another rank that is behind."""
        if number not in (self._start, self._first):
            self._stale += 1
            return
        if said.fraction is not None and not (said.fraction <= BEGINNING and self._near_first(said)):
            self._stale += 1
            return
        if said.fraction is None and self.form is not Form.HEAD and not self._apart(at):
            self._stale += 1
            return
        if not self.confirmed:
            self._relearn(number, at)
            return
        if self._complete(at):
            self._end_now(at)
        self._refit(number, at)
        if self.form is Form.END:
            self.close(self._index + 1, at)

    def _near_first(self, said: Progress) -> bool:
        return self._first_step is None or said.step is None or said.step <= max(1, 2 * self._first_step)

    def _complete(self, at: Moment) -> bool:
        """Whether the epoch that is being done looks finished, now that nothing more of it comes."""
        if self.form is Form.END:
            return False
        if self._epoch.full is not None or self._ending.of(self._number, self._epoch.last, self.kind) is not None:
            return True
        if self.counters is not None and self.counters.chosen is not None:
            return self.counters.full is not None
        if self._epoch.fraction is not None and not self._runwide:
            least = 1.0 if self._usual_last is None else self._usual_last
            return self._epoch.fraction >= least - NEARLY
        bound = self._bounds()
        took = at.mono - self._epoch.begun.mono
        usual = self._shortest if self._rises else 0.0
        if bound is not None and self._number == bound and (self.form is Form.HEAD or self._epoch.lines > 1):
            return took >= JUST * usual
        return self._rises > 0 and took >= ENOUGH * usual

    def _printed_at_ends(self, at: Moment) -> bool:
        """The heading of the last planned epoch came just before the command ended well."""
        if self.form is not Form.HEAD or not self._rises or self._number != self._bounds():
            return False
        bare = self.counters is None or (self.counters.chosen is None and self.counters.full is None)
        ended = self._ending.of(self._number, self._epoch.last, self.kind) is not None
        return bare and not ended and at.mono - self._epoch.begun.mono < JUST * self._shortest

    def _bounds(self) -> int | None:
        """The number of the last planned epoch, where it is known."""
        if self._last is not None:
            return self._last
        if self._total is None or self._first is None:
            return None
        if self._first == 1:
            return self._total
        if self._number is not None and self._number >= self._total:
            return self._number
        return None if self._announced is None else int(self._announced) - 1

    def _inside(self, said: Progress, at: Moment) -> None:
        """What the line says of the epoch that is being done."""
        self._epoch.lines += 1
        self._epoch.last = self.active = at
        step, fraction = said.step, said.fraction
        if said.steps is not None and step is not None:
            another = self.steps is not None and said.steps != self.steps
            if another and self._epoch.fraction is not None and self._epoch.lines > 1:
                return  # another bar of the same name
            self.steps = said.steps
        if fraction is None:
            fraction = self._fraction_of_run(said)
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
            if fraction >= 1.0 and self._epoch.full is None and self._may_be_full(said):
                self._filled(at)
        self._count_steps(said)

    def _fraction_of_run(self, said: Progress) -> float | None:
        """Of the epoch, by the steps of the run, where it is known how many an epoch has."""
        if not self.per_epoch or said.run_step is None:
            return None
        index = max(0, (self._number or 0) - (self._first or 0))
        return max(0.0, min(1.0, said.run_step / self.per_epoch - index))

    def _may_be_full(self, said: Progress) -> bool:
        if self.form is Form.END or self.form is Form.HEAD:
            return False
        bound = self._bounds()
        if self._runwide:
            return bound is not None and self._number == bound
        return self._epoch.rising > 1 or self._rises > 0 or said.steps == 1

    def _filled(self, at: Moment) -> None:
        self._epoch.full = at
        if self._epoch.rising > 1 or self._rises:
            self._solid = self._solid or self.trust >= Trust.NAMED or self._epoch.rising >= FEW_LINES
        if self._whole and self._fits:
            self._held = self._index + 1, at
        else:
            self.close(self._index + 1, at)

    def _count_steps(self, said: Progress) -> None:
        if said.run_step is not None:
            self._epoch.run_steps = (
                said.run_step if self._epoch.run_steps is None else self._epoch.run_steps[0],
                said.run_step,
            )
            self.step = max(self.step or 0, said.run_step) if not self._fits else None
        elif self._epoch.own_step is not None and said.counted and self._runwide:
            self.step = self._epoch.own_step if not self._fits else None
        elif self._epoch.own_step is not None and said.counted and self.steps is not None and self._runwide is not True:
            self.step = self._index * self.steps + min(self._epoch.own_step, self.steps)
            self._whole_steps = True

    # Counters under headings

    def inner(self, said: Progress, at: Moment) -> None:
        counters = self.counters
        if counters is None or self._number is None:
            return
        full_before = counters.full
        counters.take(said, at)
        if counters.full is not None and full_before is None and counters.sure:
            self.close(self._index + 1, counters.full)
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
                self.step = counters.step if counters.runwide else self._index * counters.steps + counters.step
            elif counters.run_step is not None:
                self.step = counters.run_step
        if self.form is Form.END or self._number is None:
            self.position = float(self.count)
        else:
            if self._whole_steps and self.steps is not None and not self._runwide:
                self.step = max(self.step or 0, self.count * self.steps)
            self.position = max(
                self.position or 0.0, self._index + min(fraction or 0.0, 1.0 - 10 * NEARLY), float(self.count)
            )
        if self.form is Form.HEAD and self.per_epoch is not None and (counters is None or counters.step is None):
            self.steps, self.step = self.per_epoch, self.count * self.per_epoch
        self._plan()

    @property
    def plausible(self) -> bool:
        """Whether its position may be shown before an epoch of it has ended: a bar that names the epoch and moves."""
        named = self.trust >= Trust.NAMED and self.form is Form.WITHIN and not self.evaluation and not self.broken
        return (
            named
            and self._epoch.rising > 1
            and self._epoch.fraction is not None
            and (not self._assumed or self._total is not None)
        )

    def _plan(self) -> None:
        bound = self._bounds()
        if bound is not None and self._first is not None:
            self.planned = float(self._offset + bound - self._first + 1)

    def announced(self, epochs: float | None, per_epoch: int | None) -> None:
        """What another line announced: planned epochs and batches of one."""
        self._announced = epochs
        if per_epoch is not None and self.per_epoch is None:
            self.per_epoch = per_epoch
        if epochs is not None and self._first is not None and self._total is None and self._last is None:
            self.planned = self._offset + epochs

    def finish(self, at: Moment) -> None:
        if self._held is not None:
            self.close(*self._held)
        if self._number is None:
            return
        if self._printed_at_ends(at):
            self.broken = "printed where epochs end, and read as if they began there"
            return
        if self.evaluation and self.form is not Form.END:
            self.close(self._index + 1, self._epoch.last)
        if self.form is not Form.END and self._complete(at):
            end = self._epoch.full or (self.counters.full if self.counters is not None else None)
            end = end or self._ending.of(self._number, self._epoch.last, self.kind) or at
            self.close(self._index + 1, end)
        last = self._number == (self._total or 0) - 1 and self._first == 0 and self._last is None
        if last and self.count == self._index + 1:
            self.planned = float(self.count)
        self._place()
