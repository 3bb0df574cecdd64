"""A lock on the events directory, for processes that choose a name in it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

LONGEST_WAIT_SECONDS = 1.0
"""Choosing a name takes milliseconds. Any user may lock a readable directory: a longer holder is not one of us."""
PAUSE_SECONDS = 0.002


@contextmanager
def locked_directory(directory: Callable[[], Path]) -> Iterator[None]:
    """Hold the lock of ``directory()`` within the context; if it cannot be acquired in time, continue without it.

    Nothing is written: the directory itself is locked (``flock``), and the kernel releases it when the process dies.
    """
    fd = _locked(directory)
    try:
        yield
    finally:
        if fd >= 0:
            fcntl.flock(fd, fcntl.LOCK_UN)  # closing is not enough: another thread may have forked meanwhile
            os.close(fd)


def _locked(directory: Callable[[], Path]) -> int:
    """A file descriptor that holds the lock; -1 without one."""
    if fcntl is None:
        return -1
    try:
        fd = os.open(directory(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:  # nothing can be written there either, which the writer reports
        return -1
    deadline = time.monotonic() + LONGEST_WAIT_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(PAUSE_SECONDS)
                continue
        except OSError:  # a file system without locks
            pass
        else:
            return fd
        os.close(fd)
        return -1
