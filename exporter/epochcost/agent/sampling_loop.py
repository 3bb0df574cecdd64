"""The agent's sampling loop: once a second everything is read and accounted. The snapshot is made on request."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from epochcost.agent.agent_health import AgentHealth, problems
from epochcost.agent.agent_memory import AgentMemory
from epochcost.agent.cost_files import STEADY_SECONDS, CostFiles
from epochcost.agent.host_sampling import PACE_SECONDS
from epochcost.agent.meter_inputs import FRESH_SECONDS, Inputs
from epochcost.agent.preemption_file import PreemptionFile
from epochcost.agent.recent_hour import RecentHour
from epochcost.agent.sampled import Sampled
from epochcost.agent.snapshot import CollectorHealth, Snapshot
from epochcost.model import TrainingEvent
from epochcost.progress.http_ingest import Intake

if TYPE_CHECKING:
    from epochcost.agent.guarding import Guarding
    from epochcost.guard.decisions import Decisions

log = logging.getLogger(__name__)
FRESH_TICKS = 3.0
"""A reading describes the present for this many ticks, if the interval is long."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What the loop receives from the network, and what it writes for training processes to read."""

    intake: Intake
    costs: CostFiles
    preemption: PreemptionFile


class SamplingLoop:
    """A thread that ticks every ``interval`` seconds; see `tick`."""

    def __init__(
        self, interval: float, sampled: Sampled, memory: AgentMemory, health: AgentHealth, exchange: Exchange
    ) -> None:
        parts = memory.parts
        self._snapshot: Snapshot | None = None
        self._ticked: tuple[float, Inputs] | None = None
        """The newest tick, until a snapshot of it is made."""
        self._news: tuple[int, int, int] | None = None
        self._write_at = -math.inf
        self._interval = interval
        self._sampled = sampled
        self._parts = parts
        self._memory = memory
        self._health = health
        self._exchange = exchange
        self._guarding = parts.guarding
        self._decided: Decisions | None = None
        self.recent = RecentHour(parts.meter.idle)
        """The last hour, for the page."""
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
            self._sample()
            due = max(due + self._interval, time.monotonic())
            self._stop.wait(due - time.monotonic())
        self._sample()
        if not self._memory.first:
            self._memory.save()

    def _sample(self) -> None:
        try:
            self.tick()
        except Exception:
            # One bad tick must not end the metering; the next one accounts for its time too.
            log.exception("sampling failed; retrying with the next sample")
        if not self._memory.first:
            self._memory.save_when_due()

    @property
    def snapshot(self) -> Snapshot | None:
        """What the newest tick was like; None before the first."""
        with self._parts.lock:
            ticked, self._ticked = self._ticked, None
            if ticked is not None:
                try:
                    self._snapshot = self._described(*ticked)
                except Exception:
                    # The one before is shown, with its time.
                    log.exception("the snapshot cannot be built")
            return self._snapshot

    def tick(self) -> None:
        """Read everything once, account the time until now, and write back what training processes wait for."""
        it = self._parts
        with it.lock:
            it.machine.learn(it.meter)
        inputs = self._inputs()
        now = it.clock.now()
        inputs = replace(inputs, health=self._health.by_collector(now))
        with it.lock:
            if self._memory.first:
                it.meter.begin_boot(now, self._sampled.host.boot_ts(now), inputs.events)
                self._memory.first = False
            it.meter.account(now, inputs)
            self._ticked = now, inputs
        asks = self._guarding is not None and self._guard(self._guarding)
        places = it.files.user_places
        self._exchange.preemption.write(inputs.preemption, now, it.clock.on_wall(now) - now, places)
        self._write_costs(now, at_once=asks)
        if self.recent.due(now) and (snapshot := self.snapshot) is not None:
            self.recent.add(snapshot)

    def _guard(self, guarding: Guarding) -> bool:
        """Let the guard decide; a command runs only once its start is saved. True if requests to runs changed."""
        snapshot, before = self.snapshot, self._decided
        if snapshot is None:
            return False
        try:
            decided = guarding.tick(snapshot, self._parts.meter.ledger.runs_on(), self._sampled.owners.as_reported())
        except Exception as err:  # noqa: BLE001 - whatever it is, metering continues
            guarding.failed(err)
            return False
        with self._parts.lock:
            self._decided = decided
            if self._ticked is None:
                self._snapshot = _with_decisions(snapshot, decided)
        if decided.order is not None:
            self._memory.save()
            guarding.act(decided.order)
        return decided.requests != (before.requests if before is not None else {})

    def _write_costs(self, now: float, *, at_once: bool) -> None:
        """At once after an epoch, or while a run has a budget; else now and then: describing takes half of a tick."""
        meter, due = self._parts.meter, now >= self._write_at
        before, self._news = self._news, meter.news()
        if not (at_once or due or self._news != before or meter.has_budgets()):
            return
        snapshot = self.snapshot
        if snapshot is not None and snapshot.t == now:
            files = self._parts.files
            self._exchange.costs.write(snapshot.runs, now, files.homes(), files.user_places, all_changed=due)
        if due:
            self._write_at = now + STEADY_SECONDS

    def _described(self, now: float, inputs: Inputs) -> Snapshot:
        it, ask = self._parts, self._sampled
        snapshot = it.meter.describe(now, inputs)
        if ask.store is not None:
            snapshot = ask.store.added_to(snapshot)
            for view in snapshot.runs:
                if (stored := view.stored) is not None:
                    at, over = stored.reached_elsewhere, stored.finished_ts
                    it.meter.ledger.reached_elsewhere(view.run, view.part, at, over)
        described = replace(
            snapshot,
            owners=ask.owners.of(snapshot.gpus, it.meter.ledger.runs_on()),
            owners_not_understood=ask.owners.not_understood(),
            processes=ask.owners.processes(),
            problems=problems(snapshot),
        )
        return described if self._decided is None else _with_decisions(described, self._decided)

    def _inputs(self) -> Inputs:
        ask, it = self._sampled, self._parts
        host = ask.host.read(it.clock.now(), 0.0 if ask.gpus.source is None else PACE_SECONDS)
        events = self._events()
        return Inputs(
            gpus=ask.gpus.latest,
            has_gpus=ask.gpus.source is not None,
            host=host,
            events=events,
            quote=it.machine.quote,
            preemption=ask.notices.notice,
            watched=it.files.watched(),
            event_counts=Counter(it.files.counts) + Counter(self._exchange.intake.rejected),
            clock_jumps=it.clock.jumps,
            refused=it.files.quotas.refused_by_name(),
            fresh_seconds=max(FRESH_SECONDS, FRESH_TICKS * self._interval),
        )

    def _events(self) -> list[TrainingEvent]:
        began = time.perf_counter()
        events = self._parts.files.poll(self._parts.clock)
        self._health.progress = CollectorHealth(success=True, duration_seconds=time.perf_counter() - began)
        return events


def _with_decisions(snapshot: Snapshot, decided: Decisions) -> Snapshot:
    """``snapshot`` with what the guard decided last."""
    runs = tuple(replace(run, stop=decided.requests.get(run.run)) for run in snapshot.runs)
    return replace(snapshot, runs=runs, guard=decided.view)
