"""Real training runs that a guard policy stops, each by its framework's own mechanism."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.agent.agent_process import AgentProcess
from tests.frameworks.real import launch
from tests.frameworks.test_fastai import PROGRAM as FASTAI
from tests.frameworks.test_huggingface import PROGRAM as HUGGINGFACE
from tests.frameworks.test_keras import PROGRAM as KERAS
from tests.frameworks.test_lightning import PROGRAM as LIGHTNING
from tests.frameworks.test_ultralytics import PROGRAM as ULTRALYTICS
from tests.training.programs import events

POLICY = """
dry_run: false
policies:
  - use: budget
    when: {for: 5s}
    ladder: [checkpoint]
"""
RUN_ARGUMENTS = '"net", id="r", budget_usd=2'


@pytest.fixture
def agent_flags(tmp_path: Path) -> list[str]:
    file = tmp_path / "guard.yml"
    file.write_text(POLICY)
    return [f"--guard.file={file}"]


def epoch_when_stopped(agent: AgentProcess, code: str, directory: Path, options: str, **extra: str) -> float:
    """Run ``code`` until the policy ends it; returns the epoch reached."""
    launch(code, directory, options, EPOCHCOST_DIR=str(agent.events), **extra)
    end = events(agent.events)[-1]
    assert (end["ev"], end["status"], end["stopped"]) == ("end", "preempted", "budget")
    assert 0 < end["epoch"] < 9000
    return float(end["epoch"])


def test_the_trainer_saves_a_checkpoint_and_stops(tmp_path: Path, agent: AgentProcess) -> None:
    program = HUGGINGFACE.replace('"net", **OPTIONS', f"{RUN_ARGUMENTS}, **OPTIONS")
    assert program != HUGGINGFACE
    options = '{"trainer": {"num_train_epochs": 9000, "save_steps": 100000, "save_strategy": "steps"}}'
    epoch = epoch_when_stopped(agent, program, tmp_path, options)
    (checkpoint,) = (tmp_path / "out").glob("checkpoint-*")
    assert int(checkpoint.name.rpartition("-")[2]) == round(epoch * 10)
    assert (checkpoint / "trainer_state.json").exists()


def test_a_trainer_without_checkpoints_stops_at_the_end_of_its_epoch(tmp_path: Path, agent: AgentProcess) -> None:
    program = HUGGINGFACE.replace('"net", **OPTIONS', f"{RUN_ARGUMENTS}, **OPTIONS")
    epoch = epoch_when_stopped(
        agent, program, tmp_path, '{"trainer": {"num_train_epochs": 9000, "save_strategy": "no"}}'
    )
    assert epoch == int(epoch)
    assert not list((tmp_path / "out").glob("checkpoint-*"))


def test_lightning_stops_at_the_end_of_its_epoch_with_its_checkpoint_on_disk(
    tmp_path: Path, agent: AgentProcess
) -> None:
    program = LIGHTNING.replace('lightning_callback("net", budget_usd=3)', f"lightning_callback({RUN_ARGUMENTS})")
    assert program != LIGHTNING
    epoch = epoch_when_stopped(agent, program, tmp_path, '{"trainer": {"max_epochs": 9000}}')
    assert epoch == int(epoch)
    assert list(tmp_path.rglob("*.ckpt"))


def test_keras_stops_at_the_end_of_its_epoch_with_its_checkpoint_on_disk(tmp_path: Path, agent: AgentProcess) -> None:
    program = KERAS.replace('keras_callback("net"', f"keras_callback({RUN_ARGUMENTS}").replace(
        "callbacks=[callback, Clock()]",
        'callbacks=[callback, Clock(), keras.callbacks.ModelCheckpoint("net.keras", save_best_only=False)]',
    )
    assert "budget_usd" in program
    assert "ModelCheckpoint" in program
    epoch = epoch_when_stopped(agent, program, tmp_path, '{"fits": [{"epochs": 9000}]}')
    assert epoch == int(epoch)
    assert (tmp_path / "net.keras").exists()


def test_fastai_stops_at_the_end_of_its_epoch(tmp_path: Path, agent: AgentProcess) -> None:
    pytest.importorskip("fastai")
    program = FASTAI.replace('fastai_callback("net")', f"fastai_callback({RUN_ARGUMENTS})")
    assert program != FASTAI
    epoch = epoch_when_stopped(agent, program, tmp_path, '{"fits": [{"n_epoch": 9000}]}')
    assert epoch == int(epoch)


def test_ultralytics_stops_at_the_end_of_its_epoch_with_its_checkpoint_on_disk(
    tmp_path: Path, agent: AgentProcess
) -> None:
    pytest.importorskip("ultralytics")
    program = ULTRALYTICS.replace('(model, "noise")', f"(model, {RUN_ARGUMENTS})").replace("epochs=3", "epochs=9000")
    assert program.count("9000") == 1
    assert "budget_usd" in program
    epoch = epoch_when_stopped(agent, program, tmp_path, "", YOLO_OFFLINE="true", YOLO_CONFIG_DIR=str(tmp_path))
    assert epoch == int(epoch)
    assert (tmp_path / "out/weights/last.pt").exists()


LOOPS_WITHOUT_CALLBACK = {
    "ignite": """
        import torch, time, epochcost
        from ignite.engine import Engine, Events
        net = torch.nn.Linear(4, 1)
        def train_step(engine, batch):
            time.sleep(0.02), net(batch).mean().backward()
        trainer = Engine(train_step)
        with epochcost.run(RUN_ARGUMENTS, epochs=9000) as run:
            @trainer.on(Events.EPOCH_COMPLETED)
            def ended(engine):
                epochcost.epoch_end(engine.state.epoch)
                if run.should_stop:
                    engine.terminate()
            trainer.run(torch.rand(20, 4).split(4), max_epochs=9000)
        """,
    "skorch": """
        import time, torch, epochcost
        from skorch import NeuralNetRegressor
        from skorch.callbacks import Callback
        class Ends(Callback):
            def on_epoch_end(self, net, **more):
                time.sleep(0.1), epochcost.epoch_end()
                if run.should_stop:
                    raise KeyboardInterrupt  # as skorch's own documentation stops a fit
        with epochcost.run(RUN_ARGUMENTS, epochs=9000) as run:
            NeuralNetRegressor(torch.nn.Linear(4, 1), max_epochs=9000, verbose=0, callbacks=[Ends()]).fit(
                torch.rand(40, 4), torch.rand(40, 1))
        """,
    "xgboost": """
        import numpy, time, xgboost, epochcost
        class Rounds(xgboost.callback.TrainingCallback):
            def after_iteration(self, model, epoch, evals_log):
                time.sleep(0.1), epochcost.epoch_end(epoch + 1)
                return bool(run.should_stop)
        with epochcost.run(RUN_ARGUMENTS, epochs=9000) as run:
            data = xgboost.DMatrix(numpy.random.rand(40, 4), numpy.random.rand(40))
            xgboost.train({"max_depth": 2}, data, num_boost_round=9000, callbacks=[Rounds()])
        """,
    "lightgbm": """
        import numpy, time, lightgbm, epochcost
        def rounds(env):
            time.sleep(0.1), epochcost.epoch_end(env.iteration + 1)
            if run.should_stop:
                raise lightgbm.callback.EarlyStopException(env.iteration, [])
        with epochcost.run(RUN_ARGUMENTS, epochs=9000) as run:
            data = lightgbm.Dataset(numpy.random.rand(200, 4), numpy.random.rand(200))
            lightgbm.train({"verbose": -1}, data, num_boost_round=9000, callbacks=[rounds])
        """,
}


@pytest.mark.parametrize("name", LOOPS_WITHOUT_CALLBACK)
def test_a_framework_without_a_callback_stops_by_its_own_mechanism(
    tmp_path: Path, agent: AgentProcess, name: str
) -> None:
    pytest.importorskip(name)
    epoch = epoch_when_stopped(
        agent, LOOPS_WITHOUT_CALLBACK[name].replace("RUN_ARGUMENTS", RUN_ARGUMENTS), tmp_path, ""
    )
    assert epoch == int(epoch)
