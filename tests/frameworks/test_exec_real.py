"""`epochcost exec` around real programs: their output is read, through pipes and on a terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from tests.launch.terminal import EXEC, Terminal
from tests.training.programs import environment, events

SECONDS = 300
TOLERANCE_SECONDS = 1.5
"""The machine may have other work: the question is which epochs ended, and that they did so one after the other."""

MARKS = """
import json, os, sys, time, warnings
warnings.filterwarnings("ignore")
def mark():
    with open(os.environ["MARKS"], "a") as file:
        print(time.monotonic(), file=file)
"""

LIGHTNING = (
    MARKS
    + """
import torch
import lightning as L
OPTIONS = json.loads(sys.argv[1])
class Net(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def training_step(self, batch, index):
        time.sleep(0.06)
        loss = self.layer(batch).mean()
        self.log("train_loss", loss, prog_bar=True)
        return loss
    def validation_step(self, batch, index):
        time.sleep(0.02)
        self.log("val_loss", 1.0, prog_bar=True)
    def on_train_epoch_end(self):
        mark()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)
data = torch.utils.data.DataLoader(torch.rand(40, 4), batch_size=4)
for fit in range(OPTIONS.get("fits", 1)):
    bars = L.pytorch.callbacks
    callbacks = [bars.RichProgressBar() if OPTIONS.get("rich") else bars.TQDMProgressBar()]
    trainer = L.Trainer(accelerator="cpu", devices=1, logger=OPTIONS.get("logger", True), callbacks=callbacks,
        log_every_n_steps=1, max_epochs=OPTIONS.get("epochs", 3), enable_checkpointing=bool(OPTIONS.get("save")))
    trainer.fit(Net(), data, data, ckpt_path=OPTIONS.get("resume"))
    if OPTIONS.get("save"):
        trainer.save_checkpoint(OPTIONS["save"])
"""
)

TRAINER = (
    MARKS
    + """
import torch, transformers
OPTIONS = json.loads(sys.argv[1])
if OPTIONS.get("info"):
    transformers.logging.set_verbosity_info()
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def forward(self, x, labels=None):
        time.sleep(0.03 if self.training else 0.01)
        out = self.layer(x).squeeze(-1)
        return {"loss": ((out - labels) ** 2).mean(), "logits": out}
class Marks(transformers.TrainerCallback):
    def on_epoch_end(self, args, state, control, **kwargs):
        mark()
data = [{"x": torch.rand(4), "labels": torch.tensor(1.0)} for _ in range(80)]
for trial in range(OPTIONS.get("trials", 1)):
    more = {"eval_strategy": "epoch"} if OPTIONS.get("eval") else {}
    args = transformers.TrainingArguments("out", num_train_epochs=OPTIONS.get("epochs", 3),
        per_device_train_batch_size=4, logging_steps=OPTIONS.get("logging", 5),
        save_strategy=OPTIONS.get("save", "no"), report_to=[], use_cpu=True,
        disable_tqdm=False, **more)
    trainer = transformers.Trainer(Net(), args, train_dataset=data, eval_dataset=data[:16], callbacks=[Marks()])
    trainer.train(resume_from_checkpoint=OPTIONS.get("resume"))
"""
)

KERAS = (
    MARKS
    + """
import keras, numpy
OPTIONS = json.loads(sys.argv[1])
class Slow(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        time.sleep(0.04)
        if OPTIONS.get("predict") and batch == 3:
            self.model.predict(x[:4], verbose=1)
    def on_epoch_end(self, epoch, logs=None):
        mark()
x, y = numpy.random.rand(80, 4), numpy.random.rand(80, 1)
def fit(**more):
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(x, y, batch_size=4, callbacks=[Slow()], validation_split=0.2, verbose=OPTIONS.get("verbose", 1), **more)
    return model
if OPTIONS.get("loop"):
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    for _ in range(3):
        model.fit(x, y, batch_size=4, callbacks=[Slow()])
else:
    for _ in range(OPTIONS.get("folds", 1)):
        model = fit(epochs=OPTIONS.get("epochs", 3), initial_epoch=OPTIONS.get("initial", 0))
        model.evaluate(x, y, verbose=1)
"""
)

IGNITE = (
    MARKS
    + """
import torch
from ignite.engine import Engine, Events
from ignite.contrib.handlers import ProgressBar
def step(engine, batch):
    time.sleep(0.03)
    return {"loss": 0.5}
trainer = Engine(step)
ProgressBar().attach(trainer, output_transform=lambda out: out)
trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: mark())
trainer.run(list(range(25)), max_epochs=3)
"""
)

SKORCH = (
    MARKS
    + """
import numpy, torch, skorch
class Marks(skorch.callbacks.Callback):
    def on_epoch_end(self, net, **kwargs):
        mark()
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def forward(self, x):
        time.sleep(0.02)
        return self.layer(x)
net = skorch.NeuralNetRegressor(Net, max_epochs=3, batch_size=4, callbacks=[Marks()])
net.fit(numpy.random.rand(100, 4).astype("float32"), numpy.random.rand(100, 1).astype("float32"))
"""
)

TQDM = (
    MARKS
    + """
import subprocess, tqdm
OPTIONS = json.loads(sys.argv[1])
def train(rank):
    for epoch in range(3):
        for step in tqdm.tqdm(range(40), desc=OPTIONS["name"].format(e=epoch + 1)):
            time.sleep(0.02 + 0.001 * rank)
        if rank == 0:
            mark()
if len(sys.argv) > 2:
    train(int(sys.argv[2]))
else:
    ranks = [subprocess.Popen([sys.executable, __file__, sys.argv[1], str(rank)]) for rank in range(OPTIONS["ranks"])]
    sys.exit(max(rank.wait() for rank in ranks))
"""
)

ULTRALYTICS = (
    MARKS
    + """
import numpy
from pathlib import Path
from PIL import Image
root = Path("data"); (root / "images").mkdir(parents=True, exist_ok=True); (root / "labels").mkdir(exist_ok=True)
for n in range(16):
    Image.fromarray(numpy.random.randint(0, 255, (64, 64, 3), numpy.uint8)).save(root / "images" / f"{n}.jpg")
    (root / "labels" / f"{n}.txt").write_text("0 0.5 0.5 0.4 0.4\\n")
Path("data.yaml").write_text(f"path: {root.resolve()}\\ntrain: images\\nval: images\\nnames:\\n  0: thing\\n")
from ultralytics import YOLO
model = YOLO("yolov8n.yaml")
model.add_callback("on_train_epoch_end", lambda trainer: mark())
model.train(data="data.yaml", epochs=3, imgsz=64, batch=4, workers=0, device="cpu", plots=False,
    project=str(Path.cwd()))
"""
)


def run(code: str, directory: Path, options: dict[str, Any], *, terminal: bool) -> tuple[list[float], list[dict], str]:
    """The marks of the program, the events of its run, and its output."""
    program = directory / "program.py"
    program.write_text(textwrap.dedent(code))
    marks = directory / "marks"
    marks.unlink(missing_ok=True)
    quiet = {
        "KERAS_BACKEND": "torch",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "HOME": str(directory),
        "MARKS": str(marks),
    }
    reports = directory / f"events-{len(list(directory.glob('events-*')))}"
    environ = environment(
        reports, **{**quiet, "MARKS": str(marks), "YOLO_OFFLINE": "true", "COLUMNS": "160", "TERM": "xterm"}
    )
    argv = [*EXEC, "--verbose", "--no-find", "--id", "real", "--", sys.executable, str(program), json.dumps(options)]
    before = os.getcwd()  # noqa: PTH109 - to come back to
    os.chdir(directory)
    try:
        if terminal:
            with Terminal(argv, environ, rows=40, columns=160) as screen:
                assert screen.wait(SECONDS) == 0, screen.output[-3000:]
                text = screen.output.decode("utf-8", "replace")
        else:
            completed = subprocess.run(argv, env=environ, capture_output=True, timeout=SECONDS, check=False)
            text = (completed.stdout + completed.stderr).decode("utf-8", "replace")
            assert completed.returncode == 0, text[-3000:]
    finally:
        os.chdir(before)
    return [float(line) for line in marks.read_text().split()], list(events(reports)), text


def check(
    code: str,
    directory: Path,
    options: dict[str, Any],
    *,
    terminal: bool,
    start: int = 0,
    late: float = 0.0,
    **figures: float,
) -> None:
    true, lines, text = run(code, directory, options, terminal=terminal)
    assert not [line for line in lines if line["ev"] == "retract"], text[-2000:]
    ends = [line for line in lines if line["ev"] == "epoch_end"]
    assert [line["epoch"] for line in ends] == [start + n + 1 for n in range(len(true))], text[-3000:]
    for end, at in zip(ends, true, strict=True):
        assert abs(end["mono"] - at) < TOLERANCE_SECONDS + late, (end, at)
    for name, value in figures.items():
        assert [line[name] for line in lines if line.get(name) is not None][-1:] == [value], (name, text[-2000:])


BOTH = pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "terminal"])


@BOTH
@pytest.mark.parametrize("logger", [True, False])
def test_lightning(tmp_path: Path, logger: bool, terminal: bool):
    check(LIGHTNING, tmp_path, {"logger": logger}, terminal=terminal, epochs=3, step=30)


@BOTH
def test_lightning_twice(tmp_path: Path, terminal: bool):
    check(LIGHTNING, tmp_path, {"fits": 2, "epochs": 2}, terminal=terminal, epochs=4)


@pytest.mark.parametrize("logger", [True, False])
def test_lightning_resumed(tmp_path: Path, logger: bool):
    check(LIGHTNING, tmp_path, {"epochs": 2, "save": "last.ckpt", "logger": logger}, terminal=False, epochs=2)
    options = {"epochs": 5, "resume": "last.ckpt", "logger": logger}
    check(LIGHTNING, tmp_path, options, terminal=False, start=2, epochs=5)


def test_lightning_with_rich_on_a_terminal(tmp_path: Path):
    check(LIGHTNING, tmp_path, {"rich": True}, terminal=True, epochs=3, step=30)


def test_lightning_with_rich_in_a_pipe_prints_its_last_state_alone(tmp_path: Path):
    _, lines, _ = run(LIGHTNING, tmp_path, {"rich": True}, terminal=False)
    assert [line["epoch"] for line in lines if line["ev"] == "epoch_end"] == []


@BOTH
@pytest.mark.parametrize("info", [True, False])
def test_trainer(tmp_path: Path, info: bool, terminal: bool):
    check(TRAINER, tmp_path, {"info": info}, terminal=terminal, epochs=3, step=60)


def test_trainer_with_evaluation(tmp_path: Path):
    check(TRAINER, tmp_path, {"eval": True}, terminal=False, epochs=3, step=60)


def test_trainer_in_trials(tmp_path: Path):
    check(TRAINER, tmp_path, {"trials": 3, "epochs": 2}, terminal=False, epochs=6)
    check(TRAINER, tmp_path, {"trials": 2, "epochs": 1}, terminal=False, epochs=2)


def test_trainer_resumed(tmp_path: Path):
    run(TRAINER, tmp_path, {"epochs": 2, "save": "epoch"}, terminal=False)
    check(
        TRAINER,
        tmp_path,
        {"epochs": 4, "resume": "out/checkpoint-40", "save": "epoch"},
        terminal=False,
        start=2,
        epochs=4,
    )


@BOTH
@pytest.mark.parametrize("verbose", [1, 2])
def test_keras(tmp_path: Path, verbose: int, terminal: bool):
    check(KERAS, tmp_path, {"verbose": verbose}, terminal=terminal, epochs=3, step=48)


def test_keras_that_predicts_inside_an_epoch(tmp_path: Path):
    check(KERAS, tmp_path, {"predict": True}, terminal=True, epochs=3)


def test_keras_fitted_in_a_loop(tmp_path: Path):
    check(KERAS, tmp_path, {"loop": True}, terminal=False)


def test_keras_in_folds_and_resumed(tmp_path: Path):
    check(KERAS, tmp_path, {"folds": 3, "epochs": 2}, terminal=False, epochs=6)
    check(KERAS, tmp_path, {"initial": 4, "epochs": 6}, terminal=False, start=4, epochs=6)


@BOTH
def test_ignite(tmp_path: Path, terminal: bool):
    pytest.importorskip("ignite")
    check(IGNITE, tmp_path, {}, terminal=terminal, epochs=3, step=75)


@BOTH
def test_skorch(tmp_path: Path, terminal: bool):
    pytest.importorskip("skorch")
    check(SKORCH, tmp_path, {}, terminal=terminal)


@BOTH
@pytest.mark.parametrize("ranks", [2, 4])
def test_tqdm_with_real_ranks(tmp_path: Path, ranks: int, terminal: bool):
    check(TQDM, tmp_path, {"name": "Epoch {e}/3", "ranks": ranks}, terminal=terminal, epochs=3, late=0.4)
    for name in ("", "train"):
        _, lines, _ = run(TQDM, tmp_path, {"name": name, "ranks": ranks}, terminal=terminal)
        assert final_epochs(lines) in ([], [1, 2, 3] if name else [])


def final_epochs(lines: list[dict]) -> list[float]:
    """Epoch ends after the last retraction."""
    begin = max((at for at, line in enumerate(lines) if line["ev"] == "retract"), default=0)
    return [line["epoch"] for line in lines[begin:] if line["ev"] == "epoch_end"]


def test_ultralytics(tmp_path: Path):
    pytest.importorskip("ultralytics")
    check(ULTRALYTICS, tmp_path, {}, terminal=False, late=2.0, epochs=3, step=12)
