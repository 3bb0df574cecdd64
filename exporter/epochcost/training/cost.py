"""What the run has cost so far, as the agent writes it beside the events."""

from __future__ import annotations

import json
import math
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from epochcost.training.host import user_number

MAX_BYTES = 65536
MAX_AMOUNT = 1e15
"""JSON holds integers that no float can."""
MAX_TEXT = 200
STOP_AT = ("checkpoint", "now")
MAX_AGE_SECONDS = 300.0
"""The agent rewrites the file while the run is open; a much older one is a value frozen, not a cost."""
READ_INTERVAL_SECONDS = 1.0
AHEAD_SECONDS = 10.0
"""The agent writes every 5 s while a run incurs cost: for this long the cost since the last write is extrapolated."""
_READ = os.O_RDONLY
for _flag in ("O_CLOEXEC", "O_NONBLOCK", "O_NOFOLLOW"):  # not on every system
    _READ |= getattr(os, _flag, 0)


class Part(NamedTuple):
    """Dollars that are one machine's part of a run.

    Attributes:
        machines: of how many machines; None if the run has other parts, but their number is unknown.
        missing: what is missing for the whole run's, as the agent reports it.
    """

    machines: int | None
    missing: str

    def __str__(self) -> str:
        return f"this machine's part{f' of {self.machines}' if self.machines else ''}"


class StopRequest(NamedTuple):
    """What a policy of the guard requests of a run: to stop at its next checkpoint or epoch, or (``at_once``) now."""

    policy: str
    reason: str
    at_once: bool


class CostFile:
    """``<run>.cost.json``, read at most once a second; every figure is None if it is not known.

    Attributes:
        ended: by the monotonic clock, when the run ended; None while it is open.
    """

    rewritten = True
    """Whether figures keep coming after the run's end."""

    def __init__(self, directory: Callable[[], Path], run: str) -> None:
        self._directory = directory
        self.run = run
        self._read_at = -math.inf
        self._document: dict[str, object] = {}
        self._written_t = -math.inf
        self.ended: float | None = None

    def figure(self, name: str) -> float | None:
        """``cost_usd``, ``cost_per_epoch_usd`` or ``projected_cost_usd``, in US dollars.

        The cost is current: what the agent wrote, plus what the run has cost here since at the rate that it wrote.
        """
        self._read_if_due()
        known = _amounts(self._document)
        usd = known.get(name)
        return usd if usd is None or name != "cost_usd" else usd + known.get("usd_per_hour", 0.0) * self._since / 3600

    @property
    def _since(self) -> float:
        """Seconds from what the agent wrote until now, or until the end of the run."""
        until = time.monotonic() if self.ended is None else self.ended
        return min(max(0.0, until - self._written_t), AHEAD_SECONDS)

    def part(self, nodes: int | None) -> Part | None:
        """What the dollars are of where they are not the whole run's; None if they are, or where none are known.

        An agent of the version before exports none: its dollars of a run over ``nodes`` machines are one machine's.
        """
        if self.figure("cost_usd") is None:
            return None
        scope, missing = self._document.get("scope"), self._document.get("missing")
        machines = _amounts(self._document).get("machines", nodes or 0)
        several = int(machines) if machines > 1 else None
        if scope == "machine" or (scope is None and several):
            return Part(several, missing if isinstance(missing, str) else "")
        return None

    def stop(self) -> StopRequest | None:
        """What the guard of this machine requests of the run; None while it requests nothing."""
        self._read_if_due()
        request = self._document.get("stop")
        if not isinstance(request, dict) or request.get("at") not in STOP_AT:
            return None
        policy, reason = request.get("policy"), request.get("reason")
        if not (isinstance(policy, str) and isinstance(reason, str) and policy and reason):
            return None
        return StopRequest(policy[:MAX_TEXT], reason[:MAX_TEXT], request["at"] == "now")

    def machines(self) -> int:
        """Over how many machines the dollars are known to be summed; 1 if unknown."""
        return max(1, int(_amounts(self._document).get("machines", 1)))

    def seconds_by_state(self) -> dict[str, float]:
        """How the run's seconds on this node divide over the states; empty if not known."""
        states = self._document.get("states")
        return _amounts(states) if isinstance(states, dict) else {}

    def is_behind(self, ts: float) -> bool:
        """Whether an agent is about to write figures as of ``ts``, seconds since the Unix epoch, and has not yet."""
        written = _amounts(self._document).get("ts")
        return self.rewritten and written is not None and written < ts

    def _read_if_due(self) -> None:
        if time.monotonic() - self._read_at >= READ_INTERVAL_SECONDS:
            self.refresh()

    def refresh(self) -> None:
        """Read now, whenever that was done last."""
        self._read_at = time.monotonic()
        self._document = self._read()

    def _read(self) -> dict[str, object]:
        # If another user's run has the same name, ours is metered as RUN~USER: that name is looked for first.
        uid = user_number()
        for name in (self.run,) if uid is None else (f"{self.run}~{uid}", self.run):
            try:
                data, age = file_and_age(self._directory() / f"{name}.cost.json")
                document = json.loads(data)
            except (OSError, ValueError, RecursionError):  # no agent, or none that prices this run: not known
                continue
            if isinstance(document, dict) and document.get("v") == 1:
                self._written_t = time.monotonic() - age
                return document
        return {}


def _amounts(document: dict[str, object]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in document.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < MAX_AMOUNT
    }


def small_file(path: Path) -> bytes:
    """As `file_and_age`, the content alone."""
    return file_and_age(path)[0]


def file_and_age(path: Path) -> tuple[bytes, float]:
    """The content of a fresh regular file of the agent's, and how many seconds ago it was written.

    Raises OSError otherwise; a FIFO put there does not block.

    The directory may be open to every user: only a file of root, of this user, or of the directory's owner (the agent's
    user, if that is not root) is trusted as the agent's.
    """
    fd = os.open(path, _READ)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES or status.st_nlink > 1:
            raise OSError(f"{path}: not a small regular file")
        if status.st_uid not in (0, user_number()) and status.st_uid != path.parent.stat().st_uid:
            raise OSError(f"{path}: not the agent's")
        age = time.time() - status.st_mtime
        if age > MAX_AGE_SECONDS:
            raise OSError(f"{path}: not written for {MAX_AGE_SECONDS:g} s")
        return os.read(fd, MAX_BYTES), age
    finally:
        os.close(fd)
