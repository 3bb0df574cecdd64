"""Snapshot -> metrics: one file a subject; each metric is one row of a table, so that its name is in one place.

A collector yields a family only for what is known: unknown is absent, never zero.
"""

from __future__ import annotations

from collections.abc import Callable

from epochcost.agent.collectors.family import PREFIX, SubjectCollector
from epochcost.agent.collectors.gpu import GPU
from epochcost.agent.collectors.guard import GUARD
from epochcost.agent.collectors.node import NODE
from epochcost.agent.collectors.own import OWN, Healths, own
from epochcost.agent.collectors.owner import OWNER
from epochcost.agent.collectors.run import RUN, SUMMARIES, EpochCollector
from epochcost.agent.collectors.terms import TERMS
from epochcost.agent.snapshot import Snapshot


def collectors(
    snapshot: Callable[[], Snapshot | None], healths: Healths | None = None
) -> dict[str, SubjectCollector | EpochCollector]:
    """The agent's collectors by subject.

    Args:
        snapshot: the newest; None before the first.
        healths: how the collectors went, by name; by default those of the snapshot.
    """
    return {
        "node": SubjectCollector((*NODE, *TERMS), snapshot),
        "gpu": SubjectCollector(GPU, snapshot),
        "owner": SubjectCollector(OWNER, snapshot),
        "run": SubjectCollector(RUN, snapshot),
        "guard": SubjectCollector(GUARD, snapshot),
        "epoch": EpochCollector(snapshot),
        "own": SubjectCollector(OWN if healths is None else own(healths), snapshot),
    }


def metric_names() -> list[str]:
    """Every name that the agent may export, as Prometheus stores it."""
    names = [PREFIX + f.name for f in (*NODE, *TERMS, *GPU, *OWNER, *RUN, *GUARD, *OWN)]
    names += [f"{PREFIX}{name}_{part}" for name, *_ in SUMMARIES for part in ("sum", "count")]
    return sorted(names)
