"""Which event files the next poll opens, and in which order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping

from epochcost.progress.event_file_state import EventFileState, FileStatus
from epochcost.progress.event_reader import LEAST_BYTES_PER_LINE
from epochcost.progress.followed_files import FollowedFiles
from epochcost.progress.run_owners import NOBODY

RESTING_FILES = 200
"""Of those from which nothing is expected, looked at in one poll."""
MAX_AGE_SECONDS = 7 * 86400.0


class DueFiles:
    """Which of ``files`` have something to read, or a writer to be watched.

    Args:
        files: all that are followed.
        can_tell: whether the end of a file's writer will be noticed.
        wall: the clock that dates files, seconds since the Unix epoch.
    """

    def __init__(
        self, files: FollowedFiles, can_tell: Callable[[EventFileState], bool], wall: Callable[[], float]
    ) -> None:
        self._files = files
        self._can_tell = can_tell
        self._wall = wall
        self._resting_from = 0

    def by_user(self, opened: Mapping[str, int]) -> dict[int, list[tuple[EventFileState, int]]]:
        """The files to open in the directories ``opened``, and their sizes, by user.

        Those that grew come first, the oldest of them before all; then those to be watched.
        What a poll could not read to its end comes after all others, or one endless file would keep every run waiting.
        """
        grown: list[tuple[tuple[bool, int], EventFileState, int]] = []
        watched: list[tuple[int, EventFileState, int]] = []
        oldest = self._wall() - MAX_AGE_SECONDS
        for file in self._expected():
            fd = opened.get(file.place)
            if fd is None:
                continue
            try:
                status = os.stat(file.name, dir_fd=fd, follow_symlinks=False)
            except OSError:  # deleted since it was listed: the next poll sees to it
                continue
            if status.st_ino != file.inode:  # deleted, and another file is called so: that one is followed by itself
                continue
            if file.stage in (FileStatus.NEW, FileStatus.ENDED, FileStatus.GONE) and status.st_mtime < oldest:
                file.stage = FileStatus.DORMANT
                file.seen = status.st_size
            elif status.st_size != file.seen:
                grown.append(((file.too_much, status.st_mtime_ns), file, status.st_size))
            elif file.stage is FileStatus.OPEN and self._can_tell(file):
                watched.append((file.visited, file, status.st_size))
        grown.sort(key=lambda one: one[0])
        watched.sort(key=lambda one: one[0])
        due: dict[int, list[tuple[EventFileState, int]]] = {}
        for _, file, size in (*grown, *watched):
            due.setdefault(NOBODY if file.user is None else file.user, []).append((file, size))
        return due

    def _expected(self) -> Iterable[EventFileState]:
        """All files from which something is expected, and some of the others in turn."""
        resting = [file for file in self._files.by_key.values() if file.resting]
        first = self._resting_from if self._resting_from < len(resting) else 0
        self._resting_from = first + RESTING_FILES
        return [
            *(file for file in self._files.by_key.values() if not file.resting),
            *resting[first : first + RESTING_FILES],
        ]


def bytes_to_read(files: list[tuple[EventFileState, int]]) -> int:
    """About how many bytes of a user's files are not read yet."""
    return sum(max(0, size - file.offset) + LEAST_BYTES_PER_LINE for file, size in files)
