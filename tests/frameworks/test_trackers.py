"""Dollars in the trackers that a program has open itself, read back: W&B and Comet offline, MLflow in a file."""

from __future__ import annotations

import json
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.frameworks.real import launch

NAME = "epochcost/cost_usd"
KERAS = """
import keras, numpy, epochcost
{setup}
x, y = numpy.random.rand(20, 3), numpy.random.rand(20, 1)
model = keras.Sequential([keras.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(x, y, epochs=3, verbose=0, callbacks=[epochcost.keras_callback("net", id="r"){extra}])
{teardown}
"""


def train(tmp_path: Path, setup: str, teardown: str, extra: str = "", **environ: str) -> None:
    (tmp_path / "r.cost.json").write_text(json.dumps({"v": 1, "run": "r", "cost_usd": 1.25}))
    launch(KERAS.format(setup=setup, teardown=teardown, extra=extra), tmp_path, **environ)


def needs(*modules: str) -> None:
    missing = [one for one in modules if find_spec(one) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


def test_weights_and_biases(tmp_path: Path):
    needs("keras", "wandb")
    train(
        tmp_path,
        "import wandb; wandb.init(mode='offline', project='p')",
        "assert wandb.run.step == 3, wandb.run.step; wandb.finish()",  # a row of its own would make it more
        extra=", keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: wandb.log(logs))",
    )
    (file,) = tmp_path.rglob("run-*.wandb")
    assert file.read_bytes().count(NAME.encode()) >= 3


def test_mlflow(tmp_path: Path):
    needs("keras", "mlflow")
    train(
        tmp_path,
        "import mlflow; mlflow.set_tracking_uri('file:logs'); mlflow.start_run()",
        "mlflow.flush_async_logging(); mlflow.end_run()",
        MLFLOW_ALLOW_FILE_STORE="true",
    )
    (file,) = (tmp_path / "logs").glob(f"*/*/metrics/{NAME}")
    assert [line.split()[1:] for line in file.read_text().splitlines()] == [["1.25", "0"], ["1.25", "1"], ["1.25", "2"]]


def test_comet(tmp_path: Path):
    needs("keras", "comet_ml")
    train(
        tmp_path,
        "import comet_ml; comet_ml.OfflineExperiment(project_name='p', workspace='w', offline_directory='.')",
        "comet_ml.get_running_experiment().end()",
    )
    (archive,) = tmp_path.glob("*.zip")
    with zipfile.ZipFile(archive) as file:
        text = b"".join(file.read(name) for name in file.namelist()).decode("utf-8", "replace")
    assert text.count(NAME) >= 3


def test_tensorboard_of_keras(tmp_path: Path):
    needs("keras", "tensorflow", "tensorboard")
    train(tmp_path, "", "", extra=", keras.callbacks.TensorBoard('logs')")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (file,) = tmp_path.rglob("train/events.out.tfevents.*")
    read = EventAccumulator(str(file), size_guidance={"tensors": 0})
    read.Reload()
    assert [one.step for one in read.Tensors(NAME)] == [one.step for one in read.Tensors("epoch_loss")] == [0, 1, 2]
