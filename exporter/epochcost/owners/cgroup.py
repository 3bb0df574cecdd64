"""What the path of a process's control group says: a Slurm job, a container, or nothing. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

SLURM_JOB = re.compile(r"/(?:slurm[^/]*|[^/]*slurmstepd\.scope)(?:/uid_\d+)?/job_(?P<job>\d+)(?:/|$)")
"""``/slurm/uid_1000/job_42/step_0`` (version 1), ``/system.slice/slurmstepd.scope/job_42/step_0/user`` (version 2)."""
CONTAINER_ID = re.compile(r"(?:^|[/:-])([0-9a-f]{64})(?:\.scope)?(?=/|$)")
"""``/docker/ID``, ``docker-ID.scope``, ``cri-containerd-ID.scope``, ``slice:cri-containerd:ID`` and the like."""
SHORT_ID = 12
"""As ``docker ps`` shows it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process runs; empty strings for what its control group does not say."""

    slurm_job: str = ""
    container: str = ""


def place_of(cgroup: str) -> Place:
    """The meaning of a ``/proc/PID/cgroup``: one line a hierarchy, ``ID:CONTROLLERS:PATH``."""
    job = container = ""
    for line in cgroup.splitlines():
        path = line.partition(":")[2].partition(":")[2]
        if not job and (found := SLURM_JOB.search(path)):
            job = found["job"]
        if not container and (ids := CONTAINER_ID.findall(path)):
            container = ids[-1][:SHORT_ID]  # a container in a container: the inner one computes
    return Place(job, container)
