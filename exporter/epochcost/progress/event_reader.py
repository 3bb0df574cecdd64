"""Reading one event file: what is new in it, which user's it is, and whether its writer lives."""

from __future__ import annotations

import math
import os
import zlib
from dataclasses import dataclass

from epochcost.model import EndStatus, EventKind, RunId, TrainingEvent
from epochcost.progress.clock import NodeClock
from epochcost.progress.event_file_state import EventFileState, FileStatus
from epochcost.progress.line_splitter import LineSplitter, cut
from epochcost.progress.liveness import KernelProcesses, Processes, WriterClaim, writer_alive
from epochcost.progress.parse import ACCEPTED, REFUSED, RESULTS, TOO_LONG, UNREADABLE, Line, Rejected, parse_line
from epochcost.progress.run_owners import NOBODY, RunOwners
from epochcost.progress.user_quotas import UserQuotas
from epochcost.untrusted_files import printable_name

CHUNK_BYTES = 131072
"""More than the longest line."""
PIECE_BYTES = 16384
"""Taken in at once, so that a poll can end in the midst of a file."""
LEAST_BYTES_PER_LINE = 300
"""What a line counts at least against the bytes of one poll: a file of empty lines is work too."""
BYTES_PER_BOUNDARY = 512
"""Extra weight of a line that begins or ends a process: the ends of all runs are checked again at each."""
BYTES_PER_FRESH_LINE = 4096
"""What a line about the time since the last poll counts besides: the devices' time is cut at each, for all runs. One
that comes late cuts nothing."""

BOUNDARIES = frozenset({EventKind.START, EventKind.RESUME, EventKind.END})


@dataclass(slots=True)
class Work:
    """What one poll may still do, what it found, and since when an event is fresh."""

    clock: NodeClock
    bytes_left: int
    files_left: int
    events: list[TrainingEvent]
    fresh_from: float = math.inf


class EventReader:
    """Reads event files that its caller has opened.

    Args:
        owners: the users who began the runs.
        quotas: what each user may have open.
        processes: show whether a writer is alive.

    Attributes:
        by_writer: the current file of each writer.
        counts: lines by result, and files that could not be read (``unreadable``).
        behind: bytes that were there in the last poll and wait for the next.
    """

    def __init__(self, owners: RunOwners, quotas: UserQuotas, processes: Processes | None = None) -> None:
        self._owners = owners
        self._quotas = quotas
        self.processes: Processes = processes or KernelProcesses()
        self.by_writer: dict[str, EventFileState] = {}
        self.counts: dict[str, int] = dict.fromkeys(RESULTS, 0)
        self.behind = 0

    def add(self, file: EventFileState) -> None:
        """A file that was not followed before; if another one of its user had the same name, this one continues it."""
        file.writer = self.writer_of(file.name, file.user)
        before = self.by_writer.get(file.writer)
        if before is not None:  # rotated, or copied elsewhere: the same writer continues here
            file.continue_from(before)
            before.watched = False
        self.by_writer[file.writer] = file

    def writer_of(self, name: str, user: int | None) -> str:
        """The name of the writer of a file called ``name``; a different one if another user's file has that name."""
        other = self.by_writer.get(name)
        return name if other is None or other.user == user else f"{name}~{user}"

    def forget(self, file: EventFileState, clock: NodeClock) -> None:
        """The file is no longer followed."""
        if self.by_writer.get(file.writer) is file:
            del self.by_writer[file.writer]
            clock.forget(file.writer)

    def belongs(self, file: EventFileState, user: int, clock: NodeClock) -> None:
        """The user of the file that was opened: if that is another user than before, it is another file."""
        if file.user == user:
            return
        known, file.user = file.user, user
        if known is not None:
            self._rewind(file, clock, another=True)

    def follow(self, file: EventFileState, fd: int, status: os.stat_result, work: Work, where: str) -> None:
        """Read what is new in ``file``, which lies in the directory ``where`` and is open as ``fd``."""
        if status.st_size == file.seen and self.alive(file, fd):
            file.alive_seen, file.refused, file.too_much = True, False, False
            return
        head = os.pread(fd, file.head_bytes, 0)
        if status.st_size < file.offset or zlib.crc32(head) != file.head_crc:
            self._rewind(file, work.clock, another=False)
        if file.stage is FileStatus.DORMANT:  # it was written to after all
            file.stage = FileStatus.NEW
        # Checked before reading: a writer that is gone by now has written all that it ever will.
        alive = self.alive(file, fd)
        at_end = self._read(file, fd, work, where)
        file.refused, file.too_much = False, not at_end
        if alive:
            file.alive_seen = True
        elif alive is False and at_end and file.stage is FileStatus.OPEN:
            self.gone(file, work)
        if not at_end:
            self.behind += max(0, status.st_size - file.offset)

    def _rewind(self, file: EventFileState, clock: NodeClock, *, another: bool) -> None:
        """Read it from its beginning; under another name, or of another user, it is another writer's."""
        writer = file.writer
        file.rewind()
        mine = self.writer_of(file.name, file.user)
        if not another and mine == writer:
            return
        if self.by_writer.get(writer) is file:
            del self.by_writer[writer]
            clock.forget(writer)
        file.become(self.writer_of(file.name, file.user))
        self.by_writer[file.writer] = file

    def _read(self, file: EventFileState, fd: int, work: Work, where: str) -> bool:
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
            self._take(file, piece, work, where)
            work.bytes_left -= max(len(data), LEAST_BYTES_PER_LINE * len(piece.lines))
            if len(data) < most:
                return True
        file.seen = -1
        return False

    def _take(self, file: EventFileState, piece: LineSplitter, work: Work, where: str) -> None:
        for _ in range(piece.too_long):
            self._reject(file, Rejected(TOO_LONG, "a line that is too long for an event"), where)
        for raw in piece.lines:
            if not raw or raw.isspace():
                continue
            line = parse_line(raw)
            if isinstance(line, Rejected):
                self._reject(file, line, where)
            else:
                self._accept(file, line, work)

    def _accept(self, file: EventFileState, line: Line, work: Work) -> None:
        assert file.user is not None  # noqa: S101 - for the type checker: it was opened
        if line.continues and line.continues != file.writer == file.name:
            # Once: every further name that a file claims would be one more writer to remember.
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
            # It was not gone: what showed so (a lock that does not reach out of a sandbox) cannot be trusted.
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
        """``file`` continues a deleted one of the same user: to everything else it is the same writer."""
        before = self.by_writer.get(writer)
        if not writer.endswith(".jsonl") or (before is not None and before.user != file.user):
            return
        if self.by_writer.get(file.writer) is file:
            del self.by_writer[file.writer]
        if before is not None:
            before.watched = False
            before.stage = FileStatus.ENDED
        file.writer = writer
        self.by_writer[writer] = file

    def alive(self, file: EventFileState, fd: int | None) -> bool | None:
        """Whether the writer of a file (closed where ``fd`` is None) lives; None if unknown."""
        if file.stage is not FileStatus.OPEN or not file.watched:
            return None
        claim = WriterClaim(file.lock, file.pid, file.pidns)
        return writer_alive(self.processes, claim, fd=fd, own_pid=os.getpid())

    def gone(self, file: EventFileState, work: Work) -> None:
        """The writer died without an end event: now, or, if this agent never saw it alive, after its last event."""
        t = max(file.last_t, work.clock.now()) if file.alive_seen else file.last_t
        file.stage, file.last_t = FileStatus.GONE, t
        if file.user is not None:
            self._quotas.gone(file.user, file.writer)
        work.events.append(
            TrainingEvent(EventKind.GONE, t, RunId(file.run), file.writer, pid=file.pid, status=EndStatus.LOST)
        )

    def _reject(self, file: EventFileState, rejected: Rejected, where: str) -> None:
        self.counts[rejected.result] += 1
        if not file.complained:
            file.complained = True
            path, what = printable_name(f"{where}/{file.name}"), without_content(rejected.reason)
            user = NOBODY if file.user is None else file.user
            self._quotas.log(user, f"{path}: {rejected.result}: {what} (further ones in this file are only counted)")

    def refuse_file(self, file: EventFileState, where: str, reason: str) -> None:
        """It cannot be read; this is logged once."""
        if not file.refused:
            file.refused = True
            self.refuse(NOBODY if file.user is None else file.user, f"{where}/{file.name}: {reason}")

    def refuse(self, user: int, reason: str) -> None:
        """Something of ``user`` that is not read."""
        self.counts[UNREADABLE] += 1
        self._quotas.log(user, f"event file not read: {printable_name(reason)}")

    def can_tell(self, file: EventFileState) -> bool:
        """Whether the end of the file's writer will be seen."""
        same_namespace = file.pid is not None and file.pidns is not None and file.pidns == self.processes.namespace()
        return file.watched and (bool(file.lock) or same_namespace)

    def processes_of(self, file: EventFileState) -> tuple[int, ...]:
        """The process that writes the file, where it is seen from here and belongs to the file's user."""
        if file.pid is None or file.pidns != self.processes.namespace():
            return ()
        try:
            theirs = os.stat(f"/proc/{file.pid}").st_uid == file.user  # noqa: PTH116 - called each second
        except OSError:
            return ()
        return (file.pid,) if theirs else ()


def without_content(reason: str) -> str:
    """Why a line was refused, without anything of the file: which key, and what is expected there.

    A reason is ``KEY: VALUE; EXPECTATION``, or a decoder's sentence, followed by a place after a colon.
    """
    _, semicolon, expected = reason.rpartition("; ")
    key = reason.partition(":")[0]
    if semicolon:
        return f"{key}: {expected}" if key.isidentifier() else expected
    return "not UTF-8" if "codec can't decode" in reason else key
