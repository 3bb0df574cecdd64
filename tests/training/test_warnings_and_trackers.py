"""What the library logs, and the program's own trackers: neither can end a training run."""

from __future__ import annotations

import logging
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from epochcost.training.trackers import hand_over
from epochcost.training.warning import inform_once, shown, warn_once

COSTS = {"epochcost/cost_usd": 2.5}


@pytest.fixture(autouse=True)
def _nothing_warned_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("epochcost.training.warning._warned", set())


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no text")


class BrokenHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise RuntimeError("the disk is full")


def test_each_subject_is_logged_once_at_its_level(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "epochcost"):
        for _ in range(3):
            warn_once("a", "first")
            inform_once("b", "second")
            warn_once("b", "of the same subject")
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("WARNING", "epochcost: first"),
        ("INFO", "epochcost: second"),
    ]


def test_a_handler_that_fails_does_not_reach_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("epochcost")
    monkeypatch.setattr(logger, "handlers", [BrokenHandler()])
    warn_once("a", "first")


def test_any_value_can_be_shown() -> None:
    assert shown(Unprintable()) == "<Unprintable>"
    assert shown("x" * 100) == f"'{'x' * 56}..."


def module(monkeypatch: pytest.MonkeyPatch, name: str, **attributes: Any) -> None:
    """A fake tracker with the called functions; the real ones are in tests/frameworks/test_trackers.py."""
    fake_module = ModuleType(name)
    vars(fake_module).update(attributes)
    monkeypatch.setitem(sys.modules, name, fake_module)


def test_each_tracker_gets_dollars_in_its_own_way_and_a_failing_one_logs_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rows: list[tuple[str, dict[str, float], dict[str, Any]]] = []

    def fails(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route")

    def experiment() -> Any:
        return SimpleNamespace(log_metrics=lambda costs, step: rows.append(("comet", costs, {"step": step})))

    module(monkeypatch, "wandb", run=SimpleNamespace(log=fails))
    module(
        monkeypatch, "mlflow", active_run=object, log_metrics=lambda costs, **more: rows.append(("mlflow", costs, more))
    )
    module(monkeypatch, "comet_ml", get_running_experiment=experiment)
    for step in (1, 2):
        hand_over(COSTS, step)
    assert rows[:2] == [("mlflow", COSTS, {"step": 1, "synchronous": False}), ("comet", COSTS, {"step": 1})]
    assert len(rows) == 4
    assert [r.getMessage() for r in caplog.records] == [
        "epochcost: costs are not logged to wandb: ConnectionError: no route"
    ]


def test_a_tracker_without_an_open_run_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        pytest.fail("nothing is open")

    module(monkeypatch, "wandb", run=None)
    module(monkeypatch, "mlflow", active_run=lambda: None, log_metrics=never)
    module(monkeypatch, "comet_ml", get_running_experiment=lambda: None)
    hand_over(COSTS, 1)
    module(monkeypatch, "wandb", run=SimpleNamespace(log=never))
    hand_over({}, 1)
