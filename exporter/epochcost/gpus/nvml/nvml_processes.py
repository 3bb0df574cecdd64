"""The processes that compute on each NVIDIA GPU, and on each MIG slice of one, by NVML."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

log = logging.getLogger(__name__)


class NvmlProcesses:
    """Queries the driver from scratch every time, so that a reload needs no handling; it stays loaded for others.

    Used by one thread at a time, which may be another one than the sampler's.
    """

    def __init__(self) -> None:
        self._logged: set[str] = set()

    def pids(self) -> Mapping[str, Mapping[int, int | None]]:
        """By GPU uuid: process id and the bytes it holds, None if the driver does not report them.

        A GPU that does not answer is left out, with one log line.

        Raises:
            OSError: when the driver does not answer at all.
        """
        import pynvml

        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as err:
            raise OSError(f"nvmlInit: {err}") from None
        try:
            return dict(self._each(pynvml))
        except pynvml.NVMLError as err:
            raise OSError(f"the GPUs cannot be listed: {err}") from None
        finally:
            _shut_down(pynvml)

    def _each(self, nvml: Any) -> Iterator[tuple[str, dict[int, int | None]]]:  # noqa: ANN401 - pynvml has no types
        for index in range(nvml.nvmlDeviceGetCount()):
            try:
                by_device = [self._on_one(nvml, device) for device in _devices(nvml, index)]
                self._logged.discard(str(index))
            except (nvml.NVMLError, UnicodeDecodeError) as err:
                if str(index) not in self._logged:
                    self._logged.add(str(index))
                    log.warning("the processes on GPU %d are not known: %s", index, err)
                continue
            yield from by_device

    @staticmethod
    def _on_one(nvml: Any, device: Any) -> tuple[str, dict[int, int | None]]:  # noqa: ANN401
        processes = nvml.nvmlDeviceGetComputeRunningProcesses(device)
        return nvml.nvmlDeviceGetUUID(device), {int(p.pid): _bytes(p.usedGpuMemory) for p in processes}


def _devices(nvml: Any, index: int) -> Iterator[Any]:  # noqa: ANN401
    """The GPU, or its slices where it is cut into some."""
    gpu = nvml.nvmlDeviceGetHandleByIndex(index)
    if not _is_cut(nvml, gpu):
        yield gpu
        return
    for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(gpu)):
        with suppress(nvml.NVMLError_NotFound):  # fewer slices than there could be
            yield nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, number)


def _is_cut(nvml: Any, gpu: Any) -> bool:  # noqa: ANN401
    try:
        return bool(nvml.nvmlDeviceGetMigMode(gpu)[0])
    except (nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound):
        return False


def _bytes(held: Any) -> int | None:  # noqa: ANN401
    return int(held) if held is not None else None


def _shut_down(nvml: Any) -> None:  # noqa: ANN401
    try:
        nvml.nvmlShutdown()
    except nvml.NVMLError as err:
        log.debug("nvmlShutdown: %s", err)  # a driver that went away returns an error; nothing is left to release
