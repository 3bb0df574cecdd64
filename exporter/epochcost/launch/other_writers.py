"""Other writers of events of this run, or of this command, in the same directory."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HEAD_BYTES = 8192
MAX_ANCESTORS = 64
MAX_SECONDS = 1e11
NOBODY = -1
WRITER, EXEC = "writer", "exec"
"""Marks the lines of writers like us: two of them never give way to each other."""


@dataclass(frozen=True, slots=True)
class OtherWriter:
    """A training run that reports by itself: its file, its run, when it began by both clocks, in seconds."""

    name: str
    run: str
    ts: float
    mono: float


class OtherWriters:
    """Looks at event files that were made since; each is reported once, when its first line is there.

    Args:
        directory: of the events.
        run: whose other writers count wherever they run.
        pid: of the command, whose descendants count whatever their run.
    """

    def __init__(self, directory: Path, run: str, pid: int) -> None:
        self._directory = directory
        self._run = run
        self._pid = pid
        self._changed_ns = -1
        self._again = False
        self._namespace = _namespace()
        self._known = set(self._listed())

    def look(self) -> list[OtherWriter]:
        """Those that came since the last look; next to nothing while the directory does not change."""
        try:
            changed = self._directory.stat().st_mtime_ns
        except OSError:  # gone: so are its files
            return []
        if changed == self._changed_ns and not self._again:
            return []
        self._changed_ns, self._again = changed, False
        writers: list[OtherWriter] = []
        for name in self._listed() - self._known:
            head, owner = self._head(name)
            if head is None:
                self._again = True  # made, and nothing in it yet
                continue
            self._known.add(name)
            if (one := self._neighbour(name, head, owner)) is not None:
                writers.append(one)
        return sorted(writers, key=lambda one: one.mono)

    def _listed(self) -> set[str]:
        try:
            return {name for name in os.listdir(self._directory) if name.endswith(".jsonl")}  # noqa: PTH208 - names
        except OSError:
            return set()

    def _head(self, name: str) -> tuple[bytes | None, int]:
        """The first line (empty if there is none, None if it may come yet), and the owner of the file."""
        try:
            beginning, owner = _beginning(self._directory / name)
        except OSError:
            return b"", NOBODY
        line, newline, _ = beginning.partition(b"\n")
        return (line if newline or len(line) == HEAD_BYTES else None), owner

    def _neighbour(self, name: str, head: bytes, owner: int) -> OtherWriter | None:
        try:
            event: Any = json.loads(head)
        except (ValueError, RecursionError):
            return None
        if not isinstance(event, dict) or EXEC in (
            event.get(WRITER),
            event.get("launcher"),
        ):  # as versions before wrote
            return None
        run, ts, mono = event.get("run"), _time(event.get("ts")), _time(event.get("mono"))
        if not isinstance(run, str) or ts is None or mono is None:
            return None
        # Another user may write any name and number into a file: it proves nothing about our run.
        pid, mine = event.get("pid"), owner == os.geteuid()
        by_name = run == self._run and mine
        if not by_name and not (self._ours(pid, event.get("pidns")) and (mine or owner == _user_of(pid))):
            return None
        return OtherWriter(name, run, ts, mono)

    def _ours(self, pid: object, namespace: object) -> bool:
        """Whether ``pid`` is the command or a process that it started."""
        if type(pid) is not int or namespace is None or namespace != self._namespace:
            return False
        for _ in range(MAX_ANCESTORS):
            if pid == self._pid:
                return True
            if (pid := _parent(pid)) <= 1:
                return False
        return False


def _beginning(path: Path) -> tuple[bytes, int]:
    """Any user may write to the directory: a pipe in place of the file would block the command's output for ever."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        return (os.read(fd, HEAD_BYTES) if stat.S_ISREG(status.st_mode) else b"\n"), status.st_uid
    finally:
        os.close(fd)


def _time(value: object) -> float | None:
    """Seconds; a number of four hundred digits is none."""
    if not isinstance(value, (int, float)) or not 0 <= value < MAX_SECONDS:
        return None
    return float(value)


def _user_of(pid: object) -> int:
    """User of the process: the command may have given up root."""
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return NOBODY


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def _namespace() -> int | None:
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:  # no /proc: parent processes are unknown
        return None
