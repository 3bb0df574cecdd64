"""How long something has been known without a gap. Anything unknown restarts the wait."""

from __future__ import annotations

import math
from dataclasses import dataclass

from epochcost.guard.observation import Observation

SECONDS_PER_HOUR = 3600.0
MAX_GPUS = 1000
LEAST_WATTS = 1.0
"""A sensor that reports less is not used."""


@dataclass(slots=True)
class Evidence:
    """Of one finding, from one observation to the next.

    Attributes:
        since_t: when it was first seen to hold, node timeline.
        until_t: when it was last.
        wasted_usd: what it cost meanwhile.
    """

    since_t: float
    until_t: float
    wasted_usd: float = 0.0

    def go_on(self, t: float, usd_per_hour: float) -> None:
        """It still holds at ``t``."""
        self.wasted_usd += max(0.0, t - self.until_t) * usd_per_hour / SECONDS_PER_HOUR
        self.until_t = t

    @property
    def seconds(self) -> float:
        """For how long."""
        return self.until_t - self.since_t


class Continuity:
    """Whether one observation follows upon the one before without a gap."""

    def __init__(self, because: str = "the agent has just started observing") -> None:
        self._because = because
        self._t = -math.inf
        self._jumps: int | None = None

    def broken_by(self, observation: Observation) -> str:
        """Why nothing that was known before ``observation`` counts any longer; empty if it does."""
        last, jumps = self._t, self._jumps
        self._t, self._jumps = observation.t, observation.clock_jumps
        if jumps is None:
            return self._because
        if not 0 <= observation.t - last <= observation.fresh_seconds:
            return f"the agent did not look for {observation.t - last:.0f} s"
        if observation.clock_jumps != jumps:
            return "the wall clock jumped"
        return "; ".join(observation.void)


class RestWatts:
    """The lowest power of each GPU while no process held it: its power at rest, as far as this agent knows."""

    def __init__(self) -> None:
        self.by_uuid: dict[str, float] = {}

    def see(self, observation: Observation) -> None:
        """Learn from one observation."""
        for gpu in observation.gpus:
            free = gpu.held is False and not gpu.runs and gpu.utilization_ratio == 0
            if free and gpu.power_watts is not None and gpu.power_watts >= LEAST_WATTS:
                self.by_uuid[gpu.uuid] = min(gpu.power_watts, self.by_uuid.get(gpu.uuid, math.inf))
        if len(self.by_uuid) > MAX_GPUS:
            self.by_uuid = {gpu.uuid: self.by_uuid[gpu.uuid] for gpu in observation.gpus if gpu.uuid in self.by_uuid}
