"""The machine's CPUs, memory, disks and network as the agent samples them, and the boot that it is in."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from epochcost.agent.snapshot import CollectorHealth
from epochcost.gpus.host.host_source import HostError, HostSource, boot_id, boot_time
from epochcost.model import HostReading

log = logging.getLogger(__name__)
PACE_SECONDS = 3.0
"""Between two readings where the GPUs show what the node does: what is read here are counters, and memory."""
_EARLY_SECONDS = 0.5


class HostSampling:
    """Reads ``proc``, and what each of ``interfaces`` sent; what cannot be read is logged once, and in `health`."""

    def __init__(self, proc: Path, interfaces: Sequence[str] = ()) -> None:
        self._proc = proc
        self._source = HostSource(proc, interfaces=interfaces)
        self.boot_id = self._boot_id()
        """Distinguishes this boot from any other; empty if unknown."""
        self.health = CollectorHealth(success=True, duration_seconds=0.0)
        self._newest: HostReading | None = None

    def read(self, t: float, pace: float = 0.0) -> HostReading | None:
        """The machine at ``t`` (node timeline), or up to ``pace`` seconds before; None when it cannot be read."""
        newest = self._newest
        if newest is None or not 0.0 <= t - newest.t < pace - _EARLY_SECONDS:
            newest = self._newest = self._read(t)
        return newest

    def _read(self, t: float) -> HostReading | None:
        began = time.perf_counter()
        try:
            reading = self._source.read(t)
        except (HostError, OSError) as err:
            if str(err) != self.health.error:
                log.warning("host: %s", err)
            self.health = CollectorHealth(False, time.perf_counter() - began, str(err))  # noqa: FBT003
            return None
        self.health = CollectorHealth(success=True, duration_seconds=time.perf_counter() - began)
        return reading

    def boot_ts(self, now: float) -> float:
        """When the machine was booted; ``now`` where that is not known."""
        try:
            return boot_time(self._proc)
        except HostError as err:
            log.warning("the boot time of this machine is unknown, so its time counts from now: %s", err)
            return now

    def _boot_id(self) -> str:
        try:
            return boot_id(self._proc)
        except HostError as err:
            log.warning("cannot read the boot ID, so agent restarts cannot be distinguished from reboots: %s", err)
            return ""
