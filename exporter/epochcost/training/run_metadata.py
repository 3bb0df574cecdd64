"""What a run reports about itself once, already as JSON."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from epochcost.training.host import node_name
from epochcost.training.job import Job


@dataclass(frozen=True, slots=True)
class RunMetadata:
    """What does not change while a run is open; None or empty if not known.

    ``epochs`` and ``samples_per_epoch`` as planned; ``budget_usd`` in US dollars.
    """

    run: str
    job: Job
    experiment: str = ""
    framework: str = ""
    epochs: float | None = None
    batch_size: int | None = None
    samples_per_epoch: int | None = None
    budget_usd: float | None = None
    unit: str = "epoch"
    named: bool = True
    """Whether the user named the run; any other id gives way to the one in a checkpoint."""

    def fragment(self, *, locked: bool) -> str:
        """The facts as keys of a JSON object, each led by a comma; those not known are left out."""
        job = self.job
        facts: dict[str, object] = {
            "experiment": self.experiment or None,
            "framework": self.framework or None,
            "unit": self.unit,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "samples_per_epoch": self.samples_per_epoch,
            "budget_usd": self.budget_usd,
            "job": job.job or None,
            "launcher": job.launcher or None,
            "attempt": job.attempt,
            "team": job.team or None,
            "slurm_account": job.slurm_account or None,
            "slurm_partition": job.slurm_partition or None,
            "slurm_job_id": job.slurm_job_id or None,
            "rank": job.rank,
            "local_rank": job.local_rank,
            "node_rank": job.node_rank,
            "nodes": job.nodes,
            "world": job.world,
            "gpus": None if job.gpus is None else list(job.gpus),
            "pid": os.getpid(),
            "pidns": _pid_namespace(),
            "host": node_name() or None,
            "lock": locked,
        }
        known = {name: value for name, value in facts.items() if value is not None}
        return "," + json.dumps(known, separators=(",", ":"))[1:-1]


def loaded_framework() -> str:
    """The framework that the program has loaded by itself; empty if none is known."""
    return next((name for name in ("torch", "jax", "tensorflow") if name in sys.modules), "")


def _pid_namespace() -> int | None:
    """Which numbering ``pid`` belongs to: containers count their processes apart."""
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:  # no /proc: the agent cannot look at the process and relies on the lock
        return None
