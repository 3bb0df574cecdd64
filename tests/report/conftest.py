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
class HistoryStore:
    """A store with a known history."""

    url: str

    reports: dict[str, Report] = field(default_factory=dict)

    def full_report(self) -> Report:
        """The report over all of it, built once."""
        return self.reports.setdefault("whole", self.reports.get("whole") or self.report())

    def middle_report(self) -> Report:
        """The report over the two hours in the middle, built once."""
        return self.reports.setdefault("part", self.reports.get("part") or self.report(7200, 14_400))

    def report(self, begin: float = 0.0, end: float = LENGTH, **settings: Any) -> Report:
        report_settings = ReportSettings(prometheus_url=self.url, **settings)
        between = span(str(FLEET.epoch_ts + begin), str(FLEET.epoch_ts + end), time.time())
        return make(connect_all(report_settings), report_settings, between, time.time(), lambda *_: None)


def run_of(report: Report, label: str) -> Row:
    (row,) = [row for row in report.runs if row.label == label]
    return row


@pytest.fixture(scope="session")
def history_samples(tmp_path_factory: pytest.TempPathFactory) -> list:
    return list(past(FLEET, LENGTH, *CHANGES))


@pytest.fixture(scope="session")
def in_prometheus(history_samples: list, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HistoryStore]:
    data = tmp_path_factory.mktemp("prometheus") / "data"
    write(data, history_samples, FLEET.epoch_ts)
    with prometheus(data) as url:
        yield HistoryStore(url)


@pytest.fixture(scope="session")
def in_victoria(history_samples: list, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HistoryStore]:
    if not victoria_metrics():
        pytest.skip("no victoria-metrics on this machine")
    with victoria(tmp_path_factory.mktemp("victoria") / "data", history_samples, FLEET.epoch_ts) as url:
        yield HistoryStore(url)


@pytest.fixture(params=["prometheus", "victoria"])
def store(request: pytest.FixtureRequest) -> HistoryStore:
    """The same history in Prometheus and in VictoriaMetrics."""
    history: HistoryStore = request.getfixturevalue(f"in_{request.param}")
    return history


@pytest.fixture(scope="session")
def full_report(in_prometheus: HistoryStore) -> Report:
    """The report over the whole history."""
    return in_prometheus.full_report()


@pytest.fixture(scope="session")
def write_blocks(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list, float], Path]:
    """Writes samples into a new data directory."""

    def make_data(samples: list, epoch_ts: float) -> Path:
        data = tmp_path_factory.mktemp("blocks") / "data"
        write(data, samples, epoch_ts)
        return data

    return make_data


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    """A store whose responses the test sets."""
    server = Scripted()
    yield server
    server.stop()
