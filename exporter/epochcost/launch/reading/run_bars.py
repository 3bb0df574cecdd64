"""Bars over the whole run: known as such by what was announced, or by positions that are logged beside them. Pure."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from epochcost.launch.moment import Moment
from epochcost.launch.reading.announced import Announced
from epochcost.launch.reading.progress import Form, Progress, Trust
from epochcost.launch.reading.track import NEARLY, Track

MAX_BARS = 16
SURE_PAIRS, MANY_PAIRS, MAX_PAIRS = 2, 3, 32
MAX_CANDIDATES = 3
MOST_AGREE = 0.75
USUAL_DECIMALS = 2
MAX_WAITING = 4
ROUGHLY, HALF = 0.25, 0.5
"""Tolerance for the run's own bar: of the steps of an epoch, and the share of pairs that may exceed it."""
SEEN_LATE = 2
"""A bar is read when the next one is drawn: only the second after a line was surely drawn after it."""


@dataclass(slots=True)
class RunBar:
    """One bar, and what is known of the steps of an epoch.

    The bar and the log may come through two pipes, so that now and then one is read before the other: most of the pairs
    have to agree, not all.
    """

    total: int
    step: int = 0
    again: bool = False
    """It restarted, as the bar of one fit never does."""
    pairs: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=MAX_PAIRS))
    """Steps of one epoch lie between these."""
    waiting: deque[list[float]] = field(default_factory=lambda: deque(maxlen=MAX_WAITING))
    """Positions that were logged, half their rounding, what the bar showed before, and how often it was drawn since."""

    @property
    def per_epoch(self) -> int | None:
        """Steps of an epoch."""
        if len(self.pairs) < SURE_PAIRS:
            return None
        least, most = min(self.pairs, key=lambda pair: pair[1] - pair[0])
        first = math.ceil(least - NEARLY)
        several = range(max(first, 1), min(math.floor(most + NEARLY), first + MAX_CANDIDATES) + 1)
        good = [one for one in several if self.share(one) >= MOST_AGREE]
        return good[0] if len(good) == 1 and len(several) <= MAX_CANDIDATES else None

    def share(self, per_epoch: float, tolerance: float = NEARLY) -> float:
        """How many of the pairs agree with this number of steps."""
        good = sum(1 for least, most in self.pairs if least - tolerance <= per_epoch <= most + tolerance)
        return good / len(self.pairs) if self.pairs else 1.0


class RunBars:
    """Looks for the bar that counts the steps of the run beside a log of the position in epochs.

    At each line of that log the bar is between what it showed before and what it shows next.
    """

    def __init__(self) -> None:
        self._bars: dict[str, RunBar] = {}

    def draw(self, line: Progress) -> None:
        """A bar without a number was drawn."""
        if line.step is None or not line.steps:
            return
        one = self._bars.get(line.kind)
        if one is None:
            if len(self._bars) >= MAX_BARS:
                return
            one = self._bars[line.kind] = RunBar(line.steps)
        if line.step < one.step:
            one.again = True
            one.pairs.clear()
            one.waiting.clear()
        for waiting in one.waiting:
            waiting[3] += 1
        while one.waiting and one.waiting[0][3] >= SEEN_LATE:
            position, half, before, _ = one.waiting.popleft()
            self._pair(one, position, half, before, line.step)
        one.step = line.step

    @staticmethod
    def _pair(one: RunBar, position: float, half: float, before: float, step: int) -> None:
        if position <= half or step < before:
            return
        one.pairs.append((before / (position + half), step / (position - half)))

    def log(self, position: float, decimals: int) -> None:
        """A line showed ``position``, rounded to ``decimals``."""
        half = 0.5 * 10.0**-decimals
        if decimals <= USUAL_DECIMALS:  # zeros at the end are not printed; or four digits are
            half = max(0.5 * 10.0**-USUAL_DECIMALS, 0.0005 * position)
        for one in self._bars.values():
            if one.step:
                one.waiting.append([position, half, one.step, 0])

    @property
    def best(self) -> RunBar | None:
        """The bar for which the steps per epoch are known."""
        known = [one for one in self._single or self._bars.values() if one.per_epoch is not None]
        return max(known, key=lambda one: one.total, default=None)

    def whole(self, epochs: float) -> RunBar | None:
        """The full bar of the one fit, which was reported complete after ``epochs``: the only one possible."""
        single = self._single
        if len(single) > 1:
            single = [one for one in single if len(one.pairs) >= SURE_PAIRS and self._moves_with_log(one, epochs)]
        longest = max(single, key=lambda one: one.total, default=None)
        return longest if longest is not None and longest.step >= longest.total else None

    @property
    def _single(self) -> list[RunBar]:
        """Bars that never restarted; those of evaluations do, and after a second fit the run's."""
        return [one for one in self._bars.values() if not one.again]

    @staticmethod
    def _moves_with_log(one: RunBar, epochs: float) -> bool:
        per_epoch = one.total / epochs
        return one.share(per_epoch, ROUGHLY * per_epoch) >= HALF


class RunTrack(Track):
    """The bar that is as long as the announced steps of the run, of which the announced epochs are equal parts."""

    def __init__(self, line: Progress, at: Moment, announced: Announced) -> None:
        super().__init__(line, at)
        self.form, self.trust = Form.POSITION, Trust.KNOWN
        self.source = "announced steps"
        self._total = line.steps or 1
        self._own = 0
        self._rises = 0
        self._offset = 0
        self._apart = 0
        self.renew(announced)

    def renew(self, announced: Announced) -> None:
        """Another fit may have announced something else."""
        self._epochs = int(announced.epochs or 1)
        self.per_epoch = announced.per_epoch or self._total
        self.steps = self.per_epoch

    @property
    def confirmed(self) -> bool:
        return not self.broken and self._rises > 1

    @property
    def tier(self) -> int:
        return 56

    def compare(self, count: int, position: float) -> None:
        """A log line next to it, which may be read a little earlier or later."""
        apart = abs((self.position or 0.0) - position)
        self._apart = self._apart + 1 if apart > max(1.0, 0.1 * position) and count != self.count else 0
        if self._apart >= MANY_PAIRS:
            self.broken = "the logged positions contradict it"

    def take(self, line: Progress, at: Moment) -> None:
        if line.step is None:
            return
        self.lines += 1
        if line.step < self._own:
            if self._own < self._total or line.step > max(1, self._total // 100):
                return
            self._offset = self.count
        elif self._rises == 0 and line.step > 1 and self.lines == 1:
            self.began = self.count = line.step // self.per_epoch  # resumed
        self._rises += line.step > self._own
        self._own = line.step
        self.active = at
        whole = self._own // self.per_epoch
        if self._offset + whole > self.count:
            self.close(self._offset + whole, at)
        self.position = max(self.position or 0.0, self._offset + self._own / self.per_epoch)
        self.planned = float(self._offset + self._epochs)
        self.step = self._offset * self.per_epoch + self._own
