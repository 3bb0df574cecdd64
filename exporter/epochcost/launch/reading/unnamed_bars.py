"""Progress bars that name nothing, where the user has configured what they are. Only repetition distinguishes them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from epochcost.launch.moment import Moment
from epochcost.launch.reading.progress import Form, Progress, Trust
from epochcost.launch.reading.track import NEARLY, Track

MAX_LENGTHS = 32


@dataclass(frozen=True, slots=True)
class BarPosition:
    """``step``: turns of all bars that were followed; ``position``: in epochs, None if a bar may be anything."""

    step: int | None
    position: float | None


@dataclass(slots=True)
class _Bar:
    step: int = 0
    repeats: int = 0


class UnnamedBars:
    """Distinguishes bars by their length. Of several, the longest counts.

    Args:
        meaning: ``epoch`` (each bar is one), or ``run`` (the longest bar is the run).
    """

    def __init__(self, meaning: str) -> None:
        self._meaning = meaning
        self._bars: dict[int, _Bar] = {}
        self._counted = 0

    def take(self, step: int, steps: int, epochs: float | None) -> BarPosition | None:
        """The bar of length ``steps`` is at ``step``; ``epochs`` are planned. None if that is not progress."""
        if steps not in self._bars and len(self._bars) >= MAX_LENGTHS:
            return None
        bar = self._bars.setdefault(steps, _Bar())
        forward = step - bar.step
        if forward < 0:
            bar.repeats += 1
            forward = step
        bar.step = step
        if steps != max(self._bars):
            return None
        if self._meaning == "run":
            return BarPosition(step, None if epochs is None else epochs * min(step / steps, 1.0))
        self._counted += forward
        return BarPosition(self._counted, bar.repeats + min(step / steps, 1.0))


class BarTrack(Track):
    """What bars are, as configured."""

    def __init__(self, line: Progress, at: Moment, meaning: str) -> None:
        super().__init__(line, at)
        self.form, self.trust, self.source = Form.POSITION, Trust.USER, f"bars, by --bar {meaning}"
        self._bars = UnnamedBars(meaning)

    @property
    def confirmed(self) -> bool:
        return self.step is not None

    @property
    def tier(self) -> int:
        return 95

    def draw(self, line: Progress, at: Moment, epochs: float | None) -> None:
        """A bar was drawn; ``epochs`` are planned."""
        if line.step is None or not line.steps or (advance := self._bars.take(line.step, line.steps, epochs)) is None:
            return
        self.lines += 1
        self.active = at
        if advance.step is not None:
            self.step = max(advance.step, self.step or 0)
        if advance.position is not None:
            self.position = max(advance.position, self.position or 0.0)
            if (whole := math.floor(self.position + NEARLY)) > self.count:
                self.close(whole, at)
