"""The agent as a program: sources, meter, memory and server put together. `main` is what the command line calls."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from epochcost.agent.agent_settings import AgentSettings
from epochcost.agent.agent_state_file import StateError, StateFile
from epochcost.agent.collectors import collectors
from epochcost.agent.cost_files import CostFiles, figures_of
from epochcost.agent.events_directory import agent_events_dir
from epochcost.agent.ingest_route import intake_gate, intake_route
from epochcost.agent.live_page import page_routes
from epochcost.agent.meter import Idle, Inputs, Meter
from epochcost.agent.preemption_file import PreemptionFile
from epochcost.agent.price_feed import PriceFeed
from epochcost.agent.snapshot import CollectorHealth, GpuView, Snapshot
from epochcost.agent.sources import identity_of, owner_feeds, price_source
from epochcost.gpus import choose_source
from epochcost.gpus.gpu_source import GpuSource
from epochcost.gpus.host.host_source import HostError, HostSource, boot_id, boot_time
from epochcost.gpus.sampler import Sampler
from epochcost.guard import Guarded
from epochcost.ledger import Ledger, LedgerSettings
from epochcost.model import GpuOwner, GpuReading, GpuSample, HostReading, Node
from epochcost.nodes.machine_name import AnotherMachineError, machine_name
from epochcost.nodes.metadata import notice_source
from epochcost.nodes.notices import NoticeFeed, sentence
from epochcost.owners import (
    combined,
    run_owners,
)
from epochcost.prices.gcp.gcp_gpus import with_accelerators
from epochcost.progress.clock import NodeClock
from epochcost.progress.event_files import EventFiles
from epochcost.progress.http_ingest import Intake, IntakeError
from epochcost.serve import Server, metrics_route
from epochcost.shutdown import Ending

log = logging.getLogger(__name__)
SAVE_SECONDS = (5.0, 60.0)
"""Least and most between two saves of the state."""
SAVING_SHARE = 0.001
"""Saving takes no more of a core than this: a state with many thousand epochs is saved more seldom."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")
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
    """

    def __init__(
        self,
        settings: AgentSettings,
        environ: Mapping[str, str],
        clocks: Clocks | None = None,
        proc: Path = Path("/proc"),
    ) -> None:
        self.settings = settings
        self._clocks = clocks or Clocks()
        self._proc = proc
        self.events_dir = agent_events_dir(settings.events_dir, environ)
        state_dir = Path(settings.state_dir) if settings.state_dir else self.events_dir / "state"
        self._state = StateFile(state_dir, among_others=not settings.state_dir)
        self._boot = self._boot_id()
        self._clock = NodeClock(self._clocks.wall, self._clocks.mono, self._boot)
        self._files = EventFiles(self.events_dir)
        self._intake = Intake(self.events_dir, self._clocks.wall, self._clocks.mono)
        self._host = HostSource(proc)
        self._cost_files = CostFiles(self.events_dir)
        self._identity = identity_of(settings, environ)
        self._sampler: Sampler | None = None
        self._gpu_source, self.gpu_reason = self._choose_gpus()
        self.node = self._priced_node()
        self.machine = machine_name(self.node.node, settings.machine_name)
        self._known_as = self._priced_as(self.node)
        self._machine_since = self._clock.now()
        self._notices = NoticeFeed(
            lambda node: notice_source(settings.node_metadata, node, settings.node_metadata_url),
            lambda: self._identity.node,
            self._clock.now,
        )
        self._preemption_file = PreemptionFile(self.events_dir)
        self.meter = self._new_meter()
        read_by = self._gpu_source.name if self._gpu_source is not None else ""
        self._owners = owner_feeds(settings, self._gpus, proc, read_by) if read_by else []
        self._owners_said: tuple[Any, ...] = ()
        self._owners_now: tuple[GpuOwner, ...] = ()
        self.finished = threading.Event()
        """Set from outside to end the program, or from inside with a `restart_reason`."""
        self.restart_reason = ""
        """Why only a new process can go on; empty while this one can."""
        source = price_source(settings, self.node)
        self._feed = PriceFeed(source, settings.prices_interval, self._clocks.wall) if source else None
        self.snapshot: Snapshot | None = None
        self._save_at = 0.0
        self._state_health = CollectorHealth(success=True, duration_seconds=0.0)
        self._host_health = CollectorHealth(success=True, duration_seconds=0.0)
        self._progress_health = CollectorHealth(success=True, duration_seconds=0.0)
        self._first = True
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="epochcost-meter", daemon=True)
        self.server = self._make_server()

    def _new_meter(self) -> Meter:
        s = self.settings
        rules = LedgerSettings(s.node_share == "whole-node", s.busy_ratio, s.stall_seconds)
        return Meter(
            Ledger(rules),
            self.node,
            machine=self.machine.name,
            keep_seconds=s.keep_seconds,
            silence_seconds=s.silence_seconds,
            idle=Idle(s.busy_ratio, s.held_memory_bytes),
        )

    def _choose_gpus(self) -> tuple[GpuSource | None, str]:
        chosen = choose_source(self.settings.gpus_source, dcgm_url=self.settings.dcgm_url)
        return chosen.source, chosen.reason

    def _make_server(self) -> Server:
        registry = CollectorRegistry(auto_describe=False)
        for name, collector in collectors(self._newest).items():
            registry.register(Guarded(collector, name, log))
        routes = {"/metrics": metrics_route(registry), **page_routes(lambda: self.snapshot)}
        posts = {"/v1/events": intake_route(self._intake.take, self._costs, IntakeError)}
        gates = {"/v1/events": intake_gate(self._intake_closed, self.settings.intake_token_file)}
        address, web_config = self.settings.web_listen_address, self.settings.web_config_file
        return Server(address, routes, web_config, ready=self._not_ready_because, post_routes=posts, gates=gates)

    def _intake_closed(self) -> str:
        """Events over the network: from this machine alone, unless those who send them must know something."""
        s = self.settings
        if s.web_listen_address[0] in LOOPBACK or s.intake_token_file or self.server.knows_its_clients:
            return ""
        return "events over the network need --intake.token-file, or users or client certificates in --web.config.file"

    def _costs(self, runs: Sequence[str]) -> dict[str, dict[str, object]]:
        snapshot = self.snapshot
        views = snapshot.runs if snapshot is not None else ()
        return {view.run: figures_of(view, self._clock.now()) for view in views if view.run in runs}

    def _newest(self) -> Snapshot:
        if self.snapshot is None:
            raise RuntimeError("the agent has not sampled this machine yet")
        return self.snapshot

    def _not_ready_because(self) -> str | None:
        return None if self.snapshot is not None else "the agent has not sampled this machine yet"

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to sample and to serve."""
        self.resume()
        if self._gpu_source is not None:
            self._sampler = Sampler(
                self._gpu_source, self.settings.sample_interval, self._clock.now, self._needs_restart
            )
            self._sampler.start()
        self._identity.start()
        self._notices.start()
        for owners in self._owners:
            owners.start()
        self.server.start()
        self._thread.start()
        log.info(
            "agent of node %s: %s; events in %s; %s", self.node.node, self.gpu_reason, self.events_dir, self.server.url
        )

    def _needs_restart(self, reason: str) -> None:
        self.restart_reason = reason
        self.finished.set()

    def stop(self) -> None:
        """Account up to now, save, and stop; what runs goes on being charged when an agent starts again."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=10.0)
        self.server.stop()
        if self._sampler is not None:
            self._sampler.stop()
        for feed in (self._feed, self._identity, self._notices, *self._owners):
            if feed is not None:
                feed.stop()
        self._state.close()

    def resume(self) -> None:
        """Take up where an earlier agent left off; `start` does it first of all."""
        saved = self._state.load()
        if saved is None:
            return
        machine = self.machine
        try:
            self.machine = machine.restored(saved["machine"]) if "machine" in saved else machine
            self.meter.restore(saved["meter"])
            self.meter.machine = self.machine.name
            self._files.restore(saved["files"])
            self._clock.restore(saved["clock"])
            self._first = not (saved["boot_id"] == self._boot != "")
            self._known_as = tuple(map(str, saved["priced_as"]))
            now = self._clock.now()
            self._machine_since = self._boot_ts(now) if self._first else now
            if not self._first:
                self._identity.restore(saved.get("identity", {}))
            self._become(self._priced_node())
        except (KeyError, TypeError, ValueError, AttributeError) as err:
            self._state.set_aside(str(err) if isinstance(err, AnotherMachineError) else f"{type(err).__name__}: {err}")
            self.machine = machine
            self.meter, self._files, self._first = self._new_meter(), EventFiles(self.events_dir), True
            self._known_as = self._priced_as(self.node)

    @staticmethod
    def _priced_as(n: Node) -> tuple[str, ...]:
        return n.provider, n.region, n.zone, n.instance_type, n.purchase_option.value if n.purchase_option else ""

    def _priced_node(self) -> Node:
        """This machine under the name that it is priced by: of Google's N1, the GPUs that are attached are part of it.

        Until the driver has said which they are, its type is not known: without them its price would be a wrong one.
        """
        node = self._identity.node
        if node.provider != "gcp" or not node.instance_type.startswith("n1-"):
            return node
        if self._gpu_source is None:
            return replace(node, instance_type=with_accelerators(node.instance_type, ()))
        reading = self._sampler.latest if self._sampler is not None else None
        if reading is None:
            return replace(node, instance_type="")
        models = [gpu.model for gpu in reading.gpus]
        return replace(node, instance_type=with_accelerators(node.instance_type, models))

    def _become(self, node: Node) -> None:
        """Take over what is now known of this machine.

        To learn more of it is no change. To learn that it is another one than before is: a machine becomes another one
        while it is not running, so its price is not known from this boot on.
        """
        more = self._priced_as(node) != self._priced_as(self.node)
        self.node = self.meter.node = node
        known = self._priced_as(node)
        if any(was and now and was != now for was, now in zip(self._known_as, known, strict=True)):
            self.meter.node_changed(self._machine_since)
            self._known_as = known
        else:
            self._known_as = tuple(now or was for was, now in zip(self._known_as, known, strict=True))
        if more and self._feed is not None and (source := price_source(self.settings, node)):
            self._feed.ask_about(source)

    def _boot_id(self) -> str:
        try:
            return boot_id(self._proc)
        except HostError as err:
            log.warning("a restart cannot be told from a reboot: %s", err)
            return ""

    # -- the beat ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            self._beat()
            if self._feed is not None and not self._feed.started and self._identity.settled:
                self._feed.start()
            due = max(due + self.settings.sample_interval, time.monotonic())
            self._stop.wait(due - time.monotonic())
        self._beat()
        self._save()

    def _beat(self) -> None:
        try:
            self.tick()
        except Exception:
            # One bad tick must not end the metering; the next one accounts for its time too.
            log.exception("a tick of the meter failed")
        if self._clock.now() >= self._save_at:
            self._save()

    def tick(self) -> Snapshot:
        """Read everything once, account the time until now, and publish the new snapshot."""
        if (node := self._priced_node()) != self.node:
            self._become(node)
        host = self._read_host()
        began = time.perf_counter()
        events = self._files.poll(self._clock)
        self._progress_health = CollectorHealth(success=True, duration_seconds=time.perf_counter() - began)
        now = self._clock.now()
        if self._first:
            self.meter.begin_boot(now, self._boot_ts(now), events)
            self._first = False
        sampler, feed = self._sampler, self._feed
        health = self._health(now)
        inputs = Inputs(
            gpus=sampler.latest if sampler else None,
            has_gpus=self._gpu_source is not None,
            host=host,
            events=events,
            quote=feed.quote if feed else None,
            preemption=self._notices.notice,
            watched=self._files.watched(),
            health=health,
            event_counts=Counter(self._files.counts) + Counter(self._intake.rejected),
            clock_jumps=self._clock.jumps,
        )
        snapshot = self.meter.tick(now, inputs)
        owners, problems = self._owners_of(snapshot.gpus), self._problems(snapshot)
        self.snapshot = snapshot = replace(snapshot, owners=owners, problems=problems)
        self._preemption_file.write(inputs.preemption, now)
        self._cost_files.write(snapshot.runs, now)
        return snapshot

    def _gpus(self) -> Sequence[GpuSample]:
        latest = self._sampler.latest if self._sampler else None
        return latest.gpus if latest else ()

    def _owners_of(self, gpus: Sequence[GpuView]) -> tuple[GpuOwner, ...]:
        runs = self.meter.ledger.runs_on() if "run" in self.settings.owners_sources else {}
        shown = {gpu.sample.uuid for gpu in gpus}
        told = [feed.owners() for feed in self._owners]
        if (runs, shown, told) != self._owners_said:  # most seconds nothing new is said
            owners = combined([run_owners(runs), *told])
            self._owners_said = (runs, shown, told)
            self._owners_now = tuple(owner for owner in owners if owner.uuid in shown)
        return self._owners_now

    def _boot_ts(self, now: float) -> float:
        try:
            return boot_time(self._proc)
        except HostError as err:
            log.warning("when this machine was booted is not known, so its time counts from now: %s", err)
            return now

    def _read_host(self) -> HostReading | None:
        began = time.perf_counter()
        try:
            reading = self._host.read(self._clock.now())
        except (HostError, OSError) as err:
            if str(err) != self._host_health.error:
                log.warning("host: %s", err)
            self._host_health = CollectorHealth(False, time.perf_counter() - began, str(err))  # noqa: FBT003
            return None
        self._host_health = CollectorHealth(success=True, duration_seconds=time.perf_counter() - began)
        return reading

    def _health(self, now: float) -> dict[str, CollectorHealth]:
        health = {"host": self._host_health, "progress": self._progress_health, "state": self._state_health}
        if self._sampler is not None:
            stuck = self._sampler.stuck_seconds(now)
            error = self._sampler.error or (f"a driver call has not returned for {stuck:.0f} s" if stuck > 5 else "")  # noqa: PLR2004
            error = error or stuck_in(self._sampler.latest)
            health["gpus"] = CollectorHealth(not error, self._sampler.last_duration or stuck, error)
        for name, feed in (("identity", self._identity), ("preemption", self._notices)):
            if feed.last_duration is not None:
                health[name] = CollectorHealth(not feed.error, feed.last_duration, feed.error)
        for owners in self._owners:
            if owners.last_duration is not None:
                health[f"owners_{owners.name}"] = CollectorHealth(not owners.error, owners.last_duration, owners.error)
        health["price"] = (
            self._feed.health if self._feed else CollectorHealth(False, 0.0, "no price and no poller configured")  # noqa: FBT003
        )
        return health

    def _problems(self, snapshot: Snapshot) -> tuple[str, ...]:
        """What people should do something about, as sentences."""
        notice = snapshot.node.preemption
        problems = [] if notice is None else [f"preemption: {sentence(notice)}. Save a checkpoint."]
        for name, health in sorted(snapshot.health.items()):
            if health.success:
                continue
            if name != "price":
                problems.append(f"{name}: {health.error}")
            elif snapshot.node.price_usd_per_hour is None:
                problems.append(
                    f"price unknown: {health.error}. Set --price.usd-per-hour, or --prices.url and the node."
                )
            else:
                problems.append(f"price not confirmed: {health.error}. The last known price is used.")
        return tuple(problems)

    # -- memory ------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything that must survive, as JSON-able data, all of one instant."""
        return {
            "boot_id": self._boot,
            "machine": self.machine.state(),
            "priced_as": self._known_as,
            "identity": self._identity.state(),
            "clock": self._clock.state(),
            "files": self._files.state(),
            "meter": self.meter.state(),
        }

    def _save(self) -> None:
        if self.snapshot is None:
            return
        began, cpu = time.perf_counter(), time.thread_time()
        error = ""
        try:
            self._state.save(self.state())
        except StateError as err:
            error = str(err)
            if error != self._state_health.error:
                log.error("state: %s", error)  # noqa: TRY400 - the text says it all
        self._save_at = self._clock.now() + pause_after_saving(time.thread_time() - cpu)
        self._state_health = CollectorHealth(not error, time.perf_counter() - began, error)


def pause_after_saving(cpu_seconds: float) -> float:
    """Seconds until the state is saved again, when saving it took so much."""
    least, most = SAVE_SECONDS
    return min(most, max(least, cpu_seconds / SAVING_SHARE))


def stuck_in(reading: GpuReading | None) -> str:
    """The call that a GPU is stuck in, as a sentence; empty when none is."""
    stuck = [g for g in reading.gpus if g.stuck_call] if reading else []
    if not stuck:
        return ""
    who = ", ".join(g.index for g in stuck)
    return f"GPU {who}: {stuck[0].stuck_call} has not come back for {stuck[0].stuck_seconds or 0:.0f} s"


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
        log.error("ending with exit code %d, to be started anew: %s", RESTART, app.restart_reason)
        return RESTART
    return 0
