"""The demo's history, played once: six simulated hours in a real Prometheus with the project's own rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from epochcost.demo.app import played
from epochcost.demo.fleet import FLEET
from epochcost.demo.history import Fired, History, alert_lines
from epochcost.demo.rules_for_replay import config_dir, copy_rules
from epochcost.demo.simulated_agent import Fleet

HOURS = 6
EPOCH_TS = 1_699_999_200.0
"""On the hour: budgets are summed up by whole hours."""


@dataclass(frozen=True)
class PlayedDemo:
    """``url`` of the Prometheus that holds it, until ``now`` (seconds since the beginning)."""

    fleet: Fleet
    fired: list[Fired]
    url: str
    now: float = HOURS * 3600.0
    epoch_ts: float = EPOCH_TS


@pytest.fixture(scope="session")
def demo_history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlayedDemo]:
    """The history that the demo plays before it continues live."""
    home = tmp_path_factory.mktemp("demo")
    copy_rules(config_dir(), home / "rules", FLEET.budget_usd_per_month)
    history = History(home / "data", home / "rules", EPOCH_TS, EPOCH_TS + HOURS * 3600)
    fleet = Fleet(FLEET, EPOCH_TS)
    history.write(played(fleet, HOURS * 3600))
    history.record()
    fired = history.alerts()
    history.write(alert_lines(fired))
    with history.served() as url:
        yield PlayedDemo(fleet, fired, url)
