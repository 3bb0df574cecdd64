"""Runs one command at a time: without a shell, with a deadline, and with bounded output."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import select
import signal
import subprocess
import threading
import time
from collections.abc import Sequence

from epochcost.guard.decisions import Order, Outcome
from epochcost.shown_text import printable

log = logging.getLogger(__name__)
MAX_OUTPUT_BYTES = 1 << 20
"""A command that prints more has gone wrong, and is killed."""
MOST_OUTPUT_BYTES = 2000
"""End of its output that is kept for the log."""
LOOK_SECONDS = 0.2
_READ_BYTES = 65536


class Executor:
    """Runs what is ordered on a thread that ends with the command; `outcomes` returns what became of it."""

    def __init__(self) -> None:
        self._ended: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self, order: Order) -> None:
        """Run the command of ``order``."""
        log.warning("guard: %s; running %s", order.reason, " ".join(order.argv))
        self._thread = threading.Thread(target=self._run, args=(order,), name="epochcost-guard-command", daemon=True)
        self._thread.start()

    def outcomes(self) -> list[Outcome]:
        """What has ended since the last call."""
        ended = []
        with contextlib.suppress(queue.Empty):
            while True:
                ended.append(self._ended.get_nowait())
        return ended

    def wait(self, seconds: float) -> None:
        """Wait until the running command has ended, at most this long."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self, order: Order) -> None:
        try:
            error, output = run(order.argv, order.command.deadline_seconds)
        except Exception as err:  # noqa: BLE001 - whatever it is, the guard must learn that the command has not run
            error, output = f"{type(err).__name__}: {err}", ""
        if error:
            log.error("guard: command %s: %s%s", order.command.name, error, f": {output}" if output else "")
        else:
            log.info("guard: command %s succeeded%s", order.command.name, f": {output}" if output else "")
        self._ended.put(Outcome(order, error))


def run(argv: Sequence[str], deadline_seconds: float) -> tuple[str, str]:
    """Run a command to its end; returns why it failed (empty for success), and the end of its output."""
    until = time.monotonic() + deadline_seconds
    try:
        process = subprocess.Popen(  # noqa: S603 - no shell, and the user's own command
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            start_new_session=True,
        )
    except (OSError, ValueError) as err:
        return f"cannot be started: {getattr(err, 'strerror', None) or err}", ""
    assert process.stdout is not None  # noqa: S101 - for the type checker
    try:
        error, output = _follow(process, process.stdout.fileno(), until, deadline_seconds)
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        process.stdout.close()
    return error, printable(output.decode("utf-8", "replace").strip().replace("\n", " | "))


def _follow(process: subprocess.Popen[bytes], fd: int, until: float, seconds: float) -> tuple[str, bytes]:
    output, total, open_ = b"", 0, True
    while True:
        remaining = until - time.monotonic()
        if remaining <= 0:
            return f"not done within {seconds:g} s, and killed", output
        ended = process.poll() is not None
        ready = open_ and bool(select.select([fd], [], [], 0.0 if ended else min(remaining, LOOK_SECONDS))[0])
        if ready:
            data = os.read(fd, _READ_BYTES)
            open_, total, output = bool(data), total + len(data), (output + data)[-MOST_OUTPUT_BYTES:]
            if total > MAX_OUTPUT_BYTES:
                return f"printed more than {MAX_OUTPUT_BYTES >> 20} MiB, and was killed", output
        elif ended:  # processes that it left behind may hold its output open for ever
            return _status(process.returncode), output
        elif not open_:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(min(remaining, LOOK_SECONDS))


def _status(code: int) -> str:
    return "" if code == 0 else f"ended by signal {-code}" if code < 0 else f"exit code {code}"
