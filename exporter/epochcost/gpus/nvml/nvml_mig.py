"""The MIG slices of one GPU: found again as they come and go, each a device of its own."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import Any

from epochcost.gpus.label import printable
from epochcost.gpus.nvml.nvml_device import Notes, NvmlDevice
from epochcost.gpus.nvml.nvml_figures import DRIVER_FAULTS, REFUSALS, CallError, memory_of
from epochcost.gpus.nvml.nvml_gpm import Gpm
from epochcost.model import GpuSample

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""Between two looks at which slices there are."""
NOT_THERE = frozenset((2, 6))
"""Invalid argument, not found: there is no MIG instance with this number."""

RESTING_PART_OF_LIMIT = 0.2
"""A GPU at rest draws no more than this part of its power limit, whatever its lowest observed power."""
ABOVE_REST = 1.15
HOLDS_BYTES = 64 << 20
"""A slice with less in use holds nothing but the driver's own; no program runs on it."""


class Slices:
    """The slices of one GPU, none while it is not in MIG mode; read by one thread at a time."""

    def __init__(self, nvml: Any, gpu: NvmlDevice, notes: Notes) -> None:  # noqa: ANN401
        self._nvml = nvml
        self._gpu = gpu
        self._notes = replace(notes, integrator=None)
        self._doing = notes.doing
        self._mode: bool | None = None
        self.known: dict[str, Any] = {}
        """What the last reading of the slices shows of the GPU itself, as fields of its sample."""
        self._devices: dict[str, NvmlDevice] = {}
        self._counters: dict[str, Gpm] = {}
        self._look_at = -math.inf
        self._limit_watts: float | None = None
        self._rest_watts = math.inf

    def read(self, t: float, gpu: GpuSample) -> tuple[GpuSample, ...]:
        """``gpu`` as its slices leave it over, and a sample of each slice.

        Raises:
            CallError: when the slices cannot be read.
        """
        looked = t >= self._look_at
        if looked:
            self._look(t)
        slices = tuple(device.sample(t) for device in self._devices.values())
        if not looked and not all(s.readable for s in slices):  # gone, or the mode is off
            self._look(t)
            slices = tuple(device.sample(t) for device in self._devices.values())
        left_over = max(0.0, 1.0 - sum(s.gpu_fraction for s in slices))
        self.known = {"mig": self._mode, "gpu_fraction": left_over if left_over > 1e-9 else 0.0}  # noqa: PLR2004
        as_known = all(getattr(gpu, name) == value for name, value in self.known.items())
        return (gpu if as_known else replace(gpu, **self.known), *(self._marked(s, gpu.power_watts) for s in slices))

    def identities(self) -> tuple[GpuSample, ...]:
        """The identities of the slices, without figures."""
        return tuple(device.identity for device in self._devices.values())

    def free(self) -> None:
        """Release the counters' buffers. Never raises."""
        for gpm in self._counters.values():
            gpm.free()

    def _look(self, t: float) -> None:
        mode = self._called("nvmlDeviceGetMigMode", self._gpu.handle)
        before, self._mode = self._mode, None if mode is None else bool(mode[0])
        if before is not None and before != self._mode:
            log.info("GPU %s: MIG mode is %s", self._gpu.identity.index, "on" if self._mode else "off")
            self._gpu.ask_again()
        self._look_at = t + LOOK_SECONDS
        slices = self._current_slices() if self._mode else {}
        if slices.keys() != self._devices.keys():
            log.info("GPU %s: %d MIG slices: %s", self._gpu.identity.index, len(slices), ", ".join(slices) or "none")
        for uuid in self._devices.keys() - slices.keys():
            self._counters.pop(uuid).free()
        self._devices = slices

    def _current_slices(self) -> dict[str, NvmlDevice]:
        most = self._called("nvmlDeviceGetMaxMigDeviceCount", self._gpu.handle) or 0
        slices: dict[str, NvmlDevice] = {}
        for number in range(most):
            handle = self._called("nvmlDeviceGetMigDeviceHandleByIndex", self._gpu.handle, number)
            if handle is None:
                continue
            uuid = printable(self._called("nvmlDeviceGetUUID", handle) or "")
            known = self._devices.get(uuid)
            if known is not None and known.identity.index.endswith(f":{number}"):
                known.handle = handle
                slices[uuid] = known
            elif uuid:
                slices[uuid] = self._opened(handle, uuid, number, most)
        whole = sum(device.identity.gpu_fraction for device in slices.values())
        for device in slices.values() if whole > 1 + 1e-9 else ():
            device.identity = replace(device.identity, gpu_fraction=device.identity.gpu_fraction / whole)
        return slices

    def _opened(self, handle: Any, uuid: str, number: int, most: int) -> NvmlDevice:  # noqa: ANN401
        gpu = self._gpu.identity
        attributes = self._called("nvmlDeviceGetAttributes_v2", handle)
        size = attributes.computeInstanceSliceCount if attributes is not None else 0
        identity = GpuSample(
            f"{gpu.index}:{number}",
            uuid,
            printable(self._called("nvmlDeviceGetName", handle) or ""),
            parent_uuid=gpu.uuid,
            gpu_fraction=size / most if 0 < size <= most else 1 / most,
        )
        figures = [memory_of(self._nvml, gone=NOT_THERE)]
        instance = self._called("nvmlDeviceGetGpuInstanceId", handle)
        profile, start = self._place(instance)
        identity = replace(identity, gpu_instance=instance, instance_profile=profile, instance_start=start)
        whole = self._gpu.handle
        gpm = Gpm(self._nvml, whole, lambda buffer: self._nvml.nvmlGpmMigSampleGet(whole, instance, buffer))
        self._counters[uuid] = gpm
        if instance is not None:
            figures.append(gpm.figure())
        return NvmlDevice(self._nvml, handle, identity, tuple(figures), self._notes)

    def _place(self, instance: int | None) -> tuple[int | None, int | None]:
        """Profile of the instance and its first memory slice, None if unknown: only root may read it."""
        if instance is None:
            return None, None
        try:
            handle = self._called("nvmlDeviceGetGpuInstanceById", self._gpu.handle, instance)
            info = None if handle is None else self._called("nvmlGpuInstanceGetInfo", handle)
        except CallError:  # logged and counted; the slice is read all the same
            info = None
        return (None, None) if info is None else (info.profileId, info.placement.start)

    def _marked(self, piece: GpuSample, watts: float | None) -> GpuSample:
        """``piece`` with a guess of whether it is active, where nothing measures it."""
        measured = self._devices[piece.uuid].gives("nvmlGpmSampleGet")
        if measured or watts is None or piece.memory_used_bytes is None:
            return piece
        if self._limit_watts is None:
            self._limit_watts = self._power_limit()
        self._rest_watts = min(self._rest_watts, watts, RESTING_PART_OF_LIMIT * self._limit_watts)
        working = watts > ABOVE_REST * self._rest_watts
        return replace(piece, power_active=working and piece.memory_used_bytes >= HOLDS_BYTES)

    def _power_limit(self) -> float:
        """Watts; infinite if the driver does not report it: then only its observed power shows if it works."""
        try:
            limit = self._called("nvmlDeviceGetEnforcedPowerLimit", self._gpu.handle)
        except CallError:
            limit = None
        return limit / 1000 if limit else math.inf

    def _called(self, call: str, *arguments: Any) -> Any:  # noqa: ANN401
        """The driver's result, None if it has none.

        Raises:
            CallError: for a response that is neither.
        """
        self._doing.begin(call)
        try:
            return getattr(self._nvml, call)(*arguments)
        except UnicodeDecodeError:
            return None
        except self._nvml.NVMLError as err:
            if err.value in (REFUSALS | NOT_THERE) - DRIVER_FAULTS:
                return None
            self._notes.failures.add(call, int(err.value))
            raise CallError(f"{call} of GPU {self._gpu.identity.index}", err) from err
