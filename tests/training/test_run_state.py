"""A run's state in a checkpoint, its budget check, and its last line."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import pytest
from tests.training.programs import events, train
from tests.training.reporting import attempts, directory, of, write_cost
from tests.waiting import wait_for

import epochcost

__all__ = ["directory"]


def test_a_checkpoint_holds_plain_figures(directory: Path):
    with epochcost.run("a", epochs=4, batch_size=2, id="r") as run:
        for epoch in run.epochs():
            for _ in run.batches(range(10)):
                run.step(0, tokens=7)
            if epoch == 1:
                break
        assert json.loads(json.dumps(run.state_dict())) == {
            "v": 1,
            "run": "r",
            "epoch": 2.0,
            "step": 20,
            "samples": 40,
            "tokens": 140,
        }


def test_a_run_without_a_name_continues_under_the_id_of_its_checkpoint(directory: Path):
    with epochcost.run("a", epochs=3) as run:
        run.report(epoch=1.5, step=15)
        state = run.state_dict()
    again = epochcost.run("a", epochs=3)
    again.load_state_dict(state)
    with again:
        assert list(again.epochs()) == [1, 2]
    first, second = attempts(directory)
    assert first[0]["run"] == second[0]["run"] == run.id == again.id
    assert of(second, "resume", "epoch", "step") == [(1.5, 15)]


def test_a_named_run_keeps_its_name_and_warns_that_the_checkpoint_is_of_another(directory: Path, caplog):
    run = epochcost.run("a", id="mine")
    run.load_state_dict({"v": 1, "run": "other", "epoch": 2})
    run.end()
    assert events(directory)[0]["run"] == "mine"
    assert "the checkpoint belongs to run other, but this is run mine" in caplog.text


@pytest.mark.parametrize("state", [None, [], "x", {"epoch": "two"}, {"run": {"a": 1}, "step": -4}, {}])
def test_an_invalid_checkpoint_is_harmless(directory: Path, state: object):
    with epochcost.run("a") as run:
        run.load_state_dict(state)  # type: ignore[arg-type]
        run.step()
    assert of(events(directory), "end", "status") == [("finished",)]


@pytest.mark.parametrize(
    ("budget", "figures", "over", "projected"),
    [
        (5, {"cost_usd": 4.9, "projected_cost_usd": 5.1}, False, True),
        (5, {"cost_usd": 5.0, "projected_cost_usd": 5.1}, True, True),
        (5, {"cost_usd": 1.0}, False, False),
        (5, {}, False, False),
        (None, {"cost_usd": 1e6, "projected_cost_usd": 1e6}, False, False),
    ],
)
def test_over_budget_only_where_both_sides_are_known(directory: Path, budget, figures, over, projected):
    write_cost(directory, "r", **figures)
    with epochcost.run("a", id="r", budget_usd=budget) as run:
        assert (run.over_budget, run.projected_over_budget) == (over, projected)


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name == "epochcost"]


def test_the_last_line_has_the_known_figures(directory: Path, caplog):
    caplog.set_level(logging.INFO)
    states = {"useful": 9000.0, "startup": 428.0, "idle": 1176.0, "replay": 88.0}
    write_cost(directory, "char-lm", cost_usd=2.68, seconds=10692.0, states=states)
    with epochcost.run("a", epochs=25, id="char-lm") as run:
        run.report(epoch=25)
    assert warnings_in(caplog) == [
        "run char-lm: 25 epochs, 2.97 h, $2.68 ($0.107 per epoch); 4 % start-up, 11 % idle, 1 % done again"
    ]


def test_without_an_agent_the_line_has_no_dollars(directory: Path, caplog):
    caplog.set_level(logging.INFO)
    with epochcost.run("a", id="r") as run:
        run.step(3)
    assert len(warnings_in(caplog)) == 1
    assert "run r: 0 epochs, " in warnings_in(caplog)[0]
    assert "$" not in warnings_in(caplog)[0]
    assert "%" not in warnings_in(caplog)[0]


def test_only_the_reporting_rank_prints_a_line(directory: Path, caplog, monkeypatch: pytest.MonkeyPatch):
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("LOCAL_RANK", "1")
    with epochcost.run("a", id="r") as run:
        run.step()
    assert warnings_in(caplog) == []


@pytest.mark.parametrize("states", [[], "x", {"idle": "y"}, {"idle": -1}, {"idle": True}, {"idle": float("nan")}])
def test_invalid_shares_are_left_out(directory: Path, caplog, states: object):
    caplog.set_level(logging.INFO)
    write_cost(directory, "r", cost_usd=0.0123, seconds=60, states=states)
    with epochcost.run("a", id="r") as run:
        run.report(epoch=2)
    assert warnings_in(caplog) == ["run r: 2 epochs, 60 s, $0.0123 ($0.00615 per epoch)"]


def write_figures(directory: Path, run: str, ts: float, **figures: Any) -> None:
    write_cost(directory, run, ts=ts, **figures)


def test_the_line_waits_for_figures_as_of_the_end(directory: Path, caplog):
    caplog.set_level(logging.INFO)
    write_figures(directory, "r", time.time() - 1, cost_usd=1.0, seconds=1)
    with epochcost.run("a", id="r"):
        pass
    assert warnings_in(caplog) == []
    write_figures(directory, "r", time.time() + 1, cost_usd=2.0, seconds=2)
    wait_for(lambda: warnings_in(caplog) == ["run r: 2 s, $2.00"], what="the line at the end")


def test_the_line_does_not_wait_for_a_stopped_agent(directory: Path, caplog, monkeypatch):
    monkeypatch.setattr("epochcost.training.end_line.LONGEST_WAIT_SECONDS", 0.1)
    caplog.set_level(logging.INFO)
    write_figures(directory, "r", time.time() - 1, cost_usd=1.0, seconds=1)
    with epochcost.run("a", id="r"):
        pass
    wait_for(lambda: warnings_in(caplog) == ["run r: 1 s, $1.00"], what="the line at the end")


@pytest.mark.parametrize("ends", ["with epochcost.run('a', id='r'): pass", "epochcost.start('a', id='r')"])
def test_a_program_that_exits_still_prints_the_line(tmp_path: Path, ends: str):
    code = f"""
    import json, logging, os, time, epochcost
    logging.basicConfig(level=logging.INFO)
    path = os.environ["EPOCHCOST_DIR"] + "/r.cost.json"
    json.dump({{"v": 1, "cost_usd": 1.0, "ts": time.time() - 1}}, open(path, "w"))
    {ends}
    """
    outcome = train(code, tmp_path)
    assert outcome.code == 0
    assert "$1.00" in outcome.err


def test_there_is_no_wait_if_the_line_would_not_be_visible(directory: Path):
    import threading

    logging.getLogger("epochcost").setLevel(logging.WARNING)
    try:
        write_figures(directory, "r", time.time() - 1, cost_usd=1.0)
        with epochcost.run("a", id="r"):
            pass
        assert not [thread for thread in threading.enumerate() if thread.name == "epochcost-end"]
    finally:
        logging.getLogger("epochcost").setLevel(logging.NOTSET)
