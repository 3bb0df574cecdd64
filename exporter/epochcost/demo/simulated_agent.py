"""Machines of the script, each metered by the agent's own meter and exported by its own collectors."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from prometheus_client import CollectorRegistry

from epochcost.agent.collectors import collectors
from epochcost.agent.meter import Meter, MeterSettings
from epochcost.agent.meter_inputs import Inputs
from epochcost.agent.snapshot import CollectorHealth, Snapshot
from epochcost.demo.market import REFRESH_SECONDS, Market
from epochcost.demo.scenario import Machine, Script
from epochcost.demo.simulated_guard import PlayedGuard
from epochcost.demo.simulated_machine import Life
from epochcost.guarded_collector import Guarded
from epochcost.ledger import Ledger
from epochcost.model import Node
from epochcost.owners import combined, run_owners

log = logging.getLogger("epochcost.demo")
TICK_SECONDS = 5.0
"""How often a machine is read while hours are played; the agent itself takes a reading as old as this for fresh."""
GUARD_SECONDS = 15.0
"""Between two decisions of a guard here; a real one decides each second."""
_FINE = CollectorHealth(success=True, duration_seconds=0.002)
_NO_POLLER = CollectorHealth(success=False, duration_seconds=0.002, error="no price and no poller configured")


def machine_name(name: str) -> str:
    """The agent's name for a simulated machine, the same whenever the demo is played."""
    return f"{name}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


class PlayedAgent:
    """The agent of one machine. Times are seconds since the beginning of the simulation."""

    def __init__(self, machine: Machine, script: Script, market: Market, epoch_ts: float) -> None:
        self.machine = machine
        self.snapshot: Snapshot | None = None
        self._ticked: tuple[float, Inputs] | None = None
        """The newest tick while it is not described."""
        self._begun = False
        kind = machine.kind
        self.node = Node(
            machine.name, kind.provider, machine.region, machine.zone, kind.instance_type, machine.purchase_option,
            "simulated", team=machine.team,
        )  # fmt: skip
        self._epoch_ts = epoch_ts
        self._market = market
        self._users = {job.run: job.user for job in script.jobs}
        self._life = Life(machine, script, epoch_ts)
        self._meter = Meter(Ledger(), self.node, MeterSettings(machine_name(machine.name)))
        self._guard = PlayedGuard(machine, epoch_ts) if machine.guarded else None
        self._counts: Counter[str] = Counter(accepted=0)
        self._guarded_t = float("-inf")
        self._requested_t = float("-inf")
        self._quote = market.quote(self.node) if machine.priced else None
        self.registry = CollectorRegistry(auto_describe=False)
        for name, collector in collectors(lambda: self.snapshot).items():
            self.registry.register(Guarded(collector, name, log))

    def up(self, t: float) -> bool:
        """Whether it can be scraped at ``t``."""
        return self.snapshot is not None and t < self.machine.gone

    def exists(self, t: float) -> bool:
        """Whether it is a target at ``t``: from its first start, and on after it is gone."""
        return t >= self.machine.agent_starts

    def tick(self, t: float) -> None:
        """Let it read its machine at ``t``, if it does; `show` describes it."""
        if not self.machine.samples(t):
            return
        now = self._epoch_ts + t
        events = self._life.events(t)
        self._counts["accepted"] += len(events)
        if not self._begun:
            self._meter.begin_boot(now, self._epoch_ts + self.machine.boots, events)
            self._begun = True
        self._ask(t)
        has_gpus = bool(self.machine.kind.gpus)
        health = dict.fromkeys(("host", "progress", "state", *(["gpus"] if has_gpus else [])), _FINE)
        inputs = Inputs(
            gpus=self._life.gpus(t),
            has_gpus=has_gpus,
            host=self._life.host(t),
            events=events,
            quote=self._quote,
            watched=self._life.writers(t),
            health={**health, "price": self._price_health(t)},
            event_counts=self._counts,
        )
        self._meter.account(now, inputs)
        self._ticked = t, inputs
        if self._guard is not None and t - self._guarded_t >= GUARD_SECONDS:
            self._guarded_t = t
            self.show()  # a guard decides whether or not there is a scrape

    def show(self) -> None:
        """Describe the newest tick: `snapshot`."""
        if self._ticked is not None:
            t, inputs = self._ticked
            self._ticked = None
            self.snapshot = self._complete(self._meter.describe(self._epoch_ts + t, inputs), t)

    def _price_health(self, t: float) -> CollectorHealth:
        overlaps = (max(0.0, min(t, end) - start) for start, end in self.machine.contradicted)
        contradictions = int(sum(overlaps) // REFRESH_SECONDS)
        return replace(_FINE, contradictions=contradictions) if self.machine.priced else _NO_POLLER

    def _complete(self, snapshot: Snapshot, t: float) -> Snapshot:
        uuids = {gpu.sample.uuid for gpu in snapshot.gpus}
        owners = combined([run_owners(self._meter.ledger.runs_on()), self._life.strangers(t)])
        whole = replace(
            snapshot,
            runs=tuple(replace(run, owner_user=self._users[run.run]) for run in snapshot.runs),
            node=replace(snapshot.node, preemption=self._life.notice(t)),
            owners=tuple(owner for owner in owners if owner.uuid in uuids),
            simulated=True,
        )
        if self._guard is None:
            return whole
        return replace(whole, guard=self._guard.view(whole, self._life, self._meter.ledger, t))

    def _ask(self, t: float) -> None:
        """Request the price from the poller, as often as an agent does, if it can be reached."""
        if self.machine.priced and t - self._requested_t >= REFRESH_SECONDS and self._market.up(t):
            self._requested_t = t
            quote = self._market.quote(self.node)
            if quote is not None:
                self._quote = quote  # the same price received again: it is still valid


class Fleet:
    """Everything that is played: the agents of all machines, and the poller."""

    def __init__(self, script: Script, epoch_ts: float) -> None:
        self.script, self.epoch_ts = script, epoch_ts
        self.market = Market(script, epoch_ts)
        self.market.advance(0.0)
        self.agents = [PlayedAgent(machine, script, self.market, epoch_ts) for machine in script.machines]

    def advance(self, t: float) -> None:
        """Let all parts do what is due at ``t``, and describe it."""
        self._tick(t)
        self._show()

    def _tick(self, t: float) -> None:
        self.market.advance(t)
        for agent in self.agents:
            agent.tick(t)

    def _show(self) -> None:
        for agent in self.agents:
            agent.show()

    def play(self, start: float, end: float, every: float) -> Iterator[float]:
        """Play from ``start`` to ``end``; yields each multiple of ``every`` when all agents have reached it."""
        for k in range(round((end - start) / TICK_SECONDS) + 1):
            t = start + k * TICK_SECONDS
            self._tick(t)
            if t % every == 0:
                self._show()  # what is not scraped is not described: that is half of the work
                yield t
        self._show()
