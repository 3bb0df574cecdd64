"""Metrics of each GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from epochcost.agent.collectors.family import Family, Row, Rows, Value, each, one
from epochcost.agent.snapshot import GpuView

GPU_LABELS = ("gpu", "uuid")


def _each_gpu(value: Callable[[GpuView], Value]) -> Rows:
    return _rows(lambda g: [(_id(g), value(g))])


def _by_name(counts: Callable[[GpuView], Mapping[str, float] | None]) -> Rows:
    return _rows(lambda g: [((*_id(g), name), value) for name, value in (counts(g) or {}).items()])


def _rows(rows: Callable[[GpuView], Iterable[Row]]) -> Rows:
    return each(lambda s: s.gpus, rows)


def _id(g: GpuView) -> tuple[str, str]:
    return g.sample.index, g.sample.uuid


GPU: tuple[Family, ...] = (
    Family(
        "gpu_info",
        "Identity and model of this GPU; value is always 1.",
        (*GPU_LABELS, "model", "driver_version"),
        lambda s: [((*_id(g), g.sample.model, s.node.driver_version), 1) for g in s.gpus],
    ),
    Family(
        "gpu_readable",
        "1 if the driver returns readings for this GPU, else 0.",
        GPU_LABELS,
        _each_gpu(lambda g: g.sample.readable),
    ),
    Family(
        "gpu_utilization_ratio",
        "Share of the last sample period in which a kernel ran. For a mean, use the rate of "
        "gpu_utilization_seconds_total.",
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
        "gpu_held_idle_seconds_total",
        "Seconds in which a process held device memory while the GPU did nothing; the other idle seconds were free.",
        GPU_LABELS,
        _each_gpu(lambda g: g.held_idle_seconds),
    ),
    Family(
        "gpu_seconds_total",
        "Seconds of this GPU by state.",
        (*GPU_LABELS, "state"),
        _rows(lambda g: [((*_id(g), state.value), seconds) for state, seconds in g.seconds.items()]),
    ),
    Family("gpu_power_watts", "Current power draw, in watts.", GPU_LABELS, _each_gpu(lambda g: g.sample.power_watts)),
    Family(
        "gpu_energy_joules_total",
        "Energy since the driver was loaded, or integrated from the power draw since the agent's start.",
        GPU_LABELS,
        _each_gpu(lambda g: g.sample.energy_joules),
    ),
    Family(
        "gpu_temperature_celsius",
        "Core temperature.",
        GPU_LABELS,
        _each_gpu(lambda g: g.sample.temperature_celsius),
    ),
    Family(
        "gpu_memory_reserved_bytes",
        "Device memory reserved by the driver; not included in the memory used.",
        GPU_LABELS,
        _each_gpu(lambda g: g.sample.memory_reserved_bytes),
    ),
    Family(
        "gpu_sm_active_ratio",
        "Mean share of the streaming multiprocessors that were busy since the previous sample.",
        GPU_LABELS,
        _each_gpu(lambda g: g.sample.sm_active_ratio),
    ),
    Family(
        "gpu_tensor_active_ratio",
        "Mean share of time in which tensor cores were active since the previous sample.",
        GPU_LABELS,
        _each_gpu(lambda g: g.sample.tensor_active_ratio),
    ),
    Family(
        "gpu_dram_active_ratio",
        "Mean share of the device memory bandwidth used since the previous sample.",
        GPU_LABELS,
        _each_gpu(lambda g: g.sample.dram_active_ratio),
    ),
    Family(
        "gpu_throttle_seconds_total",
        "Seconds in which the clocks were throttled, by reason, since the agent's start; reasons overlap.",
        (*GPU_LABELS, "reason"),
        _by_name(lambda g: g.sample.throttle_seconds),
    ),
    Family(
        "gpu_ecc_errors_total",
        "Memory errors, corrected or uncorrected, since the driver was loaded.",
        (*GPU_LABELS, "type"),
        _by_name(lambda g: g.sample.ecc_errors),
    ),
    Family(
        "gpu_xid_errors_total",
        "Critical errors reported by the driver, by Xid, since the agent's start.",
        (*GPU_LABELS, "xid"),
        _by_name(lambda g: g.sample.xid_errors),
    ),
    Family(
        "gpu_mig_mode",
        "1 if the GPU is in MIG mode; its time is then attributed to its MIG instances and the unallocated remainder.",
        GPU_LABELS,
        _each_gpu(lambda g: g.sample.mig),
    ),
    Family(
        "gpu_mig_info",
        "GPU to which a MIG instance belongs; value is always 1.",
        (*GPU_LABELS, "parent_uuid", "profile"),
        _rows(
            lambda g: [
                (
                    (*_id(g), g.sample.parent_uuid, g.sample.model.partition("MIG ")[2]),
                    1 if g.sample.parent_uuid else None,
                )
            ]
        ),
    ),
    Family(
        "gpu_mig_slice_ratio",
        "Share of its GPU that a MIG instance has.",
        GPU_LABELS,
        _each_gpu(lambda g: g.sample.gpu_fraction or None if g.sample.parent_uuid else None),
    ),
    Family(
        "gpu_power_active",
        "Guess for a MIG instance without utilisation: 1 while it holds memory and its GPU draws more than at idle.",
        GPU_LABELS,
        _each_gpu(lambda g: g.sample.power_active),
    ),
    Family(
        "gpu_read_seconds",
        "Duration of the last reading of the slowest GPU, in seconds; its figures are that old.",
        (),
        one(lambda s: s.node.gpu_read_seconds),
    ),
    Family(
        "gpu_call_failures_total",
        "Driver responses that were neither a value nor a refusal, by call and code; only that value is left out.",
        ("call", "code"),
        lambda s: [((call, str(code)), count) for (call, code), count in s.node.gpu_call_failures.items()],
    ),
    Family(
        "gpu_stuck_call_seconds",
        "How long the named driver call has been blocked.",
        (*GPU_LABELS, "call"),
        _rows(lambda g: [((*_id(g), g.sample.stuck_call), g.sample.stuck_seconds)]),
    ),
)
