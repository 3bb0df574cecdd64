"""One file of JSON lines, appended to by one process; a failure causes no more than one warning."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from epochcost.training.host import name_in_files
from epochcost.training.warning import warn_once

try:
    import fcntl
except ImportError:  # not a POSIX system: files without locks
    fcntl = None  # type: ignore[assignment]

MAX_FAILURES = 3
"""In a row; then the warning is logged, and the file is tried again ever more seldom."""
LONGEST_PAUSE_SECONDS = 60.0
CHECK_EVERY = 64
"""Lines between two checks that the file is still there and ours, which take three system calls."""
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
# O_NONBLOCK: whatever is in place of a regular file, opening and writing return at once.
_FLAGS |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


class Writer(Protocol):
    """Where the lines of one process go. No method ever raises, nor waits for others."""

    name: str
    replaces: str
    locked: bool
    dead: bool

    def attach(self) -> bool:
        """Make sure that lines can be put; True if what was written before must be written again."""
        ...

    def check(self) -> bool:
        """As `attach`, with a closer look."""
        ...

    def put(self, line: bytes) -> bool:
        """Take a line; False when it is lost."""
        ...

    def close(self) -> None:
        """The last line was put."""
        ...

    def mute(self) -> None:
        """In a forked child: write nothing any longer."""
        ...


class EventWriter:
    """Appends lines to a file of its own in ``directory()``, each with one write and no fsync.

    The file is locked (POSIX: not inherited by children, released by the kernel when the process dies), so that the
    agent can distinguish a silent process from a dead one, in any container. A full disk or a missing directory may
    come back: after `MAX_FAILURES` failures in a row the writer warns once, and tries again after a pause. A forked
    child's copy is `dead` from the start.

    Attributes:
        name: of the file; empty before the first.
        replaces: name of the previous file, which was deleted while it was written; empty otherwise.
        locked: whether the file's lock is held.
    """

    def __init__(self, directory: Callable[[], Path], run: str) -> None:
        self._directory = directory
        self._run = run
        self._fd = -1
        self._path = ""
        self._torn = False
        self._failures = 0
        self._retry_at = 0.0
        self._unsent = b""
        self._lines = 0
        self._error = OSError("nothing failed")
        self._pid = os.getpid()
        self.name = ""
        self.replaces = ""
        self.locked = False
        self.dead = False

    def attach(self) -> bool:
        """Make sure that there is a file to write to; True when it is a new one. Raises nothing: see `dead`."""
        self._lines += 1
        if self.dead or (self._fd >= 0 and self._lines % CHECK_EVERY):
            return False
        return self.check()

    def check(self) -> bool:
        """As `attach`, looking at the file itself whatever the count of lines."""
        if self.dead or self._pid != os.getpid():
            self.dead = True
            return False
        if self._failures and self._pausing:
            return False
        try:
            if self._fd >= 0 and os.fstat(self._fd).st_nlink > 0:
                self.locked = self.locked and _lock(self._fd)  # a reader in this very process may have dropped it
                return False
            self._detach()
            self._open()
        except OSError as err:
            self._failed(err)
            return False
        return True

    def put(self, line: bytes) -> bool:
        """Append ``line`` (with its newline); False when it could not be written."""
        if self.dead or self._fd < 0:
            return False
        if self._failures:
            if self._pausing:
                self._unsent = line
                return False
            self._unsent = b""
        try:
            data = b"\n" + line if self._torn else line
            written = os.write(self._fd, data)
            if written < len(data):
                self._torn = True
                raise OSError(f"{self._path}: only {written} of {len(data)} bytes could be written")
        except OSError as err:
            self._failed(err)
            return False
        self._torn = False
        self._failures = 0
        return True

    def close(self) -> None:
        """Close the file, which releases the lock; warns if nothing at all could be written."""
        if self._unsent:  # the last line need not wait for the end of a pause
            self._retry_at = 0.0
            self.put(self._unsent)
        if self._failures and not self.name and not self.dead:
            self._say(self._error)
        self._detach()
        self.dead = True

    def mute(self) -> None:
        """In a forked child: the parent's file and lock are none of its business."""
        self._detach()
        self.dead = True

    def _open(self) -> None:
        directory = self._directory()
        name = f"{self._run[:100]}-{name_in_files()}-{os.getpid()}-{os.urandom(3).hex()}.jsonl"
        fd = os.open(directory / name, _FLAGS, 0o644)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(f"{directory / name}: not a regular file")
        self.replaces, self.name = self.name, name
        self._fd, self._path, self._torn = fd, str(directory / name), False
        self.locked = _lock(fd)

    def _detach(self) -> None:
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        try:
            os.close(fd)
        except OSError as err:
            self._error = err

    def _failed(self, err: OSError) -> None:
        self._error = err
        self._failures += 1
        if self._failures >= MAX_FAILURES:
            pause = min(LONGEST_PAUSE_SECONDS, 2.0 ** min(10, self._failures - MAX_FAILURES))
            self._retry_at = time.monotonic() + pause
            self._say(err)

    @property
    def _pausing(self) -> bool:
        return self._failures >= MAX_FAILURES and time.monotonic() < self._retry_at

    def _say(self, err: OSError) -> None:
        where = "" if err.filename or not self._path or self._path in str(err) else f"{self._path}: "
        warn_once(
            "writer",
            f"this run is no longer reported: {where}{err}; training continues, and reporting is retried",
        )


def _lock(fd: int) -> bool:
    if fcntl is None:
        return False
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # a filesystem without locks: this is reported, and the agent watches the process instead
        return False
    return True
