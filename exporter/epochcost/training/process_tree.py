"""The processes above this one, by which a shell finds its run again that holds no file open and no lock."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

KEY = "shells"
"""In lines of ``epochcost event``: the processes that wrote them."""
MOST_PROCESSES = 24


def processes_above() -> list[str]:
    """This process and those above it, nearest first, each as ``PID.START``; empty if the kernel does not report them.

    A number is used again, but not with the same start (ticks since the boot).
    """
    processes: list[str] = []
    pid = os.getpid()
    while pid > 1 and len(processes) < MOST_PROCESSES:
        parent, start = _status(pid)
        if not start:
            break
        processes.append(f"{pid}.{start}")
        pid = parent
    return processes


def written_by(line: Mapping[str, object]) -> list[str]:
    """What `processes_above` returned in the process that wrote ``line``; empty if unknown, or on another machine."""
    named = line.get(KEY)
    if not isinstance(named, list) or line.get("pidns") != namespace():
        return []
    return [one for one in named[:MOST_PROCESSES] if isinstance(one, str)]


def nearest_common(other: Sequence[str], this: Sequence[str]) -> int:
    """How far above this process the first one is that is also above theirs; beyond all if there is none."""
    known = set(other)
    return next((steps for steps, one in enumerate(this) if one in known), MOST_PROCESSES)


def is_anothers(other: Sequence[str], this: Sequence[str]) -> bool:
    """Whether a process that is above theirs, and not above this one, still runs: another shell, beside this one."""
    return any(_runs(one) for one in other if one not in this)


def namespace() -> int | None:
    """In which process numbers mean the same; None without /proc."""
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return None


def _runs(process: str) -> bool:
    pid, _, start = process.partition(".")
    return pid.isascii() and pid.isdecimal() and len(pid) < 11 and _status(int(pid))[1] == start != ""  # noqa: PLR2004


def _status(pid: int) -> tuple[int, str]:
    """The parent of a process and its start; 0 and empty for one that is gone, or ended and not waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return (0, "") if fields[0] in (b"Z", b"X") else (int(fields[1]), fields[19].decode("ascii"))
    except (OSError, ValueError, IndexError):
        return 0, ""
