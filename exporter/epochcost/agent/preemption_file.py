"""Tells the training side that the machine is to be taken away: one small file beside its events."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path

from epochcost.model import PreemptionNotice
from epochcost.untrusted_files import replaced

log = logging.getLogger(__name__)
NAME = "preemption.json"
FILE_VERSION = 1
REWRITE_SECONDS = 60.0
"""Readers take an old file for one that an agent left behind."""
SAME_CLOCK_SECONDS = 1.0
"""Another wall clock than this much is worth a file written anew."""


class PreemptionFile:
    """``preemption.json`` in ``directory``: there while something is announced, and only then."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._said: PreemptionNotice | None = None
        self._written_at = -math.inf
        self._wall_ahead = 0.0
        self._error = ""

    def write(self, notice: PreemptionNotice | None, now: float, wall_ahead: float = 0.0) -> None:
        """Make the file say what is announced at ``now``; a failure is logged once and tried again.

        Its times are those of the wall clock, which a training looks at: ``wall_ahead`` of the node timeline.
        """
        age = now - self._written_at
        moved = abs(wall_ahead - self._wall_ahead) >= SAME_CLOCK_SECONDS
        if notice == self._said and age < (math.inf if notice is None else REWRITE_SECONDS) and not moved:
            return
        error = ""
        try:
            if notice is None:
                (self._directory / NAME).unlink(missing_ok=True)
            else:
                self._replace(notice, wall_ahead)
            self._said, self._written_at, self._wall_ahead = notice, now, wall_ahead
        except OSError as err:
            error = f"{self._directory / NAME}: training cannot be told of a preemption: {err.strerror}"
            if error != self._error:
                log.warning("%s", error)
        self._error = error

    def _replace(self, notice: PreemptionNotice, wall_ahead: float) -> None:
        said: dict[str, object] = {"v": FILE_VERSION, "kind": notice.kind, "action": notice.action}
        times = {"at_ts": notice.at_t, "seen_ts": notice.seen_ts}
        said |= {name: t + wall_ahead for name, t in times.items() if t is not None}
        with replaced(self._directory / NAME, among_others=True) as file:
            file.write(json.dumps(said).encode())
