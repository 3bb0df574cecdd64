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
from epochcost.agent.agent_server import AgentServer
from epochcost.agent.agent_settings import AgentSettings
from epochcost.agent.agent_state_file import StateError, StateFile
from epochcost.agent.beat import FRESH_BEATS, Beat, Sampled, WrittenBack
from epochcost.agent.cost_files import CostFiles
from epochcost.agent.events_directory import agent_events_dir
from epochcost.agent.gpu_owners import GpuOwners
from epochcost.agent.gpu_sampling import GpuSampling
from epochcost.agent.host_sampling import HostSampling
from epochcost.agent.meter import FRESH_SECONDS, Idle
from epochcost.agent.preemption_file import PreemptionFile
from epochcost.agent.priced_machine import PricedMachine
from epochcost.agent.snapshot import Snapshot
from epochcost.agent.sources import account_hours_of, meter_of, whole_runs_of
from epochcost.agent.state_directory import adopt, agent_state_dir, beside, shut_to_others
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
FROM_NETWORK = "network"
"""Folder of the state directory in which events that came over the network are kept: only this agent writes there."""
RESTART = 3
"""Exit code: all is saved, and only a new process can go on."""


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
        restart_reason: why only a new process can go on; empty while this one can.
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
        self.events_dir = events = agent_events_dir(settings.events_dir, environ)
        state_dir = agent_state_dir(settings.state_dir, events, environ)
        if not settings.state_dir:
            adopt(beside(events), state_dir)
        state_file = _state_file(state_dir, settings.state_dir, among_others=state_dir == beside(events))
        from_network = state_dir / FROM_NETWORK
        if reason := shut_to_others(events):
            log.warning("events: %s", reason)
        self.host = HostSampling(proc, settings.node_egress_interfaces)
        self.clock = NodeClock(clocks.wall, clocks.mono, self.host.boot_id)
        self.gpus = GpuSampling(settings, self.clock.now)
        self.machine = PricedMachine(settings, environ, self.clock, clocks.wall, self.gpus.known)
        self.meter = meter_of(settings, self.machine.node, self.machine.name)
        self.notices = NoticeFeed(
            lambda node: notice_source(settings.node_metadata, node, settings.node_metadata_url),
            lambda: self.machine.identity.node,
            self.clock,
        )
        self.owners = GpuOwners(settings, environ, self.gpus, proc)
        self.store = whole_runs_of(settings, clocks.mono)
        self.account_hours = account_hours_of(settings, lambda: self.machine.name, clocks.mono)
        if self.account_hours is not None:
            self.meter.account_hours = self.account_hours.used
        self.health = AgentHealth(self.host, self.gpus, self.machine, self.notices, self.owners, self.store)
        files = EventSources(events, from_network, UserDirectories(settings.events_user_dirs))
        self.guarding = _guarding_of(
            settings, events, state_dir, files, self.meter.idle, clocks.wall, lambda: self.server.url
        )
        if self.guarding is not None:
            self.health.guard = self.guarding.health
        parts = Remembered(self.clock, files, self.meter, self.machine, self.guarding)
        self.memory = AgentMemory(state_file, parts, self.host, self.health)
        intake = Intake(from_network, clocks.wall, clocks.mono)
        sampled = Sampled(self.host, self.gpus, self.notices, self.owners, intake, self.store)
        written = WrittenBack(CostFiles(events), PreemptionFile(events))
        self.beat = Beat(settings.sample_interval, sampled, parts, self.memory, self.health, written, self.guarding)
        self.server: Server = AgentServer(
            settings,
            lambda: self.beat.snapshot,
            intake,
            parts.files.owners,
            self.clock.now,
            self.guarding,
            self.beat.recent,
        ).http

    @property
    def node(self) -> Node:
        """This machine as it is known now."""
        return self.machine.node

    @property
    def snapshot(self) -> Snapshot | None:
        """The newest; None before the first."""
        return self.beat.snapshot

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
        self.beat.start()
        log.info(
            "agent of node %s: %s; events in %s; %s", self.node.node, self.gpus.reason, self.events_dir, self.server.url
        )

    def _needs_restart(self, reason: str) -> None:
        self.restart_reason = reason
        self.finished.set()

    def stop(self) -> None:
        """Account up to now, save, and stop; what runs goes on being charged when an agent starts again."""
        self.beat.stop()
        self.server.stop()
        for part in (self.gpus, self.machine, self.notices, self.owners, self.store, self.account_hours):
            if part is not None:
                part.stop()
        if self.guarding is not None:
            self.guarding.stop()
        self.memory.close()


def _guarding_of(  # noqa: PLR0913, PLR0917 - what a guard looks at
    settings: AgentSettings,
    events: Path,
    state_dir: Path,
    files: EventSources,
    idle: Idle,
    wall: Callable[[], float],
    url: Callable[[], str],
) -> Guarding | None:
    """The guard; None without a policy: then nothing of it is loaded.

    Raises:
        SettingsError: when the policy file is wrong.
    """
    if not settings.guard_file:
        return None
    from epochcost.agent.guard_memory import NAME
    from epochcost.agent.guarding import Guarding

    fresh = max(FRESH_SECONDS, FRESH_BEATS * settings.sample_interval)
    file, memory = Path(settings.guard_file), state_dir / NAME
    return Guarding(file, events, files, idle=idle, fresh_seconds=fresh, wall=wall, url=url, memory=memory)


def _state_file(directory: Path, configured: str, *, among_others: bool) -> StateFile:
    try:
        return StateFile(directory, among_others=among_others)
    except StateError as err:
        raise StateError(f"--state.dir={err}" if configured else str(err)) from None


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
