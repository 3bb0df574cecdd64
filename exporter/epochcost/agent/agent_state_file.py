"""The agent's memory on disk: one JSON file, replaced whole, owned by one agent at a time."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from epochcost.untrusted_files import printable_name, replaced

log = logging.getLogger(__name__)
NAME = "agent-state.json"
VERSION = 1
DEPTH = 4
"""How far mappings are written entry by entry, down to each run's: the whole text at once would be half a megabyte."""


class StateError(Exception):
    """The state cannot be saved; the text contains where and why."""


class StateFile:
    """State of one agent in ``directory``. A ``kill -9`` at any instant leaves the old or the new content, never half.

    Args:
        directory: made if need be.
        among_others: it is where any user may create files: one that another user created is not used, for its owner
            could rewrite the state, and a link would redirect the agent's files.

    Raises:
        StateError: when the directory cannot be used, or another agent is using it.
    """

    def __init__(self, directory: Path, *, among_others: bool = False) -> None:
        self.path = directory / NAME
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            if among_others and not _is_ours(directory.lstat()):
                raise StateError(
                    f"{directory}: not a directory that only this agent's user can write to: remove it, or set "
                    f"--state.dir"
                )
            self._lock = os.open(directory / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as err:
            raise StateError(f"{directory}: cannot keep the agent's state here: {err.strerror}") from None
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise StateError(f"{directory}: another epochcost agent is using this state directory") from None
        for half in directory.glob(".*.tmp"):  # what an agent that was killed had not finished
            half.unlink(missing_ok=True)

    def load(self) -> dict[str, Any] | None:
        """What was saved last, None when nothing was. A file that cannot be read is set aside, with a log line."""
        try:
            state = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as err:
            self.set_aside(str(err))
            return None
        if not isinstance(state, dict) or state.get("version") != VERSION:
            self.set_aside("it is not an agent's state of this version")
            return None
        return state

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the file by ``state``.

        Raises:
            StateError: when that is not possible; the file from before stays.
        """
        try:
            with replaced(self.path, 0o600) as file:
                for piece in _pieces({"version": VERSION, **state}, DEPTH):
                    file.write(piece.encode())
        except OSError as err:
            raise StateError(f"{self.path}: cannot be written: {err.strerror}") from None

    def set_aside(self, reason: str) -> None:
        """Set aside a state that cannot be used, for people to look at, and start from an empty one."""
        aside = self.path.with_name(f"{NAME}.bad-{time.time_ns()}")
        log.error("%s cannot be used and is set aside as %s: %s", self.path, aside.name, reason)
        try:
            self.path.replace(aside)
        except OSError as err:
            log.warning("%s cannot be set aside: %s", self.path, err)

    def keep_aside(self, records: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep records of runs that cannot be used for people to look at; each has its ``reason``."""
        aside = self.path.with_name(f"{NAME}.bad-{time.time_ns()}")
        for run, record in records.items():
            log.error(
                "the record of run %s in %s cannot be used and is set aside in %s; it is rebuilt from the run's "
                "events, and everything else is kept: %s",
                *(printable_name(run), self.path, aside.name, printable_name(record["reason"])),
            )
        try:
            with replaced(aside, 0o600) as file:
                file.write(json.dumps({"runs": records}, indent=1).encode())
        except OSError as err:
            log.warning("%s cannot be written: %s", aside, err.strerror)

    def close(self) -> None:
        """Let another agent have it."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _pieces(value: Any, depth: int) -> Iterator[str]:  # noqa: ANN401 - whatever JSON can hold
    """``value`` as JSON. Not by `json.dump`, whose pieces are so small that writing takes ten times as long."""
    if not depth or not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        yield json.dumps(value, separators=(",", ":"))
        return
    before = "{"
    for key, inner in value.items():
        yield f"{before}{json.dumps(key)}:"
        yield from _pieces(inner, depth - 1)
        before = ","
    yield "}" if value else "{}"


def _is_ours(status: os.stat_result) -> bool:
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & stat.S_IWOTH
