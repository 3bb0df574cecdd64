"""The owners of each GPU, from all reports: for each GPU the shares sum to 1, whatever the sources reported. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from epochcost.model import GpuOwner

MAX_OWNERS = 16
"""Of one GPU. More are shown as one, so that a busy machine cannot fill the monitoring."""
OTHERS = "others"
NAMED_BY_OTHERS = ("namespace", "container", "user")


def combined(layers: Sequence[Sequence[GpuOwner]]) -> tuple[GpuOwner, ...]:
    """The owners of every GPU that any layer knows of.

    The first layer that knows a GPU determines its owners; the later ones add namespace, container and user if they
    agree on one.
    """
    by_gpu = [_by_gpu(layer) for layer in layers]
    uuids = dict.fromkeys(uuid for gpus in by_gpu for uuid in gpus)
    return tuple(owner for uuid in uuids for owner in _of_one_gpu([gpus[uuid] for gpus in by_gpu if uuid in gpus]))


def _by_gpu(layer: Iterable[GpuOwner]) -> dict[str, list[GpuOwner]]:
    by_gpu: dict[str, list[GpuOwner]] = {}
    for owner in layer:
        if owner.share_ratio > 0:
            by_gpu.setdefault(owner.uuid, []).append(owner)
    return by_gpu


def _of_one_gpu(layers: Sequence[Sequence[GpuOwner]]) -> list[GpuOwner]:
    added = _agreed(layers[1:])
    owners = [
        replace(
            owner,
            namespace=owner.namespace or added.get("namespace", ""),
            container=owner.container or added.get("container", ""),
            user=owner.user or added.get("user", ""),
        )
        for owner in layers[0]
    ]
    return _limited(_as_parts(_united(owners)))


def _agreed(layers: Iterable[Iterable[GpuOwner]]) -> Mapping[str, str]:
    """The value from the first layer that has any, if it has exactly one."""
    agreed: dict[str, str] = {}
    for layer in layers:
        for name in NAMED_BY_OTHERS:
            values = {getattr(owner, name) for owner in layer} - {""}
            if values:
                agreed.setdefault(name, min(values) if len(values) == 1 else "")
    return agreed


def _united(owners: Iterable[GpuOwner]) -> list[GpuOwner]:
    """One entry an owner: two processes of one user are one owner."""
    sums: dict[GpuOwner, float] = {}
    for owner in owners:
        key = replace(owner, share_ratio=0.0)
        sums[key] = sums.get(key, 0.0) + owner.share_ratio
    return [replace(key, share_ratio=share) for key, share in sums.items()]


def _as_parts(owners: Sequence[GpuOwner]) -> list[GpuOwner]:
    whole = sum(owner.share_ratio for owner in owners)
    return [replace(owner, share_ratio=owner.share_ratio / whole) for owner in owners]


def _limited(owners: Sequence[GpuOwner]) -> list[GpuOwner]:
    ranked = sorted(owners, key=lambda owner: (-owner.share_ratio, owner.owner))
    if len(ranked) <= MAX_OWNERS:
        return ranked
    largest, rest = ranked[: MAX_OWNERS - 1], ranked[MAX_OWNERS - 1 :]
    return [*largest, GpuOwner(rest[0].uuid, OTHERS, OTHERS, sum(owner.share_ratio for owner in rest))]
