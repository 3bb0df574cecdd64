"""The machine itself from the kernel's ``/proc``: CPU time, memory, disks and network, boot.

In a container ``/proc`` still shows the whole machine. That is right here: the whole machine is what is paid.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from epochcost.gpus import kernel_file
from epochcost.gpus.host.host_counters import HostCounters
from epochcost.gpus.kernel_file import are_counts
from epochcost.model import HostReading

PROC = Path("/proc")
SYS = Path("/sys")
CPU_STATES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")
"""Columns of the ``cpu`` line in proc(5); old kernels have fewer."""
LEAST_CPU_COLUMNS = 4


class HostError(Exception):
    """A file of ``/proc`` cannot be read or understood; the text names the file and the line."""


class HostSource:
    """CPU, memory, disks and network of this machine; CPU utilisation is over the span since the read before."""

    name = "host"

    def __init__(self, proc: Path = PROC, sys: Path = SYS, interfaces: Sequence[str] = ()) -> None:
        self._interfaces = tuple(interfaces)
        self._stat, self._meminfo = str(proc / "stat"), str(proc / "meminfo")
        self._ticks_per_second = os.sysconf("SC_CLK_TCK")
        self._before: Mapping[str, float] = {}
        self._counters = HostCounters(proc, sys)

    def read(self, t: float) -> HostReading:
        """The machine now, stamped ``t`` (seconds, node timeline).

        Raises:
            HostError: naming the file and the line.
        """
        cpu_seconds = parse_cpu_seconds(_text_of(self._stat), self._stat, self._ticks_per_second)
        used, total = parse_memory(_text_of(self._meminfo), self._meminfo)
        before, self._before = self._before, cpu_seconds
        disk, network = self._counters.disk_bytes(), self._counters.network_bytes()
        return HostReading(
            t=t,
            cpu_utilization_ratio=utilization(before, cpu_seconds) if before else None,
            cpu_seconds=cpu_seconds,
            memory_used_bytes=used,
            memory_total_bytes=total,
            disk_read_bytes=disk[0] if disk else None,
            disk_written_bytes=disk[1] if disk else None,
            network_received_bytes=network[0] if network else None,
            network_sent_bytes=network[1] if network else None,
            sent_bytes_by_interface=self._counters.sent_bytes(self._interfaces),
        )


def boot_time(proc: Path = PROC) -> float:
    """When this machine booted, in seconds since the Unix epoch by its wall clock.

    Raises:
        HostError: naming the file and the line.
    """
    path = str(proc / "stat")
    number, line = _line(_text_of(path), "btime", path)
    match = re.fullmatch(r"btime\s+(\d{1,12})", line)
    if not match or int(match[1]) == 0:
        raise HostError(f"{path}:{number}: expected btime and seconds above 0, found {line[:80]!r}")
    return float(match[1])


def boot_id(proc: Path = PROC) -> str:
    """The kernel's name for this boot, a UUID in lower case: another one means that the machine was rebooted.

    Raises:
        HostError: naming the file and the line.
    """
    path = str(proc / "sys/kernel/random/boot_id")
    text = _text_of(path).strip().lower()
    if not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text):
        raise HostError(f"{path}:1: expected a UUID, found {text[:80]!r}")
    return text


def parse_cpu_seconds(text: str, where: str, ticks_per_second: int) -> dict[str, float]:
    """CPU-seconds since boot by state, summed over all CPUs, from the text of ``/proc/stat``.

    The kernel counts a guest's time in ``user`` and ``nice`` too: it is taken out there, so that the states sum to the
    whole. ``steal`` is time that the hypervisor gave to other machines.

    Raises:
        HostError: naming ``where`` and the line.
    """
    number, line = _line(text, "cpu", where)
    columns = line.split()[1:]
    if len(columns) < LEAST_CPU_COLUMNS or not are_counts(*columns):
        raise HostError(f"{where}:{number}: expected cpu and at least 4 counts, found {line[:80]!r}")
    ticks = dict(zip(CPU_STATES, map(int, columns), strict=False))
    guest_nice = ticks.pop("guest_nice", 0)
    if "guest" in ticks:
        ticks["user"] = max(0, ticks["user"] - ticks["guest"])
        ticks["nice"] = max(0, ticks["nice"] - guest_nice)
        ticks["guest"] += guest_nice
    return {state: count / ticks_per_second for state, count in ticks.items()}


def utilization(before: Mapping[str, float], after: Mapping[str, float]) -> float | None:
    """Share of CPU time between two readings that was not ``idle`` or ``iowait``, 0-1; None if no time went by."""
    total = sum(after.values()) - sum(before.values())
    if total <= 0:
        return None
    waiting = sum(after.get(state, 0.0) - before.get(state, 0.0) for state in ("idle", "iowait"))
    return min(1.0, max(0.0, 1 - waiting / total))  # the kernel's idle counters may step back a little


def parse_memory(text: str, where: str) -> tuple[int | None, int]:
    """Bytes used (total - available; None on a kernel that does not report it) and total, from ``/proc/meminfo``.

    Raises:
        HostError: naming ``where`` and the line.
    """
    total = _memory_field(text, "MemTotal", where)
    if not total:
        raise HostError(f"{where}: MemTotal must be above 0, found {total}")
    if not re.search(r"^MemAvailable:", text, re.MULTILINE):  # before Linux 3.14
        return None, total
    available = _memory_field(text, "MemAvailable", where)
    if available > total:
        raise HostError(f"{where}: MemAvailable of {available} bytes is above MemTotal of {total}")
    return total - available, total


def _memory_field(text: str, name: str, where: str) -> int:
    number, line = _line(text, f"{name}:", where)
    match = re.fullmatch(r"\w+:\s*([0-9]{1,15}) kB", line)
    if not match:
        raise HostError(f"{where}:{number}: expected {name} in kB, found {line[:80]!r}")
    return int(match[1]) * 1024


def _line(text: str, first_word: str, where: str) -> tuple[int, str]:
    match = _beginning_with(first_word).search(text)
    if match is None:
        raise HostError(f"{where}: no line begins with {first_word!r}")
    return text.count("\n", 0, match.start()) + 1, match[0].strip()


@functools.cache
def _beginning_with(first_word: str) -> re.Pattern[str]:
    return re.compile(rf"^[ \t]*{re.escape(first_word)}(?:[ \t].*)?$", re.MULTILINE)


def _text_of(path: str) -> str:
    try:
        return kernel_file.text_of(path)
    except OSError as err:
        raise HostError(f"{path}: {err.strerror or err}") from err
