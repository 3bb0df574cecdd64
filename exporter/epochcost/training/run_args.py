"""The arguments of ``epochcost.run``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunArgs:
    """As the user passed them: nothing is validated yet. `epochcost.run` describes each; None if not passed."""

    experiment: str = ""
    epochs: float | None = None
    batch_size: int | None = None
    id: str | None = None
    budget_usd: float | None = None
    samples_per_epoch: int | None = None
    steps_per_epoch: int | None = None
    nominal_epoch_steps: int | None = None
    nominal_epoch_tokens: int | None = None
    framework: str | None = None
    memory_peak: Callable[[], int] | None = None
    local_rank: int | None = None
