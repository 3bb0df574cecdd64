"""Instantaneous values of a driver, integrated over the readings of one GPU."""

from __future__ import annotations

import math

from epochcost.gpus.nvml.nvml_figures import THROTTLE_REASONS

LONGEST_SECONDS = 5.0
"""What was drawn and why the clocks were low over a longer span without a reading is not known, and not counted."""


class Integrator:
    """Seconds throttled by reason, and joules, of one GPU since the agent's start."""

    def __init__(self) -> None:
        self.throttle_seconds: dict[str, float] = dict.fromkeys(THROTTLE_REASONS, 0.0)
        self.joules: float | None = None
        self._throttled_t = -math.inf
        self._power_t = -math.inf
        self.longest_seconds = LONGEST_SECONDS
        """As `LONGEST_SECONDS`, for a driver that is slow."""

    def throttled(self, t: float, reasons: tuple[str, ...]) -> None:
        """At ``t`` the clocks are held down for ``reasons``; the time since the reading before counts for them."""
        seconds = self._span(self._throttled_t, t)
        self._throttled_t = t
        if reasons and seconds:
            longer = {reason: self.throttle_seconds[reason] + seconds for reason in reasons}
            self.throttle_seconds = {**self.throttle_seconds, **longer}

    def drew(self, t: float, watts: float) -> None:
        """At ``t`` the GPU draws ``watts``; so it did since the reading before."""
        if not math.isinf(self._power_t):
            self.joules = (self.joules or 0.0) + watts * self._span(self._power_t, t)
        self._power_t = t

    def _span(self, before: float, t: float) -> float:
        return t - before if 0 <= t - before <= self.longest_seconds else 0.0
