"""When something happened, by two clocks."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Moment:
    """In seconds: ``ts`` by the wall clock, ``mono`` by one that never jumps."""

    ts: float
    mono: float

    @classmethod
    def now(cls) -> Moment:
        """This moment."""
        return cls(time.time(), time.monotonic())

    def later(self, seconds: float) -> Moment:
        """The moment ``seconds`` later."""
        return Moment(self.ts + seconds, self.mono + seconds)

    def toward(self, other: Moment, share: float) -> Moment:
        """The moment ``share`` of the way from this one to ``other``."""
        return self.later(max(0.0, min(share, 1.0)) * (other.mono - self.mono))
