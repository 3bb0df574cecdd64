"""Dollars beside the loss, from a real agent into the loggers of real frameworks."""

from __future__ import annotations

import csv
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.agent.test_agent_process import AgentProcess
from tests.frameworks.real import launch
from tests.frameworks.test_huggingface import PROGRAM as HUGGINGFACE
from tests.frameworks.test_keras import PROGRAM as KERAS
from tests.frameworks.test_lightning import PROGRAM as LIGHTNING
from tests.training.programs import PACKAGE

SLOW = "time.sleep(0.25)"


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    flags = ["--gpus.source=none", "--price.usd-per-hour=3600"]
    started = AgentProcess(tmp_path, *flags, env={"PYTHONPATH": str(PACKAGE)}).up()
    yield started
    started.end(signal.SIGKILL)


def test_lightnings_csv_logger_has_the_dollars(tmp_path: Path, agent: AgentProcess):
    _, err = launch(LIGHTNING.replace("time.sleep(0.03)", SLOW), tmp_path, "{}", EPOCHCOST_DIR=str(agent.events))
    rows = list(csv.DictReader((tmp_path / "logs/lightning_logs/version_0/metrics.csv").read_text().splitlines()))
    cost = [float(row["epochcost/cost_usd"]) for row in rows if row.get("epochcost/cost_usd")]
    assert cost == sorted(cost)
    assert 2 < cost[-1] < 60  # a dollar a second
    assert any(row.get("epochcost/projected_cost_usd") for row in rows)
    (line,) = [line for line in err.splitlines() if line.startswith("run net-")]
    assert "3 epochs" in line
    assert "per epoch" in line
    assert "start-up" in line


def test_dollars_are_where_lightning_draws_the_epoch(tmp_path: Path, agent: AgentProcess):
    launch(LIGHTNING.replace("time.sleep(0.03)", SLOW), tmp_path, "{}", EPOCHCOST_DIR=str(agent.events))
    rows = list(csv.DictReader((tmp_path / "logs/lightning_logs/version_0/metrics.csv").read_text().splitlines()))
    drawn = {name: [row["step"] for row in rows if row.get(name)] for name in ("epochcost/cost_usd", "val")}
    assert drawn["epochcost/cost_usd"] == drawn["val"] == ["9", "19", "29"]


def test_the_trainers_own_records_have_no_dollars(tmp_path: Path, agent: AgentProcess):
    launch(HUGGINGFACE.replace("time.sleep(0.03)", SLOW), tmp_path, "{}", EPOCHCOST_DIR=str(agent.events))
    state = json.loads((tmp_path / "out/checkpoint-30/trainer_state.json").read_text())
    assert len(state["log_history"]) > 3
    assert "usd" not in json.dumps(state["log_history"])


def test_keras_history_has_no_dollars(tmp_path: Path, agent: AgentProcess):
    program = KERAS.replace("time.sleep(0.03)", SLOW).replace("model.fit(x,", "history = model.fit(x,")
    program += "print(json.dumps(history.history))\n"
    out, _ = launch(program, tmp_path, "{}", EPOCHCOST_DIR=str(agent.events))
    history = json.loads(out.splitlines()[-1])
    assert set(history) == {"loss", "val_loss"}
    assert len({len(values) for values in history.values()}) == 1
