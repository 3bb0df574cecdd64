"""Which NVML calls return a GPU's figures, and what a result means. ``nvml`` below is the module ``pynvml``."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from epochcost.gpus import gpu_plausibility
from epochcost.gpus.gpu_plausibility import energy, errors, percent, power, temperature

UNINITIALIZED, DRIVER_NOT_LOADED, LIBRARY_NOT_FOUND, VERSION_MISMATCH = 1, 9, 12, 18
DRIVER_FAULTS = frozenset((UNINITIALIZED, DRIVER_NOT_LOADED, VERSION_MISMATCH))
"""NVML return codes (stable over all versions) that are not the fault of a single GPU."""
REFUSALS = frozenset((3, 4, 13, 22, 25, 26))
"""Not supported, no permission, function not found, no memory errors of a virtual GPU, argument version mismatch,
deprecated: no use to ask again soon."""
NO_DATA = 21
"""The figure exists, but not at this instant (just after a start)."""
NOT_NOW = frozenset((14, 19, 20, NO_DATA, 23, 27, 29))
"""Corrupted infoROM, in use, no memory left, no data, insufficient resources, not ready, invalid state: the trouble of
one figure, not of the GPU."""
INVALID_ARGUMENT = 2

Values = dict[str, Any]
"""Some fields of `GpuSample` by name, and `THROTTLED`."""
THROTTLED = "throttled"
"""The reasons, as a tuple of names, for which the clocks are held down now."""

ECC_SECONDS = 10.0
"""Interval between requests for memory errors: they are rare, and two calls more."""

THROTTLE_REASONS = {
    "power_cap": 0x04,
    "hw_slowdown": 0x08,
    "sync_boost": 0x10,
    "sw_thermal": 0x20,
    "hw_thermal": 0x40,
    "power_brake": 0x80,
}
"""Bits of NVML's clocks event reasons; an idle GPU and configured clocks are not throttling."""


class CallError(Exception):
    """An NVML call failed: which one, of which GPU, and NVML's text and code."""

    def __init__(self, call: str, error: Any) -> None:  # noqa: ANN401 - pynvml has no types
        super().__init__(f"{call}: {error} (NVML code {error.value})")
        self.code = int(error.value)


@dataclass(frozen=True, slots=True)
class Figure:
    """One NVML call, the fields it returns, and the figure to read if a driver does not have it.

    Attributes:
        what: for people.
        call: its name in NVML.
        ask: called with the GPU's handle and the time (seconds); raises what pynvml raises.
        instead: read in its place if the driver refuses it.
        every: minimum seconds between two calls; in between the last result is used.
        level: of the log line when it is refused; most GPUs have it: a warning.
        vital: a result that is neither a figure nor a refusal means that the GPU cannot be read.
        gone: results that mean that the device no longer exists.
    """

    what: str
    call: str
    ask: Callable[[Any, float], Values]
    instead: Figure | None = None
    every: float = 0.0
    level: int = logging.WARNING
    vital: bool = False
    gone: frozenset[int] = frozenset()


def figures_of(nvml: Any) -> tuple[Figure, ...]:  # noqa: ANN401 - pynvml has no types
    """Every figure to read from a GPU, each by its newest call first."""
    return (
        Figure(
            "utilization",
            "nvmlDeviceGetUtilizationRates",
            lambda gpu, _: {"utilization_ratio": percent(nvml.nvmlDeviceGetUtilizationRates(gpu).gpu)},
            vital=True,
        ),
        memory_of(nvml),
        Figure(
            "power",
            "nvmlDeviceGetPowerUsage",
            lambda gpu, _: {"power_watts": power(nvml.nvmlDeviceGetPowerUsage(gpu) / 1000)},
        ),
        Figure(
            "energy",
            "nvmlDeviceGetTotalEnergyConsumption",
            lambda gpu, _: {"energy_joules": energy(nvml.nvmlDeviceGetTotalEnergyConsumption(gpu) / 1000)},
        ),
        _temperature_of(nvml),
        _throttling_of(nvml),
        Figure(
            "memory errors",
            "nvmlDeviceGetTotalEccErrors",
            lambda gpu, _: _ecc(nvml, gpu),
            every=ECC_SECONDS,
            level=logging.INFO,
        ),
    )


def memory_of(nvml: Any, gone: frozenset[int] = frozenset()) -> Figure:  # noqa: ANN401
    """The memory of a GPU, or of a slice that may be destroyed at any time: then the result is one of ``gone``."""
    old = Figure(
        "memory", "nvmlDeviceGetMemoryInfo", lambda gpu, _: _memory(nvml.nvmlDeviceGetMemoryInfo(gpu)), gone=gone
    )
    return Figure(
        "memory",
        "nvmlDeviceGetMemoryInfo_v2",
        lambda gpu, _: _memory(nvml.nvmlDeviceGetMemoryInfo(gpu, nvml.nvmlMemory_v2)),
        instead=old,
        gone=gone,
    )


def _temperature_of(nvml: Any) -> Figure:  # noqa: ANN401
    core = nvml.NVML_TEMPERATURE_GPU
    old = Figure(
        "temperature",
        "nvmlDeviceGetTemperature",
        lambda gpu, _: {"temperature_celsius": temperature(nvml.nvmlDeviceGetTemperature(gpu, core))},
    )
    if not hasattr(nvml, "nvmlDeviceGetTemperatureV"):  # the old call goes with CUDA 14, the new came with driver 560
        return old
    return Figure(
        "temperature",
        "nvmlDeviceGetTemperatureV",
        lambda gpu, _: {"temperature_celsius": temperature(nvml.nvmlDeviceGetTemperatureV(gpu, core))},
        instead=old,
    )


def _throttling_of(nvml: Any) -> Figure:  # noqa: ANN401
    old = Figure(
        "throttle reasons",
        "nvmlDeviceGetCurrentClocksThrottleReasons",
        lambda gpu, _: _throttled(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu)),
        level=logging.INFO,
    )
    if not hasattr(nvml, "nvmlDeviceGetCurrentClocksEventReasons"):  # the new name came with driver 535
        return old
    return Figure(
        "throttle reasons",
        "nvmlDeviceGetCurrentClocksEventReasons",
        lambda gpu, _: _throttled(nvml.nvmlDeviceGetCurrentClocksEventReasons(gpu)),
        instead=old,
        level=logging.INFO,
    )


def _memory(memory: Any) -> Values:  # noqa: ANN401
    used, total = gpu_plausibility.memory(int(memory.used), int(memory.total))
    values: Values = {"memory_used_bytes": used, "memory_total_bytes": total}
    reserved = getattr(memory, "reserved", None)  # the old call counts it as used
    if reserved is not None and reserved <= total:
        values["memory_reserved_bytes"] = int(reserved)
    return values


def _throttled(bits: int) -> Values:
    return {THROTTLED: tuple(reason for reason, bit in THROTTLE_REASONS.items() if bits & bit)}


def _ecc(nvml: Any, gpu: Any) -> Values:  # noqa: ANN401
    counts = {
        "corrected": nvml.nvmlDeviceGetTotalEccErrors(
            gpu, nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, nvml.NVML_VOLATILE_ECC
        ),
        "uncorrected": nvml.nvmlDeviceGetTotalEccErrors(
            gpu, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
        ),
    }
    return {"ecc_errors": {kind: errors(count) for kind, count in counts.items()}}
