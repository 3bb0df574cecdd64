"""Owners by the processes that compute on each GPU: their Slurm job, their container, else their Unix user."""

from __future__ import annotations

import logging
import pwd
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from epochcost.model import GpuOwner, GpuSample
from epochcost.owners.cgroup import workload_of
from epochcost.owners.owner_source import GpuProcesses, OwnerError, label
from epochcost.owners.slurm_jobs import SlurmJobs

log = logging.getLogger(__name__)

FIRST_PID_NAMESPACE = "pid:[4026531836]"
"""Inode number of the machine's own namespace on Linux."""
MAX_FILE_BYTES = 64 * 1024
MAX_ENVIRONMENT_BYTES = 1024 * 1024
KINDS = ("slurm", "container", "user")
MOST_SEEN = 8


class ProcessOwners:
    """Looks up the driver's process ids in ``proc``. Reads control group and user id, and nothing else.

    Of a Slurm process without a job in its control group, one variable of its environment is read as well, if Slurm
    itself does not report the job.

    The driver counts processes as the machine does. In a container with a PID namespace of its own the same numbers
    mean other processes, so there this source returns nothing.

    Args:
        processes: the driver's list.
        kinds: which of `KINDS` are reported; all others are left out.
        proc: the ``/proc`` to read.
        slurm_jobs: finds a job by Slurm's other id.

    Attributes:
        seen: processes of the last response by GPU with the bytes that each holds, the largest `MOST_SEEN` first.
        not_understood: processes of the last request with a control group in an unknown format, by system.
    """

    name = "processes"

    def __init__(
        self,
        processes: GpuProcesses,
        kinds: Collection[str] = KINDS,
        proc: Path = Path("/proc"),
        slurm_jobs: SlurmJobs | None = None,
    ) -> None:
        self.not_understood: Mapping[str, int] = {}
        self.seen: Mapping[str, tuple[tuple[int, int | None], ...]] = {}
        self._slurm_jobs = slurm_jobs or SlurmJobs()
        self._processes = processes
        self._kinds = kinds
        self._proc = proc
        self._logged = False
        self._odd: dict[int, str] = {}

    def owners(self, gpus: Sequence[GpuSample]) -> list[GpuOwner]:
        """The owners of processes on each GPU, by memory if all of it is known, else equally; see `OwnerSource`."""
        if not self._sees_the_machine():
            return []
        try:
            pids = self._processes.pids()
        except OSError as err:
            raise OwnerError(f"processes on the GPUs: {err}") from None
        self._odd = {}
        self.seen = {uuid: _largest(held) for uuid, held in pids.items() if held}
        owners = [owner for gpu in gpus for owner in self._on_one(gpu.uuid, pids.get(gpu.uuid, {}))]
        self.not_understood = Counter(self._odd.values())
        return owners

    def _sees_the_machine(self) -> bool:
        try:
            seen = str((self._proc / "self/ns/pid").readlink())
        except OSError as err:
            raise OwnerError(f"{self._proc}/self/ns/pid: {err.strerror}") from None
        if seen != FIRST_PID_NAMESPACE and not self._logged:
            self._logged = True
            log.info("GPU owners by process are not available: the agent runs in its own PID namespace")
        return seen == FIRST_PID_NAMESPACE

    def _on_one(self, uuid: str, pids: Mapping[int, int | None]) -> list[GpuOwner]:
        owners = {pid: owner for pid in pids if (owner := self._owner(uuid, pid))}
        held = [pids[pid] for pid in owners]
        weights = [float(b) for b in held if b] if all(held) else [1.0] * len(held)
        return [
            GpuOwner(uuid, kind, name, weight, "", container, user)
            for (kind, name, container, user), weight in zip(owners.values(), weights, strict=True)
        ]

    def _owner(self, uuid: str, pid: int) -> tuple[str, str, str, str] | None:
        """Kind, owner, container and user of a process; None when it has gone, or may not be looked at."""
        try:
            workload, user = workload_of(self._read(pid, "cgroup")), self._user(pid)
        except OSError as err:
            log.debug("process %d on GPU %s: %s", pid, uuid, err)  # it ended meanwhile: most do, sooner or later
            return None
        job = workload.slurm_job or (workload.sluid and self._slurm_job(workload.sluid, pid))
        if workload.unknown:
            self._odd[pid] = workload.unknown
        if job and "slurm" in self._kinds:
            return "slurm", job, workload.container, user
        if workload.container and "container" in self._kinds:
            return "container", workload.container, workload.container, user
        return ("user", user, "", user) if user and "user" in self._kinds else None

    def _slurm_job(self, sluid: str, pid: int) -> str:
        """The job's number, else Slurm's other id, which is unique too."""
        job = self._slurm_jobs.job_of(sluid, pid, lambda: self._bytes(pid, "environ", MAX_ENVIRONMENT_BYTES))
        if not job:
            self._odd[pid] = "slurm"
        return job or sluid

    def _user(self, pid: int) -> str:
        """The user's name, or number where this machine has no name for it."""
        for line in self._read(pid, "status").splitlines():
            if line.startswith("Uid:"):
                uid = int(line.split()[1])
                try:
                    return label(pwd.getpwuid(uid).pw_name)
                except KeyError:
                    return str(uid)
        return ""

    def _read(self, pid: int, name: str) -> str:
        return self._bytes(pid, name, MAX_FILE_BYTES).decode("utf-8", "replace")

    def _bytes(self, pid: int, name: str, most: int) -> bytes:
        with (self._proc / str(pid) / name).open("rb") as file:
            return file.read(most)


def _largest(held: Mapping[int, int | None]) -> tuple[tuple[int, int | None], ...]:
    ordered = sorted(held.items(), key=lambda process: (-(process[1] or 0), process[0]))
    return tuple(ordered[:MOST_SEEN])
