"""The free hours that other machines of one account have used up, queried from the store on a thread of its own."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from epochcost.asking_thread import AskingThread
from epochcost.store.promql_client import quoted
from epochcost.store.store_access import connect
from epochcost.store.store_error import StoreError
from epochcost.store.store_settings import StoreSettings

log = logging.getLogger(__name__)
LOOK_SECONDS = 1.0
"""Interval between two checks for a due query."""
MAX_AGE_SECONDS = 300.0
"""A response older than this is not used: others have gone on."""
MARGIN_SECONDS = 5
"""Left out at the beginning of the period: a sample from just before it belongs to the previous period."""
MOST_SECONDS = 1e9
MAX_BYTES = 64 * 1024
"""Maximum size of a response, which is one figure."""
USED = "epochcost_node_free_used_seconds"


class AsksForHours(Protocol):
    """The store that is queried."""

    def fetch(self, limit: str, since_ts: float) -> float:
        """Seconds that other machines of the account have used of ``limit`` since then, or an exception."""
        ...


@dataclass(frozen=True, slots=True)
class StoredHours:
    """Queries the store of ``settings`` about ``account``, without this ``machine``, which knows its own hours."""

    settings: StoreSettings
    account: str
    machine: Callable[[], str]
    wall: Callable[[], float] = time.time

    def fetch(self, limit: str, since_ts: float) -> float:
        """See `AsksForHours`.

        Raises:
            StoreError: when the request fails, or the response cannot be used.
            SettingsError: when the settings cannot be used.
        """
        seconds = int(self.wall() - since_ts) - MARGIN_SECONDS
        if seconds <= 0:
            return 0.0
        fits = f"limit={quoted(limit)},account={quoted(self.account)},epochcost_machine!={quoted(self.machine())}"
        store = connect(self.settings)
        store.max_bytes = MAX_BYTES
        samples = store.at(f"sum(max by (epochcost_machine) (max_over_time({USED}{{{fits}}}[{seconds}s])))")
        used = math.fsum(sample.value for sample in samples)
        if not 0 <= used <= MOST_SECONDS:  # NaN fails too
            raise StoreError(f"{used:g} s of {limit} used by other machines is impossible")
        return used


class AccountHours(AskingThread):
    """Keeps the newest response about the limit and the period that were last requested."""

    def __init__(self, source: AsksForHours, interval: float, mono: Callable[[], float] = time.monotonic) -> None:
        super().__init__("epochcost-account-hours")
        self._source = source
        self._interval = interval
        self._mono = mono
        self._question: tuple[str, float] | None = None
        self._answer: tuple[tuple[str, float], float, float] | None = None

    def used(self, limit: str, since_ts: float) -> float | None:
        """Seconds that others have used of ``limit`` since then; None while that is not known."""
        self._question = limit, since_ts
        answer = self._answer
        if answer is None or answer[0] != self._question or self._mono() - answer[2] > MAX_AGE_SECONDS:
            return None
        return answer[1]

    def _run(self) -> None:
        pause = LOOK_SECONDS
        while not self._stop.wait(pause):
            pause = self._interval if self.ask() or self.error else LOOK_SECONDS

    def _ask(self) -> bool:
        question = self._question
        if question is None:
            return False
        try:
            used, error = self._source.fetch(*question), ""
        except Exception as err:  # noqa: BLE001 - whatever a store does wrong, metering continues without it
            error = str(err) or type(err).__name__
            if error != self.error:
                log.warning("free hours of the account: %s", error)
        else:
            self._answer = question, used, self._mono()
        self.error = error
        return not error
