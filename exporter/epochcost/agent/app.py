"""The agent as a program: its parts put together. `main` is what the command line calls."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from epochcost.agent.agent_health import AgentHealth
from epochcost.agent.agent_memory import AgentMemory, Remembered
from epochcost.agent.agent_places import AgentPlaces, places_of
from epochcost.agent.agent_server import AgentServer, Served
from epochcost.agent.agent_settings import AgentSettings
from epochcost.agent.cost_files import CostFiles
from epochcost.agent.gpu_owners import GpuOwners
from epochcost.agent.gpu_sampling import GpuSampling
from epochcost.agent.host_sampling import HostSampling
from epochcost.agent.meter_inputs import FRESH_SECONDS
from epochcost.agent.preemption_file import PreemptionFile
from epochcost.agent.priced_machine import PricedMachine
from epochcost.agent.sampled import Sampled
from epochcost.agent.sampling_loop import FRESH_TICKS, Exchange, SamplingLoop
from epochcost.agent.snapshot import Snapshot
from epochcost.agent.sources import account_hours_of, meter_of, whole_runs_of
from epochcost.model import Node
from epochcost.nodes.metadata import notice_source
from epochcost.nodes.notices import NoticeFeed
from epochcost.progress.clock import NodeClock
from epochcost.progress.event_sources import EventSources
from epochcost.progress.http_ingest import Intake
from epochcost.progress.user_directories import UserDirectories
from epochcost.serve import Server
from epochcost.shutdown import Ending

if TYPE_CHECKING:
    from epochcost.agent.guarding import Guarding

log = logging.getLogger(__name__)
RESTART = 3
"""Exit code: all is saved, and only a new process can continue."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """The world's time: seconds since the Unix epoch, and seconds that never jump."""

    wall: Callable[[], float] = time.time
    mono: Callable[[], float] = time.monotonic


class AgentApp:
    """One agent: `start`, `stop`, and in between one snapshot a second.

    Args:
        settings: see `AgentSettings`.
        environ: the environment, for the search of the events directory.
        clocks: the world's time.
        proc: the ``/proc`` to read.

    Attributes:
        finished: set from outside to end the program, or from inside with a `restart_reason`.
        restart_reason: why only a new process can continue; empty while this one can.
    """

    def __init__(
        self,
        settings: AgentSettings,
        environ: Mapping[str, str],
        clocks: Clocks | None = None,
        proc: Path = Path("/proc"),
    ) -> None:
        clocks = clocks or Clocks()
        self.finished = threading.Event()
        self.restart_reason = ""
        places = places_of(settings, environ)
        self.events_dir = places.events
        self.host = HostSampling(proc, settings.node_egress_interfaces)
        self.clock = NodeClock(clocks.wall, clocks.mono, self.host.boot_id)
        self.gpus = GpuSampling(settings, self.clock.now)
        self.machine = PricedMachine(settings, environ, self.clock, clocks.wall, self.gpus.known)
        self.meter = meter_of(settings, self.machine.node, self.machine.name)
        self.notices = self._notice_feed(settings)
        self.owners = GpuOwners(settings, environ, self.gpus, proc)
        self.store = whole_runs_of(settings, clocks.mono)
        self.account_hours = account_hours_of(settings, lambda: self.machine.name, clocks.mono)
        if self.account_hours is not None:
            self.meter.terms.account_hours = self.account_hours.used
        sampled = Sampled(self.host, self.gpus, self.machine, self.notices, self.owners, self.store)
        self.health = AgentHealth(sampled)
        files = EventSources(places.events, places.from_network, UserDirectories(settings.events_user_dirs))
        self.guarding = self._guarding(settings, places, files, clocks.wall)
        parts = Remembered(self.clock, files, self.meter, self.machine, self.guarding)
        self.memory = AgentMemory(places.state_file, parts, self.host, self.health)
        intake = Intake(places.from_network, clocks.wall, clocks.mono)
        exchange = Exchange(intake, CostFiles(places.events), PreemptionFile(places.events))
        self.sampling_loop = SamplingLoop(settings.sample_interval, sampled, self.memory, self.health, exchange)
        served = Served(lambda: self.sampling_loop.snapshot, self.clock.now, self.sampling_loop.recent, self.guarding)
        self.server: Server = AgentServer(settings, served, intake, files.owners).http

    def _notice_feed(self, settings: AgentSettings) -> NoticeFeed:
        return NoticeFeed(
            lambda node: notice_source(settings.node_metadata, node, settings.node_metadata_url),
            lambda: self.machine.identity.node,
            self.clock,
        )

    def _guarding(
        self, settings: AgentSettings, places: AgentPlaces, files: EventSources, wall: Callable[[], float]
    ) -> Guarding | None:
        """The guard; None without a policy: then none of it is loaded.

        Raises:
            SettingsError: when the policy file is wrong.
        """
        if not settings.guard_file:
            return None
        from epochcost.agent.guard_memory import NAME
        from epochcost.agent.guarding import Guarding, GuardPlaces

        guard_places = GuardPlaces(
            Path(settings.guard_file), places.events, places.state / NAME, lambda: self.server.url
        )
        guarding = Guarding(
            guard_places,
            files,
            idle=self.meter.idle,
            fresh_seconds=max(FRESH_SECONDS, FRESH_TICKS * settings.sample_interval),
            wall=wall,
        )
        self.health.guard = guarding.health
        return guarding

    @property
    def node(self) -> Node:
        """This machine as it is known now."""
        return self.machine.node

    @property
    def snapshot(self) -> Snapshot | None:
        """The newest; None before the first."""
        return self.sampling_loop.snapshot

    def start(self) -> None:
        """Take up where an earlier agent left off; begin to sample and to serve."""
        self.memory.resume()
        self.gpus.start(self._needs_restart)
        self.machine.start()
        self.notices.start()
        self.owners.start()
        for feed in (self.store, self.account_hours):
            if feed is not None:
                feed.start()
        self.server.start()
        self.sampling_loop.start()
        log.info(
            "agent of node %s: %s; events in %s; %s", self.node.node, self.gpus.reason, self.events_dir, self.server.url
        )

    def _needs_restart(self, reason: str) -> None:
        self.restart_reason = reason
        self.finished.set()

    def stop(self) -> None:
        """Account up to now, save, and stop; the next agent continues to charge what runs."""
        self.sampling_loop.stop()
        self.server.stop()
        for part in (self.gpus, self.machine, self.notices, self.owners, self.store, self.account_hours):
            if part is not None:
                part.stop()
        if self.guarding is not None:
            self.guarding.stop()
        self.memory.close()


def main(settings: AgentSettings, environ: Mapping[str, str]) -> int:
    """Run until SIGTERM or SIGINT; 0 after an orderly stop, `RESTART` when a supervisor should start another."""
    app = AgentApp(settings, environ)
    ending = Ending()
    app.start()
    # What was imported stays: not to be looked through again at each collection of garbage, in the midst of a scrape.
    gc.collect()
    gc.freeze()
    ending.wait(app.finished)
    app.stop()
    if app.restart_reason:
        log.error("exiting with code %d so that the supervisor restarts the agent: %s", RESTART, app.restart_reason)
        return RESTART
    return 0
