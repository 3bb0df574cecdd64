"""Processes that were started here, and only those, are ended here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

STOP_SECONDS = 15.0
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Asks what runs on this machine, past the proxies of the environment."""


class StartError(Exception):
    """A part did not start; the text says which, and shows the end of its log."""


@dataclass(slots=True)
class Part:
    """One running process."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path


class Stack:
    """The processes of one ``scripts/up``, with their logs in ``home/logs``."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.parts: list[Part] = []
        self._record = home / "processes.json"
        self._last: list[list[str]] = []
        self._left = False

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Part:
        """Start ``command`` in a session of its own: Ctrl-C reaches only us, and the order of stopping is ours."""
        logs = self.home / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        log = logs / f"{name}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=dict(os.environ) | dict(environment or {}),
                start_new_session=True,
            )
        part = Part(name, process, log)
        self.parts.append(part)
        return part

    def on_stop(self, command: Sequence[str]) -> None:
        """Have ``command`` run when the stack stops, by us or by a later ``--stop``."""
        self._last.append(list(command))

    def wait_until_up(self, part: Part, url: str, seconds: float = 60.0) -> None:
        """Wait until ``url`` answers 200; a part that ends or never answers is an error that shows its log."""
        deadline = time.monotonic() + seconds
        while not answers(url):
            if part.process.poll() is not None:
                raise StartError(f"{part.name} ended with status {part.process.returncode}:\n{tail(part.log)}")
            if time.monotonic() > deadline:
                raise StartError(f"{part.name} does not answer at {url} after {seconds:.0f} s:\n{tail(part.log)}")
            time.sleep(0.1)

    def watch(self, done: threading.Event) -> None:
        """Wait for ``done``; say when a part ends by itself."""
        gone: set[str] = set()
        while not done.wait(0.5):
            for part in self.parts:
                if part.name not in gone and part.process.poll() is not None:
                    gone.add(part.name)
                    print(f"{part.name} has ended with status {part.process.returncode}; its log: {part.log}")

    def leave_running(self) -> None:
        """Write down what runs, for `stop_recorded`."""
        rows = [[p.name, p.process.pid, started_at(p.process.pid)] for p in self.parts if p.process.poll() is None]
        self.home.mkdir(parents=True, exist_ok=True)
        self._record.write_text(json.dumps({"processes": rows, "commands": self._last}), encoding="utf-8")
        self._left = True

    def stop(self) -> None:
        """End every part in the opposite order of its start."""
        if self._left:
            return
        for part in reversed(self.parts):
            end(part.process.pid, lambda part=part: part.process.poll() is not None)
        finish(self._last)


def still_running(home: Path) -> list[str]:
    """Names of what an earlier ``--detach`` left and that runs still."""
    record = home / "processes.json"
    left = json.loads(record.read_text(encoding="utf-8"))["processes"] if record.exists() else []
    return [name for name, pid, started in left if started_at(pid) == started]


def stop_recorded(home: Path) -> int:
    """End what an earlier ``--detach`` left running; a pid that has become another process is let be."""
    record = home / "processes.json"
    if not record.exists():
        print("Nothing was left running.")
        return 0
    left = json.loads(record.read_text(encoding="utf-8"))
    for name, pid, started in reversed(left["processes"]):
        if started_at(pid) == started:
            end(pid, lambda pid=pid, started=started: started_at(pid) != started)
            print(f"{name} ended")
    if not finish(left["commands"]):
        return 1
    record.unlink()
    return 0


def finish(commands: Sequence[Sequence[str]]) -> bool:
    """Run the commands that end what is not a process of ours, in reverse order; whether all succeeded."""
    good = True
    for command in reversed(commands):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode:
            print(f"{' '.join(command)} failed: {done.stderr.decode(errors='replace')[-1000:]}", file=sys.stderr)
            good = False
    return good


def end(pid: int, gone: Callable[[], bool]) -> None:
    """SIGTERM to the process and what it started, SIGKILL when that does not help."""
    for number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, 5.0)):
        if gone():
            return
        try:
            os.killpg(pid, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + seconds
        while not gone() and time.monotonic() < deadline:
            time.sleep(0.05)


def started_at(pid: int) -> str:
    """When a process was started, in the kernel's ticks; empty when it is no more (or only a zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def answers(url: str) -> bool:
    """Whether ``url`` answers 200."""
    try:
        with DIRECT.open(url, timeout=2.0) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def tail(log: Path, lines: int = 8) -> str:
    """The end of a log."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def python() -> str:
    """The interpreter of our environment."""
    return sys.executable
