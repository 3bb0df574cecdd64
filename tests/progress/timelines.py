"""A wall clock and a monotonic clock that a test moves, and writers that use them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from epochcost.model import TrainingEvent
from epochcost.progress.clock import NodeClock

MORNING = 1_800_000_000.0
UPTIME = 5000.0


class Time:
    """``sleep`` moves both clocks, ``set_wall`` only the wall's."""

    def __init__(self, wall: float = MORNING, mono: float = UPTIME) -> None:
        self.wall_seconds = wall
        self.mono_seconds = mono

    def wall(self) -> float:
        return self.wall_seconds

    def mono(self) -> float:
        return self.mono_seconds

    def sleep(self, seconds: float) -> None:
        self.wall_seconds += seconds
        self.mono_seconds += seconds

    def set_wall(self, by: float) -> None:
        self.wall_seconds += by

    def clock(self, boot_id: str = "boot-1") -> NodeClock:
        return NodeClock(self.wall, self.mono, boot_id)

    def line(self, ev: str = "progress", run: str = "r", mono: bool = True, **more: Any) -> bytes:
        """An event that happens now, as one line."""
        stamp: dict[str, Any] = {"v": 1, "ev": ev, "ts": self.wall_seconds, "run": run}
        if mono:
            stamp["mono"] = self.mono_seconds
        if ev == "epoch_end" and "epoch" not in more:
            stamp["epoch"] = 1
        return json.dumps({**stamp, **more}).encode() + b"\n"


def append(path: Path, *lines: bytes) -> None:
    with path.open("ab") as file:
        file.write(b"".join(lines))


def kinds_and_epochs(events: list[TrainingEvent]) -> list[tuple[str, float | None]]:
    return [(event.kind.value, event.epoch) for event in events]
