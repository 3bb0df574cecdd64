"""What the devices of a node did, by the newest readings: for the ledger, and for what is shown of them."""

from __future__ import annotations

from dataclasses import dataclass

from epochcost.agent.meter_inputs import Inputs
from epochcost.ledger import Device
from epochcost.model import GpuReading, GpuSample

CPU = GpuSample("cpu", "cpu")


@dataclass(frozen=True, slots=True)
class Idle:
    """Limits for idle (utilisation below ``busy_ratio``) and for held (at least this much memory in use)."""

    busy_ratio: float = 0.05
    held_memory_bytes: int = 256 * 1024 * 1024

    def held(self, gpu: GpuSample) -> bool | None:
        """Whether a process holds memory of ``gpu`` while the GPU does nothing; None if that is not known."""
        busy, used = _activity(gpu), gpu.memory_used_bytes
        if busy is None or used is None:
            return None
        return busy < self.busy_ratio and used >= self.held_memory_bytes


def is_fresh(inputs: Inputs, now: float) -> bool:
    """Whether the newest reading of the GPUs describes the present."""
    return inputs.gpus is not None and now - inputs.gpus.t <= inputs.fresh_seconds


def devices_of(inputs: Inputs, now: float, idle: Idle) -> list[Device]:
    """The node's devices over the span that ends now; without figures if the readings are stale."""
    if not inputs.has_gpus:
        host = inputs.host
        ratio = host.cpu_utilization_ratio if host is not None and now - host.t <= inputs.fresh_seconds else None
        return [Device(CPU.uuid, CPU.index, ratio)]
    if inputs.gpus is None:
        return []
    if not is_fresh(inputs, now):
        return [Device(g.uuid, g.index, weight=g.gpu_fraction) for g in inputs.gpus.gpus]
    return [
        Device(
            g.uuid,
            g.index,
            _activity(g),
            g.memory_used_bytes,
            g.utilization_ratio is not None,
            g.gpu_fraction,
            None if g.mig else idle.held(g),
            g.sm_active_ratio,
            g.power_watts,
        )
        for g in inputs.gpus.gpus
    ]


def _activity(gpu: GpuSample) -> float | None:
    """Its utilisation; for a MIG instance without one, 0 or 1 by its GPU's power. The unallocated rest is idle."""
    if gpu.utilization_ratio is None and gpu.power_active is not None:
        return float(gpu.power_active)
    return 0.0 if gpu.mig and gpu.readable else gpu.utilization_ratio


def unseen(gpu: GpuSample) -> GpuSample:
    """The identity of ``gpu`` without any figures."""
    return GpuSample(
        gpu.index, gpu.uuid, gpu.model, readable=False, parent_uuid=gpu.parent_uuid, gpu_fraction=gpu.gpu_fraction
    )


def total_power(reading: GpuReading | None) -> float | None:
    """Watts of all GPUs together; None unless every one of them reports its power."""
    if reading is None or not reading.gpus:
        return None
    watts = [g.power_watts for g in reading.gpus if not g.parent_uuid]
    return None if None in watts else sum(w for w in watts if w is not None)
