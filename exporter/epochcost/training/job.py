"""Which job this process is part of, from its launcher's environment variables."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from epochcost.training import slurm_job

LAUNCHERS = {
    "slurm": "SLURM_JOB_ID",
    "torchelastic": "TORCHELASTIC_RUN_ID",
    "wandb": "WANDB_RUN_ID",
    "kubernetes": "KUBERNETES_JOB_NAME",
}
"""Which variable holds a launcher's id for what it started; first wins. Kubernetes sets none by itself:
docs/training.md."""

_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:@+=-]{0,119}")
_RANK = ("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID")
_LOCAL_RANK = ("LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID")
_NODE_RANK = ("GROUP_RANK", "NODE_RANK", "SLURM_NODEID")
_WORLD = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_NTASKS")
_PER_NODE = ("LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "LOCAL_SIZE")
"""As torchrun, Open MPI, Intel MPI and DeepSpeed call it."""
_SLURM_IMPLICIT_STEPS = 4_294_960_000
"""From here on Slurm numbers implicit steps: the batch script, an interactive shell."""
_NODES = ("GROUP_WORLD_SIZE", "SLURM_JOB_NUM_NODES", "SLURM_NNODES")


@dataclass(frozen=True, slots=True)
class Job:
    """A process within its job; None or empty if unknown.

    ``gpus``: what the processes of this job on this node use, by index or UUID; None if unknown, empty for none.
    ``job``: what ``launcher`` calls the job, the same over restarts; ``attempt``: how often it restarted it before.
    ``team``: the team that pays, from the user's setting or Slurm's account.
    ``slurm_account``, ``slurm_partition``, ``slurm_job_id``: the account that Slurm charges, the partition and the
        number of the job.
    """

    rank: int | None = None
    local_rank: int | None = None
    node_rank: int | None = None
    nodes: int | None = None
    world: int | None = None
    gpus: tuple[str, ...] | None = None
    job: str = ""
    launcher: str = ""
    attempt: int | None = None
    team: str = ""
    slurm_account: str = ""
    slurm_partition: str = ""
    slurm_job_id: str = ""

    @property
    def writes(self) -> bool:
        """Every node has one writer, for every node must be charged: its local rank 0."""
        return not self.local_rank


def launched_job(environ: Mapping[str, str]) -> Job:
    """What torchrun, Open MPI, Intel MPI or Slurm set, in that order: the inner launcher knows best."""
    world = _number(environ, _WORLD)
    per_node = _number(environ, _PER_NODE)
    nodes = world // per_node if world and per_node else _number(environ, _NODES)
    launcher, name = launcher_and_id(environ)
    return Job(
        rank=_number(environ, _RANK),
        local_rank=_number(environ, _LOCAL_RANK),
        node_rank=_number(environ, _NODE_RANK),
        nodes=nodes,
        world=world,
        gpus=visible_gpus(environ),
        job=name,
        launcher=launcher,
        attempt=_number(environ, ("SLURM_RESTART_COUNT",) if launcher == "slurm" else ("TORCHELASTIC_RESTART_COUNT",)),
        team=team(environ),
        slurm_account=slurm_job.account(environ) if launcher == "slurm" else "",
        slurm_partition=slurm_job.partition(environ) if launcher == "slurm" else "",
        slurm_job_id=slurm_job.number(environ) if launcher == "slurm" else "",
    )


def team(environ: Mapping[str, str]) -> str:
    """The team that pays for the job: as the user sets it, else the account that Slurm charges; empty if unknown."""
    return _variable(environ, "EPOCHCOST_TEAM") or slurm_job.account(environ)


def launcher_and_id(environ: Mapping[str, str]) -> tuple[str, str]:
    """The launcher and its id for this job, the same over restarts; both empty if unknown.

    An array's task is a job, all components of a heterogeneous one are one; so is an index of a Kubernetes job, unless
    the indices are ranks of one world.
    """
    for launcher, variable in LAUNCHERS.items():
        name = _variable(environ, variable)
        if not name:
            continue
        if launcher == "slurm":
            name = slurm_job.job_id(environ)
        index = _variable(environ, "JOB_COMPLETION_INDEX")
        if launcher == "kubernetes" and index and (_number(environ, _WORLD) or 1) == 1:
            name = f"{name}-{index}"
        return launcher, name
    return "", ""


def visible_gpus(environ: Mapping[str, str]) -> tuple[str, ...] | None:
    """The devices of ``CUDA_VISIBLE_DEVICES`` (or ROCm's likes of it) as the node counts them; None if unknown.

    Inside a container, CUDA's indices count the container's devices, which mean something else to the node: then the
    container's own list (``NVIDIA_VISIBLE_DEVICES``) counts, or nothing is reported. The same applies if Slurm confines
    a job to its devices: then Slurm's own list counts.
    """
    chosen = _chosen(environ)
    container_gpus = _devices(environ.get("NVIDIA_VISIBLE_DEVICES", "all"))
    in_container = container_gpus not in ((), ("all",), ("void",), ("none",))
    if chosen is None:
        return container_gpus if in_container else (_slurm_gpus(environ) or None)
    if in_container and any(device.isdecimal() for device in chosen):
        return container_gpus if len(chosen) == len(container_gpus) else None
    return chosen if in_container else _as_slurm_counts(chosen, environ)


def _chosen(environ: Mapping[str, str]) -> tuple[str, ...] | None:
    """What the process may use, in its own counting; None if unknown."""
    named = (environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"))
    chosen = next((_devices(devices) for devices in named if devices is not None), None)
    outer = environ.get("ROCR_VISIBLE_DEVICES")
    if outer is None:
        return chosen
    # ROCm hides devices twice: HIP counts those that its runtime below has left.
    visible = _devices(outer)
    return visible if chosen is None else (_picked(chosen, visible) or visible)


def _picked(chosen: tuple[str, ...], among: tuple[str, ...]) -> tuple[str, ...]:
    """The devices of ``among`` at the positions in ``chosen``; empty if there is no such position."""
    places = [int(device) if device.isascii() and device.isdecimal() else len(among) for device in chosen]
    return tuple(among[place] for place in places) if all(place < len(among) for place in places) else ()


def _slurm_gpus(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The devices of this job step, else of this job, on this node, by the node's indices."""
    return _devices(environ.get("SLURM_STEP_GPUS") or environ.get("SLURM_JOB_GPUS", ""))


def _as_slurm_counts(chosen: tuple[str, ...], environ: Mapping[str, str]) -> tuple[str, ...]:
    """``chosen`` by the node's indices: Slurm numbers a job's devices from 0 if it confines the job to them.

    Whether it does cannot be queried. Where both countings are possible and differ, all that the job holds is reported.
    """
    job_gpus = _slurm_gpus(environ)
    if not job_gpus or not chosen or not all(device.isdecimal() for device in (*chosen, *job_gpus)):
        return chosen
    tasks, nodes = (_number(environ, (f"SLURM_STEP_NUM_{what}",)) or 1 for what in ("TASKS", "NODES"))
    if len(chosen) == len(job_gpus) or tasks > nodes:  # of several tasks on a node, each may be shown its own part
        return job_gpus
    mapped = _picked(chosen, job_gpus)
    if not mapped or mapped == chosen:
        return chosen
    return job_gpus if set(chosen) <= set(job_gpus) else mapped


def users_run_name(environ: Mapping[str, str], argument: str) -> str:
    """The user's name for the run; empty without one."""
    return argument or _variable(environ, "EPOCHCOST_RUN")


def job_run_id(environ: Mapping[str, str]) -> str:
    """The id of the first run of a job; empty without a launcher.

    It is the job's, with its step where Slurm started one, and with a sweep's own id for a trial.
    """
    launcher, name = launcher_and_id(environ)
    if launcher == "slurm":
        step = _variable(environ, "SLURM_STEP_ID")
        # Open MPI starts its ranks on other nodes by a step and those on the first one without.
        has_step = (
            step.isdecimal() and int(step) < _SLURM_IMPLICIT_STEPS and not _variable(environ, "OMPI_COMM_WORLD_SIZE")
        )
        name = f"{name}.{step}" if has_step else name
    trial = _variable(environ, "WANDB_RUN_ID") if _variable(environ, "WANDB_SWEEP_ID") else ""
    return f"{name}-{trial}" if name and trial and launcher != "wandb" else name


def random_run_id(experiment: str) -> str:
    """An id that no other run has."""
    return safe(f"{experiment or 'run'}-{os.urandom(4).hex()}")


def safe(name: str) -> str:
    """``name`` itself where it fits a label and a file name; else its likeness with a digest: ids stay distinct.

    What comes out goes in again unchanged: the agent applies the same rule to what it reads.
    """
    if _SAFE.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    likeness = re.sub(r"^[^A-Za-z0-9_]|[^A-Za-z0-9._:@+=-]", "_", name[:100]) or "run"
    return f"{likeness}-{digest}"


def _variable(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name, "").strip()
    # torchrun without --rdzv-id uses "none", the same for every job.
    return "" if name == "TORCHELASTIC_RUN_ID" and value == "none" else value


def _number(environ: Mapping[str, str], names: tuple[str, ...]) -> int | None:
    for name in names:
        value = environ.get(name, "").strip()
        if value.isascii() and value.isdecimal() and len(value) < 10:  # noqa: PLR2004 - far beyond any cluster
            return int(value)
    return None


def _devices(listed: str) -> tuple[str, ...]:
    devices = tuple(device.strip() for device in listed.split(",") if device.strip())
    # CUDA stops at the first invalid entry; -1 is the usual way to hide all devices.
    return devices[: devices.index("-1")] if "-1" in devices else devices
