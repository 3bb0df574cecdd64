"""``scripts/up`` as a new user runs it, but for its installing: an epoch has a cost, and nothing is left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.stack


def up(home: Path, log: Path, *flags: str) -> subprocess.Popen[bytes]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("EPOCHCOST_")}
    command = [sys.executable, "-m", "scripts.stack", "--mode", "native", "--epochs", "3", "--samples", "400", *flags]
    with log.open("wb") as out:
        return subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, env={**env, "EPOCHCOST_UP_HOME": str(home)})


def left_of(home: Path) -> list[str]:
    """Processes whose command line names this run's folder."""
    pids = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(home) in command:
            pids.append(command)
    return pids


def test_it_shows_the_cost_of_an_epoch_of_a_real_training_and_leaves_nothing_behind(tmp_path: Path) -> None:
    home, log = tmp_path / "up", tmp_path / "log"
    process = up(home, log)
    try:
        wait_for(lambda: "Running until Ctrl-C" in log.read_text() or process.poll() is not None, 180, "the first cost")
        log_text = log.read_text()
        assert process.poll() is None, log_text
        assert "owned desktop of $2,000" in log_text
        cost, seconds = map(float, re.findall(r"One epoch of char-lm-\S+ cost \$([\d.]+): ([\d.]+) s", log_text)[0])
        assert cost == pytest.approx(seconds * (2000 / 17532 + 0.0426) / 3600, rel=0.2, abs=2e-6)  # printed rounded
        assert "said by Prometheus" in log_text
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    assert left_of(home) == []


def test_detached_it_keeps_running_and_stop_ends_it(tmp_path: Path) -> None:
    home, log = tmp_path / "up", tmp_path / "log"
    assert up(home, log, "--detach", "--no-example").wait(timeout=120) == 0, log.read_text()
    assert "Left running" in log.read_text()
    names = [name for name, _, _ in json.loads((home / "processes.json").read_text())["processes"]]
    assert {"agent", "prices", "prometheus", "alertmanager"} <= set(names)
    assert up(home, log, "--no-example").wait(timeout=120) == 1
    assert "scripts/up --stop ends them" in log.read_text()
    assert up(home, log, "--stop").wait(timeout=120) == 0
    assert "agent ended" in log.read_text()
    assert left_of(home) == []
