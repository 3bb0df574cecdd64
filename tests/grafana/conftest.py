"""The dashboards' own code lives in grafana/build and is run as a program; the tests import it from there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.grafana.scenarios import FLEETS, LENGTH
from tests.grafana.simulated_prometheus import backfill, prometheus

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "grafana" / "build"))


@dataclass(frozen=True, slots=True)
class History:
    """A real Prometheus with simulated history that ends at ``now`` (s since the Unix epoch)."""

    url: str
    now: float


def _history(name: str, folder: Path) -> Iterator[History]:
    fleet = FLEETS[name]
    backfill(fleet, folder / "data")
    with prometheus(folder / "data") as url:
        yield History(url, fleet.epoch_ts + LENGTH)


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    """Eight nodes, six runs, three alerts."""
    yield from _history("many", tmp_path_factory.mktemp("many"))


@pytest.fixture(scope="session")
def cpu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    """One node without a GPU, and its run."""
    yield from _history("cpu", tmp_path_factory.mktemp("cpu"))


@pytest.fixture(scope="session")
def unpriced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    """One GPU, one run, no price anywhere, no poller."""
    yield from _history("unpriced", tmp_path_factory.mktemp("unpriced"))
