"""What went to and from the disks and the network since the agent's start: whole physical devices only, summed.

Partitions, loop devices, RAID and LVM would count the same bytes again; bridges, bonds and a container's own interface
the same way. So a container outside the host's network has no network metrics, rather than its own small ones.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from epochcost.gpus.kernel_file import are_counts, text_of

log = logging.getLogger(__name__)

SECTOR_BYTES = 512
"""In ``/proc/diskstats``, whatever the disk's own sectors are."""
LEAST_DISK_COLUMNS = 14
LEAST_NETWORK_COLUMNS = 16
Pair = tuple[int, int]
"""Bytes in (read, received) and out (written, sent)."""


class CountersError(Exception):
    """A file cannot be read or understood; the text names the file and the line."""


@dataclass(slots=True)
class Integrator:
    """Sums what each device's own counters grew by, so that one that disappears or is reset makes no step down."""

    before: dict[str, Pair] | None = None
    sums: Pair = (0, 0)

    def add(self, counts: Mapping[str, Pair]) -> Pair:
        """The sums with what ``counts`` have grown by; the first counts are where they begin."""
        known = self.before if self.before is not None else dict(counts)
        for name, now in counts.items():
            was = known.get(name, (0, 0))
            self.sums = (self.sums[0] + _grown(was[0], now[0]), self.sums[1] + _grown(was[1], now[1]))
        self.before = {**known, **counts}
        return self.sums


def _grown(was: int, now: int) -> int:
    return now - was if now >= was else now


class HostCounters:
    """Disks and network of this machine; a file that cannot be read costs its own figures and one log line."""

    def __init__(self, proc: Path, sys: Path) -> None:
        self._disks = _Counted(proc / "diskstats", sys / "block", parse_diskstats)
        self._network = _Counted(proc / "net/dev", sys / "class/net", parse_network)

    def disk_bytes(self) -> Pair | None:
        """Bytes read and written since the first call; None if no physical disk can be seen."""
        return self._disks.read()

    def network_bytes(self) -> Pair | None:
        """Bytes received and sent since the first call; None if no physical interface can be seen."""
        return self._network.read()

    def sent_bytes(self, names: Collection[str]) -> dict[str, int]:
        """What each of ``names`` that is there has sent since the boot, as of the last `network_bytes`."""
        return {name: self._network.counts[name][1] for name in names if name in self._network.counts}


class _Counted:
    def __init__(self, file: Path, devices: Path, parse: Callable[[str, str], dict[str, Pair]]) -> None:
        self._file, self._devices, self._parse = str(file), devices, parse
        self._integrator = Integrator()
        self._seen: set[str] = set()
        self._physical: list[str] = []
        self._error = ""
        self.counts: Mapping[str, Pair] = {}
        """As last read, of all devices, since the boot."""

    def read(self) -> Pair | None:
        try:
            counts = self._parse(text_of(self._file), self._file)
        except (OSError, CountersError) as err:
            error = f"{self._file}: {err.strerror or err}" if isinstance(err, OSError) else str(err)
            if error != self._error:
                log.warning("left out: %s", error)
            self._error = error
            self.counts = {}
            return None
        self._error = ""
        self.counts = counts
        if counts.keys() != self._seen:
            self._seen = set(counts)
            self._physical = [name for name in counts if (self._devices / name / "device").exists()]
        return self._integrator.add({name: counts[name] for name in self._physical}) if self._physical else None


def parse_diskstats(text: str, where: str) -> dict[str, Pair]:
    """Bytes read and written since boot by block device, from the text of ``/proc/diskstats``.

    Raises:
        CountersError: naming ``where`` and the line.
    """
    counts = {}
    for number, line in enumerate(text.splitlines(), start=1):
        columns = line.split()
        if len(columns) < LEAST_DISK_COLUMNS or not are_counts(columns[5], columns[9]) or "/" in columns[2]:
            raise CountersError(f"{where}:{number}: expected a disk and 11 counts, found {line[:80]!r}")
        counts[columns[2]] = (int(columns[5]) * SECTOR_BYTES, int(columns[9]) * SECTOR_BYTES)
    return counts


def parse_network(text: str, where: str) -> dict[str, Pair]:
    """Bytes received and sent since boot by interface, from the text of ``/proc/net/dev``.

    Raises:
        CountersError: naming ``where`` and the line.
    """
    counts = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if "|" in line:  # the two lines of headings
            continue
        name, _, rest = line.partition(":")
        columns = rest.split()
        if len(columns) < LEAST_NETWORK_COLUMNS or not are_counts(columns[0], columns[8]) or "/" in name:
            raise CountersError(f"{where}:{number}: expected an interface and 16 counts, found {line[:80]!r}")
        counts[name.strip()] = (int(columns[0]), int(columns[8]))
    return counts
