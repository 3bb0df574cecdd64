"""A real Prometheus over hours of simulated history, stored as the demo stores its own.

As a program it keeps running, for inspection: ``PYTHONPATH=exporter python -m tests.grafana.simulated_prometheus``.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from tests.grafana.scenarios import FLEETS, FOREVER, LENGTH
from tests.grafana.simulated_fleet import SimulatedFleet

from epochcost.demo import rules_for_replay as rulebook
from epochcost.demo.history import STEP_SECONDS, History, alert_lines, prometheus_command
from epochcost.demo.programs import Program, free_port

BUDGET_USD = 1_000_000
"""A month, of every simulated fleet."""


def openmetrics(fleet: SimulatedFleet, length: float) -> Iterator[str]:
    """``length`` seconds of ``fleet`` as OpenMetrics text with time stamps (s), line by line."""
    for tick in range(1, int(length / STEP_SECONDS) + 1):
        t = tick * STEP_SECONDS
        stamp = f"{fleet.epoch_ts + t:.3f}"
        for name, labels, value in fleet.samples(t):
            yield f"{series(name, labels)} {float(value)!r} {stamp}\n"


def series(name: str, labels: Mapping[str, str]) -> str:
    """``name{a="b"}``; simulated values need no escaping."""
    return f"{name}{_braced(tuple(labels.items()))}"


@cache
def _braced(labels: tuple[tuple[str, str], ...]) -> str:
    """Rendered once: every series repeats at each step."""
    return f"{{{','.join(f'{k}={json.dumps(v)}' for k, v in labels)}}}"


def backfill(fleet: SimulatedFleet, data: Path, length: float = LENGTH) -> None:
    """Write ``length`` seconds of ``fleet`` into ``data``, then recording rules in order of dependence, then alerts."""
    rules = data.parent / "rules"
    rulebook.copy_rules(rulebook.config_dir(), rules, BUDGET_USD)
    history = History(data, rules, fleet.epoch_ts, fleet.epoch_ts + length)
    if not fleet.nodes and not fleet.with_poller:
        return
    history.write(openmetrics(fleet, length))
    history.record()
    history.write(alert_lines(history.alerts()))


def scenario(name: str) -> Callable[[Path], None]:
    """Fills a folder with the history of the fleet of that name, in ``data``."""
    return lambda folder: backfill(FLEETS[name], folder / "data")


@contextmanager
def prometheus(data: Path) -> Iterator[str]:
    """A real Prometheus over ``data`` on a port of its own; yields its URL."""
    address = ("127.0.0.1", free_port("127.0.0.1", 0))
    config = data.parent / "prometheus-simulated.yml"
    config.write_text("global: {}\n")
    command = prometheus_command(config, data, address)
    with Program("prometheus", command, address, data.parent / "prometheus-simulated.log") as running:
        yield running.url


def instant(url: str, query: str, t: float) -> list[dict[str, Any]]:
    """The result of an instant query at ``t`` (s since the Unix epoch)."""
    return _api(url, "query", {"query": query, "time": str(t)})


def over(url: str, query: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
    """The result of a range query."""
    return _api(url, "query_range", {"query": query, "start": str(start), "end": str(end), "step": str(step)})


def _api(url: str, path: str, params: dict[str, str]) -> list[dict[str, Any]]:
    body = urllib.parse.urlencode(params).encode()
    try:
        with urllib.request.urlopen(f"{url}/api/v1/{path}", data=body, timeout=30) as reply:
            result: list[dict[str, Any]] = json.load(reply)["data"]["result"]
    except urllib.error.HTTPError as err:
        with err:
            raise RuntimeError(f"{params['query']}: {err.read().decode()}") from None
    return result


def main() -> None:
    """Serve a scenario up to now, and a while more, until interrupted; ``large 1800`` for half an hour of it."""
    name = sys.argv[1] if len(sys.argv) > 1 else "many"
    length = float(sys.argv[2]) if len(sys.argv) > 2 else LENGTH
    fleet = replace(FLEETS[name], epoch_ts=float(int(time.time()) - length))
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        backfill(fleet, data, length + (FOREVER - LENGTH if name != "large" else 900))
        with prometheus(data) as url:
            print(url, flush=True)  # noqa: T201 - its only output
            try:
                time.sleep(86_400)
            except KeyboardInterrupt:
                return


if __name__ == "__main__":
    main()
