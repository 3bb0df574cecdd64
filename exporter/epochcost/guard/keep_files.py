"""Keeps that users write as files: ``keep.UID`` beside the events. Whose file it is, is whose wish it is.

The directory is anybody's. So a file counts by the user that owns it, and only under the name that is his; each user
has ten names, so that others who take some of them in advance do not take them all.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from epochcost.guard.conditions import MACHINE, Finding
from epochcost.guard.keeps import MAX_WHY, Keep, KeepBook
from epochcost.settings import between
from epochcost.shown_text import printable
from epochcost.untrusted_files import UntrustedFileError, open_regular, trusted_owners

NAMES_PER_USER = 10
MAX_BYTES = 1024
_RUN = "run="
_KEY = "file "
"""Before the name of a file in the key of its keep."""
_duration = between("1m", "30d")


class KeepFileError(ValueError):
    """A keep file of a user's own holds nothing that can be read as one."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a keep file says: for how long, of which run (`MACHINE`: of all that is the user's), and why."""

    seconds: float
    subject: str
    why: str


def names_of(uid: int) -> tuple[str, ...]:
    """The names that user ``uid`` may use, in the order in which they are tried."""
    return tuple(f"keep.{uid}" if n == 0 else f"keep.{uid}.{n}" for n in range(NAMES_PER_USER))


def text_of(wish: Wish) -> str:
    """The content of a keep file."""
    run = f" {_RUN}{wish.subject}" if wish.subject != MACHINE else ""
    return f"{wish.seconds:.0f}s{run} {wish.why}".strip() + "\n"


def wish_of(text: str) -> Wish:
    """What the content of a keep file says: ``4h``, ``4h why``, ``4h run=ID why``.

    Raises:
        KeepFileError: when it says nothing of the kind.
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
        self._read: dict[str, tuple[int, int]] = {}
        """What was read of each: inode and time of change."""

    def look(self, book: KeepBook, uids: Iterable[int], t: float, wall_ts: float) -> None:
        """Take in what the users ``uids`` have written, and forget what they have deleted."""
        found: set[str] = set()
        self.problems = {}
        for uid in uids:
            for name in names_of(uid):
                if self._is_there(name, uid, book, t, wall_ts):
                    found.add(name)
        self._read = {name: was for name, was in self._read.items() if name in found}
        book.forget(t, [key for key in book.keeps if key.startswith(_KEY) and key.removeprefix(_KEY) not in found])

    def _is_there(self, name: str, uid: int, book: KeepBook, t: float, wall_ts: float) -> bool:
        try:
            self._look_at(name, uid, book, t, wall_ts)
        except FileNotFoundError:
            return False
        except (KeepFileError, UnicodeDecodeError) as err:
            self.problems[name] = str(err)
            return False
        except OSError as err:
            self.problems[name] = err.strerror or type(err).__name__
            return not isinstance(err, UntrustedFileError)  # what cannot be read now may still be his
        return True

    def _look_at(self, name: str, uid: int, book: KeepBook, t: float, wall_ts: float) -> None:
        path = self._directory / name
        fd, status = open_regular(path, owners={uid})
        try:
            stamp = (status.st_ino, status.st_mtime_ns)
            if self._read.get(name) == stamp and f"{_KEY}{name}" in book.keeps:
                return
            if status.st_size > MAX_BYTES:
                raise KeepFileError(f"longer than {MAX_BYTES} bytes")
            wish = wish_of(os.read(fd, MAX_BYTES).decode())
        finally:
            os.close(fd)
        # A clock that was set back makes no keep shorter; one that is ahead makes none longer.
        age = max(0.0, wall_ts - status.st_mtime)
        left = min(wish.seconds, self.longest_seconds) - age
        counts_for_all = uid in trusted_owners()
        key = f"{_KEY}{name}"
        known = book.keeps.get(key)
        until_t = t + left if known is None else max(t + left, known.until_t if known.why == wish.why else 0.0)
        book.put(Keep(key, None if counts_for_all else uid, wish.subject, until_t, f"user {uid}", wish.why))
        self._read[name] = stamp


def present(names: tuple[str, ...], finding: Finding) -> str:
    """The first of a policy's keep files that is there; empty for none.

    It is a regular file of root's, of the agent's user, or of one of those concerned. Somebody else's keeps nothing.
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
    """Whether what stands there, and could not be opened as a file, was put there by one of ``owners``."""
    try:
        return os.lstat(name).st_uid in owners
    except OSError:
        return False
