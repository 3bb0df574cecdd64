"""A run over several machines, from its own process: a part is labelled as such, and never compared with the budget."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from tests.training.reporting import directory, write_cost

import epochcost
from epochcost.training import warning

__all__ = ["directory"]


@pytest.fixture(autouse=True)
def nothing_warned_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warning, "_warned", set())


def over(directory: Path, caplog: pytest.LogCaptureFixture, budget: float = 5.0, **figures: Any) -> epochcost.Run:
    write_cost(directory, "r", cost_usd=9.0, projected_cost_usd=20.0, **figures)
    caplog.set_level(logging.INFO, "epochcost")
    return epochcost.run("a", id="r", epochs=4, budget_usd=budget)


def test_the_entire_runs_dollars_decide_on_the_budget(directory: Path, caplog):
    with over(directory, caplog, scope="run", machines=2, machine_cost_usd=4.5) as run:
        assert run.over_budget
        assert run.projected_over_budget
        assert run.part is None
        for _ in run.epochs():
            pass
    assert "$9.00 ($2.25 per epoch, 2 machines)" in caplog.text


def test_a_part_decides_nothing_and_one_warning_names_the_missing_figures(directory: Path, caplog):
    with over(directory, caplog, scope="machine", machines=2, missing="set --prometheus.url on the agent") as run:
        for _ in range(3):
            assert not run.over_budget
            assert not run.projected_over_budget
        assert run.cost_usd == 9.0
        assert str(run.part) == "this machine's part of 2"
        assert "$9.00, this machine's part of 2" in repr(run)
        run.report(epoch=4)
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warnings == [
        (
            "epochcost: over_budget of run r cannot be determined: its cost is this machine's part of 2: "
            "set --prometheus.url on the agent"
        )
    ]
    assert "$9.00 (this machine's part of 2)" in caplog.text
    assert "per epoch" not in caplog.text


def test_an_earlier_part_on_unknown_machines_is_a_part_too(directory: Path, caplog):
    with over(directory, caplog, scope="machine", machines=1, missing="an earlier part") as run:
        assert str(run.part) == "this machine's part"
        assert not run.over_budget


def test_an_agent_of_the_version_before_has_one_machines_dollars_of_two(directory: Path, caplog, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("LOCAL_RANK", "0")
    with over(directory, caplog) as run:
        assert str(run.part) == "this machine's part of 2"
        assert not run.over_budget


def test_an_agent_of_the_version_before_has_all_dollars_of_one_machine(directory: Path, caplog):
    with over(directory, caplog) as run:
        assert run.over_budget
        assert run.part is None
        assert "$9.00" in repr(run)


@pytest.mark.parametrize(
    "figures",
    [
        {"scope": "universe", "machines": "two"},
        {"scope": ["run"], "machines": -1, "missing": 3},
        {"scope": "machine", "machines": 1e300, "missing": {"a": 1}},
        {"scope": "machine", "machines": True},
    ],
)
def test_any_cost_file_never_breaks_the_training(directory: Path, caplog, figures: dict[str, Any]):
    with over(directory, caplog, **figures) as run:
        assert run.over_budget in (True, False)
        assert repr(run)
        assert not isinstance(run.part, BaseException)
