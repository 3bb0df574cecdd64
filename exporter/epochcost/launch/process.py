"""The command as a process of its own: started, stopped and continued with us, signalled as we are, waited for."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence

_FROM_KERNEL = 128
"""``si_code`` of a signal that the terminal made: it went to the whole process group, the command included."""
_SET_DEATH_SIGNAL = 1
NOT_FOUND, NOT_EXECUTABLE = 127, 126
FORWARDED = frozenset(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCONT", "SIGWINCH")
    if hasattr(signal, name)
)
WATCHED = FORWARDED | {signal.SIGTSTP, signal.SIGCHLD}


class StartError(OSError):
    """The command could not be started; ``code`` is what a shell would exit with."""

    @property
    def code(self) -> int:
        """127 where there is no such command, 126 where it cannot be executed."""
        return NOT_FOUND if self.errno in (errno.ENOENT, errno.ENOTDIR) else NOT_EXECUTABLE


class Command:
    """A running command. Made in the main thread, before any other thread.

    It stays in our process group and session, with our terminal: what the terminal sends (Ctrl-C, Ctrl-Z, a new size)
    reaches it directly; what is sent to us alone is passed on to it. When it stops, we stop; when we are killed in a
    way that cannot be passed on, it is killed too.

    Attributes:
        pid: of the command.
        ended: readable when the command has ended.
        wait_status: as `os.waitpid` returns it; None while it runs.
        was_terminated: SIGTERM was passed on.
    """

    def __init__(self, argv: Sequence[str], environ: Mapping[str, str], outputs: Mapping[int, int]) -> None:
        ignored = {one for one in WATCHED if signal.getsignal(one) is signal.SIG_IGN and one != signal.SIGCHLD}
        self._watched = WATCHED - ignored
        if signal.getsignal(signal.SIGCHLD) is not signal.SIG_DFL:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, children would vanish without a status
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._watched)
        self.wait_status: int | None = None
        self.was_terminated = False
        self.ended, self._end = os.pipe()
        self.pid = _start(argv, environ, outputs, self._mask)

    def watch(self, resize: Callable[[], bool] | None = None) -> threading.Thread:
        """Follow signals from now on, in a thread that ends with the command."""
        thread = threading.Thread(target=self._follow, args=(resize,), name="epochcost-signals", daemon=True)
        thread.start()
        return thread

    def ask_to_end(self, number: signal.Signals) -> None:
        """Send a signal that the command understands as a wish to end."""
        if self.wait_status is None:
            self._send(number)

    def release_signals(self) -> None:
        """Signals do again what they did before."""
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def _follow(self, resize: Callable[[], bool] | None) -> None:
        while self.wait_status is None:
            info = signal.sigwaitinfo(self._watched)
            number, by_terminal = signal.Signals(info.si_signo), info.si_code == _FROM_KERNEL
            if number is signal.SIGHUP and os.getsid(0) == os.getpid():
                by_terminal = False  # a terminal that hangs up signals the session's first process alone
            if number is signal.SIGCHLD:
                self._reap()
            elif number is signal.SIGTSTP:
                if not by_terminal:
                    self._send(number)
                self._stop()
            elif number is signal.SIGWINCH:
                self._resized(resize, by_terminal=by_terminal)
            elif not by_terminal:
                self.was_terminated = self.was_terminated or number is signal.SIGTERM
                self._send(number)
        os.close(self._end)

    def _resized(self, resize: Callable[[], bool] | None, *, by_terminal: bool) -> None:
        if resize is not None and resize():  # programs that read the size before we had it read it again
            with contextlib.suppress(OSError):
                os.killpg(os.getpgrp(), signal.SIGWINCH)
        elif not by_terminal and resize is None:
            self._send(signal.SIGWINCH)

    def _reap(self) -> None:
        """Every child that ended: as the first process of a container we inherit those that have lost their parent."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid != self.pid:
                continue
            if os.WIFSTOPPED(status):
                self._stop()
            else:
                self.wait_status = status

    def _stop(self) -> None:
        """Stop as the command did; when this process is continued, the command is too."""
        if signal.SIGTSTP not in signal.sigpending():
            os.kill(os.getpid(), signal.SIGTSTP)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTSTP})  # here we stop, once
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})
        # If nothing could continue us we were not stopped either, and a command that was stopped stays so.
        if signal.SIGCONT in signal.sigpending():
            self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


def _start(argv: Sequence[str], environ: Mapping[str, str], outputs: Mapping[int, int], mask: set[int]) -> int:
    """Fork and execute. ``outputs``: which of our descriptors the command gets, by the number it gets it as."""
    failed, failure = os.pipe()
    prctl = _prctl()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            for number, fd in outputs.items():
                os.dup2(fd, number)
            prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(NOT_EXECUTABLE)
            for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores both, programs expect neither
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.execvpe(argv[0], list(argv), dict(environ))  # noqa: S606 - the user's command
        except OSError as err:
            os.write(failure, str(err.errno or errno.EINVAL).encode())
        finally:
            os._exit(NOT_EXECUTABLE)
    os.close(failure)
    for fd in set(outputs.values()):
        os.close(fd)
    error_number = os.read(failed, 16)
    os.close(failed)
    if error_number:
        os.waitpid(pid, 0)
        raise StartError(int(error_number), os.strerror(int(error_number)), argv[0])
    return pid


def _prctl() -> ctypes._NamedFuncPointer:
    libc = ctypes.CDLL(None)
    return libc.prctl


def leave_as(wait_status: int) -> int:
    """End as the command did: by the same signal, if it was one. Returns the exit status where that cannot be."""
    if os.WIFEXITED(wait_status):
        return os.WEXITSTATUS(wait_status)
    number = os.WTERMSIG(wait_status)
    sys.stdout.flush()
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the command has left its core; ours would replace it
    with contextlib.suppress(OSError, ValueError):  # SIGKILL has no handler to reset
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    return 128 + number  # the first process of a container does not die by its own signals
