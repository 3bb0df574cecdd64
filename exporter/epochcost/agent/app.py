"""The agent as a program: sources, meter, memory and server put together. `main` is what the command line calls."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from epochcost.agent.collectors import collectors
from epochcost.agent.cost_files import CostFiles
from epochcost.agent.events_directory import agent_events_dir
from epochcost.agent.meter import Inputs, Meter
from epochcost.agent.page import page_routes
from epochcost.agent.price_feed import Asks, PriceFeed
from epochcost.agent.settings import AgentSettings
from epochcost.agent.snapshot import CollectorHealth, Snapshot
from epochcost.agent.state_file import StateError, StateFile
from epochcost.gpus import choose_source
from epochcost.gpus.host import HostError, HostSource, boot_id, boot_time
from epochcost.gpus.sampler import Sampler
from epochcost.gpus.source import GpuSource
from epochcost.guard import Guarded
from epochcost.ledger import Ledger, LedgerSettings
from epochcost.model import HostReading, Node, PurchaseOption
from epochcost.nodes import identify
from epochcost.prices.configured import ConfiguredPrice
from epochcost.prices.remote import RemotePrice
from epochcost.progress.clock import NodeClock
from epochcost.progress.files import EventFiles
from epochcost.serve import Server, metrics_route

log = logging.getLogger(__name__)
SAVE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Clocks:
    """The world's time: seconds since the Unix epoch, and seconds that never jump."""

    wall: Callable[[], float] = time.time
    mono: Callable[[], float] = time.monotonic


def node_of(settings: AgentSettings) -> Node:
    """This machine, as configured and as its firmware says."""
    option = settings.node_purchase_option
    configured = Node(
        node=settings.node_name,
        provider=settings.node_provider,
        region=settings.node_region,
        zone=settings.node_zone,
        instance_type=settings.node_instance_type,
        purchase_option=PurchaseOption(option) if option else None,
    )
    return identify(configured)


def price_source(settings: AgentSettings, node: Node) -> Asks | None:
    """Who is asked for this node's price; None when nobody was named."""
    if settings.price_usd_per_hour is not None:
        return ConfiguredPrice(node, settings.price_usd_per_hour)
    if settings.prices_url:
        return RemotePrice(settings.prices_url, node, settings.prices_password_file, settings.prices_ca_file)
    return None


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
        self._state = StateFile(Path(settings.state_dir) if settings.state_dir else self.events_dir / "state")
        self._boot = self._boot_id()
        self._clock = NodeClock(self._clocks.wall, self._clocks.mono, self._boot)
        self._files = EventFiles(self.events_dir)
        self._host = HostSource(proc)
        self._cost_files = CostFiles(self.events_dir)
        self.node = node_of(settings)
        self.meter = self._new_meter()
        self._gpu_source, self.gpu_reason = self._choose_gpus()
        self._sampler: Sampler | None = None
        source = price_source(settings, self.node)
        self._feed = PriceFeed(source, settings.prices_interval, self._clocks.wall) if source else None
        self.snapshot: Snapshot | None = None
        self._saved_t = 0.0
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
        return Meter(Ledger(rules), self.node, keep_seconds=s.keep_seconds, silence_seconds=s.silence_seconds)

    def _choose_gpus(self) -> tuple[GpuSource | None, str]:
        chosen = choose_source(self.settings.gpus_source)
        return chosen.source, chosen.reason

    def _make_server(self) -> Server:
        registry = CollectorRegistry(auto_describe=False)
        for name, collector in collectors(self._newest).items():
            registry.register(Guarded(collector, name, log))
        routes = {"/metrics": metrics_route(registry), **page_routes(lambda: self.snapshot)}
        return Server(
            self.settings.web_listen_address, routes, self.settings.web_config_file, ready=self._not_ready_because
        )

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
            self._sampler = Sampler(self._gpu_source, self.settings.sample_interval, self._clock.now)
            self._sampler.start()
        if self._feed is not None:
            self._feed.start()
        self.server.start()
        self._thread.start()
        log.info(
            "agent of node %s: %s; events in %s; %s", self.node.node, self.gpu_reason, self.events_dir, self.server.url
        )

    def stop(self) -> None:
        """Account up to now, save, and stop; what runs goes on being charged when an agent starts again."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=10.0)
        self.server.stop()
        if self._sampler is not None:
            self._sampler.stop()
        if self._feed is not None:
            self._feed.stop()
        self._state.close()

    def resume(self) -> None:
        """Take up where an earlier agent left off; `start` does it first of all."""
        saved = self._state.load()
        if saved is None:
            return
        try:
            self.meter.restore(saved["meter"])
            self._files.restore(saved["files"])
            self._clock.restore(saved["clock"])
            self._first = not (saved["boot_id"] == self._boot != "")
            if tuple(saved["priced_as"]) != self._priced_as():
                self.meter.node_changed(self._clock.now())
        except (KeyError, TypeError, ValueError, AttributeError) as err:
            self._state.set_aside(f"{type(err).__name__}: {err}")
            self.meter, self._files, self._first = self._new_meter(), EventFiles(self.events_dir), True

    def _priced_as(self) -> tuple[str, ...]:
        n = self.node
        return n.provider, n.region, n.zone, n.instance_type, n.purchase_option.value if n.purchase_option else ""

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
        if self._clock.now() - self._saved_t >= SAVE_SECONDS:
            self._save()

    def tick(self) -> Snapshot:
        """Read everything once, account the time until now, and publish the new snapshot."""
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
            watched=self._files.watched(),
            health=health,
            event_counts=self._files.counts,
            clock_jumps=self._clock.jumps,
        )
        snapshot = self.meter.tick(now, inputs)
        self.snapshot = snapshot = replace(snapshot, problems=self._problems(snapshot))
        self._cost_files.write(snapshot.runs, now)
        return snapshot

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
            health["gpus"] = CollectorHealth(not error, self._sampler.last_duration or stuck, error)
        health["price"] = (
            self._feed.health if self._feed else CollectorHealth(False, 0.0, "no price and no poller configured")  # noqa: FBT003
        )
        return health

    def _problems(self, snapshot: Snapshot) -> tuple[str, ...]:
        """What people should do something about, as sentences."""
        problems = []
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
            "priced_as": self._priced_as(),
            "clock": self._clock.state(),
            "files": self._files.state(),
            "meter": self.meter.state(),
        }

    def _save(self) -> None:
        if self.snapshot is None:
            return
        began = time.perf_counter()
        error = ""
        try:
            self._state.save(self.state())
        except StateError as err:
            error = str(err)
            if error != self._state_health.error:
                log.error("state: %s", error)  # noqa: TRY400 - the text says it all
        self._saved_t = self._clock.now()
        self._state_health = CollectorHealth(not error, time.perf_counter() - began, error)


def main(settings: AgentSettings, environ: Mapping[str, str]) -> int:
    """Run until SIGTERM or SIGINT; 0 after an orderly stop."""
    app = AgentApp(settings, environ)
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    app.start()
    done.wait()
    app.stop()
    return 0
