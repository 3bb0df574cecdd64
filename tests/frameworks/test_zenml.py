"""ZenML, really running a pipeline on this machine."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.frameworks.real import facts, launch
from tests.training.programs import events_by_file

pytestmark = pytest.mark.skipif(find_spec("zenml") is None, reason="ZenML is not installed")
PROGRAM = """
import epochcost
from zenml import pipeline, step

@step(enable_cache=False)
def train_model(epochs: int) -> float:
    with epochcost.run(epochs=epochs) as run:
        for _ in run.epochs():
            list(run.batches(range(3)))
    return 0.5

@step(enable_cache=False)
def tune(start: float) -> float:
    for trial in range(2):
        with epochcost.run("tuning", epochs=1) as run:
            list(run.epochs())
    return start

@pipeline(enable_cache=False)
def forecast():
    tune(train_model(epochs=2))

if __name__ == "__main__":
    forecast()
"""


def test_runs_are_named_by_pipeline_run_and_step(tmp_path: Path):
    program = tmp_path / "pipelines.py"  # ZenML must be able to find the source again
    program.write_text(PROGRAM)
    launch(
        f"import subprocess, sys; sys.exit(subprocess.call([{sys.executable!r}, {str(program)!r}]))",
        tmp_path,
        EPOCHCOST_DIR=str(tmp_path / "events"),
        ZENML_CONFIG_PATH=str(tmp_path / "zenml"),
        ZENML_ANALYTICS_OPT_IN="false",
    )
    lines = {str(file[0]["run"]): file for file in events_by_file(tmp_path / "events").values()}
    jobs = {facts(file[0], "launcher", "job") for file in lines.values()}
    ((launcher, job),) = jobs
    assert launcher == "zenml"
    assert str(job).startswith("forecast-")
    assert set(lines) == {f"{job}.train_model", f"{job}.tune", f"{job}.tune-2"}
    assert facts(lines[f"{job}.train_model"][-1], "experiment", "epoch", "status") == (
        "forecast/train_model",
        2,
        "finished",
    )
