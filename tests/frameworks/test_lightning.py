"""PyTorch Lightning, really training."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.frameworks.real import facts, launch, train
from tests.training.programs import events_by_file

PROGRAM = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import torch, epochcost
import lightning as L
from lightning.pytorch.loggers import CSVLogger
OPTIONS = json.loads(sys.argv[1])

class Net(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def training_step(self, batch, index):
        time.sleep(0.03)
        return self.layer(batch).mean()
    def validation_step(self, batch, index):
        time.sleep(0.02)
        self.log("val", 1.0)
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)

class Clock(L.pytorch.Callback):
    marks, steps = [], []
    def on_train_epoch_start(self, trainer, module):
        if not self.marks:
            self.marks.append(time.monotonic())
    def on_train_epoch_end(self, trainer, module):
        self.marks.append(time.monotonic())
        self.steps.append(trainer.global_step)

class Dies(L.pytorch.Callback):
    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        if trainer.global_step == OPTIONS.get("die_at"):
            raise RuntimeError("power cut")

class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(torch.rand(40, 4))

data = Stream() if OPTIONS.get("stream") else torch.rand(40, 4)
load = lambda: torch.utils.data.DataLoader(data, batch_size=4)
saver = L.pytorch.callbacks.ModelCheckpoint(dirpath="ckpt", save_last=True, save_top_k=-1)
trainer = L.Trainer(accelerator="cpu", logger=CSVLogger("logs"), enable_progress_bar=False, log_every_n_steps=1,
    callbacks=[epochcost.lightning_callback("net", budget_usd=3), Clock(), Dies(), saver],
    **OPTIONS.get("trainer", {"max_epochs": 3}))
try:
    trainer.fit(Net(), load(), load(), ckpt_path=OPTIONS.get("ckpt"))
except RuntimeError as err:
    if "power cut" not in str(err): raise
print(json.dumps({"marks": Clock.marks, "steps": Clock.steps, "global_step": trainer.global_step}))
"""


def test_epochs_steps_and_times_are_lightnings_own(tmp_path: Path):
    training = train(PROGRAM, tmp_path, "{}")
    training.agrees_with_the_outer_clock()
    assert [end["epoch"] for end in training.of("epoch_end")] == [1, 2, 3]
    assert [end["step"] for end in training.of("epoch_end")] == training.result["steps"] == [10, 20, 30]
    assert facts(training.lines[-1], "ev", "status", "epoch") == ("end", "finished", 3)
    assert facts(training.lines[-1], "epochs", "batch_size", "samples_per_epoch") == (3, 4, 40)
    assert facts(training.lines[-1], "framework", "experiment", "budget_usd") == ("lightning", "net", 3)
    assert {end["steps"] for end in training.of("epoch_end")} == {10}
    assert "run net-" in training.err  # the line at the end, by Lightning's own logger
    assert "3 epochs" in training.err


def test_the_sanity_check_is_start_up_and_validation_is_eval(tmp_path: Path):
    training = train(PROGRAM, tmp_path, "{}")
    phases = [line["phase"] for line in training.lines if line["ev"] == "phase"]
    assert phases[:2] == ["train", "eval"]
    assert phases.count("eval") == 3
    first_train = next(line for line in training.lines if line["ev"] == "phase")
    assert first_train["mono"] == pytest.approx(training.result["marks"][0], abs=0.05)


def test_with_accumulation_a_step_is_an_optimiser_step(tmp_path: Path):
    training = train(PROGRAM, tmp_path, '{"trainer": {"max_epochs": 2, "accumulate_grad_batches": 4}}')
    assert [end["step"] for end in training.of("epoch_end")] == training.result["steps"] == [3, 6]
    assert training.lines[-1]["batch_size"] == 16
    assert {end["steps"] for end in training.of("epoch_end")} == {3}
    parts = [line["epoch"] for line in training.of("progress")]
    assert all(0 < part <= 2 for part in parts)


def test_an_epoch_cut_short_by_max_steps_does_not_count(tmp_path: Path):
    training = train(PROGRAM, tmp_path, '{"trainer": {"max_steps": 15, "max_epochs": -1}}')
    assert [end["epoch"] for end in training.of("epoch_end")] == [1]
    assert facts(training.lines[-1], "epochs", "epoch", "step", "status") == (1.5, 1.5, 15, "finished")


def test_a_stream_without_length_has_epochs_all_the_same(tmp_path: Path):
    training = train(PROGRAM, tmp_path, '{"stream": true, "trainer": {"max_epochs": 2}}')
    assert [facts(end, "epoch", "step") for end in training.of("epoch_end")] == [(1, 10), (2, 20)]
    assert "samples_per_epoch" not in training.lines[-1]


def test_a_run_that_died_resumes_under_its_id_from_the_checkpoint(tmp_path: Path):
    died = train(PROGRAM, tmp_path, '{"die_at": 26, "trainer": {"max_epochs": 4}}')
    assert facts(died.lines[-1], "ev", "status", "epoch", "step") == ("end", "failed", 2.6, 26)
    assert [line["epoch"] for line in died.of("checkpoint")][:2] == [1, 2]
    again = '{"ckpt": "ckpt/last.ckpt", "trainer": {"max_epochs": 4}}'
    before = set(events_by_file(tmp_path))
    launch(PROGRAM, tmp_path, again)
    (name,) = set(events_by_file(tmp_path)) - before
    resumed = events_by_file(tmp_path)[name]
    assert resumed[0]["run"] == died.lines[0]["run"]
    assert [facts(line, "epoch", "step") for line in resumed if line["ev"] == "resume"] == [(2, 20)]
    assert [facts(e, "epoch", "step") for e in resumed if e["ev"] == "epoch_end"] == [(3, 30), (4, 40)]


def test_a_fit_resumed_within_an_epoch_ends_it(tmp_path: Path):
    every = PROGRAM.replace("save_last=True, save_top_k=-1", "every_n_train_steps=5, save_top_k=-1")
    launch(every, tmp_path, '{"die_at": 17}')
    before = set(events_by_file(tmp_path))
    launch(every, tmp_path, '{"ckpt": "ckpt/epoch=1-step=15.ckpt"}')
    (name,) = set(events_by_file(tmp_path)) - before
    lines = events_by_file(tmp_path)[name]
    assert [facts(line, "epoch", "step") for line in lines if line["ev"] == "resume"] == [(1.5, 15)]
    assert [facts(line, "epoch", "step") for line in lines if line["ev"] == "epoch_end"] == [(2, 20), (3, 30)]
    within = [line["epoch"] for line in lines if line["ev"] == "progress"]
    assert all(1.5 <= float(str(epoch)) <= 3 for epoch in within)


SEARCH = """
import json, signal, sys, warnings
warnings.filterwarnings("ignore")
import optuna, torch, epochcost
import lightning as L
optuna.logging.set_verbosity(optuna.logging.ERROR)

class Net(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def training_step(self, batch, index):
        return self.layer(batch).mean()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)

class Other(L.pytorch.Callback):
    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        if trainer.global_step == 15:
            if NUMBER == 1: raise RuntimeError("out of memory")
            if NUMBER == 2: raise optuna.TrialPruned

def objective(trial):
    global NUMBER
    NUMBER = trial.number
    load = torch.utils.data.DataLoader(torch.rand(40, 4), batch_size=4)
    L.Trainer(max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        callbacks=[epochcost.lightning_callback(f"trial{NUMBER}"), Other()]).fit(Net(), load)
    return 0.0

optuna.create_study().optimize(objective, n_trials=4, catch=(RuntimeError,))
"""


def test_trials_that_fail_or_are_pruned_end_and_swallow_no_later_one(tmp_path: Path):
    pytest.importorskip("optuna")
    launch(SEARCH, tmp_path)
    runs = events_by_file(tmp_path).values()
    ends = sorted(facts(lines[-1], "experiment", "status", "epoch") for lines in runs)
    assert ends == [
        ("trial0", "finished", 2),
        ("trial1", "failed", 1.5),
        ("trial2", "finished", 1.5),
        ("trial3", "finished", 2),
    ]
