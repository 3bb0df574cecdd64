"""One span between NVML's init and its shutdown: which GPUs there are."""

from __future__ import annotations

import logging
from typing import Any

from epochcost.gpus.gpu_source import DriverAwayError, GpuError
from epochcost.gpus.nvml.nvml_device import Doing
from epochcost.gpus.nvml.nvml_figures import CallError, figures_of
from epochcost.gpus.nvml.nvml_gpu import GpuHandle, Memory, text_of
from epochcost.gpus.nvml.nvml_xid import XidWatch

log = logging.getLogger(__name__)


class NvmlSession:
    """The GPUs of a driver that responds.

    Raises:
        CallError: from the constructor, when the driver cannot be taken up; from `slots`, when it went away.
    """

    def __init__(self, nvml: Any, memory: Memory, doing: Doing) -> None:  # noqa: ANN401 - pynvml has no types
        """``nvml`` is the module ``pynvml``; ``doing`` shows the calls that are not about one GPU."""
        self._nvml = nvml
        self._memory = memory
        self._doing = doing
        doing.begin("nvmlInit")
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as err:
            raise CallError("nvmlInit", err) from err
        self._figures = figures_of(nvml)
        doing.begin("nvmlSystemGetDriverVersion")
        self.driver_version = text_of(nvml, "nvmlSystemGetDriverVersion")
        self._xids = XidWatch(nvml, memory.xids, memory.logged)

    def slots(self) -> list[GpuHandle]:
        """The places of all GPUs now, in the driver's order.

        Raises:
            GpuError: when they cannot be counted, or there is none.
        """
        count, slots = self._count(), self._memory.slots
        if slots and len(slots) != count:
            log.warning("the NVIDIA driver reports %d GPUs; before, it reported %d", count, len(slots))
            self._forget(count)
        for index in range(count):
            slot = slots.get(index)
            # One of an earlier session that is stuck is not called again, and its thread not joined by another.
            if slot is None or (slot.xids is not self._xids and not slot.busy):
                slots[index] = GpuHandle(self._nvml, index, self._memory, self._figures, self._xids)
        self._xids.poll()
        return list(slots.values())

    def close(self) -> None:
        """Shut NVML down, unless a call is stuck in it: that one still needs it. Never raises."""
        stuck = any(slot.busy for slot in self._memory.slots.values())
        for slot in self._memory.slots.values():
            if not slot.busy:
                slot.close()
        if not self._xids.close() or stuck:
            log.info("NVML is not shut down: a call is still blocked")
            return
        self._doing.begin("nvmlShutdown")
        try:
            self._nvml.nvmlShutdown()
        except self._nvml.NVMLError as err:
            log.debug("nvmlShutdown: %s", err)  # a driver that went away returns an error; nothing is left to release

    def _forget(self, count: int) -> None:
        """Every index may be another GPU's now."""
        slots = self._memory.slots
        for index in [i for i, slot in slots.items() if i >= count or not slot.busy]:
            slots.pop(index).close()
            if index >= count:
                self._memory.identities.pop(index, None)

    def _count(self) -> int:
        call = "nvmlDeviceGetCount"
        self._doing.begin(call)
        try:
            count = int(self._nvml.nvmlDeviceGetCount())
        except self._nvml.NVMLError as err:
            raise CallError(call, err) from err
        if count:
            return count
        if before := len(self._memory.slots):
            raise GpuError(f"{call}: the NVIDIA driver reports no GPU; before, it reported {before}")
        raise DriverAwayError(f"{call}: an NVIDIA driver is loaded, but it reports no GPU")
