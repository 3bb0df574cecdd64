"""From single statements to where the run stands: pure, no clock, bounded."""

from __future__ import annotations

import math
from dataclasses import dataclass

from epochcost.launch.reading.progress import Progress, Rank
from epochcost.launch.reading.unnamed_bars import UnnamedBars

NEARLY = 1e-6
"""A bar inside an epoch is full before the epoch is said to be done."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the user said beforehand; None where nothing.

    Attributes:
        epochs: planned.
        steps_per_epoch, samples_per_epoch: for formats that count in steps or samples alone.
        bar: what a progress bar that names nothing stands for: ``epoch``, ``run``, ``nothing``, or ``auto``.
    """

    epochs: float | None = None
    steps_per_epoch: int | None = None
    samples_per_epoch: int | None = None
    bar: str = "auto"


@dataclass(frozen=True, slots=True)
class ProgressSnapshot:
    """Where the run stands. All absolute; None where not known.

    Attributes:
        ended: the number of the epoch that has just ended, 1 for the first.
        epoch: position in finished epochs.
        epochs: planned.
        step, samples: since the beginning of the run.
        steps: of one epoch.
        batch_size: samples of a step.
    """

    ended: int | None = None
    epoch: float | None = None
    epochs: float | None = None
    step: int | None = None
    steps: int | None = None
    samples: int | None = None
    batch_size: int | None = None


class ProgressTracker:
    """Follows the best source that there is. Sources are never mixed: two that count differently would go to and fro.

    A position never goes back: numbers that begin anew are another fit in the same command, whose epochs are added.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._bars = UnnamedBars(plan.bar)
        self._first: int | None = None
        self._offset = 0
        self._index: int | None = None
        self._within = 0.0
        self._inner: int | None = None
        self._ended: int | None = None
        self.rank: Rank | None = None
        self.source = ""
        self.position: float | None = None
        self.epochs = plan.epochs

    def take(self, said: Progress) -> ProgressSnapshot | None:
        """What ``said`` changes; None where nothing or where a better source is followed."""
        if said.rank is Rank.BAR and self.source == "tqdm":
            return self._inside(said)
        if not self._follows(said):
            return None
        if said.rank is Rank.BAR:
            return self._loose(said)
        if said.position is not None:
            return self._at(said, said.position)
        if said.number is not None or self._index is not None:
            return self._numbered(said)
        return self._stepped(said)

    def finish(self) -> ProgressSnapshot | None:
        """The command ended well: inside the last planned epoch, that one is done."""
        if self.epochs is None or self.position is None or self.position >= self.epochs:
            return None
        begun = self._index is not None and self._within < 1.0 and self._offset + self._index >= self.epochs - 1
        if not begun and self.position <= self.epochs - 1:
            return None
        return self._stand(self.epochs)

    def _follows(self, said: Progress) -> bool:
        if said.source == self.source:
            return True
        if self.rank is not None and said.rank <= self.rank:
            return False
        if said.rank is Rank.EPOCHS and said.number is None and said.position is None:
            return False  # a bar under a heading that was never seen
        self.rank, self.source = said.rank, said.source
        self._first, self._offset, self._index, self._within = None, 0, None, 0.0
        return True

    def _numbered(self, said: Progress) -> ProgressSnapshot | None:
        within = 1.0 if said.done else _share(said.step, said.steps)
        if said.number is not None and not self._begin(said.number, said, within):
            return None
        if said.number is None and self._within >= 1.0:
            return None  # a bar after the epoch's own: evaluation
        index = self._index or 0
        self._within = max(self._within, within)
        if self._ended is None:
            self._ended = self._offset + index  # what came before was another attempt's
        if said.epochs is not None:
            self.epochs = self._plan.epochs or self._offset + said.epochs
        step = said.run_step
        if step is None and said.step is not None and said.steps is not None:
            step = (self._offset + index) * said.steps + min(said.step, said.steps)
        return self._stand(self._offset + index + self._within, step, said)

    def _begin(self, number: int, said: Progress, within: float) -> bool:
        """Epoch ``number`` is being done; False where that is an old line drawn again."""
        if self._first is None:
            self._first = said.first if said.first is not None else min(number, 1)
        index = max(0, number - self._first)
        if self._index is not None and index < self._index and within >= 1.0:
            return False
        again = index == self._index and said.step == 0 and said.steps is None and self._within >= 1.0
        if again or (self._index is not None and index < self._index):
            self._offset = math.floor((self.position or 0.0) + NEARLY) - (index if again else 0)
            self._within = 0.0
        elif index != self._index:
            self._within = 0.0
        self._index = index
        return True

    def _at(self, said: Progress, position: float) -> ProgressSnapshot | None:
        if position + self._offset < (self.position or 0.0) - 1 + NEARLY and said.source == "tqdm":
            self._offset = math.floor((self.position or 0.0) + NEARLY)  # another bar of epochs, from its beginning
        self._index = None
        if said.epochs is not None:
            self.epochs = self._plan.epochs or self._offset + said.epochs
        return self._stand(self._offset + position, said.run_step, said)

    def _inside(self, said: Progress) -> ProgressSnapshot | None:
        """A bar under a bar that counts epochs: the first length that is seen is the training's."""
        if self.position is None or self._index is not None or self.position >= (self.epochs or math.inf):
            return None
        self._inner = self._inner or said.steps
        if said.steps != self._inner:
            return None
        begun = math.floor(self.position + NEARLY)
        return self._stand(begun + min(_share(said.step, said.steps), 1 - NEARLY * 10), None, said)

    def _stepped(self, said: Progress) -> ProgressSnapshot | None:
        plan = self._plan
        per_epoch = plan.steps_per_epoch
        if said.run_step is not None and per_epoch:
            if said.run_steps is not None:
                self.epochs = plan.epochs or said.run_steps / per_epoch
            return self._stand(said.run_step / per_epoch, said.run_step, said, per_epoch)
        if said.samples is not None and plan.samples_per_epoch:
            return self._stand(said.samples / plan.samples_per_epoch, said.run_step, said)
        if said.run_step is None and said.samples is None:
            return None
        return self._stand(None, said.run_step, said)

    def _loose(self, said: Progress) -> ProgressSnapshot | None:
        found = self._bars.take(said.step or 0, said.steps or 1, self.epochs)
        if found is None:
            return None
        if found.position is not None and self._ended is None:
            self._ended = 0
        return self._stand(found.position, found.step)

    def _stand(
        self, position: float | None, step: int | None = None, said: Progress | None = None, steps: int | None = None
    ) -> ProgressSnapshot:
        if position is not None:
            if self._ended is None:
                self._ended = max(0, math.ceil(position - NEARLY) - 1)
            position = self.position = max(position, self.position or 0.0)
        whole = None if position is None else math.floor(position + NEARLY)
        ended = whole if whole is not None and whole > (self._ended or 0) else None
        if ended is not None:
            self._ended = ended
        return ProgressSnapshot(
            ended=ended,
            epoch=float(ended) if ended is not None else position,
            epochs=self.epochs,
            step=step,
            steps=steps or (said.steps if said else None),
            samples=said.samples if said else None,
            batch_size=said.batch_size if said else None,
        )


def _share(step: int | None, steps: int | None) -> float:
    return min(step / steps, 1.0) if step is not None and steps else 0.0
