"""One NVIDIA GPU or MIG slice: reads its figures, and skips those that it does not have."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from epochcost.gpus.gpu_plausibility import ImplausibleError
from epochcost.gpus.nvml.nvml_figures import (
    DRIVER_FAULTS,
    NO_DATA,
    NOT_NOW,
    REFUSALS,
    THROTTLED,
    CallError,
    Figure,
    Values,
)
from epochcost.gpus.nvml.nvml_integrator import Integrator
from epochcost.model import GpuSample

log = logging.getLogger(__name__)

ASK_AGAIN_SECONDS = 600.0
"""Interval between two tries of figures that were skipped as not supported."""
SILENT_SECONDS = 10.0
"""The same for a GPU that refuses every figure."""


STUCK_SECONDS = 1.0
"""A call that takes longer is reported as stuck; before that the driver is only slow."""


class Doing:
    """Which driver call is in progress, for threads that wait for it; empty when none is. And which took longest."""

    __slots__ = ("call", "longest_call", "longest_seconds", "since")

    def __init__(self) -> None:
        self.call = ""
        self.since = 0.0
        self.longest_call = ""
        self.longest_seconds = 0.0

    def begin(self, call: str) -> None:
        """``call`` is made now; the one before came back."""
        now = time.monotonic()
        self._took(now)
        self.since, self.call = now, call

    def end(self) -> None:
        """It came back."""
        self._took(time.monotonic())
        self.call = ""

    def anew(self) -> None:
        """Forget which call took longest."""
        self.longest_call, self.longest_seconds = "", 0.0

    def _took(self, now: float) -> None:
        if self.call and now - self.since > self.longest_seconds:
            self.longest_call, self.longest_seconds = self.call, now - self.since

    def stuck(self) -> tuple[str, float]:
        """The call under way and for how many seconds."""
        call, since = self.call, self.since
        return call, max(0.0, time.monotonic() - since) if call else 0.0


class CallFailures:
    """How often which call returned which code that is neither a figure nor a refusal; counted by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, int], int] = {}

    def add(self, call: str, code: int) -> None:
        """One more."""
        with self._lock:
            self._counts = {**self._counts, (call, code): self._counts.get((call, code), 0) + 1}

    @property
    def counts(self) -> Mapping[tuple[str, int], int]:
        """By call and code; a mapping that does not change any longer."""
        return self._counts


@dataclass(frozen=True, slots=True)
class Notes:
    """What a device records.

    Attributes:
        logged: what was logged once, shared by all GPUs.
        doing: which call is under way.
        failures: results that were neither a figure nor a refusal, shared by all GPUs.
        integrator: what is summed up over its readings; a slice has none.
    """

    logged: set[str]
    doing: Doing
    failures: CallFailures
    integrator: Integrator | None = None


class NvmlDevice:
    """One GPU or slice with its identity, read once, and the figures that it has."""

    def __init__(
        self,
        nvml: Any,  # noqa: ANN401 - pynvml has no types
        handle: Any,  # noqa: ANN401
        identity: GpuSample,
        figures: tuple[Figure, ...],
        notes: Notes,
    ) -> None:
        """``identity`` is a sample without figures."""
        self.identity = identity
        self.handle = handle
        self._nvml = nvml
        self._all = figures
        self._figures = figures
        self._last_values: dict[str, tuple[float, Values]] = {}
        self._logged = notes.logged
        self._doing = notes.doing
        self._failures = notes.failures
        self._integrator = notes.integrator
        self._no_energy = False
        self._ask_again_at = -math.inf
        self._failing = ""
        self._has_responded = False
        """The driver has reported something of it in the sample under way."""
        self._failed: CallError | None = None
        """The last error of a call of the sample in progress."""

    def sample(self, t: float, known: Values | None = None) -> GpuSample:
        """Read every figure; ``t`` in seconds. ``known`` are fields that are known from elsewhere.

        Raises:
            CallError: when the driver as a whole is at fault, not this GPU.
        """
        if t >= self._ask_again_at:  # a mode may have changed (MIG, permissions)
            self._figures, self._ask_again_at = self._all, t + ASK_AGAIN_SECONDS
        values: Values = {}
        self._has_responded, self._failed = False, None
        try:
            for figure in self._figures:
                self._ask(figure, t, values)
            if self._failed is not None and not self._has_responded:
                raise self._failed
        except CallError as err:
            if err.code in DRIVER_FAULTS:
                raise
            return self._unreadable(str(err))
        if all(figure.every for figure in self._figures):
            self._ask_again_at = min(self._ask_again_at, t + SILENT_SECONDS)
            return self._unreadable("it refuses every figure")
        if self._failing:
            self._failing = ""
            log.info("GPU %s (%s) can be read again", self.identity.index, self.identity.uuid)
        who = self.identity
        values = {**_place_of(who), **self._summed(t, values)}
        values.update(known or {})
        return GpuSample(who.index, who.uuid, who.model, **values)  # `replace` would take three times as long

    def ask_again(self) -> None:
        """Read at the next sample what was skipped, too: a mode has changed."""
        self._ask_again_at = -math.inf

    def gives(self, call: str) -> bool:
        """Whether the figure of ``call`` is not skipped."""
        return any(figure.call == call for figure in self._figures)

    def _summed(self, t: float, values: Values) -> Values:
        """``values`` with what is counted here in place of what the driver reported of this instant."""
        reasons = values.pop(THROTTLED, None)
        if self._integrator is None:
            return values
        if reasons is not None:
            self._integrator.throttled(t, reasons)
            values["throttle_seconds"] = self._integrator.throttle_seconds
        self._no_energy = self._no_energy and "energy_joules" not in values
        if self._no_energy and "power_watts" in values:
            self._integrator.drew(t, values["power_watts"])
            values["energy_joules"] = self._integrator.joules
        return values

    def _ask(self, figure: Figure, t: float, values: Values) -> None:
        if figure.every:
            called_t, answer = self._last_values.get(figure.call, (-math.inf, {}))
            if 0 <= t - called_t < figure.every:
                values.update(answer)
                return
        self._doing.begin(figure.call)
        try:
            answer = figure.ask(self.handle, t)
        except ImplausibleError as err:
            self._has_responded = True
            self._tell(f"GPU {self.identity.index}: {figure.call} returns {err}: not exported", figure.call)
        except self._nvml.NVMLError as err:
            if err.value in REFUSALS:
                self._give_up(figure, str(err), t, values)
            elif err.value == NO_DATA:
                self._has_responded = True
            else:
                self._fails(figure, err)
        else:
            self._has_responded = True
            values.update(answer)
            if figure.every:
                self._last_values[figure.call] = (t, answer)

    def _fails(self, figure: Figure, err: Any) -> None:  # noqa: ANN401 - pynvml has no types
        """Leave this figure alone out, unless the GPU cannot be known without it."""
        self._failures.add(figure.call, int(err.value))
        if err.value in NOT_NOW:
            self._has_responded = True
        else:
            self._failed = CallError(f"{figure.call} of GPU {self.identity.index}", err)
            if figure.vital or err.value in figure.gone:
                raise self._failed from err
        self._tell(f"GPU {self.identity.index}: {figure.call} returns {err}: not exported", figure.call)

    def _give_up(self, figure: Figure, answer: str, t: float, values: Values) -> None:
        instead = (figure.instead,) if figure.instead else ()
        self._figures = tuple(f for each in self._figures for f in (instead if each is figure else (each,)))
        if figure.instead:
            about = f"the driver returns {answer} for {figure.call}: using {figure.instead.call}"
            self._tell(about, figure.call, figure.level)
            self._ask(figure.instead, t, values)
            return
        self._no_energy = self._no_energy or figure.what == "energy"
        first = f"GPU {self.identity.index} ({self.identity.model})"
        about = f"{figure.call} returns {answer}: no {figure.what} of {first} and others of its model"
        self._tell(about, figure.call, figure.level)

    def _tell(self, text: str, about: str, level: int = logging.WARNING) -> None:
        """Log once for all GPUs of the node: eight of a kind behave alike."""
        if about not in self._logged:
            self._logged.add(about)
            log.log(level, "%s", text)

    def _unreadable(self, why: str) -> GpuSample:
        self._last_values.clear()
        if why != self._failing:
            self._failing = why
            log.warning("GPU %s (%s) cannot be read: %s", self.identity.index, self.identity.uuid, why)
        return unreadable(self.identity)


def _place_of(who: GpuSample) -> Values:
    """Of which GPU it is which part."""
    if not who.parent_uuid:
        return {"gpu_fraction": who.gpu_fraction}
    names = ("parent_uuid", "gpu_fraction", "gpu_instance", "instance_profile", "instance_start")
    return {name: getattr(who, name) for name in names}


def unreadable(identity: GpuSample, doing: Doing | None = None) -> GpuSample:
    """The sample of a GPU that could not be read: its identity, the call that it is stuck in, and no figure."""
    call, seconds = doing.stuck() if doing else ("", 0.0)
    if seconds < STUCK_SECONDS:
        call = ""
    return replace(identity, readable=False, stuck_call=call, stuck_seconds=seconds if call else None)
