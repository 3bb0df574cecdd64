"""Eight scrape configurations in one store, each a cluster of its own: every dollar counts once, every panel answers.

The same simulated fleet is stored under the labels that each configuration makes (`LabelSet.stored`), the project's
rules are computed over all of it at once, and each cluster must say what the plain one says. What real scrapes make of
the labels is held by `scripts/test-labels`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest
from tests.each import each
from tests.grafana.boards import Asked, queries
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


def _life(run: str, begin: float, end: float, rewind: float = 0.0) -> tuple[Stretch, ...]:
    return (
        Stretch(begin, begin + 60, State.STARTUP, run),
        Stretch(begin + 60, end, U, run, 0.9, 0, 30, 64, 0.5, rewind=rewind),
    )


TAKEN = replace(G5, node="sim-taken", notice_at=None, stretches=_life(MOVED, 0, GONE))
NEXT = replace(G5, node="sim-next", notice_at=None, stretches=_life(MOVED, 1800, 2 * LENGTH, rewind=-11))
FIRST = replace(G5, node="sim-first", zone="", notice_at=None, stretches=_life(TWO_AT_ONCE, 0, 2 * LENGTH))
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
        gone = [("up", {"job": "epochcost-agent", "instance": f"{TAKEN.node}:10835"}, 0.0)] if t >= GONE else []
        for name, labels, value in (*self.fleet.samples(t), *gone):
            for stored in _everywhere(tuple(labels.items())):
                yield name, stored, value


@cache
def _everywhere(labels: tuple[tuple[str, str], ...]) -> tuple[dict[str, str], ...]:
    """Labels of a series of the fleet as every configuration stores them."""
    own = dict(labels)
    if own.get("instance") not in TARGETS:
        return ()
    i = TARGETS.index(own["instance"])
    return tuple(
        {**made.stored(own, i, copy), **({"cluster": CLUSTERS[name][0]} if made.clusters == 1 else {})}
        for name, made in SETS.items()
        for copy in made.copies
    )


@dataclass(frozen=True)
class World:
    url: str
    now: float
    fired: list[Fired]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("labels")
    kept("labels", build, folder)
    with prometheus(folder / "data") as url:
        history = History(folder / "data", folder / "rules", FLEET.epoch_ts, FLEET.epoch_ts + LENGTH)
        yield World(url, FLEET.epoch_ts + LENGTH - 1, [f for f in history.alerts() if f.firing_ts])


def build(fresh: Path) -> None:
    """All of it, in ``fresh``."""
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


def of_cluster(world: World, expr: str, cluster: str) -> dict[tuple[tuple[str, str], ...], float]:
    chosen = f'({expr}) and on (cluster) label_replace(vector(1), "cluster", "{cluster}", "", "")'
    ours = {"run", "state", "epochcost_machine", "node"}
    return {
        tuple(sorted((k, v) for k, v in r["metric"].items() if k in ours)): float(r["value"][1])
        for r in instant(world.url, chosen, world.now)
    }


@each("expr", FIGURES)
def test_every_figure_is_that_of_the_plain_scrape(world: World, expr: str) -> None:
    plain = of_cluster(world, expr, CLUSTERS["plain"][0])
    assert plain
    for name, cluster in OTHERS:
        assert of_cluster(world, expr, cluster) == pytest.approx(plain, rel=1e-9), name


@each("query", queries())
def test_every_panel_answers_in_every_cluster_as_in_the_plain_one(world: World, query: Asked) -> None:
    plain = instant(world.url, query.filled(**CHOSEN, cluster=CLUSTERS["plain"][0]), world.now)
    for name, cluster in OTHERS:
        shown = instant(world.url, query.filled(**CHOSEN, cluster=cluster), world.now)
        assert len(shown) == len(plain), name
    both = instant(world.url, query.filled(**CHOSEN, cluster=".*" if query.board != "run" else "eu"), world.now)
    assert bool(both) is bool(plain)
    if query.key:
        assert len({r["metric"][query.key] for r in both}) == len(both), "two rows for one thing"


def test_the_moved_run_has_the_dollars_and_epochs_of_both_machines(world: World) -> None:
    t = LENGTH - STEP_SECONDS
    usd = TAKEN.run_cost(MOVED, GONE - STEP_SECONDS) + NEXT.run_cost(MOVED, t)
    for _, cluster in OTHERS:
        ((_, cost),) = of_cluster(world, f'run:epochcost_cost_usd:sum{{run="{MOVED}"}}', cluster).items()
        assert cost == pytest.approx(usd, rel=0.02)
        ((_, lost),) = of_cluster(world, f'run:epochcost_epochs:lost{{run="{MOVED}"}}', cluster).items()
        assert lost == pytest.approx(12 - 11, abs=0.3)


def test_the_machine_that_is_gone_is_an_alert_in_every_cluster(world: World) -> None:
    down = {f.labels.get("cluster") for f in world.fired if f.alert == "EpochcostAgentDown"}
    assert down >= {cluster for clusters in CLUSTERS.values() for cluster in clusters}
