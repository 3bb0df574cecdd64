"""What an agent would see on a machine of the script: its devices, itself, and what its training runs report."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from epochcost.demo.scenario import REPORT_SECONDS, Attempt, Job, Machine, Script
from epochcost.model import (
    EndStatus,
    EventKind,
    GpuOwner,
    GpuReading,
    GpuSample,
    HostReading,
    Phase,
    PreemptionNotice,
    RunId,
    TrainingEvent,
)

DRIVER = "simulated"
RECEIVED_BYTES, QUIET_BYTES, READ_BYTES, WRITTEN_BYTES = 95e6, 2e4, 180e6, 12e6
"""A second: of data, while nothing is loaded, and from and to disks."""
SM, TENSOR, DRAM = 0.7, 0.4, 0.5
"""Of its utilisation, how much the parts of a GPU that counts them are active."""
CAPPED_ABOVE = 0.9
"""A GPU that is busier is held at the limit of its power, for as much of its time as it is above."""
CORRECTED_EVERY = 3600.0
"""Seconds between two memory errors that were corrected."""
BEFORE = 1e-3
"""A reading describes the time before it."""


class Life:
    """One machine, read at ascending times. ``epoch_ts`` is the wall clock at the beginning of the simulation."""

    def __init__(self, machine: Machine, script: Script, epoch_ts: float) -> None:
        self.machine = machine
        self.uuids = [f"GPU-simulated-{machine.name}-{index}" for index in range(machine.kind.gpus)]
        self._epoch_ts = epoch_ts
        self._energy = [0.0] * machine.kind.gpus
        self._capped = [0.0] * machine.kind.gpus
        self._read_t = machine.agent_starts
        self._events = events_of(machine, script)
        self._next: tuple[float, TrainingEvent] | None = next(self._events, None)
        self._cpu_seconds = 0.0
        self._received_bytes = 0.0
        self._busy_seconds = 0.0

    def gpus(self, t: float) -> GpuReading | None:
        """Its GPUs as they were until ``t``; None for a machine without."""
        kind, machine = self.machine.kind, self.machine
        if not kind.gpus:
            return None
        seconds = max(0.0, t - self._read_t)
        fill = machine.memory_fill(t - BEFORE)
        samples = []
        for index, uuid in enumerate(self.uuids):
            load = machine.load(index, t - BEFORE)
            watts = watts_of(kind.watts_per_gpu, load)
            self._energy[index] += watts * seconds
            if not machine.sees(index, t - BEFORE):
                samples.append(GpuSample(str(index), uuid, kind.gpu_model, readable=False))
                continue
            samples.append(
                GpuSample(
                    str(index),
                    uuid,
                    kind.gpu_model,
                    utilization_ratio=load,
                    memory_used_bytes=int(fill * kind.gpu_memory_bytes),
                    memory_total_bytes=kind.gpu_memory_bytes,
                    power_watts=watts,
                    energy_joules=self._energy[index],
                    temperature_celsius=round(34 + 42 * load, 1),
                    **(self._counters(index, load, seconds, t) if kind.profiled else {}),
                )
            )
        return GpuReading(self._epoch_ts + t, tuple(samples), DRIVER)

    def _counters(self, index: int, load: float, seconds: float, t: float) -> dict[str, Any]:
        """What GPUs report of their own parts, and of their errors."""
        self._capped[index] += seconds * max(0.0, load - CAPPED_ABOVE) / (1 - CAPPED_ABOVE)
        return {
            "sm_active_ratio": SM * load,
            "tensor_active_ratio": TENSOR * load,
            "dram_active_ratio": DRAM * load,
            "throttle_seconds": {"power_cap": self._capped[index]},
            "ecc_errors": {"corrected": int(t // CORRECTED_EVERY) if index == 0 else 0, "uncorrected": 0},
            "xid_errors": {},
        }

    def host(self, t: float) -> HostReading:
        """The machine itself as it was until ``t``. Call it last: the next readings count from here."""
        kind, lived = self.machine.kind, t - self.machine.agent_starts
        busy = self.machine.attempt_at(t - BEFORE) is not None
        loads = busy and not self.machine.compiles_at(t - BEFORE)
        load = self.machine.cpu(t - BEFORE) if kind.gpus else self.machine.load(0, t - BEFORE)
        seconds = max(0.0, t - self._read_t)
        self._cpu_seconds += load * kind.vcpus * seconds
        self._received_bytes += (RECEIVED_BYTES if loads else QUIET_BYTES) * seconds
        self._busy_seconds += seconds if busy else 0.0
        self._read_t = t
        return HostReading(
            self._epoch_ts + t,
            load,
            {"user": self._cpu_seconds, "idle": kind.vcpus * lived - self._cpu_seconds},
            int(kind.memory_bytes * (0.35 if busy else 0.06)),
            kind.memory_bytes,
            disk_read_bytes=int(READ_BYTES * self._busy_seconds),
            disk_written_bytes=int(WRITTEN_BYTES * self._busy_seconds),
            network_received_bytes=int(self._received_bytes),
            network_sent_bytes=int(20e6 * lived),
        )

    def events(self, t: float) -> list[TrainingEvent]:
        """What its training runs have reported until ``t``, since the last call."""
        new = []
        while self._next is not None and self._next[0] <= t:
            at, event = self._next
            new.append(replace(event, t=self._epoch_ts + at))
            self._next = next(self._events, None)
        return new

    def writers(self, t: float) -> set[str]:
        """The event files whose writers are alive."""
        return {writer_of(a) for a in self.machine.attempts if a.start <= t < a.end}

    def running(self, t: float) -> tuple[str, ...]:
        """Runs with a living process."""
        return tuple(dict.fromkeys(a.run for a in self.machine.attempts if a.start <= t < a.end))

    def strangers(self, t: float) -> tuple[GpuOwner, ...]:
        """The users of its GPUs without a run."""
        user = self.machine.stranger_at(t - BEFORE)
        return tuple(GpuOwner(u, "user", user.user, 1.0, user=user.user) for u in self.uuids) if user else ()

    def notice(self, t: float) -> PreemptionNotice | None:
        """What its provider has announced until ``t``."""
        machine, wall = self.machine, self._epoch_ts
        if machine.notice is not None and t >= machine.notice:
            at = wall + machine.gone if math.isfinite(machine.gone) else None
            return PreemptionNotice("interruption", "terminate", at, wall + machine.notice, at_t=at)
        if machine.rebalance is not None and t >= machine.rebalance:
            return PreemptionNotice("rebalance", seen_ts=wall + machine.rebalance)
        return None


def watts_of(most: float, load: float) -> float:
    """What a device draws under ``load``, where it draws ``most`` at the most."""
    return most * (0.25 + 0.75 * load)


def writer_of(attempt: Attempt) -> str:
    """The name of its event file."""
    return f"{attempt.run}-{attempt.start:g}.jsonl"


def events_of(machine: Machine, script: Script) -> Iterator[tuple[float, TrainingEvent]]:
    """Everything that the training runs of a machine report, ascending in time."""
    high_water: dict[str, float] = {}
    streams = []
    for attempt in machine.attempts:
        streams.append(_attempt(attempt, script.job(attempt.run), high_water.get(attempt.run, 0.0)))
        reached = attempt.position(attempt.end)
        high_water[attempt.run] = max(high_water.get(attempt.run, 0.0), reached)
    return heapq.merge(*streams, key=lambda pair: pair[0])


def steps_per_epoch(job: Job, attempt: Attempt) -> int:
    """Batches in an epoch."""
    return math.ceil(job.samples_per_epoch / attempt.batch_size)


def _attempt(attempt: Attempt, job: Job, high_water: float) -> Iterator[tuple[float, TrainingEvent]]:
    """The lines of one process; ``high_water`` is how far attempts before it came."""
    run, writer = RunId(attempt.run), writer_of(attempt)

    def event(kind: EventKind, t: float, **fields: Any) -> tuple[float, TrainingEvent]:  # noqa: ANN401 - fields of the event
        return t, TrainingEvent(kind, t, run, writer, **fields)

    yield event(
        EventKind.START,
        attempt.start,
        experiment=job.experiment,
        team=job.team or None,
        framework=job.framework,
        nodes=job.nodes,
        world=job.world,
        rank=attempt.rank,
        epochs=job.epochs,
        batch_size=attempt.batch_size,
        budget_usd=job.budget_usd,
    )
    if attempt.from_epoch:
        yield event(EventKind.RESUME, attempt.start, **_where(attempt, job, attempt.from_epoch))
    yield event(EventKind.PHASE, attempt.first_step, phase=Phase.TRAIN)
    for t, position in _reports(attempt, high_water):
        whole = abs(position - round(position)) < 1e-9 and round(position) > attempt.from_epoch  # noqa: PLR2004
        kind = EventKind.EPOCH_END if whole else EventKind.PROGRESS
        yield event(kind, t, **_where(attempt, job, position, first=t == attempt.first_step))
    if attempt.status == "lost":
        yield event(EventKind.GONE, attempt.end, status=EndStatus.LOST)
    else:
        yield event(EventKind.END, attempt.end, status=EndStatus(attempt.status))


def _reports(attempt: Attempt, high_water: float) -> Iterator[tuple[float, float]]:
    """(time, position) of each report: every 15 s, at the ends of epochs, where lost work is caught up, at a hang."""
    last = min(attempt.end, attempt.hangs_at)
    reports = ((t, attempt.position(t)) for t in _every(attempt.first_step, last))
    first, end = math.floor(attempt.from_epoch) + 1, math.floor(attempt.position(last) + 1e-9)
    ends = ((attempt.reaches(k), float(k)) for k in range(first, end + 1))
    marks = []
    if attempt.from_epoch < high_water < attempt.position(last):
        marks.append((attempt.reaches(high_water), high_water))
    if attempt.hangs_at < attempt.end:
        marks.append((attempt.hangs_at, attempt.position(attempt.hangs_at)))
    return heapq.merge(reports, ends, sorted(marks))


def _every(start: float, end: float) -> Iterator[float]:
    for k in range(math.ceil((end - start) / REPORT_SECONDS)):
        yield start + k * REPORT_SECONDS


def loss_at(position: float) -> float:
    """What a simulated training reports of its loss, by epochs done."""
    return round(0.35 + 2.4 * math.exp(-position / 12), 4)


def _where(attempt: Attempt, job: Job, position: float, *, first: bool = False) -> dict[str, Any]:
    """A position in epochs, steps and samples; the first report comes with the first step."""
    return {
        "epoch": position,
        "step": int(position * steps_per_epoch(job, attempt) + 1e-9) + first,
        "samples": int(position * job.samples_per_epoch + 1e-9),
        "batch_size": attempt.batch_size,
        "metrics": (("loss", loss_at(position)),),
    }
