"""Event files, followed by inode and offset, whatever happens to them."""

from __future__ import annotations

import itertools
import math
import os
import time
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from epochcost.model import EndStatus, EventKind, RunId, TrainingEvent
from epochcost.progress.clock import NodeClock
from epochcost.progress.directory_scan import ENTRIES_PER_STEP, DirectoryScan
from epochcost.progress.event_file_state import EventFileState, FileStatus
from epochcost.progress.line_splitter import LineSplitter, cut
from epochcost.progress.liveness import KernelProcesses, Processes, writer_alive
from epochcost.progress.parse import ACCEPTED, REFUSED, RESULTS, TOO_LONG, UNREADABLE, Line, Rejected, parse_line
from epochcost.progress.run_owners import RunOwners
from epochcost.progress.user_quotas import UserQuotas
from epochcost.untrusted_files import ROOT, UntrustedFileError, open_regular, printable_name

CHUNK_BYTES = 131072
"""More than the longest line."""
PIECE_BYTES = 16384
"""Taken in at once, so that a poll can end in the midst of a file."""
LEAST_BYTES_PER_LINE = 300
"""What a line counts at least against the bytes of one poll: a file of empty lines is work too."""
BYTES_PER_BOUNDARY = 512
"""What a line that begins or ends a process counts besides: all runs' ends are looked at anew at each."""
BYTES_PER_FRESH_LINE = 4096
"""What a line about the time since the last poll counts besides: the devices' time is cut at each, for all runs. One
that comes late cuts nothing."""
MAX_BYTES = 4 * 1024 * 1024
MAX_FILES = 5000
RESTING_FILES = 200
MAX_FOLLOWED = 20_000
"""Files remembered at once: the directory may be open to every user, and none may fill this agent's memory."""
MAX_ODD = 1000
MAX_AGE_SECONDS = 7 * 86400.0

BOUNDARIES = frozenset({EventKind.START, EventKind.RESUME, EventKind.END})
NOBODY = -2
"""Stands for a user who is not known, because his file could not even be looked at."""


@dataclass(slots=True)
class Work:
    """What one poll may still do, what it found, and since when an event is fresh."""

    clock: NodeClock
    bytes_left: int
    files_left: int
    events: list[TrainingEvent]
    fresh_from: float = math.inf


class EventFiles:
    """All ``*.jsonl`` of one directory: each line once, in order, over truncation, rotation and restarts.

    The directory may be open to every user. So a run belongs to the user who began it (`RunOwners`), and what one poll
    may read, and what may be open at once, is shared between the users who want it (`UserQuotas`).

    Args:
        directory: may be missing, and come later.
        processes: tell whether a writer is alive.
        max_bytes: read in one poll, about; the rest in the next.
        max_files: opened in one poll.
        max_followed: remembered; what comes beyond is not read until some are deleted, which is logged and counted.
        max_listed: names looked at in one poll; a directory with more is listed in several.
        wall: the clock that dates files, seconds since the Unix epoch.
        owners, quotas: shared by all readers of one agent.
        user: whose all files count as, whoever's they are; None for each one's own.

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
        max_listed: int = ENTRIES_PER_STEP,
        wall: Callable[[], float] = time.time,
        owners: RunOwners | None = None,
        quotas: UserQuotas | None = None,
        user: int | None = None,
    ) -> None:
        self._directory = directory
        self._where = str(directory)
        self._processes: Processes = processes or KernelProcesses()
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._max_followed = max_followed
        self._too_many = False
        self._wall = wall
        self._owners = owners or RunOwners()
        self._quotas = quotas or UserQuotas()
        self._user = user
        self._files: dict[int, EventFileState] = {}
        self._by_writer: dict[str, EventFileState] = {}
        self._odd: set[int] = set()
        self._scan = DirectoryScan(directory, max_listed)
        self._listed: dict[int, os.DirEntry[str]] = {}
        self._followed: Counter[int] = Counter()
        self._left_out: Counter[int] = Counter()
        self._most_left_out: Counter[int] = Counter()
        self._odd_listed = 0
        self._rounds = itertools.count(1)
        self._round = 0
        self._resting_from = 0
        self._polled_t = math.inf
        """When the last poll was, on the node timeline; none yet, and nothing is fresh."""
        self._directory_refused = False
        self.counts: dict[str, int] = dict.fromkeys(RESULTS, 0)
        self.behind = 0

    def poll(self, clock: NodeClock) -> list[TrainingEvent]:
        """What happened since the last poll, in order of time; within a writer in the order of its lines."""
        self._round = next(self._rounds)
        fresh_from, self._polled_t = self._polled_t, clock.now()
        work = Work(clock, self._max_bytes, self._max_files, [], fresh_from)
        listed = self._list()
        if listed is not None:
            self._match(listed, work)
        self.behind = 0
        due = self._due()
        for already, files in enumerate(sorted(due.values(), key=_wanted)):
            self._visit_all(files, work, len(due) - already)
        work.events.sort(key=lambda event: event.t)
        return work.events

    def _visit_all(self, files: list[tuple[EventFileState, int]], work: Work, users: int) -> None:
        """One user's files. Who wants little comes first, so that the others have what he leaves, in equal parts."""
        mine = replace(work, bytes_left=work.bytes_left // users, files_left=max(1, work.files_left // users))
        given = mine.bytes_left, mine.files_left
        for file, size in files:
            if mine.files_left <= 0 or mine.bytes_left <= 0:
                self.behind += max(0, size - file.offset)
            else:
                self._visit(file, mine)
        work.bytes_left -= given[0] - mine.bytes_left
        work.files_left -= given[1] - mine.files_left

    def close(self) -> None:
        """Let go of the directory; a later poll takes it up again."""
        self._scan.close()

    def watched(self) -> set[str]:
        """Open writers of whose end this reader will tell; of the others only silence can."""
        return {file.writer for file in self._files.values() if file.stage is FileStatus.OPEN and self._can_tell(file)}

    def unread(self) -> str:
        """Why some of what was reported may not have been read; empty where all was, to its end."""
        if self._directory_refused:
            return f"{self._directory} cannot be read"
        if self._too_many:
            return f"there are more event files than {self._max_followed}"
        if self.behind:
            return "event files have more to say than was read"
        lost = next((f.name for f in self._files.values() if f.refused and f.stage is FileStatus.OPEN), None)
        return "" if lost is None else f"event file {printable_name(lost)} cannot be read"

    def followed(self, runs: Collection[str]) -> dict[str, tuple[int, ...]]:
        """Those of ``runs`` whose writers are seen to live and whose files are there; their processes here.

        A process counts as the run's only where it belongs to the user whose file it is.
        """
        found: dict[str, tuple[int, ...]] = {}
        for file in self._files.values():
            if file.run in runs and file.stage is FileStatus.OPEN and self._can_tell(file) and self._is_there(file):
                pids = [file.pid] if file.pid is not None and _is_users(file.pid, file.user) else []
                same_namespace = file.pidns == self._processes.namespace()
                found[file.run] = (*found.get(file.run, ()), *(pids if same_namespace else []))
        return found

    def _is_there(self, file: EventFileState) -> bool:
        try:
            return os.lstat(f"{self._where}/{file.name}").st_ino == file.inode
        except OSError:
            return False

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
        for file in files.values():
            if file.stage is FileStatus.OPEN and file.user is not None:
                self._quotas.admits(file.user, RunId(file.run), file.writer, file.last_t)

    def clear(self) -> None:
        """Forget what `restore` took over: every file is read from its beginning."""
        self._files, self._by_writer = {}, {}

    def _list(self) -> dict[int, os.DirEntry[str]] | None:
        """What there is to follow, by inode; None where that is not known (yet)."""
        try:
            complete = self._scan.step(self._begin_list, self._choose)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as err:
            if not self._directory_refused:
                self._directory_refused = True
                self._refuse(NOBODY, f"{self._directory}: {err.strerror}")
            return None
        if not complete:
            return None
        self._directory_refused = False
        self._say_left_out()
        return self._listed

    def _say_left_out(self) -> None:
        left_out = self._left_out.total()
        if left_out and not self._too_many:
            self._refuse(NOBODY, f"{self._directory}: {left_out} more than {self._max_followed}; delete old ones")
        self._too_many = left_out > 0
        for user, count in self._left_out.items():
            more = count - self._most_left_out[user]
            if more > 0:
                self._most_left_out[user] = count
                self._quotas.refuse(user, "files", "too many event files: those beyond are not read", more)

    def _begin_list(self) -> None:
        self._listed, self._odd_listed = {}, 0
        self._left_out.clear()
        self._followed = Counter(file.user if file.user is not None else NOBODY for file in self._files.values())

    def _choose(self, entry: os.DirEntry[str]) -> None:
        """Take files that are followed, whatever they are called by now; others as far as there is room for them."""
        inode = entry.inode()
        if inode in self._files:
            self._listed[inode] = entry
        elif not entry.name.endswith(".jsonl") or entry.name.startswith("."):
            return
        elif not entry.is_file(follow_symlinks=False):
            self._odd_listed += 1
            if self._odd_listed <= MAX_ODD:
                self._listed[inode] = entry
        elif self._has_room(user := self._user_of(entry)):
            self._listed[inode] = entry
            self._followed[user] += 1
        else:
            self._left_out[user] += 1

    def _has_room(self, user: int) -> bool:
        """All places are for one user who is alone; else each has his part, whatever another has taken before."""
        users = self._followed.keys() | {user}
        return self._followed[user] < self._max_followed // len(users)

    def _user_of(self, entry: os.DirEntry[str]) -> int:
        if self._user is not None:
            return self._user
        try:
            return entry.stat(follow_symlinks=False).st_uid
        except OSError:  # deleted since it was listed
            return NOBODY

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
        user = self._user_of(entry)
        if not entry.is_file(follow_symlinks=False):
            self._odd.add(inode)
            self._refuse(user, f"{self._directory / entry.name}: not a regular file")
            return
        file = EventFileState(inode, self._writer_of(entry.name, user), entry.name, user=user)
        before = self._by_writer.get(file.writer)
        if before is not None:  # rotated: the same writer goes on here
            file.stage, file.run, file.last_t = before.stage, before.run, before.last_t
            file.lock, file.pid, file.pidns = before.lock, before.pid, before.pidns
            before.watched = False
        self._files[inode] = self._by_writer[file.writer] = file

    def _writer_of(self, name: str, user: int | None) -> str:
        """What a writer whose file is called so is called; another one where somebody else's is called that."""
        other = self._by_writer.get(name)
        return name if other is None or other.user == user else f"{name}~{user}"

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

    def _due(self) -> dict[int, list[tuple[EventFileState, int]]]:
        """The files to open and their sizes, by user: those that grew, the oldest first; then those to be watched.

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
        due: dict[int, list[tuple[EventFileState, int]]] = {}
        for _, file, size in (*grown, *watched):
            due.setdefault(NOBODY if file.user is None else file.user, []).append((file, size))
        return due

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
            fd, found = open_regular(path, one_name=False)
        except FileNotFoundError:
            return
        except OSError as err:
            self._refuse_file(file, f"{path}: {err.strerror}")
            return
        try:
            if found.st_uid == ROOT and found.st_nlink > 1 and self._user is None:
                # Anybody may give a second name to a file of root's, here, where it would speak for root.
                raise UntrustedFileError("has a second name elsewhere", path)
            self._belongs(file, found.st_uid if self._user is None else self._user, work.clock)
            self._follow(file, fd, found, work)
        except OSError as err:
            self._refuse_file(file, f"{path}: {err.strerror}")
        finally:
            os.close(fd)

    def _belongs(self, file: EventFileState, user: int, clock: NodeClock) -> None:
        """Whose the file is that was opened: where that is another user than before, it is another file."""
        if file.user == user:
            return
        known, file.user = file.user, user
        if known is not None:
            self._rewind(file, clock, another=True)

    def _follow(self, file: EventFileState, fd: int, found: os.stat_result, work: Work) -> None:
        head = os.pread(fd, file.head_bytes, 0)
        if found.st_size < file.offset or zlib.crc32(head) != file.head_crc:
            self._rewind(file, work.clock, another=False)
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

    def _rewind(self, file: EventFileState, clock: NodeClock, *, another: bool) -> None:
        """Read it from its beginning; under another name, or of another user, it is another writer's."""
        writer = file.writer
        file.rewind()
        mine = self._writer_of(file.name, file.user)
        if not another and mine == writer:
            return
        if self._by_writer.get(writer) is file:
            del self._by_writer[writer]
            clock.forget(writer)
        file.become(self._writer_of(file.name, file.user))
        self._by_writer[file.writer] = file

    def _read(self, file: EventFileState, fd: int, work: Work) -> bool:
        """Take in what is new, as far as the poll's bytes reach; True at the end of the file."""
        while work.bytes_left > 0:
            data = os.pread(fd, most := PIECE_BYTES, file.offset)
            piece = cut(data, skipping=file.skipping)
            if not piece.consumed and len(data) == most:
                data = os.pread(fd, most := CHUNK_BYTES, file.offset)
                piece = cut(data, skipping=file.skipping)
            if file.offset == 0 and piece.consumed:
                file.remember_head(data[: piece.consumed])
            file.seen = file.offset + len(data)
            file.offset += piece.consumed
            file.skipping = piece.skipping
            self._take(file, piece, work)
            work.bytes_left -= max(len(data), LEAST_BYTES_PER_LINE * len(piece.lines))
            if len(data) < most:
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
                self._accept(file, line, work)

    def _accept(self, file: EventFileState, line: Line, work: Work) -> None:
        assert file.user is not None  # noqa: S101 - for the type checker: it was opened
        if line.continues and line.continues != file.writer == file.name:
            # Once: every other name that a file gave itself would be one more writer to remember.
            self._continue(file, line.continues)
        t = work.clock.event_time(file.writer, line.ts, line.mono)
        ends = line.kind is EventKind.END
        run = (self._owners.meant if ends else self._owners.run_of)(line.run, file.user)
        if not ends and not self._quotas.admits(file.user, run, file.writer, t):
            self.counts[REFUSED] += 1
            file.turned_away = file.stage is not FileStatus.OPEN
            if file.turned_away:
                work.clock.forget(file.writer)
            return
        self.counts[ACCEPTED] += 1
        file.turned_away = False
        if file.stage is FileStatus.GONE:
            # It was not gone: whatever said so (a lock that does not reach out of a sandbox) cannot be trusted.
            file.watched = False
        file.run, file.last_t = run, t
        file.lock = file.lock if line.lock is None else line.lock
        file.pid = line.pid or file.pid
        file.pidns = line.pidns or file.pidns
        work.events.append(line.event(t, file.writer, run, self._owners.user_of(run)))
        if t > work.fresh_from:
            work.bytes_left -= BYTES_PER_FRESH_LINE
        if line.kind in BOUNDARIES:
            work.bytes_left -= BYTES_PER_BOUNDARY
        if line.kind is EventKind.END:
            self._quotas.ended(file.user, run, file.writer)
            file.stage = FileStatus.ENDED
            work.clock.forget(file.writer)
        elif file.stage is not FileStatus.ENDED or line.kind in (EventKind.START, EventKind.RESUME):
            file.stage = FileStatus.OPEN

    def _continue(self, file: EventFileState, writer: str) -> None:
        """``file`` goes on where a deleted one of the same user left off: to everybody else it is the same writer."""
        before = self._by_writer.get(writer)
        if not writer.endswith(".jsonl") or (before is not None and before.user != file.user):
            return
        if self._by_writer.get(file.writer) is file:
            del self._by_writer[file.writer]
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
        if file.user is not None:
            self._quotas.gone(file.user, file.writer)
        work.events.append(
            TrainingEvent(EventKind.GONE, t, RunId(file.run), file.writer, pid=file.pid, status=EndStatus.LOST)
        )

    def _reject(self, file: EventFileState, rejected: Rejected) -> None:
        self.counts[rejected.result] += 1
        if not file.complained:
            file.complained = True
            where, what = printable_name(self._directory / file.name), without_content(rejected.reason)
            user = NOBODY if file.user is None else file.user
            self._quotas.log(user, f"{where}: {rejected.result}: {what} (more of this file is only counted)")

    def _refuse_file(self, file: EventFileState, reason: str) -> None:
        if not file.refused:
            file.refused = True
            self._refuse(NOBODY if file.user is None else file.user, reason)

    def _refuse(self, user: int, reason: str) -> None:
        self.counts[UNREADABLE] += 1
        self._quotas.log(user, f"event file not read: {printable_name(reason)}")


def _wanted(files: list[tuple[EventFileState, int]]) -> int:
    """Bytes that a user's files have to say, about."""
    return sum(max(0, size - file.offset) + LEAST_BYTES_PER_LINE for file, size in files)


def without_content(reason: str) -> str:
    """Why a line was refused, without anything of the file: which key, and what is expected there.

    A reason is ``KEY: VALUE; EXPECTATION``, or a decoder's sentence, followed by a place after a colon.
    """
    _, semicolon, expected = reason.rpartition("; ")
    key = reason.partition(":")[0]
    if semicolon:
        return f"{key}: {expected}" if key.isidentifier() else expected
    return "not UTF-8" if "codec can't decode" in reason else key


def _is_users(pid: int, user: int | None) -> bool:
    """Whether the process ``pid`` is there and belongs to ``user``."""
    try:
        return os.stat(f"/proc/{pid}").st_uid == user  # noqa: PTH116 - asked each second
    except OSError:
        return False
