"""One NVIDIA GPU: which calls give its figures, and what an answer means. ``nvml`` below is the module ``pynvml``."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from epochcost.model import GpuSample

log = logging.getLogger(__name__)

UNINITIALIZED, DRIVER_NOT_LOADED, LIBRARY_NOT_FOUND, VERSION_MISMATCH = 1, 9, 12, 18
DRIVER_FAULTS = frozenset((UNINITIALIZED, DRIVER_NOT_LOADED, VERSION_MISMATCH))
"""Codes of NVML (stable over all its versions) that are no one GPU's fault."""
REFUSALS = frozenset((3, 4, 13, 25, 26))
"""Not supported, no permission, function not found, argument version mismatch, deprecated: no use to ask again soon."""
NO_DATA = 21
"""The figure exists, but not at this instant (just after a start)."""

Values = dict[str, Any]
"""Some fields of `GpuSample` by name."""

MAX_POWER_WATTS = 100_000
MAX_MEMORY_BYTES = 1 << 50
MAX_ENERGY_JOULES = 1e15
TEMPERATURES_CELSIUS = (-100, 300)
"""Beyond these an answer is a driver's filler (all bits set) or a fault, not a figure."""


class ImplausibleError(ValueError):
    """The driver answered a figure that no GPU has; the text holds it."""


class CallError(Exception):
    """An NVML call failed: which one, of which GPU, and NVML's text and code."""

    def __init__(self, call: str, error: Any) -> None:  # noqa: ANN401 - pynvml has no types
        super().__init__(f"{call}: {error} (NVML code {error.value})")
        self.code = int(error.value)


@dataclass(frozen=True, slots=True)
class Figure:
    """One NVML call, the fields it gives, and the figure to ask where a driver does not have it."""

    what: str
    call: str
    ask: Callable[[Any], Values]
    instead: Figure | None = None


def figures_of(nvml: Any) -> tuple[Figure, ...]:  # noqa: ANN401 - pynvml has no types
    """Every figure to ask of a GPU, each by its newest call first."""
    old_memory = Figure("memory", "nvmlDeviceGetMemoryInfo", lambda gpu: _memory(nvml.nvmlDeviceGetMemoryInfo(gpu)))
    memory = Figure(
        "memory",
        "nvmlDeviceGetMemoryInfo_v2",
        lambda gpu: _memory(nvml.nvmlDeviceGetMemoryInfo(gpu, nvml.nvmlMemory_v2)),
        instead=old_memory,
    )
    core = nvml.NVML_TEMPERATURE_GPU
    temperature = Figure(
        "temperature",
        "nvmlDeviceGetTemperature",
        lambda gpu: _temperature(nvml.nvmlDeviceGetTemperature(gpu, core)),
    )
    if hasattr(nvml, "nvmlDeviceGetTemperatureV"):  # the old call goes with CUDA 14, the new came with driver 560
        temperature = Figure(
            "temperature",
            "nvmlDeviceGetTemperatureV",
            lambda gpu: _temperature(nvml.nvmlDeviceGetTemperatureV(gpu, core)),
            instead=temperature,
        )
    return (
        Figure(
            "utilization",
            "nvmlDeviceGetUtilizationRates",
            lambda gpu: _utilization(nvml.nvmlDeviceGetUtilizationRates(gpu).gpu),
        ),
        memory,
        Figure("power", "nvmlDeviceGetPowerUsage", lambda gpu: _power(nvml.nvmlDeviceGetPowerUsage(gpu))),
        Figure(
            "energy",
            "nvmlDeviceGetTotalEnergyConsumption",
            lambda gpu: _energy(nvml.nvmlDeviceGetTotalEnergyConsumption(gpu)),
        ),
        temperature,
    )


def _utilization(percent: int) -> Values:
    if not 0 <= percent <= 100:  # noqa: PLR2004
        raise ImplausibleError(f"{percent} %")
    return {"utilization_ratio": percent / 100}


def _memory(memory: Any) -> Values:  # noqa: ANN401
    used, total = int(memory.used), int(memory.total)
    if not 0 < total <= MAX_MEMORY_BYTES or used > total:
        raise ImplausibleError(f"{used} of {total} bytes used")
    return {"memory_used_bytes": used, "memory_total_bytes": total}


def _power(milliwatts: int) -> Values:
    if milliwatts > MAX_POWER_WATTS * 1000:
        raise ImplausibleError(f"{milliwatts} mW")
    return {"power_watts": milliwatts / 1000}


def _energy(millijoules: int) -> Values:
    if millijoules > MAX_ENERGY_JOULES * 1000:
        raise ImplausibleError(f"{millijoules} mJ")
    return {"energy_joules": millijoules / 1000}


def _temperature(celsius: int) -> Values:
    low, high = TEMPERATURES_CELSIUS
    if not low <= celsius <= high:
        raise ImplausibleError(f"{celsius} degrees Celsius")
    return {"temperature_celsius": float(celsius)}


class NvmlDevice:
    """One GPU with its identity, asked once, and the figures that it has."""

    def __init__(
        self,
        nvml: Any,  # noqa: ANN401
        handle: Any,  # noqa: ANN401
        identity: GpuSample,
        figures: tuple[Figure, ...],
        told: set[str],
    ) -> None:
        """``identity`` is a sample without figures; ``told`` holds what was logged, shared by all GPUs."""
        self.identity = identity
        self._nvml = nvml
        self._handle = handle
        self._all = figures
        self._figures = figures
        self._told = told
        self._failing = ""

    def sample(self) -> GpuSample:
        """Ask for every figure.

        Raises:
            CallError: when the driver as a whole is at fault, not this GPU.
        """
        values: Values = {}
        try:
            for figure in self._figures:
                self._ask(figure, values)
        except CallError as err:
            if err.code in DRIVER_FAULTS:
                raise
            return self._unreadable(str(err))
        if self._failing:
            self._failing = ""
            log.info("GPU %s (%s) can be read again", self.identity.index, self.identity.uuid)
        return GpuSample(self.identity.index, self.identity.uuid, self.identity.model, **values)

    def ask_again(self) -> None:
        """Ask at the next sample for the figures that were given up: a mode may have changed (MIG, permissions)."""
        self._figures = self._all

    def _ask(self, figure: Figure, values: Values) -> None:
        try:
            values.update(figure.ask(self._handle))
        except ImplausibleError as err:
            self._tell(f"GPU {self.identity.index}: {figure.call} answers {err}: left out", figure.call)
        except self._nvml.NVMLError as err:
            if err.value in REFUSALS:
                self._give_up(figure, str(err), values)
            elif err.value != NO_DATA:
                raise CallError(f"{figure.call} of GPU {self.identity.index}", err) from err

    def _give_up(self, figure: Figure, answer: str, values: Values) -> None:
        instead = (figure.instead,) if figure.instead else ()
        self._figures = tuple(f for kept in self._figures for f in (instead if kept is figure else (kept,)))
        if figure.instead:
            self._tell(f"the driver answers {answer} to {figure.call}: asking {figure.instead.call}", figure.call)
            self._ask(figure.instead, values)
            return
        first = f"GPU {self.identity.index} ({self.identity.model})"
        self._tell(f"{figure.call} answers {answer}: no {figure.what} of {first} nor of others like it", figure.call)

    def _tell(self, text: str, about: str) -> None:
        """Log once for all GPUs of the node: eight alike answer alike."""
        if about not in self._told:
            self._told.add(about)
            log.warning("%s", text)

    def _unreadable(self, why: str) -> GpuSample:
        if why != self._failing:
            self._failing = why
            log.warning("GPU %s (%s) cannot be read: %s", self.identity.index, self.identity.uuid, why)
        return unreadable(self.identity)


def unreadable(identity: GpuSample) -> GpuSample:
    """The sample of a GPU that could not be asked: who it is, and no figure."""
    return GpuSample(identity.index, identity.uuid, identity.model, readable=False)
