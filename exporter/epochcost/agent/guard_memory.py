"""What the guard must not forget if the agent's own state is lost, in a small file beside that state: the keeps."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from epochcost.untrusted_files import replaced

log = logging.getLogger(__name__)
NAME = "guard-promises.json"
OFTEN_SECONDS = 600.0
"""How often it is rewritten even if no keep has changed."""


class GuardMemory:
    """One file. Its times are on the node timeline, with the wall clock at the time of writing.

    Args:
        path: where only the agent can write.
        wall: seconds since the Unix epoch.

    Attributes:
        error: why it could not be written last; empty when it was.
    """

    def __init__(self, path: Path, wall: Callable[[], float]) -> None:
        self.error = ""
        self._path, self._wall = path, wall
        self._written: object = None
        self._written_t = float("-inf")

    def load(self, t: float) -> tuple[Mapping[str, Any], Mapping[str, Any], float] | None:
        """What was promised and had been seen, and how much later ``t`` is by both clocks; None for nothing.

        Raises:
            OSError, ValueError, LookupError, TypeError: when something is there and cannot be read.
        """
        try:
            saved = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return saved["guard"], saved["seen"], (t - self._wall()) - (saved["t"] - saved["wall_ts"])

    def save(self, promises: Mapping[str, Any], seen: Mapping[str, Any], t: float) -> None:
        """Write them, where they are others than before, or that is long ago."""
        # The users of runs are as important as before, and are seen each second.
        values = {**promises, "users": {uid for uid, _ in promises["users"]}, **seen, "t": None}
        if values == self._written and 0 <= t - self._written_t < OFTEN_SECONDS:
            return
        document = {"t": t, "wall_ts": self._wall(), "guard": promises, "seen": seen}
        try:
            with replaced(self._path, 0o600) as file:
                file.write(json.dumps(document).encode())
        except OSError as err:
            if (error := f"{self._path}: {err.strerror}") != self.error:
                log.warning("guard: the keeps could not be saved: %s", error)
            self.error = error
            return
        self.error, self._written, self._written_t = "", values, t
