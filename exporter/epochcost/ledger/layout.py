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
"""Before the index of a device that has left the driver's list: the driver may have given its own to another one."""


def with_held(devices: Sequence[Device], before: Iterable[Placed], held: Collection[str]) -> list[Device]:
    """``devices``, and those of ``before`` that are not among them and that runs hold: ``held``, by their uuids.

    A run's claim on devices that were known stays its claim when one vanishes. Of a slice that vanishes, its GPU does
    not count for more meanwhile, though the driver says that it leaves more over.
    """
    seen = {device.uuid for device in devices}
    missing = [placed for placed in before if placed[0] not in seen and placed[0] in held]
    if not missing:
        return list(devices)
    lent = _grown(devices, missing)
    present = [
        replace(device, weight=max(0.0, device.weight - lent[device.index])) if device.index in lent else device
        for device in devices
    ]
    return [*present, *(Device(uuid, _gone(index), weight=weight) for uuid, index, weight in missing)]


def is_gone(index: str) -> bool:
    """Whether a device has left the driver's list."""
    return index.startswith(GONE_PREFIX)


def _gone(index: str) -> str:
    return index if is_gone(index) else f"{GONE_PREFIX}{index}"


def _grown(devices: Sequence[Device], missing: Iterable[Placed]) -> dict[str, float]:
    """By how much GPUs count for too much, with their missing slices beside what is left of them; by index."""
    whole: dict[str, float] = {}
    for _, index, weight in missing:
        parent, colon, _ = index.removeprefix(GONE_PREFIX).partition(":")
        if colon:
            whole[parent] = whole.get(parent, 0.0) + weight
    for device in devices:
        parent = device.index.partition(":")[0]
        if parent in whole:
            whole[parent] += device.weight
    return {parent: weight - 1.0 for parent, weight in whole.items() if weight > 1.0}
