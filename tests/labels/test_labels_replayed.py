"""Eight scrape configurations in one store, each a cluster of its own: every dollar counts once, every panel answers.

The same simulated fleet is stored under the labels that each configuration makes (`LabelSet.stored_labels`), the
project's rules are computed over all of it at once, and each cluster must have the results of the plain one.
`scripts/test-labels` tests the labels of real scrapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest
from tests.each import each
from tests.grafana.boards import PanelQuery, queries
from tests.grafana.scenarios import CPU_ONLY, DESK, FLEETS, G5, LEFT_ON, RUNS, U
from tests.grafana.simulated_fleet import Sample, SimulatedFleet, SimulatedRun, Stretch
from tests.grafana.simulated_prometheus import STEP_SECONDS, instant, openmetrics, prometheus
from tests.kept import kept
from tests.labels.label_sets import SETS
from tests.stack import available

from epochcost.demo import rules_for_replay as rulebook
from epochcost.demo.history import Fired, History
from epochcost.demo.simulated_agent import machine_name
from epochcost.model import State

pytestmark = [pytest.mark.stack, pytest.mark.skipif(not available(), reason="no Prometheus on this machine")]
LENGTH = 3600.0
GONE = 1500.0
MOVED, TWO_AT_ONCE = "moved-1", "twice-1"


def _stretches(run: str, begin: float, end: float, rewind: float = 0.0) -> tuple[Stretch, ...]:
    return (
        Stretch(begin, begin + 60, State.STARTUP, run),
        Stretch(begin + 60, end, U, run, 0.9, 0, 30, 64, 0.5, rewind=rewind),
    )


TAKEN = replace(G5, node="sim-taken", notice_at=None, stretches=_stretches(MOVED, 0, GONE))
NEXT = replace(G5, node="sim-next", notice_at=None, stretches=_stretches(MOVED, 1800, 2 * LENGTH, rewind=-11))
FIRST = replace(G5, node="sim-first", zone="", notice_at=None, stretches=_stretches(TWO_AT_ONCE, 0, 2 * LENGTH))
SECOND = replace(FIRST, node="sim-second")
FLEET = SimulatedFleet(
    (TAKEN, NEXT, FIRST, SECOND, CPU_ONLY, DESK, LEFT_ON),
    (
        SimulatedRun(MOVED, "moved", 100, 10_000),
        SimulatedRun(TWO_AT_ONCE, "twice", 200, 10_000, nodes=2, world=2, budget_usd=5),
        *RUNS,
    ),
    offers=FLEETS["many"].offers,
)
"""A run that moved on at 1800 s, one on two machines, one machine whose agent has no price."""
TARGETS = [*(f"{node.node}:10835" for node in FLEET.nodes), "prices:10836"]
CLUSTERS = {name: ("eu", "us") if labels.clusters > 1 else (f"c{i}",) for i, (name, labels) in enumerate(SETS.items())}


@dataclass(frozen=True)
class Relabelled:
    """`FLEET` under every set of labels at once."""

    fleet: SimulatedFleet

    @property
    def epoch_ts(self) -> float:
        return self.fleet.epoch_ts

    def samples(self, t: float) -> Iterator[Sample]:
        down = [("up", {"job": "epochcost-agent", "instance": f"{TAKEN.node}:10835"}, 0.0)] if t >= GONE else []
        for name, labels, value in (*self.fleet.samples(t), *down):
            for labels_stored in _everywhere(tuple(labels.items())):
                yield name, labels_stored, value


@cache
def _everywhere(labels: tuple[tuple[str, str], ...]) -> tuple[dict[str, str], ...]:
    """Labels of a series of the fleet as every configuration stores them."""
    own = dict(labels)
    if own.get("instance") not in TARGETS:
        return ()
    i = TARGETS.index(own["instance"])
    return tuple(
        {**label_set.stored_labels(own, i, copy), **({"cluster": CLUSTERS[name][0]} if label_set.clusters == 1 else {})}
        for name, label_set in SETS.items()
        for copy in label_set.copies
    )


@dataclass(frozen=True)
class StoredSets:
    url: str
    now: float
    fired: list[Fired]


@pytest.fixture(scope="module")
def stored_sets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoredSets]:
    folder = tmp_path_factory.mktemp("labels")
    kept("labels", build, folder)
    with prometheus(folder / "data") as url:
        history = History(folder / "data", folder / "rules", FLEET.epoch_ts, FLEET.epoch_ts + LENGTH)
        yield StoredSets(url, FLEET.epoch_ts + LENGTH - 1, [f for f in history.alerts() if f.firing_ts])


def build(fresh: Path) -> None:
    """Build the data directory in ``fresh``."""
    rulebook.copy_rules(rulebook.config_dir(), fresh / "rules", 1000.0)
    history = History(fresh / "data", fresh / "rules", FLEET.epoch_ts, FLEET.epoch_ts + LENGTH)
    history.write(openmetrics(Relabelled(FLEET), LENGTH))  # type: ignore[arg-type]  # it asks for samples alone
    history.record()


OTHERS = [(name, cluster) for name, clusters in CLUSTERS.items() for cluster in clusters if name != "plain"]
CHOSEN = {
    "run": MOVED, "machine": machine_name("sim-next"), "experiment": "moved", "instance_type": "p4d.24xlarge",
    "here": "g5.xlarge", "__range": "1h", "__rate_interval": "2m",
}  # fmt: skip
FIGURES = (
    "cluster:epochcost_price_usd_per_hour:sum",
    "cluster:epochcost_waste_usd_per_hour:rate5m",
    "run:epochcost_cost_usd:sum",
    "run_state:epochcost_cost_usd:sum",
    "run:epochcost_cost_usd:projected",
    "run:epochcost_cost_usd_per_hour:sum",
    "run:epochcost_epoch_cost_usd:mean",
    "run:epochcost_epochs:executed",
    "run:epochcost_epochs:useful",
    "run:epochcost_saving_ratio:realised",
    "run:epochcost_budget_ratio:spent",
    "node:epochcost_price_usd_per_hour:unified",
    "node:epochcost_on_demand_price_usd_per_hour:unified",
    "sum by (cluster) (sum_over_time(cluster:epochcost_spent_usd:step[1h]))",
)


def of_cluster(stored_sets: StoredSets, expr: str, cluster: str) -> dict[tuple[tuple[str, str], ...], float]:
    chosen = f'({expr}) and on (cluster) label_replace(vector(1), "cluster", "{cluster}", "", "")'
    own_names = {"run", "state", "epochcost_machine", "node"}
    return {
        tuple(sorted((k, v) for k, v in r["metric"].items() if k in own_names)): float(r["value"][1])
        for r in instant(stored_sets.url, chosen, stored_sets.now)
    }


@each("expr", FIGURES)
def test_every_figure_equals_that_of_the_plain_scrape(stored_sets: StoredSets, expr: str) -> None:
    plain = of_cluster(stored_sets, expr, CLUSTERS["plain"][0])
    assert plain
    for name, cluster in OTHERS:
        assert of_cluster(stored_sets, expr, cluster) == pytest.approx(plain, rel=1e-9), name


@each("query", queries())
def test_every_panel_has_the_plain_clusters_result_in_every_cluster(stored_sets: StoredSets, query: PanelQuery) -> None:
    plain = instant(stored_sets.url, query.filled(**CHOSEN, cluster=CLUSTERS["plain"][0]), stored_sets.now)
    for name, cluster in OTHERS:
        result = instant(stored_sets.url, query.filled(**CHOSEN, cluster=cluster), stored_sets.now)
        assert len(result) == len(plain), name
    both = instant(
        stored_sets.url, query.filled(**CHOSEN, cluster=".*" if query.board != "run" else "eu"), stored_sets.now
    )
    assert bool(both) is bool(plain)
    if query.key:
        assert len({r["metric"][query.key] for r in both}) == len(both), "two rows for one thing"


def test_the_moved_run_has_the_dollars_and_epochs_of_both_machines(stored_sets: StoredSets) -> None:
    t = LENGTH - STEP_SECONDS
    usd = TAKEN.run_cost(MOVED, GONE - STEP_SECONDS) + NEXT.run_cost(MOVED, t)
    for _, cluster in OTHERS:
        ((_, cost),) = of_cluster(stored_sets, f'run:epochcost_cost_usd:sum{{run="{MOVED}"}}', cluster).items()
        assert cost == pytest.approx(usd, rel=0.02)
        ((_, lost_epochs),) = of_cluster(stored_sets, f'run:epochcost_epochs:lost{{run="{MOVED}"}}', cluster).items()
        assert lost_epochs == pytest.approx(12 - 11, abs=0.3)


def test_the_removed_machine_fires_an_alert_in_every_cluster(stored_sets: StoredSets) -> None:
    down = {f.labels.get("cluster") for f in stored_sets.fired if f.alert == "EpochcostAgentDown"}
    assert down >= {cluster for clusters in CLUSTERS.values() for cluster in clusters}
