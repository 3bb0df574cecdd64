"""``epochcost event``: valid lines from a shell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.training.programs import environment, events, kinds

from epochcost.launch.event import main
from epochcost.progress.parse import Line, parse_line

EVENT = (sys.executable, "-m", "epochcost", "event")


def test_a_run_reported_by_a_shell_script(tmp_path: Path):
    script = """
        event() { "$PYTHON" -m epochcost event "$@"; }
        export EPOCHCOST_RUN="my run"
        event start experiment=char-lm epochs=2 batch_size=20 gpus=0,1 --pid $$
        event phase phase=train epoch=0
        event epoch_end epoch=1 step=50
        event progress epoch=1.5 step=75 memory_peak_bytes=9000000000 metrics.loss=0.31 metrics.val/acc=-1
        event end
    """
    subprocess.run(["sh", "-ec", script], env=environment(tmp_path, PYTHON=sys.executable), check=True)
    lines = events(tmp_path)
    assert kinds(lines) == ["start", "phase", "epoch_end", "progress", "end"]
    assert lines[0]["gpus"] == ["0", "1"]
    assert lines[-1]["status"] == "finished"
    assert lines[3]["metrics"] == {"loss": 0.31, "val/acc": -1}
    (path,) = tmp_path.glob("*.jsonl")
    for raw in path.read_bytes().splitlines():
        line = parse_line(raw)
        assert isinstance(line, Line), raw
        assert line.run.startswith("my_run-")


@pytest.mark.parametrize(("arguments", "message"), [
    (["progress", "epoch=1"], "--run"),
    (["progress", "--run", "a", "epoch=-1"], "epoch=-1: expected a number of 0 or more"),
    (["progress", "--run", "a", "epoch=nan"], "epoch=nan"),
    (["progress", "--run", "a", "step=1.5"], "step=1.5: expected a whole number"),
    (["progress", "--run", "a", "batch_size=0"], "batch_size=0: expected a whole number of 1 or more"),
    (["progress", "--run", "a", "epoh=1"], "epoh: unknown key; known: "),
    (["progress", "--run", "a", "epoch"], "'epoch' is not KEY=VALUE"),
    (["epoch_end", "--run", "a", "epoch=1.5"], "whole epoch number"),
    (["progress", "--run", "a", "metrics.loss=nan"], "metrics.loss=nan: expected a finite number"),
    (["progress", "--run", "a", "metrics.loss=low"], "metrics.loss=low: expected a finite number"),
    (["progress", "--run", "a", "metrics.=1"], "metrics.=1: expected a finite number"),
    (["phase", "--run", "a", "phase=lunch"], "phase=lunch: expected one of startup, train"),
    (["phase", "--run", "a"], "phase: requires the phase that begins, as in phase=train"),
    (["start", "--run", "a", "--pid", "x"], "argument --pid: 'x' is not a process id"),
    (["lunch", "--run", "a"], "invalid choice: 'lunch'"),
])  # fmt: skip
def test_a_wrong_argument_is_one_error_that_names_it(tmp_path: Path, capsys, arguments: list[str], message: str):
    with pytest.raises(SystemExit) as raised:
        main(arguments, {"EPOCHCOST_DIR": str(tmp_path)})
    assert raised.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_if_it_cannot_be_written_there_is_an_error_and_exit_code_1(tmp_path: Path, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as raised:
        main(["start", "--run", "a"], {"EPOCHCOST_DIR": str(tmp_path / "file")})
    assert raised.value.code == 1
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_help_and_commands_work_without_the_agents_packages(tmp_path: Path):
    # -S: no site-packages at all, as in a training image with the base install.
    bare = (sys.executable, "-S", "-m", "epochcost")
    environ = environment(tmp_path, COLUMNS="200")
    help_text = subprocess.run([*bare, "--help"], env=environ, capture_output=True, text=True, check=True).stdout
    assert "exec " in help_text
    assert "event " in help_text
    for name in ("exec", "event"):
        completed = subprocess.run([*bare, name, "--help"], env=environ, capture_output=True, text=True, check=True)
        assert completed.stdout.startswith(f"usage: epochcost {name} ")
    subprocess.run([*bare, "exec", "--", "true"], env=environ, check=True)
    assert kinds(events(tmp_path)) == ["start", "end"]
    assert os.path.realpath(bare[0])


def test_the_package_imports_only_the_standard_library_and_the_training_side():
    import ast

    package = Path(__file__).parents[2] / "exporter" / "epochcost" / "launch"
    for path in package.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                is_own = name.startswith(("epochcost.launch", "epochcost.training"))
                assert is_own or name.split(".")[0] in sys.stdlib_module_names, f"{path.name}: {name}"
