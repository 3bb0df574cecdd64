"""Events that came over the network: checked, bounded, and put into event files of the agent's own.

What is taken is appended to ``http-<writer>.jsonl`` in a directory in which only the agent writes, and read from there
like any other event: one way in, so that nothing is lost when the agent restarts between taking an event and accounting
it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from epochcost.model import ClockReading
from epochcost.progress.parse import Rejected, parse_line
from epochcost.progress.sender_clocks import SenderClocks

PREFIX = "http-"
MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_TOTAL_BYTES = 512 * 1024 * 1024
MAX_WRITERS = 2000
LINES_PER_SECOND = 2000.0
BURST_LINES = 20_000.0
KEEP_SECONDS = 8 * 86400.0
"""Longer than the reader looks back at files that are not written to."""
CLEAN_SECONDS = 3600.0
QUIET_SECONDS = 3600.0
"""After so long without an event a writer's file may be removed, if its place is needed."""
MOST_REASONS = 10
LOCAL_KEYS = ("lock", "pid", "pidns", "continues")
"""Fields of a line about a process and a file on its own machine, which mean nothing on this one."""

_WRITER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:@+=-]{0,199}")
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_log = logging.getLogger(__name__)


class IntakeError(Exception):
    """Nothing was accepted; ``status`` is the HTTP status, the text contains the reason."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(slots=True)
class Taken:
    """What became of the lines of one request."""

    accepted: int = 0
    rejected: int = 0
    reasons: list[dict[str, object]] = field(default_factory=list)
    runs: set[str] = field(default_factory=set)


class Intake:
    """Takes lines for any number of writers, from any thread.

    Args:
        directory: of the agent's own event files, made if need be; no other user may write there.
        wall: seconds since the Unix epoch, for the age of files.
        mono: seconds that never jump, for the rate.

    Attributes:
        rejected: lines refused by the reason that they are counted under.
    """

    def __init__(self, directory: Path, wall: Callable[[], float], mono: Callable[[], float]) -> None:
        self._directory = directory
        self._wall = wall
        self._mono = mono
        self._lock = threading.Lock()
        self._sizes: dict[str, int] = {}
        self._allowance = BURST_LINES
        self._filled_at = mono()
        self.rejected: dict[str, int] = {}
        self._clocks = SenderClocks()
        self._cleaned_at = -CLEAN_SECONDS

    def take(self, writer: str, body: bytes, clock: ClockReading | None = None) -> Taken:
        """Check the lines of ``body`` and keep the good ones.

        Args:
            writer: the stream they come from, one for each process.
            body: JSON lines.
            clock: the sender's clock when they were sent; None if unknown. The lines are stored with times by our
                clock.

        Raises:
            IntakeError: 400 for an invalid writer name, 429 for too many events, 507 when there is no space.
        """
        if not _WRITER.fullmatch(writer):
            raise IntakeError(400, "writer: expected up to 200 letters, digits and ._:@+=-, one name for each process")
        lines = [line for line in body.split(b"\n") if line.strip()]
        with self._lock:
            self._clean_now_and_then()
            self._spend(len(lines))
            taken, good = self._checked(lines, self._clocks.behind(writer, clock, self._wall()))
            if good:
                self._append(writer, b"".join(good))
            return taken

    def _spend(self, lines: int) -> None:
        now = self._mono()
        self._allowance = min(BURST_LINES, self._allowance + (now - self._filled_at) * LINES_PER_SECOND)
        self._filled_at = now
        if lines > self._allowance:
            raise IntakeError(429, f"too many events: the agent accepts {LINES_PER_SECOND:g} a second over the network")
        self._allowance -= lines

    def _checked(self, lines: list[bytes], behind: float) -> tuple[Taken, list[bytes]]:
        taken, good = Taken(), []
        for number, raw in enumerate(lines, start=1):
            line = parse_line(raw)
            if isinstance(line, Rejected):
                taken.rejected += 1
                self.rejected[line.result] = self.rejected.get(line.result, 0) + 1
                if len(taken.reasons) < MOST_REASONS:
                    taken.reasons.append({"line": number, "result": line.result, "reason": line.reason})
                continue
            taken.accepted += 1
            taken.runs.add(line.run)
            document = json.loads(raw)
            portable = {key: value for key, value in document.items() if key not in LOCAL_KEYS}
            if behind:
                portable["ts"] = max(0.0, line.ts + behind)
            good.append(json.dumps(portable, separators=(",", ":")).encode() + b"\n")
        return taken, good

    def _append(self, writer: str, data: bytes) -> None:
        name = f"{PREFIX}{writer}.jsonl"
        size = self._sizes.get(name, 0)
        if name not in self._sizes and len(self._sizes) >= MAX_WRITERS:
            self._drop_the_quietest()
        if name not in self._sizes and len(self._sizes) >= MAX_WRITERS:
            raise IntakeError(507, f"more than {MAX_WRITERS} writers have reported over the network")
        if size + len(data) > MAX_FILE_BYTES or sum(self._sizes.values()) + len(data) > MAX_TOTAL_BYTES:
            raise IntakeError(507, "no space is left for events from the network")
        try:
            _write(self._directory / name, data)
        except OSError as err:
            _log.warning("events from the network cannot be kept: %s", err)
            raise IntakeError(507, f"the agent cannot keep events: {err.strerror}") from None
        self._sizes[name] = size + len(data)

    def _clean_now_and_then(self) -> None:
        """Count what is kept, and remove what is no longer read; a failure is logged and tried again later."""
        now = self._mono()
        if now - self._cleaned_at < CLEAN_SECONDS:
            return
        self._cleaned_at = now
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._sizes = self._counted()
        except OSError as err:
            _log.warning("events from the network cannot be kept: %s", err)

    def _drop_the_quietest(self) -> None:
        """Free a place for a new writer, if one has been silent for long: its events were read long ago."""
        try:
            ages = {name: (self._directory / name).lstat().st_mtime for name in self._sizes}
            name = min(ages, key=lambda name: ages[name])
            if self._wall() - ages[name] > QUIET_SECONDS:
                (self._directory / name).unlink()
                del self._sizes[name]
        except OSError as err:
            _log.warning("events from the network: %s", err)

    def _counted(self) -> dict[str, int]:
        sizes: dict[str, int] = {}
        with os.scandir(self._directory) as entries:
            ours = [e for e in entries if e.name.startswith(PREFIX) and e.name.endswith(".jsonl")]
        for entry in ours:
            status = entry.stat(follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode):
                continue
            if self._wall() - status.st_mtime > KEEP_SECONDS:
                Path(entry.path).unlink(missing_ok=True)
            else:
                sizes[entry.name] = status.st_size
        return sizes


def _write(path: Path, data: bytes) -> None:
    fd = os.open(path, _FLAGS, 0o600)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_nlink > 1:
            raise OSError(0, "not a regular file of this agent's own", str(path))
        written = os.write(fd, data)
        if written < len(data):
            # A torn line would swallow the next one: end it, so that only itself is lost.
            os.write(fd, b"\n")
            raise OSError(0, f"only {written} of {len(data)} bytes could be written", str(path))
    finally:
        os.close(fd)
