"""NVIDIA GPUs through NVML, the driver's own library, by the real ``pynvml`` (package ``nvidia-ml-py``)."""

from __future__ import annotations

import logging
import math
from typing import Any

from epochcost.gpus.nvml_device import (
    DRIVER_NOT_LOADED,
    LIBRARY_NOT_FOUND,
    UNINITIALIZED,
    VERSION_MISMATCH,
    CallError,
)
from epochcost.gpus.nvml_session import Memory, NvmlSession
from epochcost.gpus.source import GpuError, NoDriverError, RestartNeededError
from epochcost.model import GpuReading

log = logging.getLogger(__name__)

RETRY_SECONDS = 10.0
"""Between two tries to take up a driver that failed: where none is loaded, each starts a helper program of NVIDIA's."""


class NvmlSource:
    """All GPUs of one NVIDIA driver. Touches nothing before the first `read`; used by one thread at a time.

    MIG slices are not told apart.
    """

    name = "nvml"

    def __init__(self) -> None:
        self._memory = Memory()
        self._session: NvmlSession | None = None
        self._reopen_at = math.inf
        """When to take the driver up anew, because no GPU could be read lately."""
        self._refused: GpuError | None = None
        self._refused_until = -math.inf

    def read(self, t: float) -> GpuReading:
        """All GPUs now; see `GpuSource.read`."""
        if t >= self._reopen_at:
            self._let_go()
        try:
            reading = self._read(t)
        except GpuError:
            self._reopen_at = min(self._reopen_at, t + RETRY_SECONDS)
            raise
        seen = any(gpu.readable for gpu in reading.gpus)
        self._reopen_at = math.inf if seen else min(self._reopen_at, t + RETRY_SECONDS)
        return reading

    def close(self) -> None:
        """Let go of the driver; a later read takes it up again."""
        self._let_go()
        self._refused_until = -math.inf

    def _let_go(self) -> None:
        self._reopen_at = math.inf
        if self._session is not None:
            self._session.close()
            self._session = None

    def _read(self, t: float) -> GpuReading:
        try:
            return self._opened(t).read(t)
        except CallError as fault:
            if fault.code not in (UNINITIALIZED, DRIVER_NOT_LOADED):
                raise explained(fault) from fault
            log.warning("the NVIDIA driver went away (%s): taking it up again", fault)
        self._let_go()
        try:
            return self._opened(t).read(t)
        except CallError as fault:
            raise explained(fault) from fault

    def _opened(self, t: float) -> NvmlSession:
        """The session, a new one where there is none.

        Raises:
            GpuError: when the driver cannot be taken up; again, without asking it, for `RETRY_SECONDS`.
        """
        if self._session is not None:
            return self._session
        if self._refused is not None and t < self._refused_until:
            raise type(self._refused)(str(self._refused))
        try:
            self._session = NvmlSession(_pynvml(), self._memory)
        except CallError as fault:
            self._refused = explained(fault)
            self._refused_until = t + RETRY_SECONDS
            raise self._refused from fault
        return self._session


def _pynvml() -> Any:  # noqa: ANN401 - pynvml has no types
    try:
        import pynvml
    except ImportError as err:
        raise NoDriverError(
            f"the Python package nvidia-ml-py is missing: pip install 'epochcost[agent]' ({err})"
        ) from err
    return pynvml


def explained(fault: CallError) -> GpuError:
    """The driver's answer with a sentence for people."""
    if fault.code == LIBRARY_NOT_FOUND:
        return NoDriverError(f"the NVIDIA driver's library libnvidia-ml.so.1 cannot be loaded here: {fault}")
    if fault.code == DRIVER_NOT_LOADED:
        return NoDriverError(f"the NVIDIA driver is not loaded: {fault}")
    if fault.code == VERSION_MISMATCH:
        return RestartNeededError(
            "the NVIDIA driver was updated under this process: restart the agent, and the machine where that does not "
            f"help: {fault}"
        )
    return GpuError(str(fault))
