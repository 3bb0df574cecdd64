"""Dollars beside the loss, from a real agent into the loggers of real frameworks."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from tests.agent.agent_process import AgentProcess
from tests.frameworks.real import launch
from tests.frameworks.test_huggingface import PROGRAM as HUGGINGFACE
from tests.frameworks.test_keras import PROGRAM as KERAS
from tests.frameworks.test_lightning import PROGRAM as LIGHTNING

SLOW = "time.sleep(0.25)"


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


def test_dollars_are_logged_at_lightnings_own_steps(tmp_path: Path, agent: AgentProcess):
    launch(LIGHTNING.replace("time.sleep(0.03)", SLOW), tmp_path, "{}", EPOCHCOST_DIR=str(agent.events))
    rows = list(csv.DictReader((tmp_path / "logs/lightning_logs/version_0/metrics.csv").read_text().splitlines()))
    steps_by_name = {name: [row["step"] for row in rows if row.get(name)] for name in ("epochcost/cost_usd", "val")}
    assert steps_by_name["epochcost/cost_usd"] == steps_by_name["val"] == ["9", "19", "29"]


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


TABLE = """
import json, sys, time
import torch, transformers, epochcost
from transformers.utils.notebook import NotebookProgressCallback

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def forward(self, x, labels=None):
        time.sleep(0.25)
        out = self.layer(x).squeeze(-1)
        return {"loss": ((out - labels) ** 2).mean(), "logits": out}

class Keep(transformers.TrainerCallback):
    def on_step_end(self, *_, **__):
        self.table = shown.training_tracker.inner_table

rows = [{"x": torch.rand(4), "labels": torch.tensor(1.0)} for _ in range(40)]
args = transformers.TrainingArguments("out", num_train_epochs=2, per_device_train_batch_size=4, logging_steps=5,
    report_to=[], use_cpu=True, disable_tqdm=True, eval_strategy=sys.argv[1], save_strategy="no")
trainer = transformers.Trainer(Net(), args, train_dataset=rows, eval_dataset=rows[:8],
    callbacks=[epochcost.huggingface_callback("net")])
shown, keep = NotebookProgressCallback(), Keep()
trainer.add_callback(shown)
trainer.add_callback(keep)
trainer.train()
print("\\n" + json.dumps(keep.table))
"""


@pytest.mark.parametrize(("strategy", "rows"), [("no", 4), ("epoch", 2)])
def test_the_table_in_a_notebook_has_columns_for_readers(tmp_path: Path, agent: AgentProcess, strategy: str, rows: int):
    pytest.importorskip("IPython")
    out, _ = launch(TABLE, tmp_path, strategy, EPOCHCOST_DIR=str(agent.events))
    names, *lines = json.loads(out.splitlines()[-1])
    assert names[:2] == [{"no": "Step", "epoch": "Epoch"}[strategy], "Training Loss"]
    assert {"Dollars so far", "Projected Dollars"} < set(names)
    assert len(lines) == rows
    dollars = [float(line[names.index("Dollars so far")]) for line in lines if line[-1] != "No Log"]
    assert len(dollars) >= rows - 1  # before the first price nothing is known
    assert dollars == sorted(dollars)
    assert dollars[-1] > 1  # a dollar a second
