"""The first test of each framework: results are the same with epochcost as without, whatever happens to the run.

One program trains several times, with and without the callback: to its end, interrupted by Ctrl-C, by an exception in
another user's callback, with the events on a full disk, and at last until SIGTERM. Weights, logged metrics, files,
exceptions and exit code are the same. Dollars are known meanwhile, so any leak into the results would show.
"""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tests.frameworks.test_ultralytics import PROGRAM as YOLO
from tests.training.programs import environment, events_by_file

HEAD = """
import hashlib, json, os, pathlib, signal, sys, warnings
warnings.filterwarnings("ignore")
import epochcost
WITH = sys.argv[1] == "with"
SCENARIOS = sys.argv[2].split(",")
NOW = {"scenario": "", "step": 0}
RECORDS = {}

def ours(make):
    return [make()] if WITH else []

def step():
    '''What somebody else's callback does after each step.'''
    NOW["step"] += 1
    if NOW["step"] == 7:
        if NOW["scenario"] == "interrupt": raise KeyboardInterrupt
        if NOW["scenario"] == "exception": raise ArithmeticError("somebody else's")
        if NOW["scenario"] == "sigterm": os.kill(os.getpid(), signal.SIGTERM)

def digest(arrays):
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()

def without_times(found):
    if isinstance(found, dict):
        times = ("runtime", "per_second", "time")
        return {name: without_times(value) for name, value in found.items() if not any(t in name for t in times)}
    return [without_times(one) for one in found] if isinstance(found, list) else found

def scenarios(train):
    events = os.environ["EPOCHCOST_DIR"]
    for scenario in SCENARIOS:
        NOW.update(scenario=scenario, step=0)
        os.environ["EPOCHCOST_DIR"] = os.environ["FULL_DISK"] if scenario == "full disk" else events
        place = pathlib.Path(scenario).absolute()
        place.mkdir()
        record = RECORDS[scenario] = {}
        try:
            train(place, record)
        except BaseException as error:
            record["error"] = repr(error)
            if scenario == "sigterm": raise
        finally:
            record["files"] = sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())
            record["handler"] = repr(signal.getsignal(signal.SIGTERM))
            pathlib.Path("records.json").write_text(json.dumps(RECORDS))
"""
TORCH = """
import torch

def train(place, record):
    torch.manual_seed(0)
    layer = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    loader = torch.utils.data.DataLoader(torch.rand(20, 4), batch_size=4, shuffle=True)
    losses = record["metrics"] = []
    def batch(rows):
        loss = layer(rows).square().mean()
        loss.backward(), optimizer.step(), optimizer.zero_grad()
        losses.append(loss.item()), step()
    try:
        if WITH:
            with epochcost.run("net", epochs=2, batch_size=4, id="r") as run:
                for epoch in run.epochs():
                    for rows in run.batches(loader): batch(rows)
                    with run.checkpoint(): torch.save(layer.state_dict(), place / f"{epoch}.pt")
        else:
            for epoch in range(2):
                for rows in loader: batch(rows)
                torch.save(layer.state_dict(), place / f"{epoch}.pt")
    finally:
        record["weights"] = digest(p.detach().numpy() for p in layer.parameters())
"""
LIGHTNING = """
import torch, lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint, OnExceptionCheckpoint
from lightning.pytorch.loggers import CSVLogger

class Net(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def training_step(self, batch, index):
        loss = self.layer(batch).square().mean()
        self.log("loss", loss, on_epoch=True)
        return loss
    def validation_step(self, batch, index):
        self.log("val", self.layer(batch).mean())
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

class Other(L.pytorch.Callback):
    def on_train_batch_end(self, *_): step()

def train(place, record):
    L.seed_everything(0, verbose=False)
    load = lambda: torch.utils.data.DataLoader(torch.rand(20, 4), batch_size=4)
    net = Net()
    trainer = L.Trainer(max_epochs=2, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False,
        logger=CSVLogger(place / "logs"), log_every_n_steps=1,
        callbacks=[*ours(lambda: epochcost.lightning_callback("net", id="r")), Other(),
            ModelCheckpoint(place / "ckpt", save_top_k=-1), OnExceptionCheckpoint(place / "broken")])
    try:
        trainer.fit(net, load(), load())
    finally:
        record["weights"] = digest(p.detach().numpy() for p in net.parameters())
        record["metrics"] = {name: float(value) for name, value in trainer.callback_metrics.items()}
        record["stopped"] = [trainer.global_step, trainer.current_epoch, trainer.interrupted]
"""
HUGGINGFACE = """
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def forward(self, x, labels=None):
        out = self.layer(x)
        return {"loss": (out.squeeze() - labels).pow(2).mean(), "logits": out}

class Other(TrainerCallback):
    def on_step_end(self, *_, **__): step()

def train(place, record):
    torch.manual_seed(0)
    rows = [{"x": torch.rand(4), "labels": torch.rand(())} for _ in range(20)]
    net = Net()
    trainer = Trainer(model=net, train_dataset=rows, eval_dataset=rows, args=TrainingArguments(
        output_dir=str(place), per_device_train_batch_size=4, num_train_epochs=2, report_to=["tensorboard"],
        use_cpu=True, disable_tqdm=True, logging_steps=2, eval_strategy="epoch", save_strategy="epoch"),
        callbacks=[*ours(lambda: epochcost.huggingface_callback("net", id="r")), Other()])
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(place)
    try:
        output = trainer.train()
        record["output"] = without_times(output.metrics)
    finally:
        record["weights"] = digest(p.detach().numpy() for p in net.parameters())
        record["metrics"] = without_times(trainer.state.log_history)
"""
KERAS = """
import keras, numpy

class Other(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None): step()

def train(place, record):
    keras.utils.set_random_seed(0)
    x, y = numpy.random.rand(20, 3), numpy.random.rand(20, 1)
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse", metrics=["mae"])
    history = keras.callbacks.History()
    try:
        model.fit(x, y, batch_size=4, epochs=2, validation_data=(x, y), verbose=0, callbacks=[history,
            *ours(lambda: epochcost.keras_callback("net", batch_size=4, id="r")), Other(),
            keras.callbacks.CSVLogger(place / "log.csv"), keras.callbacks.ModelCheckpoint(place / "m.keras")])
    finally:
        record["weights"] = digest(model.get_weights())
        record["metrics"] = history.history
        record["csv"] = (place / "log.csv").read_text()
"""
FASTAI = """
import numpy, torch
from fastai.callback.core import Callback
from fastai.callback.progress import CSVLogger
from fastai.callback.tracker import SaveModelCallback
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner

class Other(Callback):
    def after_batch(self):
        if self.learn.training: step()

def train(place, record):
    torch.manual_seed(0)
    numpy.random.seed(0)
    rows = [(torch.rand(4), torch.rand(1)) for _ in range(20)]
    net = torch.nn.Linear(4, 1)
    learn = Learner(DataLoaders(DataLoader(rows, bs=4), DataLoader(rows, bs=4)), net, path=place,
        loss_func=torch.nn.functional.mse_loss, cbs=[*ours(lambda: epochcost.fastai_callback("net", id="r")), Other(),
            SaveModelCallback(every_epoch=True), CSVLogger()])
    learn.remove_cbs([cb for cb in learn.cbs if type(cb).__name__ == "ProgressCallback"])
    learn.logger = lambda *_: None
    try:
        learn.fit(2, 0.1)
    finally:
        record["weights"] = digest(p.detach().numpy() for p in net.parameters())
        record["metrics"] = [[float(value) for value in row] for row in learn.recorder.values]
"""
JAX = """
import jax, numpy, optax
from flax import linen

def train(place, record):
    net = linen.Dense(1)
    x = jax.random.normal(jax.random.key(0), (20, 4))
    weights = net.init(jax.random.key(1), x)
    optimizer = optax.sgd(0.1)
    state, losses = optimizer.init(weights), []
    record["metrics"] = losses
    def batch(i):
        nonlocal weights, state
        loss, slope = jax.value_and_grad(lambda w: (net.apply(w, x[4 * i : 4 * i + 4]) ** 2).mean())(weights)
        change, state = optimizer.update(slope, state)
        weights = optax.apply_updates(weights, change)
        losses.append(float(loss)), step()
    try:
        if WITH:
            with epochcost.jax_run("net", epochs=2, batch_size=4, id="r") as run:
                for epoch in run.epochs():
                    for i in run.batches(range(5)): batch(i)
                    numpy.save(place / f"{epoch}.npy", weights["params"]["kernel"])
        else:
            for epoch in range(2):
                for i in range(5): batch(i)
                numpy.save(place / f"{epoch}.npy", weights["params"]["kernel"])
    finally:
        record["weights"] = digest(numpy.asarray(one) for one in jax.tree_util.tree_leaves(weights))
"""
ACCELERATE = """
import contextlib, torch
from accelerate import Accelerator
from accelerate.utils import set_seed

def train(place, record):
    set_seed(0)
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    net = torch.nn.Linear(4, 1)
    loader = torch.utils.data.DataLoader(torch.rand(24, 4), batch_size=2, shuffle=True)
    net, optimizer, loader = accelerator.prepare(net, torch.optim.SGD(net.parameters(), lr=0.1), loader)
    losses = record["metrics"] = []
    whole = epochcost.run("net", epochs=2, batch_size=4, id="r") if WITH else contextlib.nullcontext()
    try:
        with whole as run:
            for epoch in run.epochs() if WITH else range(2):
                for rows in run.batches(loader) if WITH else loader:
                    with accelerator.accumulate(net):
                        loss = net(rows).square().mean()
                        accelerator.backward(loss), optimizer.step(), optimizer.zero_grad()
                    losses.append(loss.item()), step()
                accelerator.save_state(place / str(epoch))
    finally:
        record["weights"] = digest(p.detach().numpy() for p in net.parameters())
"""
IGNITE = """
import contextlib, torch
from ignite.engine import Engine, Events
from ignite.handlers import ModelCheckpoint

def train(place, record):
    torch.manual_seed(0)
    net = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    losses = record["metrics"] = []
    def batch(engine, rows):
        loss = net(rows).square().mean()
        loss.backward(), optimizer.step(), optimizer.zero_grad()
        losses.append(loss.item())
    trainer = Engine(batch)
    if WITH:
        trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: epochcost.step())
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: epochcost.epoch_end(engine.state.epoch))
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: step())
    trainer.add_event_handler(Events.EPOCH_COMPLETED, ModelCheckpoint(str(place), "n", n_saved=None), {"net": net})
    try:
        with epochcost.run("net", epochs=2, batch_size=4, id="r") if WITH else contextlib.nullcontext():
            trainer.run(torch.utils.data.DataLoader(torch.rand(20, 4), batch_size=4, shuffle=True), max_epochs=2)
    finally:
        record["weights"] = digest(p.detach().numpy() for p in net.parameters())
        record["stopped"] = [trainer.state.epoch, trainer.state.iteration]
"""
SKORCH = """
import contextlib, numpy, torch
from skorch import NeuralNetRegressor
from skorch.callbacks import Callback, Checkpoint

class Other(Callback):
    def on_batch_end(self, net, training=False, **more):
        if training: step()

class ReportEpochs(Callback):
    def on_epoch_end(self, net, **more): epochcost.epoch_end()

def train(place, record):
    torch.manual_seed(0)
    x, y = torch.rand(20, 4).numpy(), torch.rand(20, 1).numpy()
    net = NeuralNetRegressor(torch.nn.Linear, module__in_features=4, module__out_features=1, max_epochs=2, verbose=0,
        batch_size=4, train_split=None, lr=0.1,
        callbacks=[*ours(ReportEpochs), Other(), Checkpoint(dirname=place, monitor="train_loss_best")])
    try:
        with epochcost.run("net", epochs=2, id="r") if WITH else contextlib.nullcontext():
            net.fit(x, y)
    finally:
        record["weights"] = digest(p.detach().numpy() for p in net.module_.parameters())
        record["metrics"] = [row["train_loss"] for row in net.history if "train_loss" in row]
"""
XGBOOST = """
import contextlib, numpy, xgboost

class Other(xgboost.callback.TrainingCallback):
    def after_iteration(self, model, epoch, evals_log):
        step()
        model.save_model(self.place / f"{epoch}.json")
        self.record["weights"] = digest([numpy.frombuffer(model.save_raw("json"), "uint8")])
        self.record["metrics"] = evals_log
        return False

class ReportRounds(xgboost.callback.TrainingCallback):
    def after_iteration(self, model, epoch, evals_log):
        epochcost.epoch_end(epoch + 1)
        return False

def train(place, record):
    chance = numpy.random.default_rng(0)
    rows = xgboost.DMatrix(chance.random((40, 3)), chance.random(40))
    other = Other()
    other.place, other.record = place, record
    with epochcost.run("trees", epochs=9, id="r") if WITH else contextlib.nullcontext():
        xgboost.train({"max_depth": 2, "nthread": 1, "seed": 0}, rows, num_boost_round=9, evals=[(rows, "train")],
            verbose_eval=False, callbacks=[*ours(ReportRounds), other])
"""
LIGHTGBM = """
import contextlib, numpy, lightgbm

def train(place, record):
    chance = numpy.random.default_rng(0)
    rows = lightgbm.Dataset(chance.random((200, 3)), chance.random(200))
    losses = record["metrics"] = []
    def other(env):
        losses.append([float(one[2]) for one in env.evaluation_result_list])
        record["weights"] = env.model.model_to_string()
        step()
    reports = ours(lambda: lambda env: epochcost.epoch_end(env.iteration + 1))
    with epochcost.run("trees", epochs=9, id="r") if WITH else contextlib.nullcontext():
        model = lightgbm.train({"verbose": -1, "num_threads": 1, "seed": 0, "deterministic": True}, rows,
            num_boost_round=9, valid_sets=[rows], callbacks=[*reports, other])
    model.save_model(place / "model.txt")
"""
SKLEARN = """
import contextlib, joblib, numpy
from sklearn.linear_model import SGDRegressor

def train(place, record):
    chance = numpy.random.default_rng(0)
    batches = [(chance.random((4, 3)), chance.random(4)) for _ in range(5)]
    model = SGDRegressor(random_state=0)
    losses = record["metrics"] = []
    whole = epochcost.run("sgd", epochs=2, batch_size=4, id="r") if WITH else contextlib.nullcontext()
    try:
        with whole as run:
            for epoch in run.epochs() if WITH else range(2):
                for x, y in run.batches(batches) if WITH else batches:
                    losses.append(float(model.partial_fit(x, y).score(x, y))), step()
                joblib.dump(model, place / f"{epoch}.joblib")
    finally:
        record["weights"] = digest([model.coef_, model.intercept_])
"""
ULTRALYTICS = (
    YOLO[: YOLO.index("model = YOLO(")].replace("import numpy,", "import numpy\nnumpy.random.seed(0)\nimport")
    + """
import numpy, random, torch

def train(place, record):
    random.seed(0), numpy.random.seed(0), torch.manual_seed(0)
    model = YOLO("yolo11n.yaml")
    if WITH: epochcost.ultralytics_callbacks(model, "noise", id="r")
    model.add_callback("on_train_batch_end", lambda trainer: step())
    model.add_callback("on_model_save", lambda trainer: record.update(saved=trainer.epoch))
    try:
        model.train(data=str(DATA), epochs=2, imgsz=32, batch=2, workers=0, plots=False, amp=False, device="cpu",
            seed=1, deterministic=True, optimizer="SGD", verbose=False, project=str(place), name="out")
    finally:
        trainer = model.trainer
        record["weights"] = digest(p.detach().numpy() for p in trainer.model.parameters())
        record["metrics"] = {name: float(value) for name, value in trainer.metrics.items()}
        if trainer.csv.exists():
            rows = [row.split(",") for row in trainer.csv.read_text().splitlines()]
            record["csv"] = [[one for name, one in zip(rows[0], row) if name.strip() != "time"] for row in rows]

DATA = pathlib.Path("data.yaml").absolute()
"""
)
PROGRAMS = {
    "torch": TORCH, "lightning": LIGHTNING, "transformers": HUGGINGFACE, "keras": KERAS, "fastai": FASTAI, "flax": JAX,
    "accelerate": ACCELERATE, "ignite": IGNITE, "skorch": SKORCH, "xgboost": XGBOOST, "lightgbm": LIGHTGBM,
    "sklearn": SKLEARN, "ultralytics": ULTRALYTICS,
}  # fmt: skip
TAKES_CTRL_C = {"skorch"}
"""Ends its fit by it, as after the last epoch."""
SCENARIOS = ("end", "interrupt", "exception", "full disk", "sigterm")


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem without a free byte, if this machine lets us mount one."""
    mount_point = tmp_path / "disk"
    mount_point.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(mount_point)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("cannot mount a tmpfs here")
    (mount_point / "ballast").write_bytes(b"x" * 4096)
    yield mount_point
    subprocess.run(["umount", str(mount_point)], check=True)


def outcome(program: str, directory: Path, *arguments: str, **extra: str) -> tuple[int, str, dict[str, Any]]:
    """Exit code, stderr, and the records."""
    directory.mkdir()
    events = directory / "events"
    events.mkdir()
    figures = {"v": 1, "run": "r", "cost_usd": 1.5, "cost_per_epoch_usd": 0.5, "projected_cost_usd": 2.5}
    (events / "r.cost.json").write_text(json.dumps(figures))
    quiet = {"TQDM_DISABLE": "1", "KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    completed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *arguments],
        env=environment(events, **quiet, HOME=str(directory), YOLO_CONFIG_DIR=str(directory), **extra),
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    records = directory / "records.json"
    return completed.returncode, completed.stderr, json.loads(records.read_text()) if records.exists() else {}


def comparable(records: dict[str, Any]) -> dict[str, Any]:
    """TensorBoard's files are named by the clock and the process."""
    for record in records.values():
        record["files"] = sorted("events" if "tfevents" in name else name for name in record["files"])
    return records


@pytest.mark.parametrize("framework", PROGRAMS)
def test_a_training_run_with_epochcost_equals_the_one_without(tmp_path: Path, full_disk: Path, framework: str):
    if find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    program = HEAD + PROGRAMS[framework] + "\nscenarios(train)\nsys.exit(3)\n"
    environ = {"FULL_DISK": str(full_disk)}
    code, stderr, records = outcome(program, tmp_path / "without", "without", ",".join(SCENARIOS), **environ)
    assert set(records) >= set(SCENARIOS[:-1]), stderr[-3000:]
    assert "error" not in records["end"], stderr[-3000:]
    code_with_us, stderr_with_us, with_us = outcome(program, tmp_path / "with", "with", ",".join(SCENARIOS), **environ)
    assert comparable(with_us) == comparable(records), stderr_with_us[-3000:]
    assert code_with_us == code
    statuses = [lines[-1].get("status") for lines in events_by_file(tmp_path / "with" / "events").values()]
    interrupted = ["failed", "finished"] if framework in TAKES_CTRL_C else ["failed", "failed"]
    assert sorted(map(str, statuses)) == [*interrupted, "finished", "preempted"]
    assert stderr_with_us.count("epochcost:") == 1  # the full disk


def test_ultralytics_writes_the_same_files_and_columns(tmp_path: Path):
    if find_spec("ultralytics") is None:
        pytest.skip("Ultralytics is not installed")
    attach = 'epochcost.ultralytics_callbacks(model, "noise")'
    seeded = YOLO.replace("epochs=3", "epochs=2, seed=1, deterministic=True").replace(
        "import numpy", "import random, numpy\nnumpy.random.seed(0)\nimport numpy"
    )
    results = []
    for which, program in (
        ("without", seeded.replace(attach, "")),
        ("with", seeded.replace(attach, attach[:-1] + ', id="r")')),
    ):
        code, stderr, _ = outcome("import epochcost\n" + program, tmp_path / which, YOLO_OFFLINE="true")
        assert code == 0, stderr[-3000:]
        out = tmp_path / which / "out"
        rows = [row.split(",") for row in (out / "results.csv").read_text().splitlines()]
        results.append(
            (
                sorted(str(path.relative_to(out)) for path in out.rglob("*") if "tfevents" not in path.name),
                [[value for name, value in zip(rows[0], row, strict=True) if name.strip() != "time"] for row in rows],
            )
        )
    assert results[0] == results[1]
