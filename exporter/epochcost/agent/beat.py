"""The agent's beat: once a second everything is read, accounted and published."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from epochcost.agent.agent_health import AgentHealth, problems
from epochcost.agent.agent_memory import AgentMemory, Remembered
from epochcost.agent.cost_files import CostFiles
from epochcost.agent.gpu_owners import GpuOwners
from epochcost.agent.gpu_sampling import GpuSampling
from epochcost.agent.host_sampling import HostSampling
from epochcost.agent.meter import FRESH_SECONDS, Inputs
from epochcost.agent.preemption_file import PreemptionFile
from epochcost.agent.snapshot import CollectorHealth, Snapshot
from epochcost.agent.whole_run_feed import WholeRunFeed
from epochcost.model import TrainingEvent
from epochcost.nodes.notices import NoticeFeed
from epochcost.progress.http_ingest import Intake

if TYPE_CHECKING:
    from epochcost.agent.guarding import Guarding

log = logging.getLogger(__name__)
FRESH_BEATS = 3.0
"""A reading says something of now for so many beats, where they are long."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """Whom the beat asks."""

    host: HostSampling
    gpus: GpuSampling
    notices: NoticeFeed
    owners: GpuOwners
    intake: Intake
    store: WholeRunFeed | None = None


@dataclass(frozen=True, slots=True)
class WrittenBack:
    """What the beat writes for training processes to read."""

    costs: CostFiles
    preemption: PreemptionFile


class Beat:
    """A thread that ticks every ``interval`` seconds; see `tick`.

    Attributes:
        snapshot: the newest; None before the first.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of the agent
        self,
        interval: float,
        sampled: Sampled,
        parts: Remembered,
        memory: AgentMemory,
        health: AgentHealth,
        written: WrittenBack,
        guarding: Guarding | None = None,
    ) -> None:
        self.snapshot: Snapshot | None = None
        self._interval = interval
        self._sampled = sampled
        self._parts = parts
        self._memory = memory
        self._health = health
        self._written = written
        self._guarding = guarding
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="epochcost-meter", daemon=True)

    def start(self) -> None:
        """Begin to tick."""
        self._thread.start()

    def stop(self) -> None:
        """Tick and save once more, and end."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=10.0)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            self._beat()
            due = max(due + self._interval, time.monotonic())
            self._stop.wait(due - time.monotonic())
        self._beat()
        if self.snapshot is not None:
            self._memory.save()

    def _beat(self) -> None:
        try:
            self.tick()
        except Exception:
            # One bad tick must not end the metering; the next one accounts for its time too.
            log.exception("a tick of the meter failed")
        if self.snapshot is not None:
            self._memory.save_when_due()

    def tick(self) -> Snapshot:
        """Read everything once, account the time until now, and publish the new snapshot."""
        it = self._parts
        it.machine.learn(it.meter)
        inputs = self._inputs()
        now = it.clock.now()
        if self._memory.first:
            it.meter.begin_boot(now, self._sampled.host.boot_ts(now), inputs.events)
            self._memory.first = False
        snapshot = it.meter.tick(now, replace(inputs, health=self._health.by_collector(now)))
        snapshot = self._sampled.store.added_to(snapshot) if self._sampled.store is not None else snapshot
        owners = self._sampled.owners.of(snapshot.gpus, it.meter.ledger.runs_on())
        snapshot = replace(
            snapshot,
            owners=owners,
            owners_not_understood=self._sampled.owners.not_understood(),
            problems=problems(snapshot),
        )
        self.snapshot = snapshot
        if self._guarding is not None:
            self.snapshot = snapshot = self._guarded(snapshot, self._guarding)
        self._written.preemption.write(inputs.preemption, now, it.clock.on_wall(now) - now)
        self._written.costs.write(snapshot.runs, now)
        return snapshot

    def _guarded(self, snapshot: Snapshot, guarding: Guarding) -> Snapshot:
        """With what the guard decides; a command runs only once it is saved that it does."""
        try:
            decisions = guarding.tick(snapshot, self._parts.meter.ledger.runs_on(), self._sampled.owners.as_said())
        except Exception as err:  # noqa: BLE001 - whatever it is, the metering goes on
            guarding.failed(err)
            return snapshot
        if decisions.order is not None:
            self._memory.save()
            guarding.act(decisions.order)
        runs = tuple(replace(run, stop=decisions.requests.get(run.run)) for run in snapshot.runs)
        return replace(snapshot, runs=runs, guard=decisions.view)

    def _inputs(self) -> Inputs:
        ask, it = self._sampled, self._parts
        host = ask.host.read(it.clock.now())
        events = self._events()
        return Inputs(
            gpus=ask.gpus.latest,
            has_gpus=ask.gpus.source is not None,
            host=host,
            events=events,
            quote=it.machine.quote,
            preemption=ask.notices.notice,
            watched=it.files.watched(),
            event_counts=Counter(it.files.counts) + Counter(ask.intake.rejected),
            clock_jumps=it.clock.jumps,
            refused=it.files.quotas.refused,
            fresh_seconds=max(FRESH_SECONDS, FRESH_BEATS * self._interval),
        )

    def _events(self) -> list[TrainingEvent]:
        began = time.perf_counter()
        events = self._parts.files.poll(self._parts.clock)
        self._health.progress = CollectorHealth(success=True, duration_seconds=time.perf_counter() - began)
        return events
