"""Sums of a run: dollars and epochs that no late price changes any longer, and what its devices drew."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Settled:
    """What is too old, or too much, to be kept in detail: sums that no late price changes any longer."""

    until: float = 0.0
    usd: float = 0.0
    epoch_usd: float = 0.0
    epochs: int = 0
    epochs_here: int = 0
    """Those of them that are counted on this machine."""
    member_seconds: float = 0.0
    cut_t: float = 0.0
    """What the share was before this instant is no longer kept."""


@dataclass(slots=True)
class Energy:
    """What the run's devices drew: joules over those seconds in which each of them reported its power."""

    joules: float = 0.0
    seconds: float = 0.0

    def add(self, seconds: float, watts: float | None) -> None:
        """``seconds`` passed, in which the run's devices drew ``watts``; None if one of them did not report it."""
        if watts is not None:
            self.joules += watts * seconds
            self.seconds += seconds
