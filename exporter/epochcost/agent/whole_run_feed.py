"""Queries a store for whole runs, on a thread of its own: never on a scrape, never in the sampling loop."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from epochcost.agent.snapshot import RunView, Snapshot, StoredRun
from epochcost.asking_thread import AskingThread

log = logging.getLogger(__name__)
LOOK_SECONDS = 1.0
"""Interval between two checks for a run to query."""
SLOWEST_SECONDS = 300.0
MAX_AGE_SECONDS = 300.0
"""A response older than this is not shown: other machines' parts have grown since."""
NOT_QUERIED = "the store has not been queried yet"
NOT_THERE = (
    "the store has no figures for this machine's part yet: does it scrape this agent and load epochcost's rules?"
)


class AsksForRuns(Protocol):
    """The store that is queried."""

    def fetch(self, machine: str, parts: Mapping[str, str]) -> Mapping[str, StoredRun]:
        """Return the figures, or raise an exception whose text contains the reason."""
        ...


class WholeRunFeed(AskingThread):
    """Keeps the newest response, and adds it to the runs of a snapshot.

    Args:
        source: the store.
        interval: seconds between two requests; after a failure they double, up to five minutes.
        mono: seconds that never jump.
    """

    def __init__(
        self,
        source: AsksForRuns,
        interval: float,
        mono: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__("epochcost-store")
        self._source = source
        self._interval = interval
        self._mono = mono
        self._machine = ""
        self._parts: Mapping[str, str] = {}
        self._answer: tuple[Mapping[str, StoredRun], float] | None = None

    def added_to(self, snapshot: Snapshot) -> Snapshot:
        """``snapshot`` with what the store has of its runs, or why it has not."""
        self._machine, self._parts = snapshot.machine, {view.run: view.part for view in snapshot.runs}
        return dataclasses.replace(snapshot, runs=tuple(map(self._with_stored, snapshot.runs)))

    def _with_stored(self, view: RunView) -> RunView:
        answer = self._answer
        if answer is None:
            return dataclasses.replace(view, store_note=self.error or NOT_QUERIED)
        stored, came = answer
        if self._mono() - came > max(MAX_AGE_SECONDS, 2 * self._interval):
            return dataclasses.replace(view, store_note=self.error or "the store's last response is too old")
        whole = stored.get(view.run)
        return dataclasses.replace(view, stored=whole, store_note="" if whole else NOT_THERE)

    def _run(self) -> None:
        pause = LOOK_SECONDS
        while not self._stop.wait(pause):
            if not self._parts:
                pause = LOOK_SECONDS
            elif self.ask():
                pause = self._interval
            else:
                pause = min(SLOWEST_SECONDS, max(self._interval, 2 * pause))

    def _ask(self) -> bool:
        began, machine, parts, error = time.perf_counter(), self._machine, self._parts, ""
        try:
            self._answer = (dict(self._source.fetch(machine, parts)), self._mono())
        except Exception as err:  # noqa: BLE001 - whatever a store does wrong, metering continues without it
            error = str(err) or type(err).__name__
            if error != self.error:
                log.warning("store: %s", error)
        if not error and self.error:
            log.info("store: responding again")
        self.error, self.last_duration = error, time.perf_counter() - began
        return not error
