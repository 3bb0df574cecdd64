"""Real trainings under real frameworks that a policy of the guard stops: each in the framework's own way."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.agent.test_agent_process import AgentProcess
from tests.frameworks.real import launch
from tests.frameworks.test_huggingface import PROGRAM as HUGGINGFACE
from tests.frameworks.test_keras import PROGRAM as KERAS
from tests.frameworks.test_lightning import PROGRAM as LIGHTNING
from tests.training.programs import PACKAGE, events

POLICY = """
dry_run: false
policies:
  - use: budget
    when: {for: 5s}
    ladder: [checkpoint]
"""
TOLD = '"net", id="r", budget_usd=2'


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    file = tmp_path / "guard.yml"
    file.write_text(POLICY)
    flags = ["--gpus.source=none", "--price.usd-per-hour=3600", f"--guard.file={file}"]
    started = AgentProcess(tmp_path, *flags, env={"PYTHONPATH": str(PACKAGE)}).up()
    yield started
    started.end(signal.SIGKILL)


def stopped(agent: AgentProcess, code: str, directory: Path, options: str) -> float:
    """Run ``code`` to its end, which must be that of the policy; the epoch that it had reached."""
    launch(code, directory, options, EPOCHCOST_DIR=str(agent.events))
    end = events(agent.events)[-1]
    assert (end["ev"], end["status"], end["stopped"]) == ("end", "preempted", "budget")
    assert 0 < end["epoch"] < 9000
    return float(end["epoch"])


def test_the_trainer_saves_a_checkpoint_and_stops(tmp_path: Path, agent: AgentProcess) -> None:
    program = HUGGINGFACE.replace('"net", **OPTIONS', f"{TOLD}, **OPTIONS")
    assert program != HUGGINGFACE
    options = '{"trainer": {"num_train_epochs": 9000, "save_steps": 100000, "save_strategy": "steps"}}'
    reached = stopped(agent, program, tmp_path, options)
    (checkpoint,) = (tmp_path / "out").glob("checkpoint-*")
    assert int(checkpoint.name.rpartition("-")[2]) == round(reached * 10)
    assert (checkpoint / "trainer_state.json").exists()


def test_a_trainer_without_checkpoints_stops_at_the_end_of_its_epoch(tmp_path: Path, agent: AgentProcess) -> None:
    program = HUGGINGFACE.replace('"net", **OPTIONS', f"{TOLD}, **OPTIONS")
    reached = stopped(agent, program, tmp_path, '{"trainer": {"num_train_epochs": 9000, "save_strategy": "no"}}')
    assert reached == int(reached)
    assert not list((tmp_path / "out").glob("checkpoint-*"))


def test_lightning_stops_at_the_end_of_its_epoch_with_its_checkpoint_on_disk(
    tmp_path: Path, agent: AgentProcess
) -> None:
    program = LIGHTNING.replace('lightning_callback("net", budget_usd=3)', f"lightning_callback({TOLD})")
    assert program != LIGHTNING
    reached = stopped(agent, program, tmp_path, '{"trainer": {"max_epochs": 9000}}')
    assert reached == int(reached)
    assert list(tmp_path.rglob("*.ckpt"))


def test_keras_stops_at_the_end_of_its_epoch_with_its_checkpoint_on_disk(tmp_path: Path, agent: AgentProcess) -> None:
    program = KERAS.replace('keras_callback("net"', f"keras_callback({TOLD}").replace(
        "callbacks=[callback, Clock()]",
        'callbacks=[callback, Clock(), keras.callbacks.ModelCheckpoint("net.keras", save_best_only=False)]',
    )
    assert "budget_usd" in program
    assert "ModelCheckpoint" in program
    reached = stopped(agent, program, tmp_path, '{"fits": [{"epochs": 9000}]}')
    assert reached == int(reached)
    assert (tmp_path / "net.keras").exists()
