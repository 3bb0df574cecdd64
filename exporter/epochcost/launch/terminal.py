"""A terminal for the command's output that is as wide as ours, and does nothing to what is written into it."""

from __future__ import annotations

import fcntl
import os
import struct
import termios
from typing import Any

_IFLAG, _OFLAG, _CFLAG, _LFLAG = 0, 1, 2, 3
_OPOST = 1
_SIZE = struct.Struct("HHHH")


class OutputTerminal:
    """A pseudo-terminal in place of ``real``: the command writes to `slave`, we read `master`.

    The real terminal stays as it is and stays the command's controlling terminal, its input and its job control: only
    output takes this way. Output processing (newline to carriage return and newline) is left to the real one, so that
    it happens once. What the command changes in its settings is carried over to the real one.
    """

    def __init__(self, real: int) -> None:
        self.real = real
        self.master, self.slave = os.openpty()
        attributes = termios.tcgetattr(real)
        attributes[_OFLAG] &= ~_OPOST
        termios.tcsetattr(self.slave, termios.TCSANOW, attributes)
        self._known: list[Any] = termios.tcgetattr(self.master)
        self._size = b""
        self.resize()

    def resize(self) -> bool:
        """Apply the real terminal's size; True when it has changed."""
        try:
            size = fcntl.ioctl(self.real, termios.TIOCGWINSZ, bytes(_SIZE.size))
            if size == self._size:
                return False
            fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)
        except OSError:  # one of the two has hung up: it is no longer shown
            return False
        self._size = size
        return True

    def mirror(self) -> None:
        """Carry what the command changed (echo, line editing, keys) over to the real terminal."""
        try:
            now = termios.tcgetattr(self.master)
            if now == self._known:
                return
            self._known = now
            if os.tcgetpgrp(self.real) != os.getpgrp():
                return  # in the background it would not have been allowed either
            real = termios.tcgetattr(self.real)
            now = [*now[:_OFLAG], real[_OFLAG], *now[_OFLAG + 1 :]]
            termios.tcsetattr(self.real, termios.TCSANOW, now)
        except (OSError, termios.error):  # hung up
            return


def same_terminal(one: int, other: int) -> bool:
    """Whether both are the same terminal."""
    try:
        return os.isatty(one) and os.isatty(other) and os.fstat(one).st_rdev == os.fstat(other).st_rdev
    except OSError:
        return False
