"""A guard around one metrics collector: prometheus_client lets one failure fail the whole scrape."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import Any

from epochcost.metric_families import Collects


class Guarded:
    """A collector that yields all of another's metrics or, when that one raises, none of them.

    One that continues without some of its metrics has a non-empty attribute ``problem``.

    Attributes:
        success: how the last collection went; None before the first.
        duration_seconds: what it took; None before the first.
        error: what it raised, for people; empty after a success.
    """

    def __init__(self, collector: Collects, name: str, log: logging.Logger) -> None:
        self.name = name
        self.success: bool | None = None
        self.duration_seconds: float | None = None
        self.error = ""
        self._collector = collector
        self._log = log

    def describe(self) -> Iterable[Any]:
        """Nothing: so that registering does not collect."""
        return ()

    def collect(self) -> Iterable[Any]:
        """Everything or nothing; a failure is logged once for as long as it stays the same."""
        began = time.perf_counter()
        try:
            metrics = list(self._collector.collect())
            error = getattr(self._collector, "problem", "")
            if error and error != self.error:
                self._log.warning("collector %s: some of its metrics are absent: %s", self.name, error)
        except Exception as err:  # noqa: BLE001 - whatever a collector raises, the other metrics must be served
            metrics = []
            error = f"{type(err).__name__}: {err}"
            if error != self.error:
                self._log.warning("collector %s failed, its metrics are absent: %s", self.name, error, exc_info=True)
        self.duration_seconds = time.perf_counter() - began
        self.success = not error
        self.error = error
        return metrics
