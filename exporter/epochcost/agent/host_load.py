"""Load of the machine's CPUs, disks and network over minutes: preparing data uses no GPU."""

from __future__ import annotations

import math

from epochcost.model import HostReading

WINDOW_SECONDS, LATELY_SECONDS = 300.0, 30.0
NOT_BUSY = ("idle", "iowait", "steal")


class HostLoad:
    """Means over about five minutes and over about half a minute, older readings counting less and less.

    Attributes:
        busy_cores: how many CPUs' worth was computed; None if that is not known.
        io_bytes_per_second: read and written by disks, and received; None if that is not known.
        busy_cores_lately, io_bytes_per_second_lately: the same two over half a minute: what has just begun is not yet
            seen in the means over minutes.
    """

    def __init__(self) -> None:
        self.busy_cores: float | None = None
        self.io_bytes_per_second: float | None = None
        self.busy_cores_lately: float | None = None
        self.io_bytes_per_second_lately: float | None = None
        self._last: HostReading | None = None

    def see(self, host: HostReading | None) -> None:
        """Learn from the newest reading; if there is none, nothing is known."""
        last, self._last = self._last, host
        if host is None:
            self.busy_cores = self.io_bytes_per_second = None
            self.busy_cores_lately = self.io_bytes_per_second_lately = None
            return
        if last is None or host.t <= last.t:
            return
        seconds = host.t - last.t
        cores = _rate(_busy_seconds(host), _busy_seconds(last), seconds)
        self.busy_cores = _mean(self.busy_cores, cores, seconds / WINDOW_SECONDS)
        self.busy_cores_lately = _mean(self.busy_cores_lately, cores, seconds / LATELY_SECONDS)
        io = _rate(_bytes(host), _bytes(last), seconds)
        self.io_bytes_per_second = _mean(self.io_bytes_per_second, io, seconds / WINDOW_SECONDS)
        self.io_bytes_per_second_lately = _mean(self.io_bytes_per_second_lately, io, seconds / LATELY_SECONDS)


def _rate(now: float | None, then: float | None, seconds: float) -> float | None:
    return None if now is None or then is None else max(0.0, now - then) / seconds


def _mean(before: float | None, rate: float | None, windows: float) -> float | None:
    """The history after a ``rate`` that lasted so many windows."""
    return rate if before is None or rate is None else rate + (before - rate) * math.exp(-windows)


def _busy_seconds(host: HostReading) -> float | None:
    return sum(s for state, s in host.cpu_seconds.items() if state not in NOT_BUSY) if host.cpu_seconds else None


def _bytes(host: HostReading) -> float | None:
    known = [n for n in (host.disk_read_bytes, host.disk_written_bytes, host.network_received_bytes) if n is not None]
    return float(sum(known)) if known else None
