"""fastai, really training."""

from __future__ import annotations

from pathlib import Path

from tests.frameworks.real import facts, launch, train
from tests.training.programs import events_by_file

PROGRAM = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import torch, epochcost
from fastai.learner import Learner
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.callback.core import Callback
from fastai.callback.training import GradientAccumulation
from fastai.callback.schedule import *
OPTIONS = json.loads(sys.argv[1])

class Clock(Callback):
    order = 64
    marks, steps, count = [], [], 0
    def before_train(self):
        if not self.marks:
            self.marks.append(time.monotonic())
    def after_batch(self):
        time.sleep(0.03)
    def after_step(self):
        Clock.count += 1
    def after_epoch(self):
        self.marks.append(time.monotonic())
        self.steps.append(Clock.count)

rows = [(torch.rand(4), torch.rand(1)) for _ in range(40)]
dls = DataLoaders(DataLoader(rows, bs=4), DataLoader(rows, bs=8))
more = [GradientAccumulation(n_acc=OPTIONS["accumulate"])] if "accumulate" in OPTIONS else []
learn = Learner(dls, torch.nn.Linear(4, 1), loss_func=torch.nn.functional.mse_loss,
    cbs=[epochcost.fastai_callback("net"), Clock(), *more])
learn.remove_cbs([cb for cb in learn.cbs if type(cb).__name__ == "ProgressCallback"])
if OPTIONS.get("find"):
    learn.lr_find(num_it=12, show_plot=False, suggest_funcs=())
    learn.validate()
    Clock.marks, Clock.steps, Clock.count = [], [], 0
    Clock.marks.clear()
for fit in OPTIONS.get("fits", [{"n_epoch": 3}]):
    learn.fit(**fit)
if OPTIONS.get("find"):
    learn.get_preds()
print(json.dumps({"marks": Clock.marks, "steps": Clock.steps}))
"""


def test_epochs_steps_and_times_are_fastais_own(tmp_path: Path):
    training = train(PROGRAM, tmp_path, "{}")
    training.agrees_with_the_outer_clock()
    assert [facts(end, "epoch", "step") for end in training.of("epoch_end")] == [(1, 10), (2, 20), (3, 30)]
    assert facts(training.lines[-1], "status", "epochs", "batch_size", "samples_per_epoch") == ("finished", 3, 4, 40)
    assert training.lines[-1]["framework"] == "fastai"
    assert [line["phase"] for line in training.of("phase")].count("eval") == 3


def test_an_accumulated_batch_makes_no_step(tmp_path: Path):
    training = train(PROGRAM, tmp_path, '{"accumulate": 8}')
    assert [end["step"] for end in training.of("epoch_end")] == training.result["steps"] == [5, 10, 15]


def test_every_fit_is_a_segment_of_one_run(tmp_path: Path):
    launch(PROGRAM, tmp_path, '{"fits": [{"n_epoch": 1}, {"n_epoch": 2}]}')
    files = sorted(events_by_file(tmp_path).values(), key=lambda lines: lines[0]["mono"])
    assert len(files) == 2
    assert len({lines[0]["run"] for lines in files}) == 1
    ends = [facts(line, "epoch", "step") for lines in files for line in lines if line["ev"] == "epoch_end"]
    assert ends == [(1, 10), (2, 20), (3, 30)]
    assert [lines[-1]["epochs"] for lines in files] == [1, 3]


def test_finding_a_learning_rate_validating_and_predicting_start_no_run(tmp_path: Path):
    training = train(PROGRAM, tmp_path, '{"find": true}')
    assert [facts(end, "epoch", "step") for end in training.of("epoch_end")] == [(1, 10), (2, 20), (3, 30)]


def test_skipped_epochs_do_not_count(tmp_path: Path):
    training = train(PROGRAM, tmp_path, '{"fits": [{"n_epoch": 3, "start_epoch": 1}]}')
    assert [end["epoch"] for end in training.of("epoch_end")] == [2, 3]
    assert [line["epoch"] for line in training.of("resume")] == [1]
