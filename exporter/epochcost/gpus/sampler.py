"""Reads the GPUs at a steady interval on a thread of its own, so that a hanging driver does not delay anything else."""

from __future__ import annotations

import logging
import math
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace

from epochcost.gpus.gpu_source import GpuError, GpuSource, RestartNeededError
from epochcost.model import GpuReading

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReadStats:
    """What came of the reads so far, as one value."""

    latest: GpuReading | None = None
    error: str | None = None
    duration_seconds: float | None = None


class Sampler:
    """Calls ``source.read`` every ``interval`` seconds until `stop`, whatever the source does.

    The newest good reading stays in `latest` with its own ``t``: its users check its age. Reads never overlap
    and never bunch up: a tick missed during a slow read is left out, the next one falls on the old grid.
    """

    def __init__(
        self,
        source: GpuSource,
        interval: float,
        clock: Callable[[], float],
        restart_needed: Callable[[str], None] | None = None,
    ) -> None:
        """``clock`` returns seconds on the node timeline; ``interval`` is in seconds, above 0.

        ``restart_needed`` is called with the reason, once, when only a new process can read the GPUs again.
        """
        if not 0 < interval < math.inf:
            raise ValueError(f"the sample interval must be above 0 s, not {interval!r}")
        self._source = source
        self._interval = interval
        self._clock = clock
        self._restart_needed = restart_needed
        self._attempts = ReadStats()
        self._reading_since: float | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="epochcost-gpus", daemon=True)

    @property
    def latest(self) -> GpuReading | None:
        """The newest reading that succeeded; None before the first."""
        return self._attempts.latest

    @property
    def error(self) -> str | None:
        """Why the last finished read failed; None when it succeeded or none finished yet."""
        return self._attempts.error

    @property
    def last_duration(self) -> float | None:
        """Seconds that the last finished read took; None before the first."""
        return self._attempts.duration_seconds

    def stuck_seconds(self, now: float) -> float:
        """How long the read under way has taken at ``now`` (node timeline); 0 when none is."""
        since = self._reading_since
        return 0.0 if since is None else max(0.0, now - since)

    def start(self) -> None:
        """Begin; the first read is made at once."""
        self._thread.start()

    def stop(self, timeout: float = 2.0) -> bool:
        """Stop reading and close the source; False when a read is still stuck in the driver after ``timeout`` seconds.

        A stuck thread cannot be ended from here; it is a daemon, so the process can end without it.
        """
        self._stopped.set()
        if self._thread.ident is None:
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stopped.wait(max(0.0, due - time.monotonic())):
            self._sample()
            due = next_due(due, self._interval, time.monotonic())
        self._source.close()

    def _sample(self) -> None:
        start = time.perf_counter()
        latest, failure = self._attempts.latest, None
        try:
            t = self._reading_since = self._clock()
            latest = self._source.read(t)
        except Exception as err:  # noqa: BLE001 - whatever one source does wrong, the sampler continues and reports it
            failure = err
        finally:
            self._reading_since = None
        error = self._restart_reason(failure)
        if isinstance(failure, RestartNeededError) and self._restart_needed is not None:
            reason, self._restart_needed = self._restart_needed, None
            reason(str(failure))
        seconds = time.perf_counter() - start
        if failure is None and latest is not None and latest.read_seconds is None:
            latest = replace(latest, read_seconds=seconds)
        self._attempts = ReadStats(latest, error, seconds)

    def _restart_reason(self, failure: Exception | None) -> str | None:
        """The failure as text; a change is logged, not every tick."""
        before = self._attempts.error
        if failure is None:
            if before:
                log.info("the GPUs can be read again")
            return None
        expected = isinstance(failure, GpuError)
        # Not str(): the text of an exception may itself raise.
        error = str(failure) if expected else traceback.format_exception_only(failure)[-1].strip()
        if error != before:
            log.warning("the GPUs cannot be read: %s", error, exc_info=None if expected else failure)
        return error


def next_due(due: float, interval: float, now: float) -> float:
    """The first tick after ``now`` on the grid of ``due``; ``due`` + ``interval`` while on time."""
    missed = max(0, math.floor((now - due) / interval))
    return due + (missed + 1) * interval
