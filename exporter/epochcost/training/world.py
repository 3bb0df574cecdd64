"""The world of processes that the framework was initialised with: no launcher need have set a variable."""

from __future__ import annotations

import contextlib
import dataclasses
import sys

from epochcost.training.job import Job


def torch_world() -> int:
    """Processes that train together, as torch knows; 1 if it knows of none."""
    return _of_torch()[1]


def with_framework_rank(job: Job) -> Job:
    """``job`` with the rank that torch or JAX knows, where their world is larger than the launcher's.

    The ranks of one world are one run; on one machine the first of them writes.
    """
    rank, world = max(_of_torch(), _of_jax(), key=lambda place: place[1])
    if world <= (job.world or 1):
        return job
    return dataclasses.replace(job, rank=rank, world=world, local_rank=rank if job.nodes == 1 else None)


def _of_torch() -> tuple[int, int]:
    """Rank and world."""
    with contextlib.suppress(Exception):
        distributed = getattr(sys.modules.get("torch"), "distributed", None)
        if distributed is not None and distributed.is_available() and distributed.is_initialized():
            return int(distributed.get_rank()), int(distributed.get_world_size())
    return 0, 1


def _of_jax() -> tuple[int, int]:
    """The same for a JAX program over several processes; other calls would start its devices.

    Where JAX keeps what it was initialised with is not part of its interface: if it is not there, JAX itself is called.
    """
    with contextlib.suppress(Exception):
        state = sys.modules["jax._src.distributed"].global_state
        if state.client is not None:
            return int(state.process_id), int(state.num_processes)
        return 0, 1
    jax = sys.modules.get("jax")
    with contextlib.suppress(Exception):
        if jax is not None and jax.distributed.is_initialized():
            return int(jax.process_index()), int(jax.process_count())
    return 0, 1
