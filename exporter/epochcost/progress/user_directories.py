"""Finding the directories of one user each: what the patterns of ``--events.user-dirs`` name now."""

from __future__ import annotations

import fnmatch
import math
import os
import stat
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from epochcost.progress.event_places import OTHERS_WRITE, EventPlace, pod_of
from epochcost.untrusted_files import open_directory, trusted_owners

MAX_DIRECTORIES = 2000
MAX_LISTED = 20_000
"""Names looked at in one directory that a pattern lists: it is root's, so more is a mistake."""
LOOK_SECONDS = 2.0
"""Between two looks at what the patterns name."""
POD_LOGS = Path("/var/log/pods")
"""Where the kubelet makes ``NAMESPACE_POD_UID`` for each pod."""
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NONBLOCK


@dataclass(slots=True)
class UserPlaces:
    """What the patterns name.

    Attributes:
        places: by path.
        complete: whether nothing kept them from being listed: what is missing now is gone.
        refused: why something is not read, for people.
    """

    places: dict[str, EventPlace] = field(default_factory=dict)
    complete: bool = True
    refused: list[str] = field(default_factory=list)

    def refuse(self, path: str, reason: str | None) -> None:
        """Something that was named is not taken."""
        self.refused.append(f"{path}: {reason}")


class UserDirectories:
    """The directories of one user each, searched for from time to time.

    Only a directory in which only root (or this agent's user) can create names is listed for a pattern, and behind
    the first wildcard no symbolic link is followed: a user can neither add a directory nor redirect to another user's.

    Args:
        patterns: absolute paths, in which a component may hold ``*``, ``?`` and ``[...]``.
        pod_logs: where the kubelet names the namespaces of pods.
        look_seconds: interval between two searches.
    """

    def __init__(
        self, patterns: Sequence[str] = (), pod_logs: Path = POD_LOGS, look_seconds: float = LOOK_SECONDS
    ) -> None:
        self._patterns = patterns
        self._pod_logs = pod_logs
        self._look_seconds = look_seconds
        self._looked_at = -math.inf
        self._latest = UserPlaces()

    def current(self, now: float) -> UserPlaces:
        """The directories that they match, at most `LOOK_SECONDS` old at ``now``."""
        if self._patterns and not 0 <= now - self._looked_at < self._look_seconds:
            self._looked_at = now
            self._latest = self._look()
        return self._latest

    def _look(self) -> UserPlaces:
        search = UserPlaces()
        namespaces = self._namespaces() if any("/pods/" in pattern for pattern in self._patterns) else None
        seen: set[tuple[int, int] | None] = set()
        with closing(self._matches(search)) as matches:
            for path, fd in matches:
                if len(search.places) >= MAX_DIRECTORIES:
                    search.refuse(path, f"more than {MAX_DIRECTORIES} directories of users: those beyond are not read")
                    search.complete = False
                    break
                pod = pod_of(path)
                if pod and namespaces is not None and pod not in namespaces:
                    continue  # its first container has not begun; then the kubelet names its namespace
                place = EventPlace.of_one_user(path, os.fstat(fd), (namespaces or {}).get(pod, ""))
                if place.identity not in seen:  # nor is it read twice where two patterns name it
                    seen.add(place.identity)
                    search.places[path] = place
        return search

    def _namespaces(self) -> dict[str, str] | None:
        """Namespaces by pod; None if unknown."""
        try:
            fd = open_directory(self._pod_logs, owners=trusted_owners())
        except OSError:
            return None
        try:
            with os.scandir(fd) as entries:
                parts = [entry.name.split("_") for entry in islice(entries, MAX_LISTED)]
        finally:
            os.close(fd)
        return {part[-1]: part[0] for part in parts if len(part) == 3}  # noqa: PLR2004 - NAMESPACE_POD_UID

    def _matches(self, search: UserPlaces) -> Generator[tuple[str, int], None, None]:
        """Paths and descriptors, each closed when the next is requested."""
        for pattern in self._patterns:
            parts = Path(pattern).parts
            first = next((n for n, part in enumerate(parts) if _is_wild(part)), len(parts) - 1)
            base = os.path.join(*parts[:first])  # noqa: PTH118 - a component may be anything
            try:
                fd = os.open(base, _OPEN)
            except FileNotFoundError:
                continue  # made when the first of them is
            except OSError as err:
                search.refuse(base, err.strerror)
                search.complete = False
                continue
            try:
                yield from _below(fd, base, parts[first:], search)
            finally:
                os.close(fd)


def _is_wild(part: str) -> bool:
    return any(char in part for char in "*?[")


def _below(fd: int, path: str, parts: Sequence[str], search: UserPlaces) -> Iterator[tuple[str, int]]:
    if not parts:
        yield path, fd
        return
    for name in _names(fd, path, parts[0], search):
        try:
            inner = os.open(name, _OPEN | os.O_NOFOLLOW, dir_fd=fd)
        except (FileNotFoundError, NotADirectoryError):
            if _is_link(name, fd):
                search.refuse(f"{path}/{name}", "a symbolic link, which is not followed here")
            continue
        except OSError as err:
            search.refuse(f"{path}/{name}", err.strerror)
            search.complete = False
            continue
        try:
            yield from _below(inner, f"{path.rstrip('/')}/{name}", parts[1:], search)
        finally:
            os.close(inner)


def _names(fd: int, path: str, part: str, search: UserPlaces) -> list[str]:
    if not _is_wild(part):
        return [part]
    at = os.fstat(fd)
    if at.st_uid not in trusted_owners() or at.st_mode & OTHERS_WRITE:
        search.refuse(path, "others than root can create directories there, so nothing matched there is read")
        return []
    try:
        with os.scandir(fd) as entries:
            names = [entry.name for entry in islice(entries, MAX_LISTED) if fnmatch.fnmatchcase(entry.name, part)]
    except OSError as err:
        search.refuse(path, err.strerror)
        search.complete = False
        return []
    return sorted(name for name in names if not name.startswith("."))


def _is_link(name: str, fd: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)
    except OSError:
        return False
