"""One index in the driver's list of GPUs: the GPU there, its slices, and their last readings."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, field, replace
from typing import Any

from epochcost.gpus.label import printable
from epochcost.gpus.nvml.nvml_device import STUCK_SECONDS, CallFailures, Doing, Notes, NvmlDevice, unreadable
from epochcost.gpus.nvml.nvml_figures import DRIVER_FAULTS, CallError, Figure
from epochcost.gpus.nvml.nvml_gpm import Gpm
from epochcost.gpus.nvml.nvml_integrator import LONGEST_SECONDS, Integrator
from epochcost.gpus.nvml.nvml_mig import Slices
from epochcost.gpus.nvml.nvml_xid import Counts, XidWatch
from epochcost.model import GpuSample

log = logging.getLogger(__name__)

LOOK_AGAIN_SECONDS = 10.0
"""Between two tries to get hold of a GPU that could not be had."""
HOLDS_SECONDS = 3.0
"""The last reading of a GPU is used this long, and twice what reading it took, while its next reading takes its
time; then it is not readable."""
MOST_HELD_SECONDS = 60.0
STUCK_TIMES_LONGEST = 4.0
"""A call that takes this many times as long as the longest of the reading before is stuck, in a slow driver too."""


@dataclass(slots=True)
class Memory:
    """What outlives a session: the identity of the GPUs, their counters, and what was logged once."""

    identities: dict[int, tuple[GpuSample, ...]] = field(default_factory=dict)
    """By index: the GPU and its slices, without figures."""
    tallies: dict[str, Integrator] = field(default_factory=dict)
    xids: Counts = field(default_factory=dict)
    logged: set[str] = field(default_factory=set)
    failures: CallFailures = field(default_factory=CallFailures)
    slots: dict[int, GpuHandle] = field(default_factory=dict)


class GpuHandle:
    """The GPU of one index. Read by one thread at a time; a thread that is stuck in it stays in it."""

    def __init__(self, nvml: Any, index: int, memory: Memory, figures: tuple[Figure, ...], xids: XidWatch) -> None:  # noqa: ANN401
        self.busy = False
        self.xids = xids
        """Also identifies the session of this slot."""
        self._nvml = nvml
        self._index = index
        self._memory = memory
        self._figures = figures
        self._doing = Doing()
        self._device: NvmlDevice | None = None
        self._slices: Slices | None = None
        self._gpm: Gpm | None = None
        self._integrator = Integrator()
        self._look_again_at = -math.inf
        self._samples: tuple[GpuSample, ...] = ()
        self._read_t = -math.inf
        self.read_seconds = 0.0
        """What the last reading took."""
        self.slowest_call = ("", 0.0)
        """The call of that reading that took longest, and for how many seconds."""
        self._hears_xids = False

    @property
    def call_seconds(self) -> float:
        """How long the call under way has taken; 0 when none is."""
        return self._doing.stuck()[1]

    @property
    def known(self) -> bool:
        """It was read before, so that reading may be used while its next one takes its time."""
        return bool(self._samples)

    def read(self, t: float) -> None:
        """Read the GPU now.

        Raises:
            CallError: when the driver as a whole is at fault, not this GPU.
        """
        self.busy = True
        began = time.monotonic()
        self._doing.anew()
        try:
            if self._device is None and t >= self._look_again_at:
                self._look_again_at = t + LOOK_AGAIN_SECONDS
                self._open()
            self._samples = self._read(t)
            self._read_t = t
        finally:
            self._doing.end()
            self.read_seconds = time.monotonic() - began
            self.slowest_call = self._doing.longest_call, self._doing.longest_seconds
            self._integrator.longest_seconds = LONGEST_SECONDS + 2 * self.read_seconds
            self.busy = False

    def samples(self, t: float) -> tuple[GpuSample, ...]:
        """What is known of the GPU and its slices at ``t``; never waits."""
        if t - self._read_t <= self._holds_seconds():
            return self._samples
        return self._unreadable(self._doing if self.busy else None)

    def _holds_seconds(self) -> float:
        """How long the last reading is used: by the driver's usual pace, unless it is stuck now."""
        patience = max(STUCK_SECONDS, STUCK_TIMES_LONGEST * self.slowest_call[1])
        if self.busy and self.call_seconds >= patience:
            return HOLDS_SECONDS
        return min(MOST_HELD_SECONDS, HOLDS_SECONDS + 2 * self.read_seconds)

    def close(self) -> None:
        """Release what the driver allocated. Never raises."""
        for lent in (self._slices, self._gpm):
            if lent is not None:
                lent.free()

    def _read(self, t: float) -> tuple[GpuSample, ...]:
        if self._device is None or self._slices is None:
            return self._unreadable()
        known = dict(self._slices.known)
        if self._hears_xids:
            known["xid_errors"] = self._memory.xids.get(self._device.identity.uuid)
        gpu = self._device.sample(t, known)
        if not gpu.readable:
            return self._unreadable()
        try:
            samples = self._slices.read(t, gpu)
        except CallError as err:
            if gpu.utilization_ratio is None:  # in MIG mode a GPU has none: it may be in slices
                if err.code in DRIVER_FAULTS:
                    raise
                self._tell(f"its slices are unknown: {err}", f"slices {self._index}")
                return self._unreadable()
            self._tell(f"its slices are unknown: {err}: read as a whole", f"slices {self._index}")
            samples = (gpu,)
        self._memory.logged.discard(f"slices {self._index}")
        who, fraction = self._device.identity, samples[0].gpu_fraction
        whole = who if who.gpu_fraction == fraction else replace(who, gpu_fraction=fraction)
        self._memory.identities[self._index] = (whole, *self._slices.identities())
        return samples

    def _unreadable(self, doing: Doing | None = None) -> tuple[GpuSample, ...]:
        return tuple(unreadable(identity, doing) for identity in self._known())

    def _known(self) -> tuple[GpuSample, ...]:
        # Its identity may never be known, but its seconds are on the bill: they need a key of their own.
        never = (GpuSample(str(self._index), f"unknown-{self._index}"),)
        return self._memory.identities.get(self._index, never)

    def _open(self) -> None:
        call, lost = "nvmlDeviceGetHandleByIndex", f"lost {self._index}"
        try:
            self._doing.begin(call)
            handle = self._nvml.nvmlDeviceGetHandleByIndex(self._index)
            call = "nvmlDeviceGetUUID"
            self._doing.begin(call)
            uuid = printable(self._nvml.nvmlDeviceGetUUID(handle))
        except (self._nvml.NVMLError, UnicodeDecodeError) as err:
            if getattr(err, "value", None) in DRIVER_FAULTS:
                raise CallError(f"{call} of GPU {self._index}", err) from err
            self._tell(f"{call}: {err}", lost)
            return
        self._memory.logged.discard(lost)
        self._doing.begin("nvmlDeviceGetName")
        identity = GpuSample(str(self._index), uuid, text_of(self._nvml, "nvmlDeviceGetName", handle))
        if not any(gpu.uuid == uuid for gpu in self._known()):
            self._memory.identities[self._index] = (identity,)
        self._integrator = self._memory.tallies.setdefault(uuid, Integrator())
        self._gpm = Gpm(self._nvml, handle)
        notes = Notes(self._memory.logged, self._doing, self._memory.failures, self._integrator)
        figures = (*self._figures, self._gpm.figure())
        self._device = NvmlDevice(self._nvml, handle, identity, figures, notes)
        self._slices = Slices(self._nvml, self._device, notes)
        self._doing.begin("nvmlDeviceRegisterEvents")
        self._hears_xids = self.xids.register(handle, identity)

    def _tell(self, why: str, about: str) -> None:
        if about not in self._memory.logged:
            self._memory.logged.add(about)
            log.warning("GPU %d cannot be read: %s", self._index, why)


def text_of(nvml: Any, call: str, *arguments: Any) -> str:  # noqa: ANN401
    """The driver's name of it, empty if there is none: a GPU without a name costs as much."""
    try:
        return printable(getattr(nvml, call)(*arguments))
    except (nvml.NVMLError, UnicodeDecodeError) as err:
        log.warning("%s: %s: not exported", call, err)
        return ""
