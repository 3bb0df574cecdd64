"""SIGTERM: noted for the open runs, and then exactly what would have happened without them."""

from __future__ import annotations

try:
    import _signal  # type: ignore[import-not-found]
except ImportError:  # another interpreter than CPython: nothing is hooked in
    _signal = None
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


class DefaultAction(int):
    """The default action, with the runs ended before it. It looks exactly like ``SIG_DFL``.

    A program or framework that calls ``signal.getsignal`` or sets a handler of its own while a run is open finds that
    SIGTERM has its default action, as without us: so it neither chains to this handler nor takes it for the program's
    choice, and what it restores later is the default action itself. For that, this is the integer ``SIG_DFL`` to
    ``signal``'s conversion into `signal.Handlers`, and a callable to the interpreter.
    """

    note_signal: Callable[[], None]
    end_runs: Callable[[], None]

    def __call__(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """End the process, as the installed handler; called by another one that found it, only note it."""
        if _signal.getsignal(signal.SIGTERM) is not self:
            self.note_signal()
            return
        try:
            self.end_runs()
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)


class Chained:
    """A handler of the program's, called as it would be; the signal is noted before."""

    def __init__(self, previous: Callable[[int, FrameType | None], Any], note_signal: Callable[[], None]) -> None:
        self.previous = previous
        self._note_signal = note_signal

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Also where a later handler calls this one: it never ends the process by itself."""
        self._note_signal()
        self.previous(number, frame)


class SigtermHook:
    """Sets one of the two above while runs are open, in the main thread; puts back what was there."""

    def __init__(self, note_signal: Callable[[], None], end_runs: Callable[[], None]) -> None:
        self._note_signal = note_signal
        self._end_runs = end_runs
        self._installed: DefaultAction | Chained | None = None
        self._lifted = False

    def set(self) -> None:
        """Hook in; again if the default action was restored since."""
        if _signal is None or threading.current_thread() is not threading.main_thread():
            return
        now = _signal.getsignal(signal.SIGTERM)
        # SIG_IGN was set on purpose; None is a handler set outside Python, which cannot be called from here.
        if isinstance(now, (DefaultAction, Chained)) or now is None or now == signal.SIG_IGN:
            return
        if callable(now):
            # A handler set after ours is responsible for SIGTERM, and may call ours.
            if self._installed is not None:
                return
            self._installed = Chained(now, self._note_signal)
        else:
            self._installed = DefaultAction(signal.SIG_DFL)
            self._installed.note_signal, self._installed.end_runs = self._note_signal, self._end_runs
        _signal.signal(signal.SIGTERM, self._installed)

    def lift(self) -> None:
        """Before a fork: only with the default action does a signal reach a child that has not begun to run."""
        if isinstance(self._installed, DefaultAction) and self._is_set():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._lifted = True

    def put_back(self) -> None:
        """After it, in the parent."""
        lifted, self._lifted = self._lifted, False
        if lifted and self._installed is not None:
            _signal.signal(signal.SIGTERM, self._installed)

    def _is_set(self) -> bool:
        return (
            self._installed is not None
            and threading.current_thread() is threading.main_thread()
            and _signal.getsignal(signal.SIGTERM) is self._installed
        )

    def restore(self) -> None:
        """Restore the previous handler, unless another one was set since: that stays."""
        if threading.current_thread() is not threading.main_thread():
            return
        is_set, self._lifted = self._is_set(), False
        installed, self._installed = self._installed, None
        if installed is not None and is_set:
            signal.signal(signal.SIGTERM, installed.previous if isinstance(installed, Chained) else signal.SIG_DFL)
