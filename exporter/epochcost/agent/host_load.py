"""Load of the machine's CPUs, disks and network over minutes: preparing data uses no GPU."""

from __future__ import annotations

import math

from epochcost.model import HostReading

WINDOW_SECONDS = 300.0
NOT_BUSY = ("idle", "iowait", "steal")


class HostLoad:
    """Means over about five minutes, older ones counting less and less.

    Attributes:
        busy_cores: how many CPUs' worth was computed; None if that is not known.
        io_bytes_per_second: read and written by disks, and received; None if that is not known.
    """

    def __init__(self) -> None:
        self.busy_cores: float | None = None
        self.io_bytes_per_second: float | None = None
        self._last: HostReading | None = None

    def see(self, host: HostReading | None) -> None:
        """Learn from the newest reading; one that is not there says that nothing is known."""
        last, self._last = self._last, host
        if host is None:
            self.busy_cores = self.io_bytes_per_second = None
            return
        if last is None or host.t <= last.t:
            return
        seconds = host.t - last.t
        self.busy_cores = _mean(self.busy_cores, _busy_seconds(host), _busy_seconds(last), seconds)
        self.io_bytes_per_second = _mean(self.io_bytes_per_second, _bytes(host), _bytes(last), seconds)


def _mean(before: float | None, now: float | None, then: float | None, seconds: float) -> float | None:
    if now is None or then is None:
        return None
    rate = max(0.0, now - then) / seconds
    return rate if before is None else rate + (before - rate) * math.exp(-seconds / WINDOW_SECONDS)


def _busy_seconds(host: HostReading) -> float | None:
    return sum(s for state, s in host.cpu_seconds.items() if state not in NOT_BUSY) if host.cpu_seconds else None


def _bytes(host: HostReading) -> float | None:
    known = [n for n in (host.disk_read_bytes, host.disk_written_bytes, host.network_received_bytes) if n is not None]
    return float(sum(known)) if known else None
