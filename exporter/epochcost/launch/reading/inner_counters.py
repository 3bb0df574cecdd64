"""Counters under headings: which of those that are printed between two of them counts the epoch's batches. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from epochcost.launch.moment import Moment
from epochcost.launch.reading.progress import Progress, Trust

MAX_COUNTERS = 32
NEARLY_ALL = 0.9


@dataclass(slots=True)
class _Counter:
    kind: str
    steps: int | None
    named: bool
    order: int
    epoch: int = -1
    step: int = 0
    low: int = 0
    passes: int = 0
    full: Moment | None = None
    runwide: bool = False
    counted: bool = False
    banned: bool = False
    lines: list[int] = field(default_factory=list)

    @property
    def share(self) -> float:
        return min(self.step / self.steps, 1.0) if self.steps else 0.0


class InnerCounters:
    """Follows all counters that name no epoch.

    The one that goes once from nothing to full between two headings is the epoch's; one that begins again within an
    epoch (samples that are drawn, a generator that predicts) is not; one that rises over headings counts the run.
    """

    def __init__(self) -> None:
        self._counters: dict[str, _Counter] = {}
        self._epoch = 0
        self.chosen: str | None = None
        self.run_step: int | None = None

    def begin_epoch(self) -> None:
        """A heading was printed."""
        here = [one for one in self._counters.values() if one.epoch == self._epoch]
        if self.chosen is not None:
            if (one := self._counters[self.chosen]).epoch == self._epoch and one.passes > 1:
                one.banned, self.chosen = True, None
        else:
            whole = [one for one in here if self._whole(one)]
            best = min(whole, key=lambda one: (not one.named, one.order), default=None)
            self.chosen = None if best is None else best.kind
        self._epoch += 1
        for order, one in enumerate(sorted(self._counters.values(), key=lambda one: one.order)):
            one.order = order
        if len(self._counters) >= MAX_COUNTERS:
            self._counters = {kind: one for kind, one in self._counters.items() if one.epoch >= self._epoch - 2}
            if self.chosen not in self._counters:
                self.chosen = None

    @staticmethod
    def _whole(one: _Counter) -> bool:
        return one.passes == 1 and not one.banned and not one.runwide and one.share >= NEARLY_ALL and one.steps != 1

    def take(self, line: Progress, at: Moment) -> None:
        """A counter was printed."""
        if line.run_step is not None:
            self.run_step = max(self.run_step or 0, line.run_step)
        if (
            line.evaluation
            or line.step is None
            or (line.kind not in self._counters and len(self._counters) >= MAX_COUNTERS)
        ):
            return
        one = self._counters.get(line.kind)
        if one is None:
            named = line.trust >= Trust.NAMED
            one = self._counters[line.kind] = _Counter(line.kind, line.steps, named, len(self._counters))
        if one.epoch != self._epoch:
            self._first_here(one, line.step)
        elif line.step < one.step:
            if not (line.step <= max(1, one.low) and one.share >= NEARLY_ALL):
                return  # another rank's, or a line drawn late
            one.passes += 1
        one.counted = one.counted or line.counted or line.step == one.step + 1
        one.step = line.step
        if one.steps and line.step >= one.steps and one.full is None:
            one.full = at

    def _first_here(self, one: _Counter, step: int) -> None:
        if one.epoch >= 0:
            before = one.share
            one.runwide = before < 1.0 and (step > one.step or (step == one.step and step > 1))
        one.epoch, one.passes, one.low = self._epoch, 1, step
        one.full = one.full if one.runwide else None

    @property
    def _best(self) -> _Counter | None:
        """The epoch's own, or what is it in all likelihood: the first one that has a name."""
        if self.chosen is not None:
            one = self._counters[self.chosen]
            return one if one.epoch == self._epoch else None
        named = [one for one in self._counters.values() if one.epoch == self._epoch and one.named and not one.banned]
        first = min(named, key=lambda one: one.order, default=None)
        return first if first is not None and first.passes == 1 and not first.runwide and first.steps != 1 else None

    @property
    def counting(self) -> bool:
        """Whether anything was counted since the last heading."""
        return any(one.epoch == self._epoch for one in self._counters.values())

    @property
    def sure(self) -> bool:
        """Whether the epoch's own counter is known."""
        return self.chosen is not None

    @property
    def full(self) -> Moment | None:
        """When the epoch's own counter was full."""
        best = self._best
        return None if best is None else best.full

    @property
    def fraction(self) -> float | None:
        """Of the epoch that is done."""
        best = self._best
        return None if best is None else best.share

    @property
    def _stepping(self) -> _Counter | None:
        best = self._best
        if best is not None:
            return best if best.counted else None
        runs = [one for one in self._counters.values() if one.runwide and one.named and one.counted]
        return max(runs, key=lambda one: one.step, default=None)

    @property
    def runwide(self) -> bool:
        """Whether `step` counts the run's steps."""
        one = self._stepping
        return one is not None and one.runwide

    @property
    def step(self) -> int | None:
        """Of the epoch, or of the run: see `runwide`."""
        one = self._stepping
        return None if one is None else one.step

    @property
    def steps(self) -> int | None:
        """Steps of one epoch."""
        one = self._stepping
        return None if one is None or one.runwide else one.steps
