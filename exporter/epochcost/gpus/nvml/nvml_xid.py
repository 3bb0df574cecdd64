"""Xid errors: what the driver reports of a GPU in trouble, counted by number."""

from __future__ import annotations

import ctypes
import logging
import threading
from collections.abc import Mapping
from typing import Any

from epochcost.gpus.nvml.nvml_figures import REFUSALS
from epochcost.gpus.nvml.nvml_worker import WorkerThread
from epochcost.model import GpuSample

log = logging.getLogger(__name__)

TIMEOUT = 10
WAIT_MILLISECONDS = 1
MOST_AT_ONCE = 64

Counts = dict[str, Mapping[str, int]]
"""Errors by GPU (UUID) and Xid."""


class XidWatch:
    """Receives Xids of the GPUs registered with it, between an init and its shutdown, on a thread of its own."""

    def __init__(self, nvml: Any, counts: Counts, logged: set[str]) -> None:  # noqa: ANN401
        """``counts`` outlives this watch and is added to."""
        self._nvml = nvml
        self._counts = counts
        self._logged = logged
        self._set: Any = None
        self._gpus: dict[int, GpuSample] = {}
        self._worker: WorkerThread | None = None
        self._idle = threading.Event()
        self._idle.set()

    def register(self, handle: Any, gpu: GpuSample) -> bool:  # noqa: ANN401
        """Receive Xids of ``gpu`` from now on; False if the driver has no such events for it."""
        nvml = self._nvml
        try:
            if self._set is None:
                self._set = nvml.nvmlEventSetCreate()
            nvml.nvmlDeviceRegisterEvents(handle, nvml.nvmlEventTypeXidCriticalError, self._set)
        except nvml.NVMLError as err:
            if "xid" not in self._logged:
                self._logged.add("xid")
                expected = err.value in REFUSALS
                level = logging.INFO if expected else logging.WARNING
                log.log(level, "no Xid errors from GPU %s (%s) and others of its model: %s", gpu.index, gpu.model, err)
            return False
        self._gpus[_address(handle)] = gpu
        self._counts.setdefault(gpu.uuid, {})
        return True

    def poll(self) -> None:
        """Take what was reported since; returns at once, and makes no second call while one is stuck."""
        if not self._gpus or not self._idle.is_set():
            return
        self._idle.clear()
        if self._worker is None:
            self._worker = WorkerThread("epochcost-xids")
        self._worker.do(self._take)

    def close(self, timeout: float = 1.0) -> bool:
        """Close the driver; False when a call is stuck in it. Never raises."""
        free = self._idle.wait(timeout)
        if self._worker is not None:
            self._worker.leave()
        if free and self._set is not None:
            try:
                self._nvml.nvmlEventSetFree(self._set)
            except self._nvml.NVMLError as err:
                log.debug("nvmlEventSetFree: %s", err)  # a driver that went away took it with it
        self._set, self._gpus = None, {}
        return free

    def _take(self) -> None:
        try:
            for _ in range(MOST_AT_ONCE):
                self._count(self._nvml.nvmlEventSetWait_v2(self._set, WAIT_MILLISECONDS))
        except self._nvml.NVMLError as err:
            if err.value != TIMEOUT and "xids" not in self._logged:
                self._logged.add("xids")
                log.warning("Xid errors cannot be received: nvmlEventSetWait_v2: %s", err)
        finally:
            self._idle.set()

    def _count(self, event: Any) -> None:  # noqa: ANN401
        gpu = self._gpus.get(_address(event.device))
        if gpu is None:
            log.warning("Xid %d of an unknown GPU", event.eventData)
            return
        xid = str(event.eventData)
        log.warning("GPU %s (%s): Xid %s", gpu.index, gpu.uuid, xid)
        before = self._counts.get(gpu.uuid, {})
        self._counts[gpu.uuid] = {**before, xid: before.get(xid, 0) + 1}


def _address(handle: Any) -> int:  # noqa: ANN401
    return ctypes.cast(handle, ctypes.c_void_p).value or 0
