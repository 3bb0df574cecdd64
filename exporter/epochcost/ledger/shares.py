"""How the node's cost is split: shares of runs, from the devices they use and the times they were open."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from epochcost.ledger.price import PriceTrack
from epochcost.model import RunId

Placed = tuple[str, str, float]
"""A device of the node: its uuid, index and weight."""
ABBREVIATED = ("GPU-", "MIG-")
"""Prefix of a UUID that may be abbreviated."""


@dataclass(frozen=True, slots=True)
class Claims:
    """Which runs use which devices at one instant.

    Attributes:
        by_device: for each device, in order, the runs on it.
        weights: what each device counts for, see `Device`; at least one is above 0.
        whole_node: the runs pay for the whole node, also for devices that no run uses.
        users: the user who began each run. A device is shared between users first, then between the runs of each: no
            user gets more of it by splitting one training run into many runs.
    """

    by_device: tuple[tuple[RunId, ...], ...]
    weights: tuple[float, ...]
    whole_node: bool
    users: Mapping[RunId, int | None] = field(default_factory=dict)
    _gpus: dict[RunId, float] = field(init=False, repr=False, compare=False, default_factory=dict)
    _shares: dict[RunId, float] = field(init=False, repr=False, compare=False, default_factory=dict)
    _parts: dict[tuple[RunId, ...], Mapping[RunId, int]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        for runs, weight in zip(self.by_device, self.weights, strict=True):
            for run, one_of in self.parts(runs).items():
                self._gpus[run] = self._gpus.get(run, 0.0) + weight / one_of
        whole = sum(self._gpus.values()) if self.whole_node else sum(self.weights)
        if whole:
            self._shares.update((run, gpus / whole) for run, gpus in self._gpus.items())

    def parts(self, runs: tuple[RunId, ...]) -> Mapping[RunId, int]:
        """Into how many parts a device with ``runs`` on it is cut, one of which is each run's."""
        known = self._parts.get(runs)
        if known is None:
            of_user = Counter(self.users.get(run) for run in runs)
            known = self._parts[runs] = {run: len(of_user) * of_user[self.users.get(run)] for run in runs}
        return known

    def gpus(self) -> Mapping[RunId, float]:
        """GPUs held by each run; a device with two runs is half of each, a slice its part of a GPU."""
        return self._gpus

    def shares(self) -> Mapping[RunId, float]:
        """The part of the node's price that each run pays; they sum to 1 in whole-node mode when a run is open."""
        return self._shares


def claims(
    open_runs: Mapping[RunId, frozenset[str] | None],
    devices: Sequence[Placed],
    *,
    whole_node: bool,
    users: Mapping[RunId, int | None] | None = None,
) -> Claims:
    """Match the devices that each open run reports with the node's devices.

    Args:
        open_runs: device indices or UUIDs by run; None means all of the node.
        devices: (uuid, index, weight) of each device; a node without GPUs is one device. Index ``0:1`` is a slice of
            the device with index ``0``: a run that names that one uses its slices.
        whole_node, users: see `Claims`.

    A run whose devices have never been among the node's (numbered by a container, say) is taken to use all of them:
    the node is paid because of it.
    """
    by_device: list[list[RunId]] = [[] for _ in devices]
    for run, names in open_runs.items():
        mine = _used(names, devices)
        if not sum(devices[i][2] for i in mine):
            mine = list(range(len(devices)))
        for i in mine:
            by_device[i].append(run)
    weights = tuple(weight for _, _, weight in devices)
    return Claims(tuple(tuple(runs) for runs in by_device), weights, whole_node, users or {})


def named(names: frozenset[str], devices: Sequence[Placed]) -> list[Placed]:
    """The devices that ``names`` names, by UUID or index."""
    return [devices[i] for i in _used(names, devices)]


def _used(names: frozenset[str] | None, devices: Sequence[Placed]) -> list[int]:
    if names is None:
        return list(range(len(devices)))
    named = {_whole_uuid(name, devices) for name in names}
    whole = {index for uuid, index, _ in devices if uuid in named or index in named}
    return [
        i
        for i, (uuid, index, _) in enumerate(devices)
        if uuid in named or index in whole or index.partition(":")[0] in whole
    ]


def _whole_uuid(name: str, devices: Sequence[Placed]) -> str:
    """CUDA takes as many digits of a UUID as distinguish one device from the others (``GPU-8932f937``)."""
    if not name.startswith(ABBREVIATED) or name in ABBREVIATED:
        return name
    matching = [uuid for uuid, _, _ in devices if uuid.startswith(name)]
    return matching[0] if len(matching) == 1 else name


@dataclass(slots=True)
class ShareTrack:
    """The share of one run as a step function of time; 0 before it began."""

    times: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)

    def at(self, t: float) -> float:
        """The share at ``t``."""
        i = bisect_right(self.times, t) - 1
        return self.shares[i] if i >= 0 else 0.0

    def rewrite(self, start: float, steps: Iterable[tuple[float, float]]) -> None:
        """Replace everything from ``start`` on by ``steps`` (instant, share)."""
        keep = bisect_right(self.times, start)
        if keep and self.times[keep - 1] == start:
            keep -= 1
        del self.times[keep:], self.shares[keep:]
        for t, share in steps:
            if share != (self.shares[-1] if self.shares else 0.0):
                self.times.append(t)
                self.shares.append(share)

    def cost(self, start: float, end: float, price: PriceTrack) -> tuple[float, float]:
        """Dollars of this share of the node from ``start`` to ``end``, and the seconds whose price is unknown."""
        usd = unpriced = 0.0
        i = max(0, bisect_right(self.times, start) - 1)
        while i < len(self.times) and self.times[i] < end:
            until = self.times[i + 1] if i + 1 < len(self.times) else math.inf
            if share := self.shares[i]:
                part, missing = price.integral(max(start, self.times[i]), min(end, until))
                usd += share * part
                unpriced += missing
            i += 1
        return usd, unpriced

    def seconds(self, end: float) -> float:
        """The share's integral until ``end``: seconds of the whole node that this run has to pay."""
        steps = zip(self.times, [*self.times, math.inf][1:], self.shares, strict=True)
        return sum(share * max(0.0, min(end, until) - start) for start, until, share in steps)

    def forget_before(self, t: float) -> None:
        """Drop the steps before ``t``; the share at ``t`` stays."""
        i = bisect_right(self.times, t) - 1
        if i > 0:
            self.times[: i + 1], self.shares[: i + 1] = [t], [self.shares[i]]

    def state(self) -> list[Any]:
        """As JSON-able data."""
        return [self.times, self.shares]

    @classmethod
    def restored(cls, state: Sequence[Sequence[float]]) -> ShareTrack:
        """What `state` described."""
        return cls([float(t) for t in state[0]], [float(s) for s in state[1]])
