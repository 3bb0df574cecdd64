"""What is remembered about one event file."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

from epochcost.model import is_number

HEAD_BYTES = 256
FileKey: TypeAlias = tuple[int, int]
"""Device and inode."""


class FileStatus(str, Enum):
    """The status of a file: never read, its run open, its run ended, its writer gone, or too old to be read."""

    NEW = "new"
    OPEN = "open"
    ENDED = "ended"
    GONE = "gone"
    DORMANT = "dormant"


@dataclass(slots=True)
class EventFileState:
    """One event file, known by its inode, whatever its name becomes.

    Attributes:
        inode: as the directory lists it.
        user: its owner; None until it is opened, if the state of an earlier agent lacked it.
        writer: the name it was first seen with, or that of the file it continues.
        name: what it is called now.
        offset: bytes that need not be read again.
        seen: bytes that were read, the beginning of an unfinished last line included; -1 when there may be more.
        head_bytes, head_crc: the file's beginning, which distinguishes it from another with the same inode.
        skipping: an overlong line is being passed over.
        stage: see `FileStatus`.
        run, lock, pid, pidns: as reported in its lines.
        watched: whether the lock or the process is reliable evidence that the writer died.
        last_t: of its latest event, on the node timeline.
        alive_seen: this very agent saw the writer alive.
        refused: it cannot be read, which was counted.
        turned_away: its last line was beyond what its user may have open.
        complained: its bad lines were logged.
        visited: number of the poll that last opened it.
        too_much: it had more lines than that poll took.
        place: the key of the directory that it lies in, see `EventPlace`.
        device: of the inode; below 0 until the place is seen, for a file from an earlier agent's state.
    """

    inode: int
    writer: str
    name: str
    offset: int = 0
    seen: int = -1
    head_bytes: int = 0
    head_crc: int = 0
    skipping: bool = False
    stage: FileStatus = FileStatus.NEW
    run: str = ""
    lock: bool = False
    pid: int | None = None
    pidns: int | None = None
    watched: bool = True
    last_t: float = 0.0
    user: int | None = None
    alive_seen: bool = False
    refused: bool = False
    turned_away: bool = False
    complained: bool = False
    visited: int = 0
    too_much: bool = False
    place: str = ""
    device: int = 0

    @property
    def key(self) -> FileKey:
        """What it is known by."""
        return self.device, self.inode

    @property
    def resting(self) -> bool:
        """Nothing more is expected of it; it is looked at now and then."""
        done = self.stage in (FileStatus.ENDED, FileStatus.GONE) and self.seen >= 0
        return self.refused or self.turned_away or done or self.stage is FileStatus.DORMANT

    def rewind(self) -> None:
        """The file begins again."""
        self.offset, self.seen, self.skipping, self.head_bytes, self.head_crc = 0, -1, False, 0, 0

    def become(self, writer: str) -> None:
        """It is another writer's from now on."""
        self.writer, self.stage, self.run, self.lock = writer, FileStatus.NEW, "", False
        self.pid, self.pidns, self.watched, self.alive_seen = None, None, True, False

    def continue_from(self, before: EventFileState) -> None:
        """It is the same writer's; if it begins like ``before``, it is a copy, of which as much was read."""
        self.stage, self.run, self.last_t = before.stage, before.run, before.last_t
        self.lock, self.pid, self.pidns = before.lock, before.pid, before.pidns
        self.offset, self.head_bytes, self.head_crc = before.offset, before.head_bytes, before.head_crc
        self.skipping = before.skipping

    def remember_head(self, data: bytes) -> None:
        """``data`` are the first bytes of the file, all of them consumed."""
        self.head_bytes = min(len(data), HEAD_BYTES)
        self.head_crc = zlib.crc32(data[: self.head_bytes])

    def row(self) -> list[Any]:
        """What outlives the agent, as JSON can hold it."""
        return [
            self.inode,
            self.writer,
            self.name,
            self.offset,
            self.seen,
            self.head_bytes,
            self.head_crc,
            self.skipping,
            self.stage.value,
            self.run,
            self.lock,
            self.pid,
            self.pidns,
            self.watched,
            self.last_t,
            self.user,
            *([self.place] if self.place.startswith("/") else []),
        ]

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> EventFileState:
        """The opposite of `kept`. Raises ValueError or TypeError for anything else."""
        known = dict(zip(_COLUMNS, row[: len(_COLUMNS)], strict=True))
        user, place = _owner_of(known["name"], row[len(_COLUMNS) :])
        _check_file(known)
        _check_writer(known)
        known |= {"stage": FileStatus(known["stage"]), "last_t": float(known["last_t"])}
        return cls(**known, user=user, place=place)


_COLUMNS = (
    "inode", "writer", "name", "offset", "seen", "head_bytes", "head_crc", "skipping",
    "stage", "run", "lock", "pid", "pidns", "watched", "last_t",
)  # fmt: skip


def _owner_of(name: object, later: Sequence[Any]) -> tuple[int | None, str]:
    """User and place, which version 0.1 did not keep."""
    user = later[0] if later else None
    if not (user is None or type(user) is int):
        raise ValueError(f"{name}: its user {user!r} is not a whole number")
    place = later[1] if len(later) > 1 else ""
    if not isinstance(place, str) or (place and not place.startswith("/")) or len(later) > 2:  # noqa: PLR2004
        raise ValueError(f"{name}: {later[1:]!r} is not the directory of a user")
    return user, place


def _check_file(known: Mapping[str, Any]) -> None:
    """Raise ValueError for a file, or a part read of it, that cannot exist."""
    name, writer, seen = known["name"], known["writer"], known["seen"]
    if not all(isinstance(text, str) and text and "/" not in text for text in (writer, name)):
        raise ValueError(f"{writer!r} or {name!r} is not the name of a file")
    numbers = [known[key] for key in ("inode", "offset", "head_bytes", "head_crc")]
    if not all(type(number) is int for number in (*numbers, seen)) or min(numbers) < 0:
        raise ValueError(f"{name}: {numbers} and {seen!r} are not whole numbers of 0 or more")


def _check_writer(known: Mapping[str, Any]) -> None:
    """Raise ValueError for what cannot be known of a writer."""
    name, run, last_t = known["name"], known["run"], known["last_t"]
    if not is_number(last_t) or last_t < 0:
        raise ValueError(f"{name}: last_t {last_t!r}")
    flags = [known[key] for key in ("skipping", "lock", "watched")]
    if not isinstance(run, str) or not all(isinstance(flag, bool) for flag in flags):
        raise ValueError(f"{name}: run {run!r}, flags {flags}")
    pid, pidns = known["pid"], known["pidns"]
    if not all(number is None or (type(number) is int and number >= 0) for number in (pid, pidns)):
        raise ValueError(f"{name}: pid {pid!r} in namespace {pidns!r}")
