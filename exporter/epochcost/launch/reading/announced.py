"""What a program announces before it trains: how many epochs, how many steps, how large a batch. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from epochcost.launch.reading.progress import Progress, Trust

MAX_EPOCHS = 10_000_000
"""``Num Epochs = 9,223,372,036,854,775,807`` means unknown."""


@dataclass(slots=True)
class Announced:
    """None if nothing was announced. ``configured``: numbers of epochs in configurations that were printed."""

    epochs: float | None = None
    run_steps: int | None = None
    batch_size: int | None = None
    examples: int | None = None
    batches: int | None = None
    configured: set[float] = field(default_factory=set)

    def take(self, line: Progress) -> None:
        """One announcement."""
        if line.trust < Trust.KNOWN:
            if line.epochs and len(self.configured) < 8:  # noqa: PLR2004 - two are enough to know nothing
                self.configured.add(line.epochs)
            return
        self.epochs = (line.epochs if line.epochs <= MAX_EPOCHS else None) if line.epochs else self.epochs
        self.run_steps = line.run_steps or self.run_steps
        self.batch_size = line.batch_size or self.batch_size
        self.examples = line.examples or self.examples
        self.batches = line.steps or self.batches

    @property
    def per_epoch(self) -> int | None:
        """Steps of one epoch, where epochs and steps of the run were announced and everything else agrees with them."""
        if not self.epochs or not self.run_steps or not float(self.epochs).is_integer():
            return None
        steps, rest = divmod(self.run_steps, int(self.epochs))
        return steps if not rest and steps and self._agrees(steps) else None

    def _agrees(self, steps: int) -> bool:
        if self.batches is not None and not _divides(self.batches, steps):
            return False
        if self.examples is None:
            return True
        if self.batch_size is not None:
            return _divides(self.examples, steps, self.batch_size)
        return _divides(self.examples, steps)


def _divides(whole: int, steps: int, size: int | None = None) -> bool:
    """Whether ``whole`` things make ``steps`` of ``size``, or of some size."""
    sizes = (size,) if size is not None else (whole // steps, math.ceil(whole / steps))
    return any(one > 0 and steps in (whole // one, math.ceil(whole / one)) for one in sizes)
