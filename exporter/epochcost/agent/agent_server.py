"""What the agent serves over HTTP: /metrics, the live page and its data, and events from the network."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from epochcost.agent.agent_settings import AgentSettings
from epochcost.agent.collectors import collectors
from epochcost.agent.cost_files import figures_of
from epochcost.agent.ingest_route import intake_gate, intake_route
from epochcost.agent.keep_route import keep_gate, keep_route
from epochcost.agent.live_page import page_routes
from epochcost.agent.recent_hour import RecentHour
from epochcost.agent.snapshot import CollectorHealth, Snapshot
from epochcost.guarded_collector import Guarded
from epochcost.metric_families import Together
from epochcost.model import RunId
from epochcost.progress.http_ingest import Intake, IntakeError
from epochcost.progress.run_owners import NETWORK, RunOwners
from epochcost.progress.sender_clocks import clock_of
from epochcost.serve import Gate, PostRoutes, Route, Server, metrics_route

if TYPE_CHECKING:
    from epochcost.agent.guarding import Guarding

log = logging.getLogger(__name__)
LOOPBACK = ("127.0.0.1", "::1", "localhost")
NOT_SAMPLED = "the agent has not sampled this machine yet"


@dataclass(frozen=True, slots=True)
class Served:
    """What the server responds from.

    Attributes:
        read: the newest snapshot; None before the first.
        now: the node timeline.
        recent: the last hour, for the page.
        guarding: the guard, where there is one: it takes keeps.
    """

    read: Callable[[], Snapshot | None]
    now: Callable[[], float]
    recent: RecentHour | None = None
    guarding: Guarding | None = None


class AgentServer:
    """The agent's HTTP server.

    Args:
        settings: where it listens, and who may send events.
        served: what it responds from.
        intake: keeps the events that come in.
        owners: which user began which run.
    """

    def __init__(self, settings: AgentSettings, served: Served, intake: Intake, owners: RunOwners) -> None:
        self._owners = owners
        self._settings = settings
        self._read, self._now = served.read, served.now
        self._guards = [
            Guarded(collector, name, log) for name, collector in collectors(served.read, self._healths).items()
        ]
        routes = {
            "/metrics": metrics_route(Together(self._guards)),
            **page_routes(served.read, served.recent, settings.grafana_url),
        }
        posts: dict[str, Route] = {"/v1/events": intake_route(intake.take, clock_of, self._costs, IntakeError)}
        gates: dict[str, Gate] = {"/v1/events": intake_gate(self._intake_closed, settings.intake_token_file)}
        if served.guarding is not None:
            posts["/v1/keep"], gates["/v1/keep"] = keep_route(served.guarding.keep, served.now), keep_gate
        address, web_config = settings.web_listen_address, settings.web_config_file
        self.http = Server(
            address,
            routes,
            web_config,
            ready=self._not_ready_because,
            posts=PostRoutes(posts, gates, ("/v1/events",) if settings.intake_token_file else ()),
        )

    def _intake_closed(self) -> str:
        """Events over the network: from this machine alone, unless senders must authenticate."""
        s = self._settings
        if s.web_listen_address[0] in LOOPBACK or s.intake_token_file or self.http.knows_its_clients:
            return ""
        return "events over the network need --intake.token-file, or users or client certificates in --web.config.file"

    def _costs(self, runs: Sequence[str]) -> dict[str, dict[str, object]]:
        snapshot = self._read()
        views = {view.run: view for view in snapshot.runs} if snapshot is not None else {}
        # A sender over the network gets figures of its own runs, not of those of this machine's users.
        own = {run: self._owners.meant(RunId(run), NETWORK) for run in runs}
        return {run: figures_of(views[mine], self._now()) for run, mine in own.items() if mine in views}

    def _healths(self, snapshot: Snapshot) -> dict[str, CollectorHealth]:
        """Health of what samples and sends requests, and of the collectors of /metrics up to this one."""
        made = {
            f"metrics_{guard.name}": CollectorHealth(guard.success, guard.duration_seconds or 0.0, guard.error)
            for guard in self._guards
            if guard.success is not None
        }
        return {**snapshot.health, **made}

    def _not_ready_because(self) -> str | None:
        return None if self._read() is not None else NOT_SAMPLED
