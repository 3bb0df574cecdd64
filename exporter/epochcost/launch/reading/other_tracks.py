"""Tracks of what numbers no epoch: positions, bars that count epochs, bars called training, steps. Pure."""

from __future__ import annotations

import math

from epochcost.launch.moment import Moment
from epochcost.launch.reading.inner_counters import InnerCounters
from epochcost.launch.reading.progress import Form, Progress, Trust
from epochcost.launch.reading.track import BEGINNING, NEARLY, TOGETHER_SECONDS, Track

MANY_RISES = 3
LONGEST_JUMP = 1.0
SAME_BEGINNING = 0.5
"""A fit begins at nothing, or where the one before did."""
FAR = 10.0
"""Epochs by which no log advances from one line to the next, unless it always does."""


class PositionTrack(Track):
    """Statements of the position itself: ``{'loss': 0.5, ..., 'epoch': 1.23}``, a file, a bar that counts epochs."""

    def __init__(self, line: Progress, at: Moment) -> None:
        super().__init__(line, at)
        self._offset = 0.0
        self._own: float | None = None
        self.from_start = (line.position or 0.0) < 1.0 - NEARLY
        self._over = False
        self._rises = 0
        self._rose = at
        self._before = (line.position or 0.0, at)
        self._ahead: float | None = None
        self._longest = 0.0
        self._first_of_fit = line.position or 0.0
        self._within_seen = False
        self.counters = InnerCounters() if line.form is Form.COUNT else None

    @property
    def offset(self) -> float:
        """Epochs of the fits before."""
        return self._offset

    @property
    def complete(self) -> float | None:
        """Epochs of the only fit so far, once the program has printed that it is complete."""
        return self._own if self._over and not self._offset else None

    @property
    def confirmed(self) -> bool:
        if self.broken or self._own is None:
            return False
        if self.trust >= Trust.KNOWN:
            return True
        if self.form is Form.COUNT:
            return self._rises > 0 and (self.trust is Trust.NAMED or self._within_seen)
        return self._rises >= MANY_RISES

    @property
    def tier(self) -> int:
        if (tier := self.tier_of_origin) is not None:
            return tier
        if self.trust is Trust.KNOWN:
            return 55
        return 45 if self.form is Form.COUNT else 30

    def take(self, line: Progress, at: Moment) -> None:
        position = line.position
        if position is None:
            return
        self.lines += 1
        if self._own is None:
            self._begin(position, at)
        elif position < self._own - NEARLY:
            if not self._again(position):
                return
        elif position > self._own + NEARLY and not self._rise(position, at):
            return
        self._own = position
        self._over = self._over or line.complete
        if line.run_step is not None:
            self.step = max(self.step or 0, line.run_step)
        if line.epochs:
            self.planned = self._offset + line.epochs
        elif line.complete and not self.planned:
            self.planned = self._offset + position
        elif line.complete:
            self.planned = max(self.planned or 0.0, self._offset + position)
        self._set_position(at)

    def _begin(self, position: float, at: Moment) -> None:
        beginning = self.form is Form.COUNT or self.trust is Trust.USER or position <= 1.0
        done = math.floor(position + NEARLY) if (not beginning or (self.form is Form.COUNT and position > 1.0)) else 0
        self.began = self.count = done
        self.active = at

    def _again(self, position: float) -> bool:
        """The position went back: another fit, or an old line."""
        own = self._own or 0.0
        if not self._over and own - position < LONGEST_JUMP - NEARLY:
            return False
        if position > 1.0 + NEARLY and abs(position - self._first_of_fit) > SAME_BEGINNING:
            return False
        self._first_of_fit = position
        if self.form is Form.COUNT and position > 0:
            return False
        if (
            self.form is Form.COUNT
            and self.trust is Trust.GUESS
            and self.planned is not None
            and own >= self.planned - self._offset
        ):
            self.broken = "a bar that restarts belongs to one epoch, or to several fits"
        self._offset = (
            float(self.count)
            if own - math.floor(own + NEARLY) < NEARLY
            else float(math.floor(self._offset + own + NEARLY))
        )
        self._over = False
        if self.counters is not None:
            self.counters.begin_epoch()
        return True

    def _rise(self, position: float, at: Moment) -> bool:
        """The position advanced; False if only one line shows a large step."""
        own = self._own or 0.0
        jump = position - own
        if jump > max(FAR, 2 * self._longest) and self.trust < Trust.USER:
            ahead, self._ahead = self._ahead, position
            if ahead is None or not 0 <= position - ahead <= LONGEST_JUMP:
                return False
            self.count = self.began = max(self.count, math.floor(self._offset + position + NEARLY))
        else:
            self._longest = max(self._longest, jump)
        self._ahead = None
        self._before = own, self._rose
        if self.trust < Trust.KNOWN and position - own > LONGEST_JUMP + NEARLY:
            self._rises = 0
            self.ends.clear()
            self.count = self.began = max(self.count, math.floor(self._offset + position + NEARLY))
        elif at.mono - self._rose.mono >= TOGETHER_SECONDS:
            self._rises += 1
        self._rose = self.active = at
        if self.counters is not None:
            self.counters.begin_epoch()
        return True

    def _set_position(self, at: Moment) -> None:
        position = self._offset + (self._own or 0.0)
        whole = math.floor(position + NEARLY)
        if whole > self.count:
            self.close(whole, self._passed(whole, at))
        self._place()

    def _passed(self, whole: int, at: Moment) -> Moment:
        """When epoch ``whole`` ended: between two lines, unless this one is at its end."""
        (before, then), own = self._before, self._own or 0.0
        beyond = self._offset + own - whole
        if self.form is Form.COUNT or beyond < NEARLY or own - before <= beyond or own - before > LONGEST_JUMP:
            return at
        return then.toward(at, 1.0 - beyond / (own - before))

    def _place(self) -> None:
        position = self._offset + (self._own or 0.0)
        counters = self.counters
        if counters is not None:
            fraction = counters.fraction
            if fraction is not None and (self.planned is None or position < self.planned):
                position = math.floor(position + NEARLY) + min(fraction, 1.0 - 10 * NEARLY)
            if counters.steps is not None and counters.step is not None:
                self.steps = counters.steps
                self.step = max(
                    self.step or 0, min(self.count, math.floor(position + NEARLY)) * counters.steps + counters.step
                )
        self.position = max(self.position or 0.0, position, float(self.count))

    def inner(self, line: Progress, at: Moment) -> None:
        if self.counters is None:
            return
        over = self.planned is not None and self.count >= self.planned
        if over:
            return
        self.counters.take(line, at)
        self._within_seen = self._within_seen or (not line.evaluation and self.counters.fraction is not None)
        self._place()

    def announced(self, epochs: float | None) -> None:
        """A bar called ``Epoch`` that is as long as epochs were announced counts them."""
        if self.form is Form.COUNT and epochs is not None and self.planned == epochs:
            self.trust = max(self.trust, Trust.NAMED)

    def finish(self, at: Moment) -> None:
        if self.form is Form.COUNT and self.trust is Trust.GUESS and self._rises > 0 and not self._offset:
            self._within_seen = True  # it was drawn once, from its beginning to where the command ended
        planned = self.planned
        begun = self.count < (planned or 0) and planned is not None and (self.position or 0.0) > planned - 1 + NEARLY
        if begun and self.confirmed and planned is not None and self.trust is not Trust.FILE:
            self.close(math.floor(planned + NEARLY), at)
            self.position = max(self.position or 0.0, float(self.count))


class PassTrack(Track):
    """A bar that is called training, or Keras's without a heading.

    Each time that it goes from nothing to full is an epoch, once it has begun again. Where several ranks draw it at
    once nothing can be known.
    """

    def __init__(self, line: Progress, at: Moment) -> None:
        super().__init__(line, at)
        self.steps = line.steps
        self._own = -1
        self._low: int | None = None
        self._here = at
        self._lines_here = 0
        self._longest_jump = 0
        self._shortest = math.inf
        self._full: Moment | None = None
        self._again = 0
        self._odd = 0

    @property
    def confirmed(self) -> bool:
        return not self.broken and self._again > 0

    @property
    def tier(self) -> int:
        return 25

    def take(self, line: Progress, at: Moment) -> None:
        if line.step is None or not self.steps:
            return
        self.lines += 1
        step = line.step
        if self._strange(step, at):
            self._odd += 1
            if self._odd > 1 or self._again:
                self.broken = "several draw it at once, or it is not the training's"
            return
        if step < self._own:
            self._again += 1
            self._full, self._lines_here, self._here = None, 0, at
        elif self._lines_here:
            self._longest_jump = max(self._longest_jump, step - self._own)
        self._own = step
        self._low = step if self._low is None else min(self._low, step)
        self._lines_here += 1
        self.active = at
        if step >= self.steps and self._full is None:
            self._filled(at)
        done = self._again + min(step / self.steps, 1.0 - 10 * NEARLY)
        self.position = max(self.position or 0.0, done, float(self.count))
        self.step = max(self.step or 0, self._again * self.steps + min(step, self.steps))

    def _filled(self, at: Moment) -> None:
        self._full = at
        self._shortest = min(self._shortest, at.mono - self._here.mono)
        if self._lines_here > 1:
            self.close(self._again + 1, at)

    def _strange(self, step: int, at: Moment) -> bool:
        """What one program alone would not draw: back a little, on by leaps, full again at once."""
        if step < self._own:
            return self._full is None or (self._low is not None and step > max(1, self._low))
        if not self._again or self._full is not None:
            return False
        leaps = step - self._own > 3 * self._longest_jump + 1
        early = step >= (self.steps or 0) and at.mono - self._here.mono < BEGINNING * self._shortest
        return leaps or early


class StepsTrack(Track):
    """Steps or samples of the run, of a program that names no epoch."""

    def __init__(self, line: Progress, at: Moment, per_epoch: float | None, samples_per_epoch: float | None) -> None:
        super().__init__(line, at)
        self._per_epoch = per_epoch
        self._samples_per_epoch = samples_per_epoch
        self._rises = 0
        self.samples: int | None = None

    @property
    def confirmed(self) -> bool:
        return not self.broken and (self._rises >= 2 or self.trust >= Trust.KNOWN)  # noqa: PLR2004

    @property
    def tier(self) -> int:
        if self._per_epoch or self._samples_per_epoch:
            return 90
        return 80 if self.trust is Trust.USER else 10

    def take(self, line: Progress, at: Moment) -> None:
        self.lines += 1
        step = line.run_step
        if step is not None:
            if self.step is not None and step < self.step:
                self.broken = self.broken or ("" if self.trust >= Trust.KNOWN else "its steps begin again")
            self._rises += self.step is not None and step > self.step
            self.step = max(step, self.step or 0)
        if line.samples is not None:
            self._rises += self.samples is not None and line.samples > self.samples
            self.samples = max(line.samples, self.samples or 0)
        self.active = at
        self._place(line, at)

    def _place(self, line: Progress, at: Moment) -> None:
        position = None
        if self._per_epoch and self.step is not None:
            position = self.step / self._per_epoch
            self.steps = int(self._per_epoch)
            if line.run_steps:
                self.planned = line.run_steps / self._per_epoch
        elif self._samples_per_epoch and self.samples is not None:
            position = self.samples / self._samples_per_epoch
        if position is None:
            return
        if self.position is None:
            self.began = self.count = max(0, math.ceil(position - NEARLY) - 1)
        self.position = max(position, self.position or 0.0)
        if (whole := math.floor(self.position + NEARLY)) > self.count:
            self.close(whole, at)
