"""How a run ends when its own code does not end it: SIGTERM, the end of the interpreter, a fork."""

from __future__ import annotations

import atexit
import os
import sys
from typing import Protocol

from epochcost.training.end_line import wait_for_summaries
from epochcost.training.sigterm import SigtermHook


class Ending(Protocol):
    """An open run, as far as its end goes."""

    def end(self, status: str = "finished") -> None:
        """Write the end, once."""

    def preempt(self) -> None:
        """The process received a request to terminate, but may continue for a while."""

    def mute(self) -> None:
        """This is a forked child: never write again."""


class Endings:
    """The open runs of this process, and the hooks that are set while there are any.

    The hooks leave no trace: see `sigterm`; a forked child gets back what was there.
    """

    def __init__(self) -> None:
        self.open: list[Ending] = []
        self._hooked = False
        self._sigterm = SigtermHook(self._preempt, self._end_preempted)
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
                os.register_at_fork(
                    before=self._sigterm.lift, after_in_parent=self._sigterm.put_back, after_in_child=self._in_child
                )
        self._sigterm.set()

    def rearm(self) -> None:
        """Hook in again where a framework has put back the default action at its end."""
        self._sigterm.set()

    def closed(self, run: Ending) -> None:
        """``run`` ended."""
        if run in self.open:
            self.open.remove(run)
        if not self.open:
            self._sigterm.restore()

    def _preempt(self) -> None:
        for run in tuple(self.open):
            run.preempt()

    def _end_preempted(self) -> None:
        for run in tuple(self.open):
            run.end("preempted")

    def _at_exit(self) -> None:
        status = "finished" if _uncaught() is self._last_error else "failed"
        for run in tuple(self.open):
            run.end(status)
        wait_for_summaries()

    def _in_child(self) -> None:
        runs, self.open = self.open, []
        self.inherited = self.inherited or bool(runs)
        for run in runs:
            run.mute()
        try:
            self._sigterm.restore()
        except (ValueError, OSError):  # not in a thread that may: the handler does the same as the one before
            return


def _uncaught() -> object:
    """The last uncaught exception, as noted by the interpreter when it printed it."""
    return getattr(sys, "last_value", None)


ENDINGS = Endings()
