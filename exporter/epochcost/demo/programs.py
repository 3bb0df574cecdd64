"""The real programs that the demo starts, and ends again."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from epochcost.demo.rules_for_replay import DemoError
from epochcost.http_client import OK, Bounds, ExchangeError, Request, ask

if TYPE_CHECKING:
    from typing_extensions import Self

START_SECONDS = 60.0
STOP_SECONDS = 15.0
INSTALL = "on Debian and Ubuntu: apt-get install prometheus prometheus-alertmanager"


def program(*names: str) -> str:
    """The path of the first of ``names`` that is installed; empty when none is."""
    return next((path for name in names if (path := shutil.which(name))), "")


def needed(*names: str) -> str:
    """Like `program`.

    Raises:
        DemoError: when none is installed.
    """
    path = program(*names)
    if not path:
        raise DemoError(f"{names[0]} is not installed, and the demo needs it: {INSTALL}")
    return path


def free_port(host: str, preferred: int) -> int:
    """``preferred``, or another one when that is in use."""
    for port in (preferred, 0):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise DemoError(f"no free port on {host}")


class Program:
    """A program that serves ``/-/ready``; its end is the end of the ``with``.

    Raises:
        DemoError: when it does not come up, with the end of its log.
    """

    def __init__(self, name: str, command: Sequence[str], address: tuple[str, int], log: Path) -> None:
        self.name = name
        self.url = f"http://{address[0]}:{address[1]}"
        self._log = log
        with log.open("wb") as out:
            # A session of its own: Ctrl-C reaches only us, and the order of stopping is ours.
            self._process = subprocess.Popen(  # noqa: S603 - no shell, our own arguments
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            self._await_ready()
        except BaseException:
            self.stop()
            raise

    def _await_ready(self) -> None:
        limit = time.monotonic() + START_SECONDS
        while not _answers(f"{self.url}/-/ready"):
            if (status := self._process.poll()) is not None or time.monotonic() > limit:
                end = "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:])
                why = "does not respond" if status is None else f"ended with status {status}"
                raise DemoError(f"{self.name} {why}:\n{end}")
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def stop(self) -> None:
        """End it and wait for that."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()


def _answers(url: str) -> bool:
    try:
        return ask(Request(url, by_proxy=False), Bounds.within(2.0, max_bytes=1 << 20)).status == OK
    except ExchangeError:
        return False
