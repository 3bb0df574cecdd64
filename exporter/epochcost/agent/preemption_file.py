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


class PreemptionFile:
    """``preemption.json`` in ``directory``: there while something is announced, and only then."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._said: PreemptionNotice | None = None
        self._written_at = -math.inf
        self._error = ""

    def write(self, notice: PreemptionNotice | None, now: float) -> None:
        """Make the file say what is announced at ``now``; a failure is logged once and tried again."""
        age = now - self._written_at
        if notice == self._said and age < (math.inf if notice is None else REWRITE_SECONDS):
            return
        error = ""
        try:
            if notice is None:
                (self._directory / NAME).unlink(missing_ok=True)
            else:
                self._replace(notice)
            self._said, self._written_at = notice, now
        except OSError as err:
            error = f"{self._directory / NAME}: training cannot be told of a preemption: {err.strerror}"
            if error != self._error:
                log.warning("%s", error)
        self._error = error

    def _replace(self, notice: PreemptionNotice) -> None:
        said = {"v": FILE_VERSION, "kind": notice.kind, "action": notice.action}
        said |= {name: ts for name in ("at_ts", "seen_ts") if (ts := getattr(notice, name)) is not None}
        with replaced(self._directory / NAME, among_others=True) as file:
            file.write(json.dumps(said).encode())
