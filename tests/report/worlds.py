"""A simulated history with the events of a fleet's life; every name and figure is simulated."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from tests.grafana.scenarios import FLEETS, G5, LENGTH
from tests.grafana.simulated_fleet import SimulatedFleet, SimulatedNode, SimulatedRun, Stretch
from tests.report.stored import EVERY, Sample

from epochcost.model import State

__all__ = ["COMPLETE_RUNS", "FLEET", "LENGTH", "MOVED", "cost", "last_scrape", "node"]
U = State.USEFUL


def _single(node: str, run: str, **changes: Any) -> SimulatedNode:
    stretches = (
        Stretch(0, 600, State.STARTUP, run, memory_fill=0.1),
        Stretch(600, LENGTH + 3600, U, run, 0.8, 0, 6, 32, 0.5),
    )
    return replace(G5, node=node, stretches=stretches, prices=((0, 0.5), (9000, 0.9)), **changes)


MOVED = (
    replace(
        G5, node="sim-taken", prices=((0, 0.4),),
        stretches=(Stretch(0, 300, State.STARTUP, "moved-1"), Stretch(300, 7500, U, "moved-1", 0.9, 0, 12, 64, 0.5)),
    ),
    replace(
        G5, node="sim-next", zone="eu-west-1c", prices=((0, 0.8),),
        stretches=(
            Stretch(9000, 9300, State.STARTUP, "moved-1"),
            Stretch(9300, 9900, State.REPLAY, "moved-1", 0.9, 0, 12, 64, 0.5, rewind=-22),
            Stretch(9900, 18000, U, "moved-1", 0.9, 0, 12, 64, 0.5),
            Stretch(18000, LENGTH + 3600, State.FINISHED),
        ),
    ),
)  # fmt: skip
GAPPY = _single("sim-gappy", "gappy-1")
RESTARTED = _single("sim-restarted", "restarted-1")
MOVING_ADDRESS = _single("sim-roaming", "roaming-1")
UNPRICED_AGENT = _single("sim-pricefree", "pricefree-1", agent_knows_price=False, zone="eu-west-1d")
NOBODY_KNOWS = _single("sim-nobody", "nobody-1")
NOBODY_KNOWS = replace(
    NOBODY_KNOWS, prices=(), on_demand_usd_per_hour=None, instance_type="sim-unlisted", provider="sim"
)
SINGLES = (GAPPY, RESTARTED, MOVING_ADDRESS, UNPRICED_AGENT, NOBODY_KNOWS)
RUNS = (
    SimulatedRun("moved-1", "moved", 100, 10_000, nodes=1),
    *(SimulatedRun(n.stretches[0].run, n.stretches[0].run.removesuffix("-1"), 100, 10_000) for n in SINGLES),
)
FLEET = SimulatedFleet((*FLEETS["many"].nodes, *MOVED, *SINGLES), (*FLEETS["many"].runs, *RUNS))
COMPLETE_RUNS = ("moved-1", *(n.stretches[0].run for n in SINGLES))


def node(name: str) -> SimulatedNode:
    return next(n for n in FLEET.nodes if n.node == name)


def last_scrape(n: SimulatedNode, t: float) -> float:
    """The node's last scrape up to ``t`` (s); what it did between that scrape and its end is unknown."""
    return min(t, (math.ceil(n.stretches[-1].end / EVERY) - 1) * EVERY)


def cost(run: str, begin: float = 0.0, end: float = LENGTH) -> float:
    """Dollars of a run from ``begin`` to ``end`` (s), as far as scrapes could see them."""
    return sum(n.run_cost(run, last_scrape(n, end)) - n.run_cost(run, last_scrape(n, begin)) for n in FLEET.nodes)


def gap(samples: Iterable[Sample]) -> Iterable[Sample]:
    """This node was not scraped for 40 minutes, in which its price rose."""
    return (s for s in samples if not (s[2].get("instance", "").startswith("sim-gappy:") and 7500 < s[0] < 9900))


def lost_state(samples: Iterable[Sample]) -> Iterable[Sample]:
    """This agent lost its state at 12,090 s, between two scrapes, and counts from 0 again."""
    for t, name, labels, value in samples:
        counter = name.startswith("epochcost_run_") and name.endswith(("_total", "_sum", "_count"))
        if labels.get("instance", "").startswith("sim-restarted:") and counter and t >= 12_100:
            yield t, name, labels, value - _RESTART.setdefault((name, *labels.values()), value)
        else:
            yield t, name, labels, value


_RESTART: dict[tuple[str, ...], float] = {}


def new_address(samples: Iterable[Sample]) -> Iterable[Sample]:
    """This machine came back under another address; its agent continued to count."""
    for t, name, labels, value in samples:
        if labels.get("instance", "").startswith("sim-roaming:") and t >= 10_000:
            yield t, name, {**labels, "instance": "10.9.9.9:10835"}, value
        else:
            yield t, name, labels, value


def scored(samples: Iterable[Sample]) -> Iterable[Sample]:
    """Two runs of an experiment report a figure by which they can be compared."""
    for t, name, labels, value in samples:
        yield t, name, labels, value
        if name == "epochcost_run_info" and (score := SCORES.get(labels["run"])) is not None:
            identity = {label: labels[label] for label in (*_IDENTITY, "run", "part") if label in labels}
            yield t, "epochcost_run_reported_value", {**identity, "metric": "score"}, score + t / 1e6


SCORES = {"vit-large-901": 0.5, "vit-large-902": 0.7}
_IDENTITY = ("epochcost_machine", "cluster", "job", "instance")
CHANGES = (gap, lost_state, new_address, scored)
