"""The position that an event reports, in epochs, steps, samples or tokens, and what it means for an attempt."""

from __future__ import annotations

import math
from dataclasses import dataclass

from epochcost.model import EventKind, TrainingEvent


@dataclass(slots=True)
class Counted:
    """An absolute position that a process reports, and how much was executed of it over all attempts."""

    position: int | None = None
    executed: int = 0

    def move(self, to: int | None, *, first_attempt: bool) -> bool:
        """Take a new position; True when it went forward."""
        if to is None:
            return False
        if self.position is None:
            # A first attempt began at 0; a later one may have resumed anywhere, so its first report is the baseline.
            self.position = 0 if first_attempt else to
        forward = to > self.position
        self.executed += max(0, to - self.position)
        self.position = to
        return forward


def position_of(event: TrainingEvent) -> float | None:
    """The event's position in epochs, derived from steps or samples if it contains no epoch."""
    if event.epoch is not None:
        return float(event.epoch)
    if event.step is not None and event.steps:
        return event.step / event.steps
    if event.samples is not None and event.samples_per_epoch:
        return event.samples / event.samples_per_epoch
    return None


def reports_position(event: TrainingEvent) -> bool:
    """Whether the event contains a position of any kind."""
    return event.epoch is not None or event.step is not None or event.samples is not None


def reports_work(event: TrainingEvent) -> bool:
    """Whether the event reports that something was done."""
    return bool(event.step or event.samples or event.tokens)


def first_position(event: TrainingEvent, position: float, *, resumed: bool) -> float:
    """The position at which an attempt began whose first reported one is ``position``.

    A resumed attempt reports that it has resumed. A process that begins an epoch reports a whole number and no steps;
    any other first report from within the first epoch, or at its end, follows work that began at 0.
    """
    if event.kind is EventKind.EPOCH_END:
        return max(0.0, math.ceil(position) - 1.0)
    begins = event.kind is EventKind.PHASE and position.is_integer() and not reports_work(event)
    return position if resumed or begins or position > 1 or event.kind is EventKind.RESUME else 0.0
