from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.grafana.simulated_prometheus import prometheus
from tests.report.scripted_store import Scripted
from tests.report.stored import past, victoria, victoria_metrics, write
from tests.report.worlds import CHANGES, FLEET, LENGTH

from epochcost.reports.report import Report, make
from epochcost.reports.report_settings import ReportSettings
from epochcost.reports.rows import Row
from epochcost.reports.several_stores import connect_all
from epochcost.reports.span import span


@dataclass(frozen=True)
class Told:
    """A store with a known past."""

    url: str

    kept: dict[str, Report] = field(default_factory=dict)

    def whole(self) -> Report:
        """Of all of it; asked once."""
        return self.kept.setdefault("whole", self.kept.get("whole") or self.report())

    def part(self) -> Report:
        """Of the two hours in the middle; asked once."""
        return self.kept.setdefault("part", self.kept.get("part") or self.report(7200, 14_400))

    def report(self, begin: float = 0.0, end: float = LENGTH, **settings: Any) -> Report:
        given = ReportSettings(prometheus_url=self.url, **settings)
        between = span(str(FLEET.epoch_ts + begin), str(FLEET.epoch_ts + end), time.time())
        return make(connect_all(given), given, between, time.time(), lambda *_: None)


def run_of(report: Report, label: str) -> Row:
    (row,) = [row for row in report.runs if row.label == label]
    return row


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> list:
    return list(past(FLEET, LENGTH, *CHANGES))


@pytest.fixture(scope="session")
def in_prometheus(world: list, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    data = tmp_path_factory.mktemp("prometheus") / "data"
    write(data, world, FLEET.epoch_ts)
    with prometheus(data) as url:
        yield Told(url)


@pytest.fixture(scope="session")
def in_victoria(world: list, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    if not victoria_metrics():
        pytest.skip("no victoria-metrics on this machine")
    with victoria(tmp_path_factory.mktemp("victoria") / "data", world, FLEET.epoch_ts) as url:
        yield Told(url)


@pytest.fixture(params=["prometheus", "victoria"])
def store(request: pytest.FixtureRequest) -> Told:
    """The same past in Prometheus and in VictoriaMetrics."""
    told: Told = request.getfixturevalue(f"in_{request.param}")
    return told


@pytest.fixture(scope="session")
def whole(in_prometheus: Told) -> Report:
    """The report of all of it."""
    return in_prometheus.whole()


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list, float], Path]:
    """Samples -> a data directory."""

    def make_data(samples: list, epoch_ts: float) -> Path:
        data = tmp_path_factory.mktemp("told") / "data"
        write(data, samples, epoch_ts)
        return data

    return make_data


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    """A store that answers what the test wants it to."""
    made = Scripted()
    yield made
    made.stop()
