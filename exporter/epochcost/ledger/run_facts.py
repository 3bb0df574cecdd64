"""What a run reports about itself besides its progress: experiment, owner, job, size, plan and budget."""

from __future__ import annotations

from dataclasses import dataclass

from epochcost.model import EventKind, TrainingEvent


@dataclass(slots=True)
class Facts:
    """What the run reports about itself; the newest value counts."""

    experiment: str = ""
    team: str = ""
    slurm_account: str = ""
    slurm_partition: str = ""
    slurm_job_id: str = ""
    framework: str = ""
    nodes: int | None = None
    world: int | None = None
    job: str = ""
    launcher: str = ""
    attempt: int | None = None
    epochs: float | None = None
    batch_size: int | None = None
    memory_peak_bytes: int | None = None
    budget_usd: float | None = None
    stopped: str = ""
    """The policy of the guard by which its newest attempt ended."""
    from_output: bool = False
    """`epochcost exec` reports it, or did: see `TrainingEvent.from_output`."""

    def take(self, event: TrainingEvent) -> None:
        """Keep the values in ``event``."""
        for name in _NEWEST_COUNTS:
            value = getattr(event, name)
            if value is not None:
                setattr(self, name, value)
        if event.kind is EventKind.START:
            self.stopped = ""
        if event.stopped is not None:
            self.stopped = event.stopped
        if event.launcher is not None and (event.job is not None or not self.launcher):
            self.launcher = event.launcher  # the one that names the job knows better
        self.from_output = self.from_output or event.from_output
        if event.memory_peak_bytes is not None:
            self.memory_peak_bytes = max(self.memory_peak_bytes or 0, event.memory_peak_bytes)


_NEWEST_COUNTS = (
    "experiment", "team", "slurm_account", "slurm_partition", "slurm_job_id", "framework", "nodes", "world", "job",
    "attempt", "epochs", "batch_size", "budget_usd",
)  # fmt: skip
