"""Metrics of each GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from epochcost.agent.collectors.family import Family, Row, Value
from epochcost.agent.snapshot import GpuView

GPU_LABELS = ("gpu", "uuid")


def _each_gpu(value: Callable[[GpuView], Value]) -> Callable[[Sequence[GpuView], str], list[Row]]:
    return lambda gpus, _: [((g.sample.index, g.sample.uuid), value(g)) for g in gpus]


GPU: tuple[Family, ...] = (
    Family(
        "gpu_info",
        "What this GPU is.",
        (*GPU_LABELS, "model", "driver_version"),
        lambda gpus, driver: [((g.sample.index, g.sample.uuid, g.sample.model, driver), 1) for g in gpus],
    ),
    Family(
        "gpu_readable",
        "1 while the driver answers for this GPU.",
        GPU_LABELS,
        _each_gpu(lambda g: g.sample.readable),
    ),
    Family(
        "gpu_utilization_ratio",
        "Share of the last sample period in which a kernel ran. For a mean use the counter.",
        GPU_LABELS,
        _each_gpu(lambda g: g.sample.utilization_ratio),
    ),
    Family(
        "gpu_utilization_seconds_total",
        "Integral of the utilisation; its rate is the true mean utilisation.",
        GPU_LABELS,
        _each_gpu(lambda g: g.utilization_seconds),
    ),
    Family(
        "gpu_memory_used_bytes",
        "Device memory allocated.",
        GPU_LABELS,
        _each_gpu(lambda g: g.sample.memory_used_bytes),
    ),
    Family(
        "gpu_memory_total_bytes",
        "Device memory.",
        GPU_LABELS,
        _each_gpu(lambda g: g.sample.memory_total_bytes),
    ),
    Family(
        "gpu_memory_used_byte_seconds_total",
        "Integral of the device memory allocated; its rate is the true mean.",
        GPU_LABELS,
        _each_gpu(lambda g: g.memory_used_byte_seconds),
    ),
    Family(
        "gpu_seconds_total",
        "Seconds of this GPU by what they went into.",
        (*GPU_LABELS, "state"),
        lambda gpus, _: [
            ((g.sample.index, g.sample.uuid, state.value), seconds)
            for g in gpus
            for state, seconds in g.seconds.items()
        ],
    ),
    Family("gpu_power_watts", "Power drawn now.", GPU_LABELS, _each_gpu(lambda g: g.sample.power_watts)),
    Family(
        "gpu_energy_joules_total",
        "Energy since the driver was loaded.",
        GPU_LABELS,
        _each_gpu(lambda g: g.sample.energy_joules),
    ),
    Family(
        "gpu_temperature_celsius",
        "Temperature of the core.",
        GPU_LABELS,
        _each_gpu(lambda g: g.sample.temperature_celsius),
    ),
)
