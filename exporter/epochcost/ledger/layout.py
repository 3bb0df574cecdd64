"""The devices of the node as the ledger knows them: those that can be seen, and those that only a run still holds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from epochcost.ledger.devices import Device
from epochcost.ledger.shares import Placed

ALL = Device("node", "node")
"""The whole machine, if no device has ever been seen."""
NO_GPU = frozenset({"cpu", ALL.uuid})
GONE_PREFIX = "gone/"
"""Precedes the index of a device that has left the driver's list: the driver may have reassigned the index."""
LEAST = 1e-9
"""Weight of a slice whose place another has: a run that names it means it, and not the whole machine."""


def with_held(devices: Sequence[Device], before: Iterable[Placed], held: Collection[str]) -> list[Device]:
    """``devices``, and those of ``before`` that are not among them and that runs hold: ``held``, by their uuids.

    A run's claim on devices that were known stays its claim when one vanishes. Its GPU does not count for more
    meanwhile, whatever the driver reports as left over, or as created, in place of a slice.
    """
    seen = {device.uuid for device in devices}
    missing = [placed for placed in before if placed[0] not in seen and placed[0] in held]
    if not missing:
        return list(devices)
    fitted = _fitted(devices, missing, held)
    present = [replace(d, weight=fitted[d.uuid]) if d.uuid in fitted else d for d in devices]
    return [*present, *(Device(uuid, _gone(index), weight=fitted.get(uuid, w)) for uuid, index, w in missing)]


def is_gone(index: str) -> bool:
    """Whether a device has left the driver's list."""
    return index.startswith(GONE_PREFIX)


def _gone(index: str) -> str:
    return index if is_gone(index) else f"{GONE_PREFIX}{index}"


def _fitted(devices: Sequence[Device], missing: Sequence[Placed], held: Collection[str]) -> dict[str, float]:
    """What the parts of a GPU that lacks slices count for, by UUID: with what is missing they are one GPU.

    What no run holds counts for less, first what is left over, then slices; then what is missing, whose place is taken.
    """
    fitted: dict[str, float] = {}
    for gpu in {_gpu(index) for _, index, _ in missing if ":" in index}:
        parts = [device for device in devices if _gpu(device.index) == gpu]
        gone = {uuid: weight for uuid, index, weight in missing if _gpu(index) == gpu}
        whole = any(device.index == gpu and device.uuid in held for device in parts)
        free = [] if whole else [device for device in parts if device.uuid not in held]
        rest, slices = (
            {d.uuid: d.weight for d in free if (d.index == gpu) is left_over} for left_over in (True, False)
        )
        excess = sum(device.weight for device in parts) + sum(gone.values()) - 1.0
        for group, least in ((rest, 0.0), (slices, LEAST), (gone, LEAST)):
            total = sum(group.values())
            if excess > 0 < total:
                keeps = max(0.0, 1.0 - excess / total)
                fitted.update((uuid, max(least, weight * keeps)) for uuid, weight in group.items())
                excess -= total
    return fitted


def _gpu(index: str) -> str:
    return index.removeprefix(GONE_PREFIX).partition(":")[0]
