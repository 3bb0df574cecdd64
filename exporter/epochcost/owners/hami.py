"""HAMi's parts of GPUs: which GPU a container has, and how much of it, from annotations of its pod. Pure.

The scheduler of HAMi decides, and writes ``hami.io/vgpu-devices-allocated``: containers ended by ``;``, the devices of
each ended by ``:``, of each device ``UUID,TYPE,MIB,PERCENT``. The ids that the kubelet has name other GPUs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from epochcost.model import GpuOwner

ALLOCATED = "hami.io/vgpu-devices-allocated"
MAX_CHARACTERS = 64 * 1024
FIELDS = 4
MOST_MIB = 1 << 30
WHOLE_PERCENT = 100


@dataclass(frozen=True, slots=True)
class Part:
    """What one container may use of one GPU: device memory, and a share of its cores (0: no limit was set)."""

    uuid: str
    mib: int
    percent: int


def parts_of(text: str) -> list[list[Part]] | None:
    """The parts of each container that has any, in the order of the pod's; None if it is not such a string."""
    if len(text) > MAX_CHARACTERS:
        return None
    try:
        containers = [[_part(device) for device in one.split(":") if device] for one in text.split(";")]
    except ValueError:
        return None
    return [parts for parts in containers if parts]


def _part(text: str) -> Part:
    fields = text.split(",")
    if len(fields) < FIELDS or not fields[0]:
        raise ValueError(text)
    mib, percent = (int(field) if field.isascii() and field.isdecimal() else -1 for field in fields[2:FIELDS])
    if not (0 <= mib <= MOST_MIB and 0 <= percent <= WHOLE_PERCENT):
        raise ValueError(text)
    return Part(fields[0], mib, percent)


def owned(parts: Iterable[tuple[Part, GpuOwner]]) -> list[GpuOwner]:
    """Owners by the memory of a GPU that each was allocated; by cores, else equally, if the memory of one is unknown.

    One part counts for one device on the mean, as beside devices that were allocated whole.

    Args:
        parts: with the owner of each; the uuid and the share of these owners are not yet known.
    """
    by_gpu: dict[str, list[tuple[Part, GpuOwner]]] = defaultdict(list)
    for part, owner in parts:
        by_gpu[part.uuid].append((part, owner))
    return [
        replace(owner, uuid=uuid, share_ratio=weight)
        for uuid, here in by_gpu.items()
        for (_, owner), weight in zip(here, _weights([part for part, _ in here]), strict=True)
    ]


def _weights(parts: Sequence[Part]) -> list[float]:
    for amounts in ([part.mib for part in parts], [part.percent for part in parts]):
        if all(amounts):
            mean = sum(amounts) / len(amounts)
            return [amount / mean for amount in amounts]
    return [1.0] * len(parts)
