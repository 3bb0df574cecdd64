"""Is the process that writes a file still there?"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Processes(Protocol):
    """What the kernel knows about processes; tests pass their own."""

    def namespace(self) -> int | None:
        """The namespace in which this process and `alive` count."""

    def alive(self, pid: int) -> bool:
        """Whether ``pid`` is there and not a zombie."""

    def lock_held(self, fd: int) -> bool:
        """Whether another process holds a lock on the open file ``fd``."""


class KernelProcesses:
    """The real ones."""

    def namespace(self) -> int | None:
        """The inode of this process's pid namespace; None without /proc."""
        try:
            return Path("/proc/self/ns/pid").stat().st_ino
        except OSError:
            return None

    def alive(self, pid: int) -> bool:
        """According to the kernel; of a process that may not be signalled it is enough that it exists."""
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except (PermissionError, OverflowError):
            return True
        try:
            return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[:1] not in ([b"Z"], [b"X"])
        except OSError:  # /proc may be hidden from us
            return True

    def lock_held(self, fd: int) -> bool:
        """Tried with a shared lock, for which read permission is enough; it is released at once."""
        try:
            fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        fcntl.lockf(fd, fcntl.LOCK_UN)
        return False


@dataclass(frozen=True, slots=True)
class WriterClaim:
    """What a writer reports about itself.

    Attributes:
        lock: that it holds the file's lock, which counts across containers.
        pid: its process id, which counts
        pidns: only within this namespace.
    """

    lock: bool
    pid: int | None
    pidns: int | None


def writer_alive(processes: Processes, claim: WriterClaim, *, fd: int | None, own_pid: int) -> bool | None:
    """Whether the writer of the open file ``fd`` lives; None if unknown.

    Args:
        processes: the kernel's.
        claim: of the writer.
        fd: the file; None when it was deleted.
        own_pid: of this process, whose own locks are invisible to it.
    """
    pid = claim.pid
    same_namespace = pid is not None and claim.pidns is not None and claim.pidns == processes.namespace()
    if same_namespace and pid == own_pid:
        return True
    if claim.lock and fd is not None:
        return processes.lock_held(fd)
    return processes.alive(pid) if same_namespace and pid is not None else None
