"""Whose GPU is it? One file a source; `shares.combined` puts what they say together.

Each source says who uses which GPU, and how much of it. What a process was called with is never read.
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
