"""Files that a training run writes beside what it prints: found or named by the user, and read as they grow."""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from epochcost.launch.reading.files import FILES
from epochcost.launch.reading.progress import Progress
from epochcost.launch.reading.tensorboard import NotRecordsError, progress_of, records

TENSORBOARD = "events.out.tfevents.*"
MAX_DEPTH = 5
MAX_ENTRIES = 3000
"""Directory entries that one search may read: a data set of a million files is not of interest."""
ROOT = 0
MAX_FILES = 32
TABLE_HEAD_BYTES = 16384
TABLE_TAIL_BYTES = 65536
MAX_DOCUMENT_BYTES = 8 << 20
MAX_RECORDS_BYTES = 4 << 20


@dataclass(slots=True)
class _Watched:
    path: Path
    searched: bool = False
    """It was found by its name; else the user named it."""
    size: int = -1
    changed_ns: int = -1
    offset: int = 0
    given_up: bool = False


class FileTailer:
    """Looks for files that were written since the command began, and returns what is new in them.

    Args:
        below: directory to search; None for none.
        patterns: paths or patterns (``runs/*/results.csv``) that are read as well.
        since_ns: older files are of earlier training runs.
    """

    def __init__(self, below: Path | None, patterns: Sequence[str], since_ns: int) -> None:
        self._below = below
        self._patterns = tuple(patterns)
        self._since_ns = since_ns
        self._files: dict[Path, _Watched] = {}

    def look(self) -> list[Progress]:
        """What has been written since the last look, file by file."""
        for path, searched in self._candidates():
            if len(self._files) < MAX_FILES:
                self._files.setdefault(path, _Watched(path, searched))
        news: list[Progress] = []
        for file in self._files.values():
            try:
                news += self._news(file)
            except OSError:  # noqa: PERF203 - gone, or not ours to read: nothing is known of it
                continue
        return news

    def _news(self, file: _Watched) -> list[Progress]:
        status = file.path.stat()
        if file.searched and status.st_uid != os.geteuid() != ROOT:
            return []  # what another user lays into a directory that both may write is none of this training run's
        if file.given_up or not stat.S_ISREG(status.st_mode) or status.st_mtime_ns < self._since_ns:
            return []
        if (status.st_size, status.st_mtime_ns) == (file.size, file.changed_ns):
            return []
        file.size, file.changed_ns = status.st_size, status.st_mtime_ns
        if fnmatch.fnmatch(file.path.name, TENSORBOARD):
            return _events(file)
        parse = FILES.get(file.path.name)
        one = None if parse is None else parse(_content(file.path, status.st_size))
        return [] if one is None else [one]

    def _candidates(self) -> Iterator[tuple[Path, bool]]:
        """Paths, and whether they were searched for."""
        for pattern in self._patterns:
            path = Path(pattern)
            root, below = (Path(path.anchor), str(path.relative_to(path.anchor))) if path.anchor else (Path(), pattern)
            yield from ((each, False) for each, _ in zip(root.glob(below), range(MAX_FILES), strict=False))
        if self._below is not None:
            yield from ((each, True) for each in _search(self._below))


def _search(below: Path) -> Iterator[Path]:
    """Files of the known names, breadth first, so that what lies near is found before the search is given up."""
    entries = 0
    level = [below]
    for _ in range(MAX_DEPTH):
        deeper: list[Path] = []
        for directory in level:
            try:
                with os.scandir(directory) as listed:
                    for entry in listed:
                        entries += 1
                        if entries > MAX_ENTRIES:
                            return
                        if _known(entry.name) and entry.is_file():
                            yield Path(entry.path)
                        elif not entry.name.startswith((".", "__")) and entry.is_dir(follow_symlinks=False):
                            deeper.append(Path(entry.path))
            except OSError:  # noqa: PERF203 - not ours to read
                continue
        level = deeper


def _known(name: str) -> bool:
    return name in FILES or fnmatch.fnmatch(name, TENSORBOARD)


def _opened(path: Path) -> BinaryIO:
    """A regular file: a pipe that has taken its place would block the command's output for ever."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(f"{path}: not a regular file")
    return os.fdopen(fd, "rb")


def _content(path: Path, size: int) -> bytes:
    """A document whole, if it is not too long; of a table its beginning and its end."""
    if path.suffix == ".json":
        with _opened(path) as file:
            return file.read(MAX_DOCUMENT_BYTES) if size <= MAX_DOCUMENT_BYTES else b""
    with _opened(path) as file:
        if size <= TABLE_HEAD_BYTES + TABLE_TAIL_BYTES:
            return file.read(TABLE_HEAD_BYTES + TABLE_TAIL_BYTES)
        head = file.read(TABLE_HEAD_BYTES)
        file.seek(size - TABLE_TAIL_BYTES)
        tail = file.read(TABLE_TAIL_BYTES)
    return head[: head.rfind(b"\n") + 1] + tail[tail.find(b"\n") + 1 :]


def _events(file: _Watched) -> list[Progress]:
    with _opened(file.path) as opened:
        opened.seek(file.offset)
        data = opened.read(MAX_RECORDS_BYTES)
    try:
        cut = records(data)
    except NotRecordsError:
        file.given_up = True
        return []
    file.offset += cut.consumed
    if len(data) == MAX_RECORDS_BYTES:
        file.size = -1  # there is more
    reported = [one for one in map(progress_of, cut.data) if one is not None]
    return reported[-256:]
