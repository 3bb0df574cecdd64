"""The demo's six simulated hours, in the distribution's Prometheus and in the engines that are compared with it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.waiting import wait_for

from epochcost.demo.app import played
from epochcost.demo.fleet import FLEET
from epochcost.demo.history import History, prometheus_command
from epochcost.demo.programs import Program, free_port
from epochcost.demo.rules_for_replay import config_dir, copy_rules
from epochcost.demo.simulated_agent import Fleet

EPOCH_TS = 1_699_999_200.0
LENGTH = 6 * 3600.0
NAME = re.compile(r'\{__name__="([^"]+)"(?:, )?(.*)\}')
OFF_THE_GRID = 7.0
"""Seconds after a scrape: Prometheus 3 counts a range without its left end."""
Series = dict[tuple[tuple[str, str], ...], float]


@dataclass(frozen=True)
class Engine:
    """A server with a PromQL API."""

    url: str

    def vector(self, expr: str, t: float) -> Series:
        """The vector at ``t`` seconds since the beginning, by its labels."""
        return self.query(expr, t, "")

    def query(self, expr: str, t: float, extra: str) -> Series:
        body = urllib.parse.urlencode({"query": expr, "time": EPOCH_TS + t}).encode() + extra.encode()
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/query", data=body, timeout=60) as reply:
                data = json.load(reply)["data"]
        except urllib.error.HTTPError as err:
            with err:
                raise AssertionError(f"{expr}: {err.read().decode()[:500]}") from None
        if data["resultType"] == "scalar":
            return {(): float(data["result"][1])}
        return {labels_of(result): float(result["value"][1]) for result in data["result"]}


def labels_of(result: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    # An empty label counts as absent; VictoriaMetrics shows one that label_replace emptied.
    return tuple(sorted((k, v) for k, v in result["metric"].items() if k != "__name__" and v))


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engines")


@pytest.fixture(scope="session")
def lines(home: Path) -> Path:
    """The scrapes of the simulated agents and poller, as OpenMetrics."""
    path = home / "samples.om"
    with path.open("w") as out:
        out.writelines(played(Fleet(FLEET, EPOCH_TS), LENGTH))
    return path


@pytest.fixture(scope="session")
def history(home: Path, lines: Path) -> History:
    copy_rules(config_dir(), home / "rules", FLEET.budget_usd_per_month)
    it = History(home / "data", home / "rules", EPOCH_TS, EPOCH_TS + LENGTH)
    with lines.open() as text:
        it.write(text)
    it.record()
    return it


@pytest.fixture(scope="session")
def installed(history: History) -> Iterator[Engine]:
    """The distribution's Prometheus."""
    with history.served() as url:
        yield Engine(url)


@pytest.fixture(scope="session")
def newer() -> Path:
    """The directory with Prometheus 3 and its promtool."""
    directory = Path(os.environ.get("EPOCHCOST_ENGINES", ""))
    if not (directory / "prometheus").is_file():
        pytest.fail("run scripts/test-engines, which brings Prometheus 3")
    return directory


@pytest.fixture(scope="session")
def prometheus3(home: Path, history: History, newer: Path) -> Iterator[Engine]:
    """Prometheus 3 over a copy of the same data, with the project's own configuration and rules."""
    shutil.copytree(history.data, home / "data3")
    text = (config_dir() / "prometheus.yml").read_text().replace("rules/*.yml", f"{home}/rules/*.yml")
    (home / "prometheus3.yml").write_text(text)
    address = ("127.0.0.1", free_port("127.0.0.1", 0))
    command = prometheus_command(home / "prometheus3.yml", home / "data3", address)
    command[0] = str(newer / "prometheus")
    command.append("--query.lookback-delta=45s")
    with Program("prometheus 3", command, address, home / "prometheus3.log") as running:
        yield Engine(running.url)


class Victoria(Engine):
    """VictoriaMetrics; a series is gone when its next sample is missing, as in the others here."""

    def vector(self, expr: str, t: float) -> Series:
        return self.query(expr, t, "&step=45s&nocache=1")


@pytest.fixture(scope="session")
def victoria(home: Path, history: History) -> Iterator[Victoria]:
    """VictoriaMetrics with all that the distribution's Prometheus has stored, recorded series included."""
    address = f"127.0.0.1:{free_port('127.0.0.1', 0)}"
    command = [
        "victoria-metrics", f"-storageDataPath={home / 'victoria'}", f"-httpListenAddr={address}",
        "-retentionPeriod=100y", "-search.latencyOffset=0s", "-search.maxStalenessInterval=45s", "-loggerLevel=ERROR",
    ]  # fmt: skip
    log = (home / "victoria.log").open("w")
    with log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            it = Victoria(f"http://{address}")
            wait_for(lambda: is_ready(f"{it.url}/health"), 30, "VictoriaMetrics")
            sample_count = send(it, history.data)
            count_query = f"sum(count_over_time({{__name__!=''}}[{LENGTH + 60:g}s]))"
            wait_for(
                lambda: it.vector(count_query, LENGTH + 1).get((), 0) >= sample_count,
                60,
                f"{sample_count} samples",
                every=1,
            )
            yield it
        finally:
            process.terminate()


def is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return reply.status == 200
    except OSError:
        return False


def send(engine: Engine, data: Path) -> int:
    """Send every sample of a Prometheus data directory; returns their number."""
    dump = subprocess.Popen(["promtool", "tsdb", "dump", str(data)], stdout=subprocess.PIPE, text=True)
    chunk: list[str] = []
    count = 0
    assert dump.stdout is not None

    def post() -> None:
        with urllib.request.urlopen(f"{engine.url}/api/v1/import/prometheus", data="".join(chunk).encode(), timeout=60):
            chunk.clear()

    with dump:
        for line in dump.stdout:
            labels, value, milliseconds = line.rsplit(" ", 2)
            name, rest = NAME.fullmatch(labels).groups()
            chunk.append(f"{name}{{{rest.replace(', ', ',')}}} {value} {milliseconds}")
            count += 1
            if len(chunk) >= 100_000:
                post()
        post()
    return count


def replay(path: Path, rules: list[dict[str, Any]], engine: Engine) -> None:
    """Let vmalert compute recording rules over the past; what it writes has the label ``by``."""
    path.write_text(yaml.safe_dump({"groups": [{"name": path.stem, "interval": "30s", "rules": rules}]}))
    span = [datetime.fromtimestamp(EPOCH_TS + t, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ") for t in (60, LENGTH)]
    command = [
        "vmalert", f"-rule={path}", f"-datasource.url={engine.url}", f"-remoteWrite.url={engine.url}",
        f"-replay.timeFrom={span[0]}", f"-replay.timeTo={span[1]}", "-replay.rulesDelay=0s",
        "-external.label=by=vmalert", "-replay.disableProgressBar", "-remoteWrite.flushInterval=100ms",
        "-replay.maxDatapointsPerQuery=10000",
        "-datasource.queryStep=45s", "-loggerLevel=ERROR",
    ]  # fmt: skip
    completed = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert completed.returncode == 0, completed.stderr[-2000:]
