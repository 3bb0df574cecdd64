"""Stretches of a run that a ``with`` marks."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol


class SupportsPhases(Protocol):
    """A run, as far as its phases go."""

    def enter_phase(self, name: str) -> None:
        """Report phase ``name``."""

    def saved(self, head: str = "") -> None:
        """Report a checkpoint on disk."""

    def take_saving(self, saving: CheckpointContext) -> None:
        """``saving`` is the body of a ``with``."""


class PhaseContext:
    """A phase that was entered; leaving it goes back to the phase ``before``."""

    def __init__(self, run: SupportsPhases, before: str) -> None:
        self._run = run
        self._before = before

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run.enter_phase(self._before)


class CheckpointContext:
    """A checkpoint. ``head`` is the beginning of its event, made when it was requested."""

    def __init__(self, run: SupportsPhases, before: str) -> None:
        self._run = run
        self._before = before
        self.head = ""

    def __enter__(self) -> None:
        self._run.take_saving(self)
        self._run.enter_phase("checkpoint")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._run.saved()
        self._run.enter_phase(self._before)
