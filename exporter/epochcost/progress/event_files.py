"""Event files, followed by inode and offset, whatever happens to them."""

from __future__ import annotations

import itertools
import logging
import os
import stat
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from epochcost.model import EndStatus, EventKind, RunId, TrainingEvent
from epochcost.progress.clock import NodeClock
from epochcost.progress.event_file_state import EventFileState, FileStatus
from epochcost.progress.line_splitter import LineSplitter, cut
from epochcost.progress.liveness import KernelProcesses, Processes, writer_alive
from epochcost.progress.parse import ACCEPTED, RESULTS, TOO_LONG, UNREADABLE, Line, Rejected, parse_line

CHUNK_BYTES = 131072
LEAST_BYTES_PER_LINE = 300
"""What a line counts at least against the bytes of one poll: a file of empty lines is work too."""
BYTES_PER_BOUNDARY = 512
"""What a line that begins or ends a process counts besides: the shares of all runs are computed anew at each."""
MAX_BYTES = 4 * 1024 * 1024
MAX_FILES = 5000
RESTING_FILES = 200
MAX_FOLLOWED = 20_000
"""Files remembered at once: the directory may be open to every user, and none may fill this agent's memory."""
MAX_ODD = 1000
MAX_AGE_SECONDS = 7 * 86400.0

BOUNDARIES = frozenset({EventKind.START, EventKind.RESUME, EventKind.END})
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Work:
    """What one poll may still do, and what it found."""

    clock: NodeClock
    bytes_left: int
    files_left: int
    events: list[TrainingEvent]


class EventFiles:
    """All ``*.jsonl`` of one directory: each line once, in order, over truncation, rotation and restarts.

    Args:
        directory: may be missing, and come later.
        processes: tell whether a writer is alive.
        max_bytes: read in one poll, about; the rest in the next.
        max_files: opened in one poll.
        max_followed: remembered; what comes beyond is not read until some are deleted, which is logged and counted.
        wall: the clock that dates files, seconds since the Unix epoch.

    Attributes:
        counts: lines by what became of them, and files that could not be read (``unreadable``).
        behind: bytes that were there in the last poll and wait for the next.
    """

    def __init__(  # noqa: PLR0913 - all but one have defaults
        self,
        directory: Path,
        *,
        processes: Processes | None = None,
        max_bytes: int = MAX_BYTES,
        max_files: int = MAX_FILES,
        max_followed: int = MAX_FOLLOWED,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._directory = directory
        self._where = str(directory)
        self._processes: Processes = processes or KernelProcesses()
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._max_followed = max_followed
        self._too_many = False
        self._wall = wall
        self._files: dict[int, EventFileState] = {}
        self._by_writer: dict[str, EventFileState] = {}
        self._odd: set[int] = set()
        self._rounds = itertools.count(1)
        self._round = 0
        self._resting_from = 0
        self._directory_refused = False
        self.counts: dict[str, int] = dict.fromkeys(RESULTS, 0)
        self.behind = 0

    def poll(self, clock: NodeClock) -> list[TrainingEvent]:
        """What happened since the last poll, in order of time; within a writer in the order of its lines."""
        self._round = next(self._rounds)
        work = Work(clock, self._max_bytes, self._max_files, [])
        listed = self._list()
        if listed is not None:
            self._match(listed, work)
        self.behind = 0
        for file, size in self._due():
            if work.files_left <= 0 or work.bytes_left <= 0:
                self.behind += max(0, size - file.offset)
            else:
                self._visit(file, work)
        work.events.sort(key=lambda event: event.t)
        return work.events

    def watched(self) -> set[str]:
        """Open writers of whose end this reader will tell; of the others only silence can."""
        return {file.writer for file in self._files.values() if file.stage is FileStatus.OPEN and self._can_tell(file)}

    def _can_tell(self, file: EventFileState) -> bool:
        same_namespace = file.pid is not None and file.pidns is not None and file.pidns == self._processes.namespace()
        return file.watched and (bool(file.lock) or same_namespace)

    def state(self) -> dict[str, Any]:
        """What has been read, as JSON can hold it; to be kept together with what was made of it."""
        return {"v": 1, "files": [file.kept() for file in self._files.values() if file.stage is not FileStatus.DORMANT]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` of an earlier agent left off.

        Raises:
            ValueError: when ``state`` is not what `state` returns; then nothing is changed.
        """
        try:
            if state["v"] != 1:
                raise ValueError(f"version {state['v']!r}")
            files = {file.inode: file for file in map(EventFileState.from_kept, state["files"])}
        except (KeyError, TypeError, ValueError) as err:
            raise ValueError(f"state of the event files: {type(err).__name__}: {err}") from None
        self._files = files
        self._by_writer = {file.writer: file for file in files.values()}

    def clear(self) -> None:
        """Forget what `restore` took over: every file is read from its beginning."""
        self._files, self._by_writer = {}, {}

    def _list(self) -> dict[int, os.DirEntry[str]] | None:
        """What there is to follow, by inode; None when the directory cannot be listed."""
        try:
            with os.scandir(self._directory) as entries:
                listed, left_out = self._chosen(entries)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as err:
            if not self._directory_refused:
                self._directory_refused = True
                self._refuse(str(err))
            return None
        self._directory_refused = False
        if left_out and not self._too_many:
            self._refuse(f"{self._directory}: {left_out} more than {self._max_followed}; delete old ones")
        self._too_many = left_out > 0
        return listed

    def _chosen(self, entries: Iterable[os.DirEntry[str]]) -> tuple[dict[int, os.DirEntry[str]], int]:
        """Files that are followed, whatever they are called by now; others as far as there is room for them."""
        listed: dict[int, os.DirEntry[str]] = {}
        room, left_out, odd = self._max_followed - len(self._files), 0, 0
        for entry in entries:
            inode = entry.inode()
            if inode in self._files:
                listed[inode] = entry
            elif not entry.name.endswith(".jsonl") or entry.name.startswith("."):
                continue
            elif not entry.is_file(follow_symlinks=False):
                odd += 1
                if odd <= MAX_ODD:
                    listed[inode] = entry
            elif room > 0:
                listed[inode] = entry
                room -= 1
            else:
                left_out += 1
        return listed, left_out

    def _match(self, listed: Mapping[int, os.DirEntry[str]], work: Work) -> None:
        self._odd &= listed.keys()
        for inode, entry in listed.items():
            known = self._files.get(inode)
            if known is not None and known.name != entry.name:
                known = self._renamed(known, entry.name, work.clock)
            if known is None:
                self._found(inode, entry)
        for file in [file for inode, file in self._files.items() if inode not in listed]:
            self._vanished(file, work)

    def _renamed(self, file: EventFileState, name: str, clock: NodeClock) -> EventFileState | None:
        """Rotated, or deleted and its inode used again: its beginning will tell. None when nothing of it was read."""
        if file.stage is FileStatus.DORMANT:
            self._forget(file, clock)
            return None
        file.name, file.seen = name, -1
        return file

    def _found(self, inode: int, entry: os.DirEntry[str]) -> None:
        if inode in self._odd:
            return
        if not entry.is_file(follow_symlinks=False):
            self._odd.add(inode)
            self._refuse(f"{self._directory / entry.name}: not a regular file")
            return
        file = EventFileState(inode, entry.name, entry.name)
        before = self._by_writer.get(entry.name)
        if before is not None:  # rotated: the same writer goes on here
            file.stage, file.run, file.last_t = before.stage, before.run, before.last_t
            file.lock, file.pid, file.pidns = before.lock, before.pid, before.pidns
            before.watched = False
        self._files[inode] = self._by_writer[entry.name] = file

    def _vanished(self, file: EventFileState, work: Work) -> None:
        """Deleted: its writer may live on, and be watched by its pid; else nobody can tell, and it is forgotten."""
        alive = self._alive(file, None)
        if alive:
            file.alive_seen = True
            return
        if alive is False:
            self._gone(file, work)
        self._forget(file, work.clock)

    def _forget(self, file: EventFileState, clock: NodeClock) -> None:
        del self._files[file.inode]
        if self._by_writer.get(file.writer) is file:
            del self._by_writer[file.writer]
            clock.forget(file.writer)

    def _due(self) -> list[tuple[EventFileState, int]]:
        """The files to open and their sizes: first those that grew, the oldest first; then those to be watched.

        What a poll could not read to its end comes after all others, or one endless file would keep every run waiting.
        """
        grown: list[tuple[tuple[bool, int], EventFileState, int]] = []
        watched: list[tuple[int, EventFileState, int]] = []
        oldest = self._wall() - MAX_AGE_SECONDS
        for file in self._expected():
            try:
                found = os.lstat(f"{self._where}/{file.name}")
            except OSError:  # deleted since it was listed: the next poll sees to it
                continue
            if file.stage in (FileStatus.NEW, FileStatus.ENDED, FileStatus.GONE) and found.st_mtime < oldest:
                file.stage = FileStatus.DORMANT
                file.seen = found.st_size
            elif found.st_size != file.seen:
                grown.append(((file.too_much, found.st_mtime_ns), file, found.st_size))
            elif file.stage is FileStatus.OPEN and file.watched:
                watched.append((file.visited, file, found.st_size))
        grown.sort(key=lambda one: one[0])
        watched.sort(key=lambda one: one[0])
        return [(file, size) for _, file, size in (*grown, *watched)]

    def _expected(self) -> Iterable[EventFileState]:
        """All files from which something is expected, and some of the others in turn."""
        resting = [file for file in self._files.values() if file.resting]
        first = self._resting_from if self._resting_from < len(resting) else 0
        self._resting_from = first + RESTING_FILES
        return [
            *(file for file in self._files.values() if not file.resting),
            *resting[first : first + RESTING_FILES],
        ]

    def _visit(self, file: EventFileState, work: Work) -> None:
        file.visited = self._round
        work.files_left -= 1
        path = f"{self._where}/{file.name}"
        try:
            fd = os.open(path, _FLAGS)
        except FileNotFoundError:
            return
        except OSError as err:
            self._refuse_file(file, str(err))
            return
        try:
            self._follow(file, fd, work)
        except OSError as err:
            self._refuse_file(file, f"{path}: {err}")
        finally:
            os.close(fd)

    def _follow(self, file: EventFileState, fd: int, work: Work) -> None:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise OSError("not a regular file")
        head = os.pread(fd, file.head_bytes, 0)
        if found.st_size < file.offset or zlib.crc32(head) != file.head_crc:
            self._rewind(file, work.clock)
        if file.stage is FileStatus.DORMANT:  # it was written to after all
            file.stage = FileStatus.NEW
        # Asked before reading: a writer that is gone by now has written all that it ever will.
        alive = self._alive(file, fd)
        at_end = self._read(file, fd, work)
        file.refused, file.too_much = False, not at_end
        if alive:
            file.alive_seen = True
        elif alive is False and at_end and file.stage is FileStatus.OPEN:
            self._gone(file, work)
        if not at_end:
            self.behind += max(0, found.st_size - file.offset)

    def _rewind(self, file: EventFileState, clock: NodeClock) -> None:
        writer = file.writer
        file.rewind()
        if file.writer != writer:
            if self._by_writer.get(writer) is file:
                del self._by_writer[writer]
                clock.forget(writer)
            self._by_writer[file.writer] = file

    def _read(self, file: EventFileState, fd: int, work: Work) -> bool:
        """Take in what is new, as far as the poll's bytes reach; True at the end of the file."""
        while work.bytes_left > 0:
            data = os.pread(fd, CHUNK_BYTES, file.offset)
            piece = cut(data, skipping=file.skipping)
            if file.offset == 0 and piece.consumed:
                file.remember_head(data[: piece.consumed])
            file.seen = file.offset + len(data)
            file.offset += piece.consumed
            file.skipping = piece.skipping
            self._take(file, piece, work)
            work.bytes_left -= max(len(data), LEAST_BYTES_PER_LINE * len(piece.lines))
            if len(data) < CHUNK_BYTES:
                return True
        file.seen = -1
        return False

    def _take(self, file: EventFileState, piece: LineSplitter, work: Work) -> None:
        for _ in range(piece.too_long):
            self._reject(file, Rejected(TOO_LONG, "a line that is too long for an event"))
        for raw in piece.lines:
            if not raw or raw.isspace():
                continue
            line = parse_line(raw)
            if isinstance(line, Rejected):
                self._reject(file, line)
            else:
                self.counts[ACCEPTED] += 1
                self._accept(file, line, work)

    def _accept(self, file: EventFileState, line: Line, work: Work) -> None:
        if line.continues and line.continues != file.writer == file.name:
            # Once: every other name that a file gave itself would be one more writer to remember.
            self._continue(file, line.continues)
        if file.stage is FileStatus.GONE:
            # It was not gone: whatever said so (a lock that does not reach out of a sandbox) cannot be trusted.
            file.watched = False
        file.run = line.run
        file.lock = file.lock if line.lock is None else line.lock
        file.pid = line.pid or file.pid
        file.pidns = line.pidns or file.pidns
        file.last_t = work.clock.event_time(file.writer, line.ts, line.mono)
        work.events.append(line.event(file.last_t, file.writer))
        if line.kind in BOUNDARIES:
            work.bytes_left -= BYTES_PER_BOUNDARY
        if line.kind is EventKind.END:
            file.stage = FileStatus.ENDED
            work.clock.forget(file.writer)
        elif file.stage is not FileStatus.ENDED or line.kind in (EventKind.START, EventKind.RESUME):
            file.stage = FileStatus.OPEN

    def _continue(self, file: EventFileState, writer: str) -> None:
        """``file`` goes on where a deleted one left off: to everybody else it is the same writer."""
        if self._by_writer.get(file.writer) is file:
            del self._by_writer[file.writer]
        before = self._by_writer.get(writer)
        if before is not None:
            before.watched = False
            before.stage = FileStatus.ENDED
        file.writer = writer
        self._by_writer[writer] = file

    def _alive(self, file: EventFileState, fd: int | None) -> bool | None:
        if file.stage is not FileStatus.OPEN or not file.watched:
            return None
        return writer_alive(self._processes, lock=file.lock, pid=file.pid, pidns=file.pidns, fd=fd, own_pid=os.getpid())

    def _gone(self, file: EventFileState, work: Work) -> None:
        """The writer died without a word: now, or, if this agent never saw it alive, right after its last word."""
        t = max(file.last_t, work.clock.now()) if file.alive_seen else file.last_t
        file.stage, file.last_t = FileStatus.GONE, t
        work.events.append(
            TrainingEvent(EventKind.GONE, t, RunId(file.run), file.writer, pid=file.pid, status=EndStatus.LOST)
        )

    def _reject(self, file: EventFileState, rejected: Rejected) -> None:
        self.counts[rejected.result] += 1
        if not file.complained:
            file.complained = True
            _log.warning(
                "%s: %s: %s (more of this file is only counted)",
                self._directory / file.name,
                rejected.result,
                rejected.reason,
            )

    def _refuse_file(self, file: EventFileState, reason: str) -> None:
        if not file.refused:
            file.refused = True
            self._refuse(reason)

    def _refuse(self, reason: str) -> None:
        self.counts[UNREADABLE] += 1
        _log.warning("event file not read: %s", reason)
