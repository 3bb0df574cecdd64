"""Processes that were stopped on purpose: by a scheduler that suspends a job, a debugger, a paused container."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

STOPPED = ("T", "t")
"""The kernel's states of processes stopped by a signal, or by a tracer."""
CGROUPS = Path("/sys/fs/cgroup")
_MAX_BYTES = 65536


def suspended(pids: Iterable[int], proc: Path = Path("/proc"), cgroups: Path = CGROUPS) -> str:
    """Why one of ``pids`` was stopped on purpose; empty if none is known to."""
    for pid in pids:
        fields = dict(line.partition(":")[::2] for line in _text(proc / str(pid) / "status").splitlines())
        if fields.get("State", "").strip().startswith(STOPPED):
            return f"process {pid} is stopped"
        if fields.get("TracerPid", "0").strip() not in ("", "0"):
            return f"a debugger is attached to process {pid}"
        path = next((line[3:] for line in _text(proc / str(pid) / "cgroup").splitlines() if line[:3] == "0::"), "")
        if path and "frozen 1" in _text(cgroups / path.lstrip("/") / "cgroup.events").splitlines():
            return f"process {pid} is frozen"
    return ""


def _text(path: Path) -> str:
    """What the kernel reports there; nothing of a process that is gone, or is not seen from here."""
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
