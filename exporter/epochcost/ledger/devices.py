"""The devices of the node, and their own integrals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from epochcost.model import State

MOST_REMEMBERED = 1024
"""More devices than a machine ever has, those that were exchanged included; those not seen for longest go."""


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU (or, on a node without GPUs, the CPUs together) over a span of time.

    Attributes:
        uuid: identity in the ledger.
        index: the driver's index, by which a training process may name it.
        utilization_ratio: over the span; None if it could not be read.
        memory_used_bytes: at the end of the span; None if it could not be read.
        measured: the utilisation is a measurement; an estimate decides the state, and is not integrated.
        weight: what it counts for in the node: 1 for a whole GPU, its part of one for a MIG slice, 0 to infinity. A
            partitioned GPU keeps what its slices leave over, so that the weights of the node sum to its GPUs.
        held_idle: whether a process holds its memory while it does nothing; None if unknown.
        sm_active_ratio: mean share of its streaming multiprocessors that were busy; None if not reported.
        power_watts: what it draws; None if not reported.
    """

    uuid: str
    index: str
    utilization_ratio: float | None = None
    memory_used_bytes: int | None = None
    measured: bool = True
    weight: float = 1.0
    held_idle: bool | None = None
    sm_active_ratio: float | None = None
    power_watts: float | None = None


@dataclass(slots=True)
class DeviceTotals:
    """Integrals of one device since the ledger began; None if the device never reported the figure."""

    seconds: dict[State, float] = field(default_factory=dict)
    utilization_seconds: float | None = None
    memory_used_byte_seconds: float | None = None
    held_idle_seconds: float | None = None
    state: State = State.UNKNOWN
    """The state that took most of the last span."""


class DeviceLedger:
    """Seconds by state, utilisation and memory integrals of each device; no money (a node is paid as a whole)."""

    def __init__(self) -> None:
        self.devices: dict[str, DeviceTotals] = {}

    def add(self, device: Device, seconds: float, shares: Mapping[State, float]) -> None:
        """Account ``seconds`` of ``device``, split over states by ``shares``, which sum to 1."""
        totals = self.devices.pop(device.uuid, None) or DeviceTotals()
        self.devices[device.uuid] = totals  # devices that are present come last
        while len(self.devices) > MOST_REMEMBERED:
            del self.devices[next(iter(self.devices))]
        for state, share in shares.items():
            totals.seconds[state] = totals.seconds.get(state, 0.0) + share * seconds
        totals.state = max(shares, key=lambda state: shares[state])
        if device.utilization_ratio is not None and device.measured:
            totals.utilization_seconds = (totals.utilization_seconds or 0.0) + device.utilization_ratio * seconds
        if device.memory_used_bytes is not None:
            used = device.memory_used_bytes * seconds
            totals.memory_used_byte_seconds = (totals.memory_used_byte_seconds or 0.0) + used
        if device.held_idle is not None:
            totals.held_idle_seconds = (totals.held_idle_seconds or 0.0) + device.held_idle * seconds

    def state(self) -> dict[str, Any]:
        """The totals as JSON-able data."""
        return {
            uuid: [
                {s.value: v for s, v in t.seconds.items()},
                t.utilization_seconds,
                t.memory_used_byte_seconds,
                t.held_idle_seconds,
            ]
            for uuid, t in self.devices.items()
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> DeviceLedger:
        """The totals that `state` described."""
        it = cls()
        for uuid, (seconds, *integrals) in state.items():
            known = [None if integral is None else float(integral) for integral in integrals]
            utilization, memory, held = (*known, None, None, None)[:3]  # an older version wrote fewer
            by_state = {State(s): float(v) for s, v in seconds.items()}
            it.devices[uuid] = DeviceTotals(by_state, utilization, memory, held)
        return it
