"""Keeps that users write as files: ``keep.UID`` beside the events. A file counts for its owner.

The shared directory is open to every user. So a file there counts for the user that owns it, and only under that user's
names; each user has ten names, so that others cannot easily take all of them in advance. In a directory of one user's
own the file is called ``keep`` (or ``keep.1`` and so on), and counts for the directory's user.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from epochcost.guard.conditions import MACHINE, Finding
from epochcost.guard.keeps import MAX_WHY, Keep, KeepList
from epochcost.settings import between
from epochcost.shown_text import printable
from epochcost.untrusted_files import UntrustedFileError, open_regular, trusted_owners

log = logging.getLogger(__name__)
NAMES_PER_USER = 10
OWN_NAMES = tuple(f"keep.{n}" if n else "keep" for n in range(NAMES_PER_USER))
"""In a directory of one user."""
MOST_CHANGES, PER_SECONDS = 20, 3600.0
"""How often a user may change them in how long: each change is a log line and a series."""
MAX_BYTES = 1024
_RUN = "run="
_KEY = "file "
"""Before the name of a file in the key of its keep."""
_duration = between("1m", "30d")


class KeepFileError(ValueError):
    """A keep file of a user's own holds nothing that can be read as one."""


class TooOftenError(KeepFileError):
    """A user's keep files change all the time."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a keep file contains: for how long, of which run (`MACHINE`: of all that is the user's), and why."""

    seconds: float
    subject: str
    why: str


@dataclass(frozen=True, slots=True)
class OwnPlace:
    """A directory of one user.

    Attributes:
        opened: a descriptor of it, while it is the same directory.
        user_of: the user that a file in it counts for; never root.
        by: that user, for people.
    """

    path: str
    opened: Callable[[], AbstractContextManager[int]]
    user_of: Callable[[os.stat_result, str], int]
    by: str


@dataclass(frozen=True, slots=True)
class _Name:
    """One name that is looked at.

    Attributes:
        key: under which it is remembered.
        path: from ``directory``, where that is a descriptor.
        owners: the users who may own the file; None for any.
        whose: returns the user it counts for.
    """

    key: str
    path: str | Path
    owners: frozenset[int] | None
    whose: Callable[[os.stat_result], int]
    directory: int | None = None
    by: str = ""


def names_of(uid: int) -> tuple[str, ...]:
    """The names that user ``uid`` may use, in the order in which they are tried."""
    return tuple(f"keep.{uid}" if n == 0 else f"keep.{uid}.{n}" for n in range(NAMES_PER_USER))


def text_of(wish: Wish) -> str:
    """The content of a keep file."""
    run = f" {_RUN}{wish.subject}" if wish.subject != MACHINE else ""
    return f"{wish.seconds:.0f}s{run} {wish.why}".strip() + "\n"


def wish_of(text: str) -> Wish:
    """The meaning of a keep file's content: ``4h``, ``4h why``, ``4h run=ID why``.

    Raises:
        KeepFileError: if it is nothing of the kind.
    """
    first, _, rest = text.strip().partition(" ")
    subject = MACHINE
    if rest.startswith(_RUN):
        subject, _, rest = rest.removeprefix(_RUN).partition(" ")
    try:
        seconds = _duration(first)
    except ValueError as err:
        raise KeepFileError(f"its first word is not a duration: {err}") from None
    return Wish(seconds, printable(subject[:200]), printable(" ".join(rest.split())[:MAX_WHY]))


class KeepFiles:
    """Looks after the keep files of one directory.

    Args:
        directory: of the events.
        longest_seconds: a longer wish counts as this long.

    Attributes:
        problems: what is wrong with files that are there, by name.
    """

    def __init__(self, directory: Path, longest_seconds: float) -> None:
        self.longest_seconds = longest_seconds
        self.problems: dict[str, str] = {}
        self._directory = directory
        self._changes: dict[int, list[float]] = {}
        self._read: dict[str, tuple[int, int]] = {}
        """What was read of each: inode and time of change."""

    def look(
        self, keeps: KeepList, uids: Iterable[int], t: float, wall_ts: float, places: Iterable[OwnPlace] = ()
    ) -> None:
        """Read what the users ``uids`` have written, each also in their own place; forget what they deleted."""
        self.problems = {}
        seen = {one.key for one in self._shared(uids) if self._is_there(one, keeps, t, wall_ts)}
        for place in places:
            seen |= self._own(place, keeps, t, wall_ts)
        self._read = {name: was for name, was in self._read.items() if name in seen}
        keeps.forget(t, [key for key in keeps.keeps if key.startswith(_KEY) and key.removeprefix(_KEY) not in seen])

    def _shared(self, uids: Iterable[int]) -> list[_Name]:
        return [
            _Name(name, self._directory / name, frozenset({uid}), lambda status: status.st_uid)
            for uid in uids
            for name in names_of(uid)
        ]

    def _own(self, place: OwnPlace, keeps: KeepList, t: float, wall_ts: float) -> set[str]:
        try:
            with place.opened() as fd:
                names = [
                    _Name(f"{place.path}/{name}", name, None, functools.partial(_whose, place, name), fd, place.by)
                    for name in OWN_NAMES
                ]
                return {one.key for one in names if self._is_there(one, keeps, t, wall_ts)}
        except FileNotFoundError:
            return set()
        except OSError as err:  # what cannot be seen now is kept as it was
            self.problems[f"{place.path}/{OWN_NAMES[0]}"] = err.strerror or type(err).__name__
            return {f"{place.path}/{name}" for name in OWN_NAMES}

    def _count_change(self, uid: int, t: float) -> None:
        changes = [at for at in self._changes.get(uid, ()) if t - at < PER_SECONDS]
        if len(changes) >= MOST_CHANGES:
            raise TooOftenError(f"user {uid} has changed it {MOST_CHANGES} times in an hour: read again later")
        self._changes[uid] = [*changes, t]

    def _is_there(self, one: _Name, keeps: KeepList, t: float, wall_ts: float) -> bool:
        try:
            self._look_at(one, keeps, t, wall_ts)
        except FileNotFoundError:
            return False
        except TooOftenError as err:  # the previous wish stays in effect
            self.problems[one.key] = str(err)
        except (KeepFileError, UnicodeDecodeError) as err:
            self.problems[one.key] = str(err)
            return False
        except OSError as err:
            self.problems[one.key] = err.strerror or type(err).__name__
            return not isinstance(err, UntrustedFileError)  # what cannot be read now may still be the user's
        return True

    def _look_at(self, one: _Name, keeps: KeepList, t: float, wall_ts: float) -> None:
        fd, status = open_regular(one.path, owners=one.owners, directory=one.directory)
        key = f"{_KEY}{one.key}"
        try:
            stamp = (status.st_ino, status.st_mtime_ns)
            if self._read.get(one.key) == stamp and key in keeps.keeps:
                return
            if status.st_size > MAX_BYTES:
                raise KeepFileError(f"longer than {MAX_BYTES} bytes")
            wish = wish_of(os.read(fd, MAX_BYTES).decode())
        finally:
            os.close(fd)
        # A clock that was set back makes no keep shorter; one that is ahead makes none longer.
        age = max(0.0, wall_ts - status.st_mtime)
        left = min(wish.seconds, self.longest_seconds) - age
        uid, known = one.whose(status), keeps.keeps.get(key)
        by = one.by or f"user {uid}"
        if known is None or (known.subject, known.why) != (wish.subject, wish.why):
            self._count_change(uid, t)
            what = f"run {wish.subject}" if wish.subject != MACHINE else "what is theirs"
            log.info("guard: %s keeps %s for %.0f s: %s", by, what, left, wish.why or "-")
        until_t = t + left if known is None else max(t + left, known.until_t if known.why == wish.why else 0.0)
        counts_for_all = uid in trusted_owners()
        keeps.put(Keep(key, None if counts_for_all else uid, wish.subject, until_t, by, wish.why))
        self._read[one.key] = stamp


def _whose(place: OwnPlace, name: str, status: os.stat_result) -> int:
    return place.user_of(status, name)


def present(names: tuple[str, ...], finding: Finding) -> str:
    """The first of a policy's keep files that is there; empty for none.

    It is a regular file of root's, of the agent's user, or of one of those concerned. Another user's keeps nothing.
    """
    owners = {*trusted_owners(), *(person.uid for person in finding.people if person.uid is not None)}
    for name in names:
        try:
            fd, _ = open_regular(name, owners=owners)
        except FileNotFoundError:
            continue
        except UntrustedFileError as err:
            if _ours(name, owners):
                return f"{name} ({err.strerror})"
            continue
        except OSError as err:  # what cannot be seen may be there
            return f"{name} ({err.strerror})"
        os.close(fd)
        return name
    return ""


def _ours(name: str, owners: set[int]) -> bool:
    """Whether what could not be opened as a file was put there by one of ``owners``."""
    try:
        return os.lstat(name).st_uid in owners
    except OSError:
        return False
