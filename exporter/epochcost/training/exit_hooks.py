"""How a run ends when its own code does not say so: SIGTERM, the end of the interpreter, a fork."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any, Protocol


class Ending(Protocol):
    """An open run, as far as its end goes."""

    def end(self, status: str = "finished") -> None:
        """Write the end, once."""

    def preempt(self) -> None:
        """The process was told to go, but may go on for a while."""

    def mute(self) -> None:
        """This is a forked child: never write again."""


class Endings:
    """The open runs of this process, and the hooks that are set while there are any.

    The hooks leave no trace: the SIGTERM handler that was there is called by ours and put back after the last run; the
    default action stays the default action, exit status included; a forked child gets back what was there.
    """

    def __init__(self) -> None:
        self.open: list[Ending] = []
        self._hooked = False
        self._before: Any = None
        self._signal_set = False
        self._last_error: object = None
        self.inherited = False
        """Whether this process was forked while runs were open: those are the parent's, and their silence is right."""

    def opened(self, run: Ending, *, reports: bool) -> None:
        """``run`` began; one that reports nothing needs no hooks."""
        self.open.append(run)
        self._last_error = _uncaught()
        if not reports:
            return
        if not self._hooked:
            self._hooked = True
            atexit.register(self._at_exit)
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=self._in_child)
        self._set_signal()

    def closed(self, run: Ending) -> None:
        """``run`` ended."""
        if run in self.open:
            self.open.remove(run)
        if not self.open:
            self._restore_signal()

    def _set_signal(self) -> None:
        if self._signal_set or threading.current_thread() is not threading.main_thread():
            return
        before = signal.getsignal(signal.SIGTERM)
        # SIG_IGN is somebody's wish, None a handler set outside Python that could not be called from here.
        if before in (signal.SIG_IGN, None):
            return
        self._before = before
        signal.signal(signal.SIGTERM, self._on_sigterm)
        self._signal_set = True

    def _restore_signal(self) -> None:
        if not self._signal_set or threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGTERM) == self._on_sigterm:  # else: somebody set theirs later, and it stays
            signal.signal(signal.SIGTERM, self._before)
        self._signal_set = False

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        if callable(self._before):
            for run in tuple(self.open):
                run.preempt()
            self._before(number, frame)
            return
        try:
            for run in tuple(self.open):
                run.end("preempted")
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)

    def _at_exit(self) -> None:
        status = "finished" if _uncaught() is self._last_error else "failed"
        for run in tuple(self.open):
            run.end(status)

    def _in_child(self) -> None:
        runs, self.open = self.open, []
        self.inherited = self.inherited or bool(runs)
        for run in runs:
            run.mute()
        try:
            self._restore_signal()
        except (ValueError, OSError):  # not in a thread that may: the handler does the same as the one before
            return


def _uncaught() -> object:
    """The last exception that nobody caught, as the interpreter noted when it printed it."""
    return getattr(sys, "last_value", None)


ENDINGS = Endings()
