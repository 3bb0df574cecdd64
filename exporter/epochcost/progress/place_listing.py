"""What there is to follow in one place of events, a bounded piece of it looked at in one poll."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Protocol

from epochcost.progress.directory_scan import ENTRIES_PER_STEP, DirectoryScan
from epochcost.progress.event_places import EventPlace, PlaceKind
from epochcost.progress.run_owners import NOBODY
from epochcost.untrusted_files import UntrustedFileError

MAX_ODD = 1000
LOOK_SECONDS = 5.0
"""A directory with an unchanged modification time is listed again after so long: some file systems do not update it."""
SETTLED_SECONDS = 2.0
"""A directory's own time of change has the grain of the kernel's clock: one as young as this may change once more
without showing it."""


class Followed(Protocol):
    """What is already followed, and which users may have more followed."""

    def follows(self, inode: int) -> bool:
        """Whether the file with this inode is followed, in this place."""

    def has_room(self, user: int) -> bool:
        """Whether one more file of ``user`` may be followed; it takes the place."""


@dataclass(slots=True)
class Listed:
    """One round through a place, by inode.

    Attributes:
        known: names of files that are followed.
        new: names and users of files that may be followed from now on.
        odd: names and users of what is named like an event file but is not one, and why.
        left_out: by user, how many were beyond the limit.
        complete: whether that is all there is.
    """

    known: dict[int, str] = field(default_factory=dict)
    new: dict[int, tuple[str, int]] = field(default_factory=dict)
    odd: dict[int, tuple[str, int, str]] = field(default_factory=dict)
    left_out: Counter[int] = field(default_factory=Counter)
    complete: bool = False


class PlaceListing:
    """Lists one place again and again.

    The shared one is walked over several polls where it has very many names. A directory of one user is listed at once,
    so that it is never held open, and where that user has very many names a warning is logged.

    Args:
        place: what is listed.
        most: names looked at in one poll.
    """

    def __init__(self, place: EventPlace, most: int = ENTRIES_PER_STEP) -> None:
        self.place = place
        self.too_many = False
        self.refused = False
        self.most_left_out: Counter[int] = Counter()
        self.odd_logged: set[int] = set()
        self._most = most
        self._listed = Listed()
        self._scan = DirectoryScan(Path(place.path), most)
        self._seen: tuple[int, int, int] | None = None
        """Device, inode and time of change of the directory when it was listed to its end; None for none to go by."""
        self._seen_at = 0.0

    def is_as_before(self, status: os.stat_result, wall: float) -> bool:
        """Whether the directory with ``status`` has the same names as when it was listed last, a moment ago."""
        same = self._seen == (status.st_dev, status.st_ino, status.st_mtime_ns)
        return same and 0.0 <= wall - self._seen_at < LOOK_SECONDS

    def listed_as(self, status: os.stat_result, wall: float) -> None:
        """It was listed to its end; ``status`` is from before that."""
        settled = status.st_mtime < wall - SETTLED_SECONDS
        self._seen = (status.st_dev, status.st_ino, status.st_mtime_ns) if settled else None
        self._seen_at = wall

    def step(self, fd: int, followed: Followed, begin: Callable[[], None]) -> Listed | None:
        """What there is; None if that is not known (yet).

        Args:
            fd: the place, opened.
            followed: called for each entry.
            begin: called before the first entry of a round.

        Raises:
            OSError: when the place cannot be listed.
        """

        def anew() -> None:
            self._listed = Listed()
            begin()

        if self.place.kind is not PlaceKind.OF_ONE_USER:
            self._listed.complete = self._scan.step(anew, lambda entry: self._choose(entry, followed))
            return self._listed if self._listed.complete else None
        anew()
        with os.scandir(fd) as entries:
            for entry in islice(entries, self._most):
                self._choose(entry, followed)
            beyond = next(entries, None)
        self._listed.complete = beyond is None
        if beyond is not None and self.place.user is not None:
            self._listed.left_out[self.place.user] += 1
        return self._listed

    def close(self) -> None:
        """Close the place."""
        self._scan.close()

    def _choose(self, entry: os.DirEntry[str], followed: Followed) -> None:
        """Take files that are followed, whatever they are called by now; others up to the limit."""
        inode = entry.inode()
        if followed.follows(inode):
            self._listed.known[inode] = entry.name
            return
        if not entry.name.endswith(".jsonl") or entry.name.startswith("."):
            return
        reason = ""
        user = NOBODY
        try:
            status = entry.stat(follow_symlinks=False)
            user = status.st_uid
            reason = "" if entry.is_file(follow_symlinks=False) else "not a regular file"
            user = user if reason else self.place.user_of(status, entry.name)
        except UntrustedFileError as err:
            reason = str(err.strerror)
        except OSError:  # deleted since it was listed
            return
        if reason:
            if len(self._listed.odd) < MAX_ODD:
                self._listed.odd[inode] = entry.name, user, reason
        elif followed.has_room(user):
            self._listed.new[inode] = entry.name, user
        else:
            self._listed.left_out[user] += 1
