"""A real terminal to run programs in: what a person would see, as bytes."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from typing import Any

EXEC = (sys.executable, "-m", "epochcost", "exec")


class Terminal:
    """``argv`` as the first process of a session with a terminal of its own."""

    def __init__(self, argv: Sequence[str], environ: Mapping[str, str], rows: int = 24, columns: int = 80) -> None:
        self.master, slave = os.openpty()
        self.output = b""
        self.status: int | None = None
        self.resize(rows, columns)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.setsid()
                fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
                for number in (0, 1, 2):
                    os.dup2(slave, number)
                os.execvpe(argv[0], list(argv), dict(environ))
            finally:
                os._exit(99)
        os.close(slave)

    def __enter__(self) -> Terminal:  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(self, *error: object) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()
        os.close(self.master)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: bytes) -> None:
        os.write(self.master, text)

    def modes(self) -> list[Any]:
        return termios.tcgetattr(self.master)

    def read_until(self, text: bytes, seconds: float = 20.0, after: int = 0) -> bytes:
        """The output, once ``text`` is in it, beyond the first ``after`` bytes."""
        deadline = time.monotonic() + seconds
        while text not in self.output[after:]:
            if not self._read(deadline):
                raise AssertionError(f"{text!r} was not seen in {self.output!r}")
        return self.output

    def wait(self, seconds: float = 20.0) -> int:
        """To the end of all output: the exit code, negative for a signal."""
        deadline = time.monotonic() + seconds
        while self._read(deadline):
            pass
        _, status = os.waitpid(self.pid, 0)
        self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise AssertionError(f"nothing came any more after {self.output[-2000:]!r}")
        try:
            data = os.read(self.master, 65536)
        except OSError:  # no process has the terminal open any more
            return False
        self.output += data
        return bool(data)
