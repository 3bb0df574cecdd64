"""One span between NVML's init and its shutdown: which GPUs there are, and a reading of all of them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from epochcost.gpus.nvml_device import DRIVER_FAULTS, CallError, Figure, NvmlDevice, figures_of, unreadable
from epochcost.gpus.source import GpuError, NoDriverError
from epochcost.model import GpuReading, GpuSample

log = logging.getLogger(__name__)

LOOK_AGAIN_SECONDS = 10.0
"""Between two tries to get hold of a GPU that could not be had."""
ASK_AGAIN_SECONDS = 600.0
"""Between two tries of figures that were given up as not supported."""


@dataclass(slots=True)
class Memory:
    """What outlives a session: who the GPUs were, and what was logged once."""

    identities: dict[int, GpuSample] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)


class NvmlSession:
    """The GPUs of a driver that answers. A read costs one call for the count and five for each GPU.

    Raises:
        CallError: from the constructor, when the driver cannot be taken up; from `read`, when it went away.
    """

    def __init__(self, nvml: Any, memory: Memory) -> None:  # noqa: ANN401 - pynvml has no types
        """``nvml`` is the module ``pynvml``."""
        self._nvml = nvml
        self._memory = memory
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as err:
            raise CallError("nvmlInit", err) from err
        self._figures: tuple[Figure, ...] = figures_of(nvml)
        self._driver_version = self._text("nvmlSystemGetDriverVersion")
        self._gpus: tuple[NvmlDevice | GpuSample, ...] = ()
        """A bare sample in place of a device that could not be had."""
        self._look_again_at = self._ask_again_at = float("-inf")

    def read(self, t: float) -> GpuReading:
        """All GPUs now.

        Raises:
            GpuError: when they cannot be counted, or there is none.
        """
        count = self._count()
        if count != len(self._gpus) or (t >= self._look_again_at and any(isinstance(g, GpuSample) for g in self._gpus)):
            self._enumerate(count)
            self._look_again_at = t + LOOK_AGAIN_SECONDS
        if t >= self._ask_again_at:
            self._ask_again_at = t + ASK_AGAIN_SECONDS
            for gpu in self._gpus:
                if isinstance(gpu, NvmlDevice):
                    gpu.ask_again()
        samples = tuple(gpu.sample() if isinstance(gpu, NvmlDevice) else gpu for gpu in self._gpus)
        return GpuReading(t, samples, self._driver_version)

    def close(self) -> None:
        """Shut NVML down. Never raises."""
        try:
            self._nvml.nvmlShutdown()
        except self._nvml.NVMLError as err:
            log.debug("nvmlShutdown: %s", err)  # a driver that went away says so; nothing is left to let go of

    def _count(self) -> int:
        call = "nvmlDeviceGetCount"
        try:
            count = int(self._nvml.nvmlDeviceGetCount())
        except self._nvml.NVMLError as err:
            raise CallError(call, err) from err
        if count:
            return count
        if before := len(self._memory.identities):
            raise GpuError(f"{call}: the NVIDIA driver sees no GPU, where it saw {before} before")
        raise NoDriverError(f"{call}: an NVIDIA driver is loaded, but it sees no GPU")

    def _enumerate(self, count: int) -> None:
        before = len(self._memory.identities)
        if before not in (0, count):
            log.warning("the NVIDIA driver sees %d GPUs, where it saw %d before", count, before)
        self._gpus = tuple(self._device(index) for index in range(count))
        self._memory.identities = {
            index: gpu.identity if isinstance(gpu, NvmlDevice) else gpu for index, gpu in enumerate(self._gpus)
        }

    def _device(self, index: int) -> NvmlDevice | GpuSample:
        call = "nvmlDeviceGetHandleByIndex"
        lost = f"lost {index}"
        try:
            handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
            call = "nvmlDeviceGetUUID"
            uuid = printable(self._nvml.nvmlDeviceGetUUID(handle))
        except (self._nvml.NVMLError, UnicodeDecodeError) as err:
            if getattr(err, "value", None) in DRIVER_FAULTS:
                raise CallError(f"{call} of GPU {index}", err) from err
            if lost not in self._memory.told:
                self._memory.told.add(lost)
                log.warning("GPU %d cannot be read: %s: %s", index, call, err)
            # Who it is may never have been told, but its seconds are on the bill: they need a key of their own.
            return unreadable(self._memory.identities.get(index, GpuSample(str(index), f"unknown-{index}")))
        self._memory.told.discard(lost)
        identity = GpuSample(str(index), uuid, self._text("nvmlDeviceGetName", handle))
        return NvmlDevice(self._nvml, handle, identity, self._figures, self._memory.told)

    def _text(self, call: str, *arguments: Any) -> str:  # noqa: ANN401
        """A name that the driver tells, empty where it does not: a GPU without a name costs as much."""
        try:
            return printable(getattr(self._nvml, call)(*arguments))
        except (self._nvml.NVMLError, UnicodeDecodeError) as err:
            if getattr(err, "value", None) in DRIVER_FAULTS:
                raise CallError(call, err) from err
            log.warning("%s: %s: left empty", call, err)
            return ""


def printable(text: str) -> str:
    """A driver's text as a label: what cannot be shown becomes a question mark."""
    return "".join(char if char.isprintable() else "?" for char in text).strip()
