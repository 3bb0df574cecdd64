"""The dashboards' own code lives in grafana/build and is run as a program; the tests import it from there."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.grafana.scenarios import FLEETS, LENGTH
from tests.grafana.simulated_prometheus import prometheus, scenario
from tests.kept import kept

from epochcost.demo.simulated_agent import machine_name

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "grafana" / "build"))


@dataclass(frozen=True, slots=True)
class History:
    """A real Prometheus with simulated history that ends at ``now`` (s since the Unix epoch)."""

    url: str
    now: float
    chosen: Mapping[str, str]
    """What is chosen in the variables at the top of the dashboards."""


CHOSEN = {
    "many": {
        "run": "llm-7b-4417",
        "machine": machine_name("sim-a100-01"),
        "experiment": "char-lm",
        "instance_type": "p4d.24xlarge",
        "here": "p4d.24xlarge",
    },
    "articles": {
        "run": "sim-lstm-p2-batch100",
        "machine": machine_name("sim-p2"),
        "experiment": "lstm-char",
        "instance_type": "p2.xlarge",
        "here": "p2.xlarge",
    },
    "study": {"experiment": "cats-dogs", "epochs": "1"},
    "cpu": {
        "run": "char-lm-cpu-7",
        "machine": machine_name("sim-cpu-01"),
        "experiment": "char-lm",
        "instance_type": "c7i.8xlarge",
        "here": "c7i.8xlarge",
    },
    "unpriced": {"run": "char-lm-31", "machine": machine_name("sim-unpriced"), "experiment": "char-lm"},
    "empty": {"run": "none", "machine": machine_name("none"), "experiment": "none"},
}


def _history(name: str, folder: Path) -> Iterator[History]:
    fleet = FLEETS[name]
    kept(name, scenario(name), folder)
    with prometheus(folder / "data") as url:
        yield History(url, fleet.epoch_ts + LENGTH, CHOSEN[name])


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


@pytest.fixture(scope="session")
def articles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    """One experiment on four machine types, as in the article that the project was made from, and one type more."""
    yield from _history("articles", tmp_path_factory.mktemp("articles"))


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    """The study of 2018: one model trained on four machine types of very different prices."""
    yield from _history("study", tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    """A Prometheus without any data."""
    yield from _history("empty", tmp_path_factory.mktemp("empty"))
