"""The same simulated fleet under every set of labels: all rules healthy, all panels answer, every dollar once.

The fleet's time and the rules run ten times as fast; then the fleet stops, so that every store has the same last
figures, however often it scrapes. It takes minutes of eight Prometheus, so only `scripts/test-labels` runs it
(``EPOCHCOST_LABEL_SETS``: ``all``, or names with semicolons); `test_labels_replayed.py` is always run.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from tests.demo.truth import run_cost
from tests.grafana.boards import PanelQuery, queries
from tests.labels.label_sets import EVALUATED_SECONDS, SETS, LabelledPrometheus, LabelSet
from tests.stack import available
from tests.waiting import wait_for

from epochcost.demo.exposition import POLLER
from epochcost.demo.fleet import FLEET, G5_NEXT, G5_TAKEN
from epochcost.demo.live import Live
from epochcost.demo.simulated_agent import Fleet, machine_name

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(not available(), reason="no Prometheus on this machine"),
    pytest.mark.skipif(not os.environ.get("EPOCHCOST_LABEL_SETS"), reason="takes minutes: scripts/test-labels"),
]
SPEED = 10.0
BEGIN, END = 7300.0, 8860.0
"""Seconds of the script: the machine of char-lm-31 ends an epoch every 204 s and is taken away at 7920; another has it
from 8280 on. Enough of its epochs are seen to end, however far a busy machine is behind."""
UNANNOUNCED = replace(
    FLEET, machines=tuple(replace(m, notice=None) if m.name == G5_TAKEN.name else m for m in FLEET.machines)
)
"""Nobody is told again that a machine is down whose interruption was announced."""
LAYERS = 6
"""Rules read rules that read rules: so many evaluations until the last ones know a figure."""
MOVED, TWO_AT_ONCE = "char-lm-31", "llm-7b-4417"
CHOSEN = {
    "run": MOVED, "machine": machine_name(G5_NEXT.name), "experiment": "char-lm", "instance_type": "p4d.24xlarge",
    "here": "p4d.24xlarge", "__range": "90s", "__rate_interval": "24s",
}  # fmt: skip
WISHED = os.environ.get("EPOCHCOST_LABEL_SETS", "")
NAMES = [name for name in SETS if WISHED == "all" or name in ("plain", *WISHED.split(";"))]
SUMS = (
    "sum(cluster:epochcost_price_usd_per_hour:sum)",
    "sum by (run) (run:epochcost_cost_usd:sum)",
    "sum by (run, state) (run_state:epochcost_cost_usd:sum)",
    "sum by (run) (run:epochcost_epochs:executed)",
    "sum by (run) (run:epochcost_epochs:useful)",
    "sum by (run) (run:epochcost_cost_usd:projected)",
    "sum by (run) (run:epochcost_cost_usd_per_hour:sum)",
    "sum by (epochcost_machine) (node:epochcost_price_usd_per_hour:unified)",
    "sum by (epochcost_machine) (node:epochcost_price_saving_ratio:now)",
    "count(machine:epochcost_node_info:max)",
)
MEANS = (
    "avg by (run) (run:epochcost_epoch_cost_usd:mean)",
    "avg by (run) (run:epochcost_useful_epoch_cost_usd:mean)",
    "avg by (run) (run:epochcost_waste_ratio:life)",
)
"""Figures that are the same in each cluster."""


@dataclass
class Stores:
    """Every store, and when to query it (s since the Unix epoch): while the fleet ran, and after all have its end."""

    stores: dict[str, LabelledPrometheus]
    asked_ts: tuple[float, ...]


@pytest.fixture(scope="module")
def stores_of_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    home = tmp_path_factory.mktemp("labels")
    fleet = Fleet(UNANNOUNCED, time.time() + (END - BEGIN) / SPEED - END)
    for _ in fleet.play(0.0, BEGIN, math.inf):
        pass
    still = threading.Event()
    started_at = math.inf  # until every store is up, which takes long on a busy machine

    def clock() -> float:
        return fleet.epoch_ts + min(END, BEGIN + SPEED * max(0.0, time.time() - started_at))

    live = Live(fleet, BEGIN, ("127.0.0.1", 0), clock)
    live.start()
    address = live.url.removeprefix("http://")
    machines = [agent.machine.name for agent in fleet.agents]
    stores: dict[str, LabelledPrometheus] = {}
    with contextlib.ExitStack() as stack:
        stack.callback(live.stop)
        stack.callback(still.set)
        for i, name in enumerate(NAMES):
            scrapes = SETS[name].scrapes(address, machines, POLLER, SPEED)
            stores[name] = stack.enter_context(LabelledPrometheus(home / str(i), scrapes, SPEED))
        started_at = time.time()
        stops_ts = started_at + (END - BEGIN) / SPEED
        still.wait(max(0.0, stops_ts - time.time()))
        for name, store in stores.items():
            last = functools.partial(seen_last, store, SETS[name], fleet)
            wait_for(last, 600, f"the last figures of every machine in {name}")
        through = time.time() + LAYERS * EVALUATED_SECONDS
        for name, store in stores.items():
            wait_for(functools.partial(store.evaluated_since, through), 600, f"the rules of {name} after them")
        yield Stores(stores, (*(stops_ts - before for before in (30, 20, 10)), time.time()))


def seen_last(store: LabelledPrometheus, labels: LabelSet, fleet: Fleet) -> bool:
    """Whether every remaining machine was scraped since the fleet stopped."""
    remaining = sum(agent.up(END) for agent in fleet.agents)
    vector = store.instant_vector(
        f"count(epochcost_sample_timestamp_seconds >= {fleet.epoch_ts + END - 1})", time.time()
    )
    return vector == [({}, float(remaining * len(labels.copies)))]


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def by_labels(response: list[tuple[dict[str, str], float]]) -> dict[tuple[tuple[str, str], ...], float]:
    """Without the run that moved: the last scrape of its first machine, before its removal, differs between stores."""
    return {tuple(sorted(labels.items())): value for labels, value in response if labels.get("run") != MOVED}


def test_every_rule_is_healthy(stores_of_fleet: Stores, name: str) -> None:
    bad = [
        f"{rule['name']}: {rule.get('lastError')}"
        for rule in stores_of_fleet.stores[name].rules()
        if rule["health"] != "ok"
    ]
    assert bad == []


def filled(name: str, query: PanelQuery) -> str:
    """A run is of one cluster: the Run dashboard takes the first that has it."""
    one = query.board == "run" and any("cluster" in copy for copy in SETS[name].copies)
    return query.filled(**CHOSEN, cluster="eu" if one else ".*")


def test_every_panel_has_the_same_result_as_without_relabelling(stores_of_fleet: Stores, name: str) -> None:
    wrong: list[tuple[str, str | int, int]] = []
    for query in queries():
        # Data that a single scrape or evaluation missed on a busy machine follows a few seconds later.
        plain = [
            stores_of_fleet.stores["plain"].instant_vector(filled("plain", query), at)
            for at in stores_of_fleet.asked_ts
        ]
        results = [
            stores_of_fleet.stores[name].instant_vector(filled(name, query), at) for at in stores_of_fleet.asked_ts
        ]
        most = max(len(rows) for rows in results)
        if any(plain) is not any(results):
            wrong.append((str(query), max(len(rows) for rows in plain), most))
        elif query.kind in ("stat", "gauge") and most > 1 and query.panel != "Cheapest run":
            wrong.append((str(query), "several figures in one tile", most))
        elif query.key and any(len({labels[query.key] for labels, _ in rows}) != len(rows) for rows in results):
            wrong.append((str(query), "two rows for one thing", most))
    assert wrong == []


@pytest.mark.parametrize("expr", [*SUMS, *MEANS])
def test_every_dollar_and_epoch_counts_once(stores_of_fleet: Stores, name: str, expr: str) -> None:
    times = SETS[name].clusters if expr in SUMS else 1
    at = time.time()
    plain = {k: times * v for k, v in by_labels(stores_of_fleet.stores["plain"].instant_vector(expr, at)).items()}
    assert plain
    assert by_labels(stores_of_fleet.stores[name].instant_vector(expr, at)) == pytest.approx(plain, rel=1e-6)


@pytest.mark.parametrize("run", [MOVED, TWO_AT_ONCE])
def test_a_moved_run_and_one_on_two_machines_match_the_script(stores_of_fleet: Stores, name: str, run: str) -> None:
    clusters = stores_of_fleet.stores[name].instant_vector(f'run:epochcost_cost_usd:sum{{run="{run}"}}', time.time())
    assert len(clusters) == SETS[name].clusters
    for _, usd in clusters:
        # No store has what a machine did between its last scrape and its removal.
        assert usd == pytest.approx(run_cost(FLEET, run, END), rel=0.02 if run == MOVED else 1e-6)


def test_the_removed_machine_fires_an_alert(stores_of_fleet: Stores, name: str) -> None:
    def down() -> set[str]:
        alerts = stores_of_fleet.stores[name].get("/api/v1/alerts")["data"]["alerts"]
        firing = [
            a["labels"] for a in alerts if a["state"] == "firing" and a["labels"]["alertname"] == "EpochcostAgentDown"
        ]
        return {labels.get("epochcost_machine", "") for labels in firing}

    wait_for(lambda: machine_name(G5_TAKEN.name) in down(), 120, f"EpochcostAgentDown under {name}")
