"""Machines whose time a test drives: real agents read real lines, real scrapes of them fill a real Prometheus."""

from __future__ import annotations

import http.client
import json
import threading
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.agent.driven_agent import DrivenAgent, SimulatedMachine
from tests.agree.attempts import Line

STEP = 30.0
"""Seconds between two scrapes, which all fall on the same instants."""
NO_VALUE = "#"


@dataclass
class PlayedMachine:
    """One computer: its clocks, its agent, and the future lines of its training runs."""

    name: str
    home: Path
    usd_per_hour: float
    start_ts: float
    lines: list[Line]
    gone_s: float
    store: str
    agent: DrivenAgent = field(init=False)

    def __post_init__(self) -> None:
        machine = SimulatedMachine(self.home, wall=self.start_ts, boot_ts=self.start_ts - 7200)
        prices = {
            "price__usd_per_hour": str(self.usd_per_hour),
            "price__on_demand_usd_per_hour": str(2 * self.usd_per_hour),
        }
        flags = {"machine__name": self.name, "node__name": self.name, "node__instance_type": "sim.large", **prices}
        self.agent = DrivenAgent(machine, prometheus__url=self.store, **flags)
        self.agent.ask_price()
        self.agent.app.sampling_loop.tick()

    def go_to(self, t: float) -> None:
        """Advance the machine to ``t`` s after the beginning; lines of its training runs appear at their times."""
        machine = self.agent.machine
        while self.lines and self.lines[0][0] <= t:
            at, file, line = self.lines.pop(0)
            stamp = {"ts": self.start_ts + at, "mono": machine.mono + self.start_ts + at - machine.wall}
            with (machine.events / file).open("a", encoding="utf-8") as out:
                out.write(json.dumps({**line, **stamp}) + "\n")
        self.agent.run(self.start_ts + t - machine.wall, every=STEP)

    def scraped(self, ts: float) -> Iterator[str]:
        """What a scrape finds, with its time and the labels of its target."""
        for line in self.agent.metrics().splitlines():
            if line and not line.startswith(NO_VALUE):
                series, value = line.rsplit(" ", 1)
                target = f'job="epochcost-agent",instance="{self.name}:10835"'
                yield f"{series[:-1]},{target}}} {value} {ts:.3f}\n"

    def live(self, run: str) -> dict[str, Any]:
        """The run as shown by the page."""
        with urllib.request.urlopen(f"{self.agent.app.server.url}/v1/live", timeout=10) as response:
            return next(run_view for run_view in json.load(response)["runs"] if run_view["run"] == run)

    def shows(self, run: str) -> bool:
        """Whether its agent still exports the run."""
        snapshot = self.agent.app.snapshot
        return snapshot is not None and any(view.run == run for view in snapshot.runs)


def play(machines: Sequence[PlayedMachine], length: float) -> Iterator[str]:
    """All scrapes of ``machines`` in ``length`` s."""
    for tick in range(1, int(length / STEP) + 1):
        t = tick * STEP
        for machine in machines:
            if t <= machine.gone_s:
                machine.go_to(t)
                yield from machine.scraped(machine.start_ts + t)


class _Forward(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, StoreAsOf)
        body = self.rfile.read(int(self.headers["Content-Length"])) + f"&time={server.ts}".encode()
        link = http.client.HTTPConnection(server.store, timeout=60)
        link.request("POST", self.path, body, {"Content-Type": "application/x-www-form-urlencoded"})
        response = link.getresponse()
        document = response.read()
        self.send_response(response.status)
        self.send_header("Content-Type", response.getheader("Content-Type", ""))
        self.send_header("Content-Length", str(len(document)))
        self.end_headers()
        self.wfile.write(document)
        link.close()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        """Print nothing."""


class StoreAsOf(ThreadingHTTPServer):
    """Forwards requests to a Prometheus, evaluated at ``ts`` instead of its present.

    Its port is taken at once and refuses connections until there is a store.
    """

    def __init__(self, ts: float) -> None:
        super().__init__(("127.0.0.1", 0), _Forward, bind_and_activate=False)
        self.ts = ts
        self.store = ""
        self.server_bind()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    @contextmanager
    def of(self, store: str) -> Iterator[None]:
        self.store = store.removeprefix("http://")
        self.server_activate()
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.shutdown()
            self.server_close()
            thread.join()


def by_name(vector: Sequence[Mapping[str, Any]], label: str) -> dict[str, float]:
    """An instant vector by one of its labels."""
    return {series["metric"].get(label, ""): float(series["value"][1]) for series in vector}
