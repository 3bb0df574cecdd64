"""A run's id: as the user says, else which training of its job it is, else made up.

Several training runs of one job are several runs, each with the same id again when the launcher requeues the job:

* in one process, the second and later ones count on: ``7``, ``7-2``, ``7-3``;
* in processes one after the other, one that follows a training run that finished in this attempt of the job counts on
  too;
* in processes side by side that are not ranks of one world, whichever finds the id in use adds a digest of what it was
  started with, and finds its own id by that digest again after a requeue.

An id is chosen when a run is made and claimed when it starts, with the directory locked meanwhile: processes that are
started in the same instant would otherwise all find the same id free.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from epochcost.training.directory import disabled
from epochcost.training.directory_lock import locked_directory
from epochcost.training.host import name_in_files
from epochcost.training.job import Job, given_name, made_up_id, safe
from epochcost.training.warning import warn_once

try:
    import fcntl
except ImportError:  # not a POSIX system: no locks to look at
    fcntl = None  # type: ignore[assignment]

MOST_IDS = 10_000
MOST_FILES = 64
"""The newest, of one run: each is opened."""
TAIL_BYTES = 8192
_READ = os.O_RDONLY
for _flag in ("O_CLOEXEC", "O_NONBLOCK", "O_NOFOLLOW"):  # not on every system
    _READ |= getattr(os, _flag, 0)
_counted: dict[str, int] = {}
"""How many training runs this process has had under a name."""


class RunName:
    """The ids of one `Run`: its first, and those of the training runs that begin anew after one that finished."""

    def __init__(  # noqa: PLR0913 - what an id is made of
        self,
        environ: Mapping[str, str],
        within: Job,
        said: str,
        experiment: str,
        directory: Callable[[], Path],
        *,
        base: str,
    ) -> None:
        """``base``: the id of the first run of this job, or of its step; empty if there is none."""
        self._environ = environ
        self._job = within
        self._said = given_name(environ, said)
        self._base = base
        self._experiment = experiment
        self._directory = directory
        self._chosen: tuple[str, int] | None = None
        self.given = bool(self._said)
        """Whether the user named the run; any other id gives way to the one in a checkpoint."""

    def first(self) -> str:
        """The id, safe in labels and file names."""
        if self._said:
            return safe(self._said)
        if not self._base:
            if (self._job.nodes or 1) > 1:
                warn_once(
                    "run name",
                    "this run has no name that its machines share (set id= or EPOCHCOST_RUN): each reports its own run",
                )
            return made_up_id(self._experiment)
        return self._of_job(self._base)

    def next(self) -> str:
        """The id of a training run that begins again after this one finished: the same only where the user gave it."""
        return self.first()

    @contextmanager
    def claim(self, run: str) -> Iterator[str]:
        """The id under which to start now: ``run``, or the next one if another process took it since it was chosen.

        The event file is to be made and locked within the context, so that the next process to ask finds it.
        """
        if self._chosen is None or not self._job.writes:
            yield run
            return
        with locked_directory(self._directory):
            last = self._last_words(run)
            if last is None or self._over(last):
                name, number = self._chosen
                if _counted.get(name) == number:  # this process has not used it
                    _counted[name] = number - 1
                run = self._of_job(self._base)
            yield run

    def _of_job(self, base: str) -> str:
        alone = (self._job.nodes or 1) == 1  # other machines cannot see what is in this one's directory
        known = self._job.local_rank is not None or (self._job.world or 1) == 1
        writes_here = not disabled(self._environ) and not self._environ.get("EPOCHCOST_URL", "").strip()
        if not (alone and known and writes_here):
            return _count_on(base)
        own = f"{base}-{self._digest()}"
        names = [base, own, f"{own}-{os.getpid()}"]
        # In a requeued job whichever process comes first finds all ids free, and must not take its neighbor's.
        last = self._last_words(safe(own)) if own not in _counted else None
        if last and not self._over(last):
            names.insert(0, own)
        for name in names:
            found = self._unfinished(name)
            if found:
                return found
        return _count_on(base)

    def _unfinished(self, name: str) -> str:
        """The first id by ``name`` that is not over; empty if another process has it now."""
        for number in range(_counted.get(name, 0) + 1, MOST_IDS):
            found = safe(name if number == 1 else f"{name}-{number}")
            last = self._last_words(found)
            if last is None:
                return ""
            if not self._over(last):
                _counted[name] = number
                self._chosen = (name, number)
                return found
        return ""

    def _over(self, last: dict[str, object]) -> bool:
        """Whether a run that left these words finished in this attempt of the job."""
        return (last.get("ev"), last.get("status")) == ("end", "finished") and last.get("attempt") == self._job.attempt

    def _last_words(self, run: str) -> dict[str, object] | None:
        """What another process said last about ``run`` on this node; None if it may go on, empty for nothing."""
        start, own = f"{run[:100]}-{name_in_files()}-", f"{run[:100]}-{name_in_files()}-{os.getpid()}-"
        try:
            with os.scandir(self._directory()) as entries:
                names = [e for e in entries if e.name.startswith(start) and not e.name.startswith(own)]
            found = [(e.stat(follow_symlinks=False), e.path) for e in names if e.name.endswith(".jsonl")]
            files = sorted((one.st_mtime, path) for one, path in found if _is_mine(one))
        except OSError:  # nothing can be written there either, which the writer says
            return {}
        # For a rank that does not write, who writes now may be its own world's.
        if self._job.writes and any(_locked(path) for _, path in files[-MOST_FILES:]):
            return None
        return _last_line(files[-1][1]) if files else {}

    def _digest(self) -> str:
        started = [self._experiment, *sys.argv, self._environ.get("CUDA_VISIBLE_DEVICES", "")]
        return hashlib.sha256("\0".join(started).encode("utf-8", "surrogatepass")).hexdigest()[:6]


def _count_on(name: str) -> str:
    _counted[name] = _counted.get(name, 0) + 1
    return safe(name if _counted[name] == 1 else f"{name}-{_counted[name]}")


def _is_mine(found: os.stat_result) -> bool:
    """What another user says of a run by this name is about a run of his."""
    return stat.S_ISREG(found.st_mode) and (not hasattr(os, "geteuid") or found.st_uid == os.geteuid())


def _opened(path: str) -> int:
    """A file of this user's, to be read. Anybody may have put one there: no link is followed, no pipe waited for.

    Raises:
        OSError: for anything else.
    """
    fd = os.open(path, _READ)
    if _is_mine(os.fstat(fd)):
        return fd
    os.close(fd)
    raise OSError(f"{path}: not a file of this user's")


def _locked(path: str) -> bool:
    """Whether a live process writes this file."""
    if fcntl is None:
        return False
    try:
        fd = _opened(path)
    except OSError:  # gone meanwhile
        return False
    try:
        fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def _last_line(path: str) -> dict[str, object]:
    try:
        with os.fdopen(_opened(path), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            lines = file.read(TAIL_BYTES).splitlines()
        last = json.loads(lines[-1]) if lines else {}
    except (OSError, ValueError, RecursionError):  # torn by a full disk, or another user's
        return {}
    return last if isinstance(last, dict) else {}
