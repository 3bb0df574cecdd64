"""Metrics of each GPU's owners. Series of their own: as labels on the GPU's figures they would count these twice."""

from __future__ import annotations

from collections.abc import Callable

from epochcost.agent.collectors.family import Family, Rows, Value, each
from epochcost.agent.snapshot import Snapshot
from epochcost.model import GpuOwner

OWNER_LABELS = ("gpu", "uuid", "owner_kind", "owner", "owner_namespace", "owner_container", "owner_user")
"""Names of their own: as ``namespace`` or ``container`` a scrape configuration's target labels would overwrite them."""


def _each_owner(value: Callable[[GpuOwner], Value]) -> Rows:
    return each(_placed, lambda placed: [(_labels(*placed), value(placed[1]))])


def _placed(snapshot: Snapshot) -> list[tuple[str, GpuOwner]]:
    """The owners of the GPUs that are shown, each with the index of its GPU."""
    index = {gpu.sample.uuid: gpu.sample.index for gpu in snapshot.gpus}
    return [(index[owner.uuid], owner) for owner in snapshot.owners if owner.uuid in index]


def _labels(index: str, o: GpuOwner) -> tuple[str, ...]:
    return index, o.uuid, o.kind, o.owner, o.namespace, o.container, o.user


OWNER: tuple[Family, ...] = (
    Family(
        "gpu_owner_info",
        "Owner of this GPU or of a share of it; value is always 1.",
        OWNER_LABELS,
        _each_owner(lambda _: 1),
    ),
    Family(
        "gpu_owner_share_ratio",
        "Share of this GPU that each of its owners uses; sums to 1 for each GPU whose owners are known.",
        OWNER_LABELS,
        _each_owner(lambda o: o.share_ratio),
    ),
    Family(
        "gpu_owner_not_understood",
        "Processes and devices on GPUs whose owner is unknown because a path or name has an unknown format.",
        ("source", "form"),
        lambda s: [(key, count) for key, count in s.owners_not_understood.items()],
    ),
)
