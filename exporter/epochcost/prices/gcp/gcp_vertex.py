"""Training on Vertex AI: machines of Compute Engine at rates of their own, or at spot rates and a management fee."""

from __future__ import annotations

import re
from dataclasses import replace

from epochcost.prices.gcp import gcp_gpus, gcp_machines
from epochcost.prices.gcp.gcp_components import LOCAL_SSD, Line, Machine, UnknownMachineError
from epochcost.prices.gcp.gcp_gpus import GPUS
from epochcost.prices.gcp.gcp_skus import HOURLY, MEMORY, VERTEX, Part, Reading

PREFIX = "vertex/"
"""Prefix of the machine type, like SageMaker's ``ml.``."""
_SKU = re.compile(
    r"Vertex AI: Training/Pipelines (?P<fee>Management fee )?on (?P<what>.+?)(?: running)? in .+", re.IGNORECASE
)
_UNREAD = tuple(GPUS[name].part for name in ("nvidia-b200", "nvidia-gb200", "nvidia-gb300", "nvidia-rtx-pro-6000"))
_HOST = re.compile(r"(?P<family>.+) (?P<what>Core|Ram)", re.IGNORECASE)


def trained(part: Part, *, fee: bool) -> Part:
    """What Vertex AI takes for a part of Compute Engine: its whole price, or the fee above it."""
    return Part(VERTEX, f"Vertex AI {'fee on ' if fee else ''}{part.name}")


def read(text: str) -> Reading | None:
    """The core, memory or GPU that a SKU of Vertex AI prices for training."""
    match = _SKU.fullmatch(text)
    if match is None:
        return None
    fee = bool(match["fee"])
    if gpu := gcp_gpus.named(match["what"]):
        return Reading(trained(gpu.part, fee=fee), HOURLY, spot=False)
    host = _HOST.fullmatch(match["what"])
    family = _family(host["family"]) if host else None
    if host is None or family is None:
        return None
    if host["what"].lower() == "core":
        return Reading(trained(gcp_machines.core(family), fee=fee), HOURLY, spot=False)
    return Reading(trained(gcp_machines.memory(family), fee=fee), MEMORY, spot=False)


def _family(text: str) -> str | None:
    return "n1" if text.lower() == "n1 instance" else gcp_machines.family_named(text)  # so called in its fee


def machine(instance_type: str) -> Machine:
    """What ``vertex/a3-highgpu-8g`` is billed for.

    Raises:
        UnknownMachineError: for a machine that is not known, or that Vertex AI has no rates by parts for.
    """
    plain = gcp_machines.machine(instance_type.removeprefix(PREFIX))
    if any(line.part in _UNREAD for line in plain.spot):
        raise UnknownMachineError(f"{instance_type!r}: the rates of Vertex AI for this machine are not read")
    fees = tuple(_of_vertex(line, fee=True) for line in plain.spot if line.part != LOCAL_SSD)
    return Machine(
        # Its bills on demand have no line for local SSD; as spot they have that of Compute Engine.
        on_demand=tuple(_of_vertex(line, fee=False) for line in plain.on_demand if line.part != LOCAL_SSD),
        spot=(*plain.spot, *fees),
        facts=replace(plain.facts, instance_type=instance_type),
    )


def _of_vertex(line: Line, *, fee: bool) -> Line:
    return Line(trained(line.part, fee=fee), line.quantity)
