"""The Hugging Face Trainer, really training."""

from __future__ import annotations

import json
from pathlib import Path

from tests.frameworks.real import facts, launch, train
from tests.training.programs import events_by_file

PROGRAM = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import torch, epochcost
from transformers import Trainer, TrainerCallback, TrainingArguments
OPTIONS = json.loads(sys.argv[1])

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def forward(self, x, labels=None):
        time.sleep(0.03)
        out = self.layer(x)
        return {"loss": (out.squeeze() - labels).pow(2).mean(), "logits": out}

rows = [{"x": torch.rand(4), "labels": torch.rand(())} for _ in range(40)]
class Rows(torch.utils.data.Dataset):
    def __len__(self): return 40
    def __getitem__(self, i): return rows[i]
class Stream(torch.utils.data.IterableDataset):
    def __iter__(self): return iter(rows)

class Clock(TrainerCallback):
    marks, steps = [], []
    def on_epoch_begin(self, args, state, control, **more):
        self.marks.append(time.monotonic())
        self.steps.append(state.global_step)
    def on_train_end(self, args, state, control, **more):
        self.marks.append(time.monotonic())
        self.steps.append(state.global_step)
    def on_step_end(self, args, state, control, **more):
        if state.global_step == OPTIONS.get("die_at"):
            raise RuntimeError("power cut")

arguments = {"num_train_epochs": 3, "eval_strategy": "epoch", "save_strategy": "epoch", **OPTIONS.get("trainer", {})}
trainer = Trainer(model=Net(), train_dataset=Stream() if OPTIONS.get("stream") else Rows(), eval_dataset=Rows(),
    args=TrainingArguments(output_dir="out", per_device_train_batch_size=4, report_to=[], use_cpu=True,
        disable_tqdm=True, logging_steps=5, **arguments),
    callbacks=[epochcost.huggingface_callback("net", **OPTIONS.get("callback", {})), Clock()])
try:
    trainer.train(resume_from_checkpoint=OPTIONS.get("resume"))
except RuntimeError as err:
    if "power cut" not in str(err): raise
print(json.dumps({"marks": Clock.marks, "steps": Clock.steps, "epoch": trainer.state.epoch}))
sys.exit(1 if OPTIONS.get("die_at") else 0)
"""


def test_epochs_steps_and_times_are_the_trainers_own(tmp_path: Path):
    training = train(PROGRAM, tmp_path, "{}")
    training.agrees_with_the_outer_clock()
    assert [facts(end, "epoch", "step", "steps") for end in training.of("epoch_end")] == [
        (1, 10, 10),
        (2, 20, 10),
        (3, 30, 10),
    ]
    assert facts(training.lines[-1], "ev", "status", "epoch", "epochs") == ("end", "finished", 3, 3)
    assert facts(training.lines[-1], "batch_size", "samples_per_epoch", "framework") == (4, 40, "transformers")
    assert [line["epoch"] for line in training.of("checkpoint")] == [1, 2, 3]
    assert [line["phase"] for line in training.of("phase")].count("eval") == 3


def test_with_accumulation_a_step_is_an_optimiser_step(tmp_path: Path):
    training = train(PROGRAM, tmp_path, '{"trainer": {"gradient_accumulation_steps": 4, "num_train_epochs": 2}}')
    assert [end["step"] for end in training.of("epoch_end")] == [3, 6]
    assert training.lines[-1]["batch_size"] == 16


def test_a_dataset_without_length_has_steps_and_no_epochs(tmp_path: Path):
    options = {"stream": True, "trainer": {"max_steps": 25, "eval_strategy": "no", "save_strategy": "no"}}
    training = train(PROGRAM, tmp_path, json.dumps(options))
    assert training.result["epoch"] > 0  # the Trainer's own estimate
    assert not training.of("epoch_end")
    assert not [line for line in training.lines if "epoch" in line]
    assert facts(training.lines[-1], "ev", "step", "unit", "epochs") == ("end", 25, "step", None)


def test_nominal_epochs_for_a_dataset_without_length(tmp_path: Path):
    options = {"stream": True, "trainer": {"max_steps": 25, "eval_strategy": "no", "save_strategy": "no"}}
    training = train(PROGRAM, tmp_path, json.dumps({**options, "callback": {"steps_per_epoch": 10}}))
    assert [facts(end, "epoch", "step") for end in training.of("epoch_end")] == [(1, 10), (2, 20)]
    assert facts(training.lines[-1], "epoch", "step", "epochs") == (2.5, 25, 2.5)


def test_max_steps_within_an_epoch(tmp_path: Path):
    training = train(PROGRAM, tmp_path, '{"trainer": {"max_steps": 15, "eval_strategy": "no"}}')
    assert [end["epoch"] for end in training.of("epoch_end")] == [1]
    assert facts(training.lines[-1], "epoch", "step", "epochs", "status") == (1.5, 15, 1.5, "finished")


def test_a_run_that_died_resumes_under_its_id_from_the_checkpoint(tmp_path: Path):
    launch(PROGRAM, tmp_path, '{"die_at": 26}', code_expected=1)
    (died,) = events_by_file(tmp_path).values()
    first = set(events_by_file(tmp_path))
    launch(PROGRAM, tmp_path, '{"resume": true}')
    (name,) = set(events_by_file(tmp_path)) - first
    resumed = events_by_file(tmp_path)[name]
    assert resumed[0]["run"] == died[0]["run"]
    assert [facts(line, "epoch", "step") for line in resumed if line["ev"] == "resume"] == [(2, 20)]
    assert [facts(line, "epoch", "step") for line in resumed if line["ev"] == "epoch_end"] == [(3, 30)]


def test_a_callback_restored_from_the_checkpoint_is_the_same(tmp_path: Path):
    options = {"callback": {"budget_usd": 3}, "trainer": {"restore_callback_states_from_checkpoint": True}}
    launch(PROGRAM, tmp_path, json.dumps({**options, "die_at": 26}), code_expected=1)
    first = set(events_by_file(tmp_path))
    launch(PROGRAM, tmp_path, json.dumps({**options, "resume": True}))
    (name,) = set(events_by_file(tmp_path)) - first
    resumed = events_by_file(tmp_path)[name]
    assert resumed[0]["run"] == events_by_file(tmp_path)[first.pop()][0]["run"]
    assert facts(resumed[-1], "experiment", "budget_usd", "status", "epoch") == ("net", 3, "finished", 3)


SPECIAL = """
import json, os, signal, sys, time, warnings
warnings.filterwarnings("ignore")
import torch, epochcost
from transformers import Trainer, TrainerCallback, TrainingArguments

class Net(torch.nn.Module):
    def __init__(self, largest=99):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.largest = torch.nn.Linear(4, 1), largest
    def forward(self, x, labels=None):
        if self.training and len(x) > self.largest: raise RuntimeError("CUDA out of memory. Tried to allocate")
        time.sleep(0.02)
        out = self.layer(x)
        return {"loss": (out.squeeze() - labels).pow(2).mean(), "logits": out}

torch.manual_seed(1)
rows = [{"x": torch.rand(4), "labels": torch.rand(())} for _ in range(40)]
def trainer(callbacks, model=Net, more=None, **options):
    options = {"num_train_epochs": 2, "per_device_train_batch_size": 4, "save_strategy": "no", **options}
    arguments = TrainingArguments(output_dir="out", report_to=[], use_cpu=True, disable_tqdm=True, logging_steps=5,
        **options)
    if callbacks and not isinstance(callbacks, list):
        callbacks = [epochcost.huggingface_callback(callbacks)]
    return Trainer(None if more else model(), args=arguments, train_dataset=rows, eval_dataset=rows,
        callbacks=callbacks or [], **(more or {}))

def search(callbacks):
    import optuna
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found = trainer(callbacks, more={"model_init": lambda trial=None: Net()}, eval_strategy="epoch")
    rates = [0.1, 0.01]
    return found.hyperparameter_search(hp_space=lambda trial: {"learning_rate": trial.suggest_categorical("r", rates)},
        n_trials=2, backend="optuna", sampler=optuna.samplers.GridSampler({"r": rates}, seed=0)).objective

said = {}
try:
    said["objectives"] = [search([]), search("search")]
except ImportError:
    said["objectives"] = [0, 0]
trainer("smaller", model=lambda: Net(largest=8), per_device_train_batch_size=16, auto_find_batch_size=True).train()

class Broken(TrainerCallback):
    def on_step_end(self, args, state, control, **more):
        if state.global_step == 7: raise ArithmeticError("somebody else's")
try:
    trainer([epochcost.huggingface_callback("breaks"), Broken()]).train()
except ArithmeticError:
    pass
trainer("after").train()

class Preempted(TrainerCallback):
    def on_step_end(self, args, state, control, **more):
        if state.global_step == 3: os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)
stopped = trainer([epochcost.huggingface_callback("jit"), Preempted()], num_train_epochs=50, enable_jit_checkpoint=True)
stopped.train()
said["saved"] = os.path.exists(f"out/checkpoint-{stopped.state.global_step}") or os.listdir("out")
print(json.dumps(said))
"""


def test_searches_smaller_batches_failures_and_just_in_time_checkpoints(tmp_path: Path):
    out, _ = launch(SPECIAL, tmp_path)
    result = json.loads([line for line in out.splitlines() if line.startswith('{"objectives')][-1])
    without, with_us = result["objectives"]
    assert with_us == without
    assert result["saved"]
    runs = sorted(events_by_file(tmp_path).values(), key=lambda lines: float(str(lines[0]["mono"])))
    ends = [facts(lines[-1], "experiment", "status", "epoch", "step", "batch_size") for lines in runs]
    trials = [("search", "finished", 2, 20, 4)] * (2 if without else 0)
    assert ends[:-1] == [
        *trials,
        ("smaller", "finished", 2, 10, 8),
        ("breaks", "failed", 0.7, 7, 4),
        ("after", "finished", 2, 20, 4),
    ]
    assert ends[-1][:2] == ("jit", "preempted")
    assert len({lines[0]["run"] for lines in runs}) == len(runs)


def test_saving_is_a_phase_of_its_own(tmp_path: Path):
    training = train(PROGRAM, tmp_path, '{"trainer": {"num_train_epochs": 2}}')
    phases = [line["phase"] for line in training.of("phase")]
    assert phases == ["train", *["eval", "checkpoint", "train"] * 2]
