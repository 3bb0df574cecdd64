"""Notifies training processes of a preemption of the machine: by one small file beside their events."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from epochcost.model import PreemptionNotice
from epochcost.progress.event_places import EventPlace
from epochcost.untrusted_files import replaced

log = logging.getLogger(__name__)
NAME = "preemption.json"
FILE_VERSION = 1
REWRITE_SECONDS = 60.0
"""Readers take an old file for one that an agent left behind."""
SAME_CLOCK_SECONDS = 1.0
"""A wall clock that differs by more than this causes the file to be rewritten."""


class PreemptionFile:
    """``preemption.json`` beside the events: there while something is announced, and only then.

    Args:
        directory: the shared one.
    """

    def __init__(self, directory: Path) -> None:
        self._shared = EventPlace.shared(str(directory))
        self._notices: dict[str, _Notice] = {}
        self._errors: dict[str, str] = {}

    def write(
        self,
        notice: PreemptionNotice | None,
        now: float,
        wall_ahead: float = 0.0,
        places: Iterable[EventPlace] = (),
    ) -> None:
        """Write what is announced at ``now`` into the files; a failure is logged once and tried again.

        Args:
            notice: what is announced; None if nothing is.
            now: on the node timeline.
            wall_ahead: by how much the wall clock, which a training run looks at, is ahead of that timeline.
            places: the users' directories that are there.
        """
        errors: dict[str, str] = {}
        notices: dict[str, _Notice] = {}
        for place in (self._shared, *places):
            before = self._notices.get(place.key, _Notice(place.identity))
            if before.identity != place.identity:  # rebuilt since
                before = _Notice(place.identity)
            try:
                notices[place.key] = _written(place, before, _Notice(place.identity, notice, now, wall_ahead))
            except OSError as err:
                notices[place.key] = before
                errors[place.key] = (
                    f"{place.path}/{NAME}: cannot notify training processes of a preemption: {err.strerror}"
                )
        for key, error in errors.items():
            if self._errors.get(key) != error:
                log.warning("%s", error)
        self._notices, self._errors = notices, errors


@dataclass(frozen=True, slots=True)
class _Notice:
    """What a directory's file contains, since when, and by which wall clock."""

    identity: tuple[int, int] | None
    notice: PreemptionNotice | None = None
    at: float = -math.inf
    wall_ahead: float = 0.0


def _written(place: EventPlace, before: _Notice, newest: _Notice) -> _Notice:
    moved = abs(newest.wall_ahead - before.wall_ahead) >= SAME_CLOCK_SECONDS
    lasts = math.inf if newest.notice is None else REWRITE_SECONDS
    if newest.notice == before.notice and newest.at - before.at < lasts and not moved:
        return before
    with place.opened() as directory:
        if newest.notice is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(NAME, dir_fd=directory)
        else:
            _replace(directory, newest.notice, newest.wall_ahead)
    return newest


def _replace(directory: int, notice: PreemptionNotice, wall_ahead: float) -> None:
    document: dict[str, object] = {"v": FILE_VERSION, "kind": notice.kind, "action": notice.action}
    times = {"at_ts": notice.at_t, "seen_ts": notice.seen_ts}
    document |= {name: t + wall_ahead for name, t in times.items() if t is not None}
    with replaced(NAME, among_others=True, directory=directory) as file:
        file.write(json.dumps(document).encode())
