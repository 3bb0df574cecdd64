"""A run's id: the user's, else made of its job and which training of it this is, else random.

Several training runs of one job are several runs, each with the same id again when the launcher requeues the job:

* in one process, the second and later ones count on: ``7``, ``7-2``, ``7-3``;
* in processes one after the other, one that follows a training run that finished in this attempt of the job counts on
  too; so does one after a training run of another experiment;
* in processes side by side that are not ranks of one world, whichever finds the id in use adds a digest of what it was
  started with, and finds its own id by that digest again after a requeue.

An id is chosen when a run is made and claimed when it starts, with the directory locked meanwhile: processes that are
started in the same instant would otherwise all find the same id free.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from epochcost.training.directory import disabled
from epochcost.training.directory_lock import locked_directory
from epochcost.training.host import name_in_files
from epochcost.training.job import Job, random_run_id, safe, users_run_name
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
_WRITER = re.compile(r"(.+)-(?:[0-9]+-[0-9a-f]{6}|shell(?:-.*)?)\.jsonl")
"""The rest of a file's name after its run: the machine's name, and the file's user."""
_counted: dict[str, int] = {}
"""How many training runs this process has had under a name."""


@dataclass(frozen=True, slots=True)
class LaunchContext:
    """How this process was started.

    Attributes:
        environ: its environment.
        job: what its launcher reports.
        base: the id of the first run of this job, or of its step; empty if there is none.
        command: its command line, or what takes its place.
    """

    environ: Mapping[str, str]
    job: Job
    base: str
    command: Sequence[str]


class RunName:
    """The ids of one `Run`: its first, and those of new training runs after one that finished."""

    def __init__(self, launch: LaunchContext, user_run: str, experiment: str, directory: Callable[[], Path]) -> None:
        self._environ = launch.environ
        self._job = launch.job
        self._base = launch.base
        self._command = launch.command
        self._user_run = users_run_name(launch.environ, user_run)
        self._experiment = experiment
        self._directory = directory
        self._chosen: tuple[str, int] | None = None
        self.named = bool(self._user_run)
        """Whether the user named the run; any other id gives way to the one in a checkpoint."""

    def first(self) -> str:
        """The id, safe in labels and file names."""
        if self._user_run:
            return safe(self._user_run)
        if not self._base:
            if (self._job.nodes or 1) > 1:
                warn_once(
                    "run name",
                    "this run has no name that its machines share (set id= or EPOCHCOST_RUN): each reports its own run",
                )
            return random_run_id(self._experiment)
        return self._of_job(self._base)

    def next(self) -> str:
        """The id of a training run that begins again after this one finished: the same only if the user set it."""
        return self.first()

    @contextmanager
    def claim(self, run: str) -> Iterator[str]:
        """The id under which to start now: ``run``, or the next one if another process took it since it was chosen.

        The event file is to be made and locked within the context, so that the next process to look finds it.
        """
        if self._chosen is None or not self._job.writes:
            yield run
            return
        with locked_directory(self._directory):
            last = self._last_event(run)
            if last is None or not self._is_free(last):
                name, number = self._chosen
                if _counted.get(name) == number:  # this process has not used it
                    _counted[name] = number - 1
                run = self._of_job(self._base)
            yield run

    @property
    def sees_others(self) -> bool:
        """Whether the id depends on other processes of the job, which are looked for on this machine."""
        alone = (self._job.nodes or 1) == 1  # other machines cannot see what is in this one's directory
        known = self._job.local_rank is not None or (self._job.world or 1) == 1
        return bool(self._base and not self._user_run and alone and known and not disabled(self._environ))

    def _of_job(self, base: str) -> str:
        if not self.sees_others:
            return _count_on(base)
        digest_name = f"{base}-{self._digest()}"
        names = [base, digest_name, f"{digest_name}-{os.getpid()}"]
        # In a requeued job whichever process comes first finds all ids free, and must not take its neighbor's.
        last = self._last_event(safe(digest_name)) if digest_name not in _counted else None
        if last and self._is_free(last):
            names.insert(0, digest_name)
        for name in names:
            run = self._unfinished(name)
            if run:
                return run
        return _count_on(base)

    def _unfinished(self, name: str) -> str:
        """The first id by ``name`` that is free; empty if another process has it now."""
        for number in range(_counted.get(name, 0) + 1, MOST_IDS):
            run = safe(name if number == 1 else f"{name}-{number}")
            last = self._last_event(run)
            if last is None:
                return ""
            if self._is_free(last):
                _counted[name] = number
                self._chosen = (name, number)
                return run
        return ""

    def _is_free(self, last: Mapping[str, object]) -> bool:
        """Whether a run with these last reports may be this one: it is of the same experiment, and continues.

        It does unless it finished in this attempt of the job.
        """
        other = last.get("experiment")
        over = (last.get("ev"), last.get("status")) == ("end", "finished") and last.get("attempt") == self._job.attempt
        return not over and not (other and self._experiment and other != self._experiment)

    def _last_event(self, run: str) -> dict[str, object] | None:
        """What another process reported last about ``run`` on this node; None if it may continue, empty for nothing."""
        try:
            files = self._files(run)
        except OSError:  # nothing can be written there either, which the writer reports
            return {}
        # For a rank that does not write, the current writer may belong to its own world.
        if self._job.writes and any(_locked(path) for path in files):
            return None
        last = last_event(files[-1]) if files else {}
        return None if self._job.writes and _is_of_another_shell(last) else last

    def _files(self, run: str) -> list[str]:
        """The newest files about ``run`` that other processes wrote, the very newest last.

        A container has a name of its own for this machine; what looks like one may be the end of another run's id.
        """
        begin, here = f"{run[:100]}-", name_in_files()
        own_prefix = f"{begin}{here}-{os.getpid()}-"
        with os.scandir(self._directory()) as entries:
            named = [e for e in entries if e.name.startswith(begin) and not e.name.startswith(own_prefix)]
        known = {e.path: e.name.startswith(f"{begin}{here}-") for e in named if _is_event_file(e.name, begin, here)}
        with_status = [(e.stat(follow_symlinks=False), e.path) for e in named if e.path in known]
        files = sorted((one.st_mtime, path) for one, path in with_status if _is_own_file(one))
        return [path for _, path in files[-MOST_FILES:] if known[path] or last_event(path).get("run") == run]

    def _digest(self) -> str:
        started = [self._experiment, *self._command, self._environ.get("CUDA_VISIBLE_DEVICES", "")]
        return hashlib.sha256("\0".join(started).encode("utf-8", "surrogatepass")).hexdigest()[:6]


def _count_on(name: str) -> str:
    _counted[name] = _counted.get(name, 0) + 1
    return safe(name if _counted[name] == 1 else f"{name}-{_counted[name]}")


def _is_event_file(name: str, begin: str, here: str) -> bool:
    """Whether ``name``, which starts with ``begin``, may be that of a file about this run; ``here``: this machine."""
    writer = _WRITER.fullmatch(name, len(begin))
    return name.endswith(".jsonl") and (
        name.startswith(f"{begin}{here}-") or bool(writer and not writer[1].endswith(f"-{here}"))
    )


def _is_own_file(status: os.stat_result) -> bool:
    """What another user reports under this name is another run."""
    return stat.S_ISREG(status.st_mode) and (not hasattr(os, "geteuid") or status.st_uid == os.geteuid())


def _opened(path: str) -> int:
    """A file of this user's, to be read. Any user may have put one there: no link is followed, no pipe waited for.

    Raises:
        OSError: for anything else.
    """
    fd = os.open(path, _READ)
    if _is_own_file(os.fstat(fd)):
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


def _is_of_another_shell(last: Mapping[str, object]) -> bool:
    """Whether a shell that does not run this process is in the midst of what it reports: it holds no lock."""
    if "shells" not in last or last.get("ev") == "end":
        return False
    from epochcost.training.process_tree import is_anothers, processes_above, written_by

    return is_anothers(written_by(last), processes_above())


def last_event(path: str) -> dict[str, object]:
    """The last event of a file of this user's, with the keys of the first one; empty if they cannot be read."""
    try:
        with os.fdopen(_opened(path), "rb") as file:
            head = file.read(TAIL_BYTES)
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            lines = file.read(TAIL_BYTES).splitlines()
    except OSError:  # gone, or another user's
        return {}
    last = _event(lines[-1]) if lines else {}
    return {**_event(head.partition(b"\n")[0]), **last} if last else {}


def _event(line: bytes) -> dict[str, object]:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):  # torn by a full disk
        return {}
    return event if isinstance(event, dict) else {}
