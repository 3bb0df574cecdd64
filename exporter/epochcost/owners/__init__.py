"""Attribution of GPUs to owners. One file for each source; `shares.combined` combines their reports.

Each source reports which owner uses which GPU, and how much of it. Command lines of processes are never read.
"""

from __future__ import annotations

from epochcost.owners.feed import OwnerFeed
from epochcost.owners.owner_source import GpuProcesses, OwnerError, OwnerSource
from epochcost.owners.pod_resources import PodResources
from epochcost.owners.processes import ProcessOwners
from epochcost.owners.runs import run_owners
from epochcost.owners.shares import combined
from epochcost.owners.slurm import SlurmAllocations

__all__ = [
    "GpuProcesses",
    "OwnerError",
    "OwnerFeed",
    "OwnerSource",
    "PodResources",
    "ProcessOwners",
    "SlurmAllocations",
    "combined",
    "run_owners",
]
