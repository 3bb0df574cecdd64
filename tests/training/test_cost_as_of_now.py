"""A run's current dollars: those written by the agent, plus the cost since then."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from tests.training.reporting import directory, write_cost

import epochcost
from epochcost.training.cost import AHEAD_SECONDS, CostFile

__all__ = ["directory"]


def cost_file(directory: Path, seconds_ago: float, **figures: float) -> CostFile:
    write_cost(directory, "r", cost_usd=2.0, **figures)
    then = time.time() - seconds_ago
    os.utime(directory / "r.cost.json", (then, then))
    return CostFile(lambda: directory, "r")


def test_the_cost_since_then_is_added(directory: Path, monkeypatch: pytest.MonkeyPatch):
    costs = cost_file(directory, 4.0, usd_per_hour=3600.0, projected_cost_usd=9.0)
    first = costs.figure("cost_usd")
    assert first is not None
    assert 6.0 <= first <= 6.0 + 2.0  # a dollar a second; writing and reading took a moment
    assert costs.figure("projected_cost_usd") == 9.0
    later = time.monotonic() + 0.5
    monkeypatch.setattr("epochcost.training.cost.time.monotonic", lambda: later)
    second = costs.figure("cost_usd")
    assert second is not None
    assert second > first


@pytest.mark.parametrize(("age", "usd"), [(200.0, 2.0 + AHEAD_SECONDS), (-50.0, 2.0)])
def test_a_stopped_agent_and_a_changed_clock_add_nothing(directory: Path, age: float, usd: float):
    costs = cost_file(directory, age, usd_per_hour=3600.0)
    figure = costs.figure("cost_usd")
    assert figure is not None
    assert usd <= figure <= usd + 2.0


def test_a_run_that_has_ended_costs_nothing_more(directory: Path):
    cost_file(directory, 0.0, usd_per_hour=3600.0)
    run = epochcost.run("x", id="r")
    run.start()
    run.end()
    first = run.cost_usd
    assert first is not None
    time.sleep(0.01)  # what would be added, were it not at its end
    assert run.cost_usd == first


def test_without_an_hourly_price_the_agents_figure_is_unchanged(directory: Path):
    assert cost_file(directory, 4.0).figure("cost_usd") == 2.0
    assert cost_file(directory, 4.0, usd_per_hour=-5.0).figure("cost_usd") == 2.0
