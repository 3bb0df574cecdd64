"""JAX and Flax loops: ``with run("vit", epochs=10) as r:``, as ``epochcost.run`` with what JAX knows."""

from __future__ import annotations

import sys
from typing import Any

from epochcost.training.run import Run
from epochcost.training.run_args import RunArgs
from epochcost.training.run_factory import make_run


def run(experiment: str = "", epochs: float | None = None, batch_size: int | None = None, **arguments: Any) -> Run:
    """A run that reads the peak of device memory from JAX.

    JAX returns before the devices are done: an epoch ends where the loop waits, for instance by
    ``jax.block_until_ready(state)`` or by reading the loss; without that the end of an epoch is reported too early, by
    the work still queued.
    """
    known: dict[str, Any] = {"framework": "jax", "memory_peak": peak_bytes}
    return make_run(RunArgs(experiment, epochs, batch_size, **{**known, **arguments}))


def peak_bytes() -> int | None:
    """The most memory held so far, in bytes, of the fullest local device; None if JAX does not report it (CPU)."""
    jax = sys.modules.get("jax")
    if jax is None:
        return None
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    return max((stat["peak_bytes_in_use"] for stat in stats if "peak_bytes_in_use" in stat), default=None)
