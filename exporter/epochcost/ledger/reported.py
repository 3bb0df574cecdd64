"""The numbers that a run reports beside its position: its loss, or any metric, under names of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

MAX_NAMES = 8
"""Of one attempt; further ones are not kept."""


@dataclass(slots=True)
class ReportedValues:
    """The newest value of each name, in the order in which the names came.

    They are those of one attempt: the next may have others, and its first report replaces all of them.

    Attributes:
        attempt: the attempt that they belong to.
        writer: the process that reported it last.
        values: by name.
    """

    attempt: int = 0
    writer: str = ""
    values: dict[str, float] = field(default_factory=dict)

    def take(self, metrics: Iterable[tuple[str, float | None]], attempt: int, writer: str) -> None:
        """Keep what a process reports in ``attempt``; None removes a name."""
        if attempt != self.attempt:
            self.values = {}
        self.attempt, self.writer = attempt, writer
        for name, value in metrics:
            if value is None:
                self.values.pop(name, None)
            elif name in self.values or len(self.values) < MAX_NAMES:
                self.values[name] = value

    def forget(self, writer: str) -> None:
        """``writer`` takes back what it reported."""
        if writer == self.writer:
            self.values = {}

    def state(self) -> list[Any]:
        """As JSON-able data."""
        return [self.attempt, self.writer, self.values]

    @classmethod
    def restored(cls, state: list[Any] | None) -> ReportedValues:
        """What `state` described; nothing where there was none yet."""
        if state is None:
            return cls()
        attempt, writer, values = state
        return cls(attempt, writer, dict(values))
