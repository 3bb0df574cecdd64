"""Progress bars that name nothing: of a training, of an evaluation, of a download. Only their repetition tells."""

from __future__ import annotations

from dataclasses import dataclass

MAX_LENGTHS = 32


@dataclass(frozen=True, slots=True)
class Found:
    """``step``: turns of all bars that were followed; ``position``: in epochs, None where a bar may be anything."""

    step: int | None
    position: float | None


@dataclass(slots=True)
class _Bar:
    step: int = 0
    repeats: int = 0


class UnnamedBars:
    """Tells bars apart by their length. One that begins again is taken for an epoch; of several, the longest.

    Args:
        meaning: ``epoch`` (each bar is one, the longest counts), ``run`` (the longest bar is the run), ``nothing``,
            or ``auto``: steps, until a bar begins again.
    """

    def __init__(self, meaning: str) -> None:
        self._meaning = meaning
        self._bars: dict[int, _Bar] = {}
        self._counted = 0

    def take(self, step: int, steps: int, epochs: float | None) -> Found | None:
        """The bar of length ``steps`` stands at ``step``; ``epochs`` are planned. None where that is no progress."""
        if self._meaning == "nothing" or (steps not in self._bars and len(self._bars) >= MAX_LENGTHS):
            return None
        bar = self._bars.setdefault(steps, _Bar())
        forward = step - bar.step
        if forward < 0:
            bar.repeats += 1
            forward = step
        bar.step = step
        if self._meaning == "run":
            return self._of_run(step, steps, epochs)
        repeated = [length for length, one in self._bars.items() if one.repeats]
        known = max(repeated or (self._bars if self._meaning == "epoch" else ()), default=None)
        if known not in (None, steps):
            return None
        self._counted += forward
        position = None if known is None else bar.repeats + min(step / steps, 1.0)
        return Found(self._counted, position)

    def _of_run(self, step: int, steps: int, epochs: float | None) -> Found | None:
        if steps != max(self._bars):
            return None
        return Found(step, None if epochs is None else epochs * min(step / steps, 1.0))
