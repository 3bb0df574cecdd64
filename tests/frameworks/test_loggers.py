"""Dollars beside the loss in TensorBoard, W&B (offline) and MLflow (a local file), read back from there."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.agent.agent_process import AgentProcess
from tests.frameworks.real import launch
from tests.frameworks.test_huggingface import PROGRAM as HUGGINGFACE
from tests.frameworks.test_lightning import PROGRAM as LIGHTNING

NAME = "epochcost/cost_usd"


def needs(*modules: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(any(find_spec(one) is None for one in modules), reason=f"needs {', '.join(modules)}")


def train(program: str, directory: Path, agent: AgentProcess, options: str = "{}", **extra: str) -> None:
    slow = program.replace("time.sleep(0.03)", "time.sleep(0.25)")
    launch(slow, directory, options, EPOCHCOST_DIR=str(agent.events), **extra)


def scalars(directory: Path) -> list[float]:
    """The scalars as TensorBoard would show them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (file,) = (path for path in directory.rglob("events.out.tfevents.*") if b"epochcost" in path.read_bytes())
    read = EventAccumulator(str(file))
    read.Reload()
    return [scalar.value for scalar in read.Scalars(NAME)]


def rises(cost: list[float]) -> None:
    assert len(cost) >= 2
    assert cost == sorted(cost)
    assert 2 < cost[-1] < 100  # a dollar a second


@needs("lightning", "tensorboard")
def test_lightning_into_tensorboard(tmp_path: Path, agent: AgentProcess):
    program = LIGHTNING.replace("CSVLogger", "TensorBoardLogger")
    train(program, tmp_path, agent)
    rises(scalars(tmp_path / "logs"))


@needs("lightning", "mlflow")
def test_lightning_into_mlflow(tmp_path: Path, agent: AgentProcess):
    program = LIGHTNING.replace("import CSVLogger", "import MLFlowLogger")
    program = program.replace('CSVLogger("logs")', 'MLFlowLogger(tracking_uri="file:logs")')
    train(program, tmp_path, agent, MLFLOW_ALLOW_FILE_STORE="true")
    (file,) = (tmp_path / "logs").glob(f"*/*/metrics/{NAME}")
    rises([float(line.split()[1]) for line in file.read_text().splitlines()])


@needs("lightning", "wandb")
def test_lightning_into_weights_and_biases(tmp_path: Path, agent: AgentProcess):
    program = LIGHTNING.replace("import CSVLogger", "import WandbLogger")
    program = program.replace('CSVLogger("logs")', 'WandbLogger(save_dir=".", offline=True)')
    train(program, tmp_path, agent)
    (file,) = tmp_path.rglob("run-*.wandb")
    assert file.read_bytes().count(NAME.encode()) >= 2


@needs("transformers", "tensorboard")
def test_an_attached_hugging_face_callback_into_tensorboard(tmp_path: Path, agent: AgentProcess):
    constructor = 'epochcost.huggingface_callback("net", **OPTIONS.get("callback", {}))'
    program = HUGGINGFACE.replace("report_to=[]", 'report_to=["tensorboard"]').replace(
        f"[{constructor}, Clock()]", "[Clock()]"
    )
    program = program.replace("try:\n    trainer.train", f"{constructor}.attach(trainer)\ntry:\n    trainer.train")
    train(program, tmp_path, agent, TENSORBOARD_LOGGING_DIR="logs")
    files = [path for path in tmp_path.rglob("events.out.tfevents.*") if b"epochcost" in path.read_bytes()]
    assert files
    assert b"epochcost/cost_usd" in files[0].read_bytes()
