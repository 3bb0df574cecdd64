"""NVIDIA GPUs through NVML, the driver's own library, by the real ``pynvml`` (package ``nvidia-ml-py``)."""

from __future__ import annotations

import logging
import math
import threading
from typing import Any

from epochcost.gpus.gpu_source import DriverAwayError, GpuError, NoDriverError, RestartNeededError
from epochcost.gpus.nvml.nvml_device import STUCK_SECONDS, Doing, unreadable
from epochcost.gpus.nvml.nvml_figures import (
    DRIVER_NOT_LOADED,
    LIBRARY_NOT_FOUND,
    UNINITIALIZED,
    VERSION_MISMATCH,
    CallError,
)
from epochcost.gpus.nvml.nvml_gpu import GpuHandle, Memory
from epochcost.gpus.nvml.nvml_session import NvmlSession
from epochcost.gpus.nvml.nvml_worker import PollRound, WorkerThread
from epochcost.model import GpuReading

log = logging.getLogger(__name__)

RETRY_SECONDS = 10.0
"""Between two tries to take up a driver that failed: where none is loaded, each starts a helper program of NVIDIA's."""
PATIENCE_SECONDS = STUCK_SECONDS
"""A call, or a GPU that was read before, that takes longer delays only itself."""
SLOW_SECONDS = 0.25
"""Where reading all GPUs in turn takes longer, they are read side by side."""
INIT_PATIENCE_SECONDS = 30.0
"""The first call wakes every GPU that sleeps, one after the other."""
CLOSE_SECONDS = 2.0


class NvmlSource:
    """All GPUs of one NVIDIA driver. Touches nothing before the first `read`; used by one thread at a time.

    The driver is called on threads that can be left behind, so `read` comes back whatever the driver does. There are
    never more such threads than GPUs and one for what concerns them all.
    """

    name = "nvml"

    def __init__(self) -> None:
        self._memory = Memory()
        self._doing = Doing()
        self._worker: WorkerThread | None = None
        self._round: PollRound | None = None
        """The reading in progress, when it was blocked before any GPU was read."""
        self._session: NvmlSession | None = None
        self._anew = False
        """Reinitialise the driver before the next reading."""
        self._reopen_at = math.inf
        """When to reinitialise the driver, because no GPU could be read recently."""
        self._refused: GpuError | None = None
        self._refused_until = -math.inf

    def read(self, t: float) -> GpuReading:
        """All GPUs now; see `GpuSource.read`."""
        if t >= self._reopen_at:
            self._anew, self._reopen_at = True, math.inf
        try:
            reading = self._read(t)
        except GpuError:
            self._reopen_at = min(self._reopen_at, t + RETRY_SECONDS)
            raise
        seen = any(gpu.readable or gpu.stuck_call for gpu in reading.gpus)
        self._reopen_at = math.inf if seen else min(self._reopen_at, t + RETRY_SECONDS)
        return reading

    def close(self) -> None:
        """Close the driver; a later read opens it again."""
        self._reopen_at, self._refused_until = math.inf, -math.inf
        worker, self._worker = self._worker, None
        if worker is None and self._session is None:
            return
        worker = worker or WorkerThread("epochcost-nvml")
        closed = threading.Event()
        worker.do(self._let_go)
        worker.do(closed.set)
        worker.leave()
        if not closed.wait(CLOSE_SECONDS):
            log.info("closing without shutting down NVML: %s is blocked", self._doing.stuck()[0] or "a call")

    def _let_go(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()
        self._doing.end()

    def _read(self, t: float) -> GpuReading:
        try:
            return self._once(t)
        except CallError as fault:
            if fault.code not in (UNINITIALIZED, DRIVER_NOT_LOADED):
                raise self._explained(fault) from fault
            log.warning("the NVIDIA driver went away (%s): reinitialising NVML", fault)
        self._anew = True
        try:
            return self._once(t)
        except CallError as fault:
            raise self._explained(fault) from fault

    def _once(self, t: float) -> GpuReading:
        late, self._round = self._round, None
        round_ = late if late is not None and not late.finished.is_set() else self._begun(t)
        if not _waited(round_, self._doing) and not round_.prepared:
            self._round = round_
            return self._held_up(t)
        if not round_.finished.is_set() and self._worker is not None:
            self._worker.leave()  # its thread is in a GPU that is stuck; the next round goes by another
            self._worker = None
        if round_.fault is not None:
            raise round_.fault
        return self._reading(t)

    def _reading(self, t: float) -> GpuReading:
        slots = self._memory.slots.values()
        slowest = max(slots, key=lambda slot: slot.read_seconds)
        return GpuReading(
            t,
            tuple(gpu for slot in slots for gpu in slot.samples(t)),
            self._session.driver_version if self._session else "",
            slowest.read_seconds,
            slowest.slowest_call[0],
            self._memory.failures.counts,
        )

    def _begun(self, t: float) -> PollRound:
        if self._worker is None:
            self._worker = WorkerThread("epochcost-nvml")
        in_turn = sum(slot.read_seconds for slot in self._memory.slots.values())
        round_ = PollRound(t, self._prepared, spread=in_turn > SLOW_SECONDS)
        self._worker.do(round_.run)
        return round_

    def _held_up(self, t: float) -> GpuReading:
        """No GPU was read: every one is stuck where the driver is."""
        call, seconds = self._doing.stuck()
        known = [gpu for slot in self._memory.identities.values() for gpu in slot]
        if not known:
            raise GpuError(f"{call} has been blocked for {seconds:.0f} s")
        return GpuReading(t, tuple(unreadable(gpu, self._doing) for gpu in known))

    # -- on a worker ---------------------------------------------------------------------------------------------------

    def _prepared(self, t: float) -> list[GpuHandle]:
        """Every GPU's place.

        Raises:
            GpuError: when the driver cannot be initialised; again, without a call, for `RETRY_SECONDS`.
        """
        if self._anew:
            self._anew = False
            self._let_go()
        try:
            if self._session is None:
                self._session = self._opened(t)
            return self._session.slots()
        finally:
            self._doing.end()

    def _opened(self, t: float) -> NvmlSession:
        if self._refused is not None and t < self._refused_until:
            raise type(self._refused)(str(self._refused))
        try:
            return NvmlSession(_pynvml(), self._memory, self._doing)
        except CallError as fault:
            self._refused = self._explained(fault)
            self._refused_until = t + RETRY_SECONDS
            raise self._refused from fault

    def _explained(self, fault: CallError) -> GpuError:
        return explained(fault, seen_before=bool(self._memory.slots))


def _waited(round_: PollRound, doing: Doing) -> bool:
    """Wait while the round gets on, and have it spread where it does not; False when it is still held up then."""
    while not round_.finished.wait(SLOW_SECONDS):
        if round_.prepared:
            if not round_.spread() and round_.held_up(PATIENCE_SECONDS):
                return False
            continue
        call, seconds = doing.stuck()
        if seconds >= (INIT_PATIENCE_SECONDS if call == "nvmlInit" else PATIENCE_SECONDS):
            return False
    return True


def _pynvml() -> Any:  # noqa: ANN401 - pynvml has no types
    try:
        import pynvml
    except ImportError as err:
        raise NoDriverError(
            f"the Python package nvidia-ml-py is missing: pip install 'epochcost[agent]' ({err})"
        ) from err
    return pynvml


def explained(fault: CallError, *, seen_before: bool) -> GpuError:
    """The driver's error with a sentence for people; ``seen_before``: this process has read GPUs by it."""
    if fault.code == LIBRARY_NOT_FOUND:
        return NoDriverError(f"the NVIDIA driver's library libnvidia-ml.so.1 cannot be loaded here: {fault}")
    if fault.code == DRIVER_NOT_LOADED:
        return DriverAwayError(f"the NVIDIA driver is not loaded: {fault}")
    if fault.code != VERSION_MISMATCH:
        return GpuError(str(fault))
    if seen_before:
        return RestartNeededError(
            f"the NVIDIA driver was updated while the agent was running: restart the agent: {fault}"
        )
    return GpuError(
        "the NVIDIA driver's library and its kernel module have different versions: reload the module or reboot the "
        "machine: {fault}"
    )
