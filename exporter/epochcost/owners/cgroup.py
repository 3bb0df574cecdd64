"""What the path of a process's control group shows: a Slurm job, a container, or nothing. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

SLURM = r"/(?:slurm[^/]*|[^/]*slurmstepd\.scope)(?:/uid_\d+)?"
SLURM_JOB = re.compile(SLURM + r"/job_(?P<job>\d+)(?:/|$)")
"""``/slurm/uid_1000/job_42/step_0`` (version 1), ``/system.slice/slurmstepd.scope/job_42/step_0/user`` (version 2)."""
SLURM_SLUID = re.compile(SLURM + r"/(?P<sluid>s[0-9A-Z]{8,26})(?:/|$)")
"""``/system.slice/slurmstepd.scope/s0ABCDEFGHJ000/step_0/user``: from Slurm 26.05 on the job has another name there."""
CONTAINER_ID = re.compile(r"(?:^|[/:-])([0-9a-f]{64})(?:\.scope)?(?=/|$)")
"""``/docker/ID``, ``docker-ID.scope``, ``cri-containerd-ID.scope``, ``slice:cri-containerd:ID`` and the like."""
SHORT_ID = 12
"""As ``docker ps`` shows it."""
PLAIN = re.compile(r"/|/init\.scope|/user\.slice(?:/.*)?|/system\.slice(?:/[^/]+\.(?:service|slice|scope))*(?:/.*)?")
"""Where systemd puts what belongs to a user or a service: ``/user.slice/user-1000.slice/session-2.scope``."""
SYSTEMS = {
    "slurm": re.compile(r"slurm", re.IGNORECASE),
    "kubernetes": re.compile(r"kubepods|kubelet", re.IGNORECASE),
    "container": re.compile(r"docker|containerd|crio|libpod|podman|lxc|machine\.slice|nspawn", re.IGNORECASE),
}
"""Words in a path that identify its system, even if the format of the path is unknown."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What a process belongs to; empty strings for what its control group does not show.

    Attributes:
        slurm_job: a job's number.
        sluid: Slurm's other id of the job, if its path does not have the number.
        container: beginning of a container's id.
        unknown: what kind of path this is, if it was not understood: one of `SYSTEMS`, or ``other``.
    """

    slurm_job: str = ""
    container: str = ""
    sluid: str = ""
    unknown: str = ""


def workload_of(cgroup: str) -> Workload:
    """The meaning of a ``/proc/PID/cgroup``: one line a hierarchy, ``ID:CONTROLLERS:PATH``."""
    paths = [line.partition(":")[2].partition(":")[2] for line in cgroup.splitlines()]
    job = next((match["job"] for path in paths if (match := SLURM_JOB.search(path))), "")
    sluid = "" if job else next((match["sluid"] for path in paths if (match := SLURM_SLUID.search(path))), "")
    ids = next((every for path in paths if (every := CONTAINER_ID.findall(path))), [])
    container = ids[-1][:SHORT_ID] if ids else ""  # a container in a container: the inner one computes
    unknown = "" if job or sluid or container else _unknown(paths)
    return Workload(job, container, sluid, unknown)


def _unknown(paths: list[str]) -> str:
    for path in paths:
        for system, word in SYSTEMS.items():
            if word.search(path):
                return system
    return "" if all(PLAIN.fullmatch(path) for path in paths if path) else "other"
