"""What is known of a fit beforehand: by the user, and by the framework."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from epochcost.training.run_args import RunArgs


@dataclass(frozen=True, slots=True)
class UserArgs(RunArgs):
    """The arguments of a callback: those of ``epochcost.run``, None if the framework may know, and three of its own.

    Attributes:
        log_costs: whether dollars go to the framework's loggers.
        report_metrics: whether what the framework logs (loss, accuracy) is reported beside them.
        stop_when_asked: whether the framework is stopped, in its own way, if a policy of this machine's guard requests
            it.
    """

    log_costs: bool = True
    report_metrics: bool = True
    stop_when_asked: bool = True

    def plain(self) -> dict[str, Any]:
        """What can be serialised, for a framework that recreates its callbacks from a checkpoint."""
        return {name: value for name, value in asdict(self).items() if name != "memory_peak"}

    @property
    def nominal(self) -> bool:
        """Whether the user defines what is called an epoch."""
        return bool(self.nominal_epoch_steps or self.nominal_epoch_tokens)


@dataclass(frozen=True, slots=True)
class FrameworkInfo:
    """What a framework knows when its training begins; None if it does not.

    ``epochs`` as planned, counted from the same zero as the framework's own epochs; ``batch_size`` is samples of one
    optimiser step over all ranks; ``batches`` and ``steps`` are those of one epoch, before and after accumulation.
    """

    epochs: float | None = None
    batch_size: int | None = None
    samples_per_epoch: int | None = None
    batches: int | None = None
    steps: int | None = None
    rank: int | None = None
    local_rank: int | None = None
    node_rank: int | None = None
    nodes: int | None = None
    world: int | None = None
