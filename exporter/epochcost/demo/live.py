"""The demo's present: the simulated agents and the poller continue in real time and are scraped like real ones."""

from __future__ import annotations

import html as escaping
import logging
import threading
import time
from collections.abc import Callable

from epochcost.agent.live_page import page_routes
from epochcost.demo.exposition import POLLER
from epochcost.demo.scenario import CLUSTER
from epochcost.demo.simulated_agent import TICK_SECONDS, Fleet, PlayedAgent
from epochcost.serve import Request, Response, Route, Server, html, metrics_route, text

log = logging.getLogger("epochcost.demo")
GONE = "simulated: this machine cannot be reached"


class Live:
    """Serves each machine under its own path, ``/sim-a100-01/metrics``, and advances their time.

    Args:
        fleet: its state at ``t`` seconds since the beginning of the simulation.
        address: where to listen.
        clock: seconds since the Unix epoch.
    """

    def __init__(
        self, fleet: Fleet, t: float, address: tuple[str, int], clock: Callable[[], float] = time.time
    ) -> None:
        self._fleet, self._t, self._clock = fleet, t, clock
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="epochcost-demo", daemon=True)
        routes: dict[str, Route] = {"/": self._index}
        for agent in fleet.agents:
            routes |= self._agent_routes(agent)
        routes[f"/{POLLER}/metrics"] = self._poller_metrics(metrics_route(fleet.market.registry))
        self._server = Server(address, routes)

    @property
    def url(self) -> str:
        """Its URL."""
        return self._server.url

    def start(self) -> None:
        """Continue from where the history ended."""
        self._server.start()
        self._thread.start()

    def stop(self) -> None:
        """Stop moving and stop listening."""
        self._stop.set()
        self._thread.join(timeout=10.0)
        self._server.stop()

    def targets(self) -> dict[str, list[dict[str, object]]]:
        """What Prometheus scrapes, by the name of its file of targets."""
        host = self.url.removeprefix("http://")

        def target(name: str, cluster: str) -> dict[str, object]:
            labels = {"cluster": cluster, "instance": name, "__metrics_path__": f"/{name}/metrics"}
            return {"targets": [host], "labels": labels}

        machines = [agent.machine for agent in self._fleet.agents if agent.exists(self._t)]
        return {"agents": [target(m.name, m.cluster) for m in machines], "prices": [target(POLLER, CLUSTER)]}

    def catch_up(self) -> None:
        """Play what has passed since the last call: in large steps where it is much."""
        now = self._clock() - self._fleet.epoch_ts
        with self._lock:
            while self._t + 1 <= now:
                self._t += TICK_SECONDS if now - self._t > 2 * TICK_SECONDS else 1.0
                self._fleet.advance(self._t)

    def _run(self) -> None:
        while not self._stop.wait(1.0):
            try:
                self.catch_up()
            except Exception:  # noqa: PERF203
                # The next second continues from the end of this one.
                log.exception("the simulated machines could not be advanced")

    def _agent_routes(self, agent: PlayedAgent) -> dict[str, Route]:
        name = agent.machine.name
        pages = page_routes(lambda: agent.snapshot)
        return {
            f"/{name}/": pages["/"],
            f"/{name}/v1/live": self._while_up(agent, pages["/v1/live"]),
            f"/{name}/metrics": self._while_up(agent, metrics_route(agent.registry)),
        }

    def _while_up(self, agent: PlayedAgent, route: Route) -> Route:
        return lambda request: self._locked(route, request) if agent.up(self._t) else text(503, GONE)

    def _poller_metrics(self, route: Route) -> Route:
        return lambda request: self._locked(route, request) if self._fleet.market.up(self._t) else text(503, GONE)

    def _locked(self, route: Route, request: Request) -> Response:
        with self._lock:
            return route(request)

    def _index(self, _: Request) -> Response:
        names = [escaping.escape(agent.machine.name) for agent in self._fleet.agents if agent.exists(self._t)]
        links = "".join(f'<li><a href="/{name}/">{name}</a></li>' for name in names)
        page = (
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>epochcost demo</title>'
            "<h1>epochcost demo: everything here is simulated</h1><p>The live page of each simulated agent:</p>"
            f"<ul>{links}</ul>"
        )
        return html(200, page.encode())
