"""Machine types of Compute Engine: what each holds (a dated table), what it is billed for, and its parts' SKUs."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from epochcost.model import InstanceFacts
from epochcost.prices.gcp import gcp_gpus
from epochcost.prices.gcp.gcp_components import GIB, LOCAL_SSD, PROVIDER, Line, Machine, UnknownMachineError
from epochcost.prices.gcp.gcp_gpus import GPUS, Gpu
from epochcost.prices.gcp.gcp_skus import COMPUTE, HOURLY, MEMORY, STORAGE, Part, Reading

TABLE = "gcp_machines.csv"
_FAMILY_TEXTS: Mapping[str, str] = {
    "n1 predefined instance": "n1",
    "n2 instance": "n2",
    "e2 instance": "e2",
    "c3 instance": "c3",
    "compute optimized": "c2",  # without a number
    "compute optimized instance": "c2",
    "a2 instance": "a2",
    "a3 instance": "a3",
    "a3plus instance": "a3-megagpu",
    "a3ultra instance": "a3-ultragpu",
    "g2 instance": "g2",
    "g4 instance": "g4",
}
_BUNDLED = ("a4", "a4x", "a4x-max", "g4-vgpu")
"""Billed by the GPU slice, in which cores, memory and local SSD are contained."""
_HOST_SKU = re.compile(
    r"(?P<spot>(?:Spot )?Preemptible )?(?P<family>.+) (?P<what>Core|Ram) running in .+", re.IGNORECASE
)
_SSD_SKU = re.compile(
    r"SSD backed Local Storage(?P<spot> attached to (?:Spot )?Preemptible VMs)?(?: (?:running )?in .+)?", re.IGNORECASE
)
_NAME = re.compile(r"(?P<shape>[a-z0-9-]+)(?P<attached>\+none|\+(?P<accelerator>[a-z0-9-]+):(?P<count>\d{1,2}))?")


@dataclass(frozen=True, slots=True)
class Shape:
    """One row of the table.

    ``gpus`` (or slices of one) of the type ``accelerator``, and the ``local_ssd_gib`` always billed with it.
    """

    machine_type: str
    family: str
    vcpus: float
    memory_gib: float
    accelerator: str
    gpus: int
    local_ssd_gib: float
    on_demand: bool


def core(family: str) -> Part:
    """A vCPU of a family."""
    return Part(COMPUTE, f"{family} core")


def memory(family: str) -> Part:
    """A GiB of memory of a family."""
    return Part(COMPUTE, f"{family} memory")


def family_named(text: str) -> str | None:
    """The family that a SKU calls ``A3Plus Instance``; None for one that is not priced here."""
    return _FAMILY_TEXTS.get(text.lower())


def read(text: str) -> Reading | None:
    """The core, memory, GPU or local SSD that a SKU of Compute Engine prices."""
    if host := _HOST_SKU.fullmatch(text):
        family = family_named(host["family"])
        if family is None:
            return None
        of_core = host["what"].lower() == "core"
        part, hours = (core(family), HOURLY) if of_core else (memory(family), MEMORY)
        return Reading(part, hours, spot=bool(host["spot"]))
    if disk := _SSD_SKU.fullmatch(text):
        return Reading(LOCAL_SSD, STORAGE, spot=bool(disk["spot"]))
    return gcp_gpus.read(text)


@cache
def shapes() -> Mapping[str, Shape]:
    """The table in the package by machine type."""
    text = (files("epochcost.prices.gcp") / TABLE).read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return {row["machine_type"]: _shape(row) for row in rows}


def _shape(row: Mapping[str, str]) -> Shape:
    return Shape(
        machine_type=row["machine_type"],
        family=row["family"],
        vcpus=float(row["vcpus"]),
        memory_gib=float(row["memory_gib"]),
        accelerator=row["accelerator"],
        gpus=int(row["gpus"]),
        local_ssd_gib=float(row["local_ssd_gib"]),
        on_demand=row["on_demand"] == "yes",
    )


def machine(instance_type: str) -> Machine:
    """What ``a2-highgpu-1g`` or ``n1-standard-16+nvidia-tesla-p4:1`` is billed for.

    Raises:
        UnknownMachineError: for a name that is not in the table, or that leaves open which GPUs there are.
    """
    match = _NAME.fullmatch(instance_type)
    shape = shapes().get(match["shape"]) if match else None
    if match is None or shape is None:
        raise UnknownMachineError(f"{instance_type!r} is in neither the table of machine types nor that of TPU slices")
    gpu, gpus = GPUS.get(shape.accelerator), shape.gpus
    if shape.family == "n1":
        gpu, gpus = _attached(instance_type, match)
    elif match["attached"]:
        raise UnknownMachineError(f"{instance_type!r}: GPUs can be attached to N1 machines only")
    return Machine(
        on_demand=_lines(shape, gpu, gpus, spot=False) if shape.on_demand else (),
        spot=_lines(shape, gpu, gpus, spot=True),
        facts=_facts(instance_type, shape, gpu, gpus),
    )


def _attached(instance_type: str, match: re.Match[str]) -> tuple[Gpu | None, int]:
    if match["attached"] == "+none":
        return None, 0
    if not match["attached"]:
        # Its name alone is the same with and without GPUs, which are most of its price.
        raise UnknownMachineError(
            f"{instance_type!r} does not specify its GPUs: use {instance_type}+nvidia-tesla-t4:1, or "
            f"{instance_type}+none"
        )
    gpu, count = GPUS.get(match["accelerator"]), int(match["count"])
    if gpu is None or count not in gpu.attach:
        allowed = ", ".join(f"{each.accelerator}:{max(each.attach)}" for each in GPUS.values() if each.attach)
        raise UnknownMachineError(f"{instance_type!r}: such GPUs cannot be attached; at most {allowed}")
    return gpu, count


def _lines(shape: Shape, gpu: Gpu | None, gpus: int, *, spot: bool) -> tuple[Line, ...]:
    own = (Line(core(shape.family), shape.vcpus, spot), Line(memory(shape.family), shape.memory_gib, spot))
    cards = (Line(gpu.part, gpus, spot),) if gpu else ()
    disks = (Line(LOCAL_SSD, shape.local_ssd_gib, spot),) if shape.local_ssd_gib else ()
    return cards if shape.family in _BUNDLED else (*own, *cards, *disks)


def _facts(instance_type: str, shape: Shape, gpu: Gpu | None, gpus: int) -> InstanceFacts:
    return InstanceFacts(
        provider=PROVIDER,
        instance_type=instance_type,
        gpu_model=gpu.model if gpu else "",
        gpus=gpus * gpu.share if gpu else 0.0,
        gpu_memory_bytes=round(gpu.memory_gib * GIB) if gpu else None,
        vcpus=shape.vcpus,
        memory_bytes=round(shape.memory_gib * GIB),
    )
