"""Real ends: a real agent with a policy, and real training runs that stop, are stopped, or are kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.agent.agent_process import AgentProcess
from tests.training.programs import PACKAGE, environment, events_by_file
from tests.waiting import wait_for

BUDGET = """
dry_run: false
policies:
  - use: budget
    when: {for: 5s}
    ladder: [{step: checkpoint, wait: WAIT}, {step: stop}]
"""
HUNG = """
dry_run: false
commands:
  terminate: {command: [/bin/kill, -TERM, "{pids}"], scope: run}
policies:
  - name: hung
    when: {states: [stalled], for: 5s}
    ladder: [tell, {step: stop, command: terminate}]
"""
LOOP = """
import sys, time, pathlib, epochcost
with epochcost.run("net", epochs=100000, budget_usd=3, id="r") as run:
    for epoch in run.epochs():
        time.sleep(0.1)
        if run.should_stop:
            with run.checkpoint():
                pathlib.Path("checkpoint").write_text(str(epoch))
            print("stopped:", run.should_stop)
            break
"""
HANGS = """
import sys, time, epochcost
with epochcost.run("net", epochs=1000, id=sys.argv[1]) as run:
    for epoch in run.epochs():
        for batch in run.batches(range(30)):
            time.sleep(0.1)
        time.sleep(600)
"""
PRINTS = """
import signal, sys, time, pathlib
going = []
signal.signal(signal.SIGTERM, lambda *_: going.append(1) if sys.argv[1] == "saves" else None)
for epoch in range(1, 100000):
    print(f"Epoch {epoch}/100000", flush=True)
    for _ in range(5):
        time.sleep(0.1)
    if going:
        pathlib.Path("checkpoint").write_text(str(epoch))
        sys.exit(0)
"""


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Callable[..., AgentProcess]]:
    agents: list[AgentProcess] = []

    def start(policy: str, *flags: str) -> AgentProcess:
        file = tmp_path / "guard.yml"
        file.write_text(policy)
        usual = ["--gpus.source=none", "--price.usd-per-hour=3600", f"--guard.file={file}"]
        agents.append(AgentProcess(tmp_path, *usual, *flags, env={"PYTHONPATH": str(PACKAGE)}).up())
        return agents[-1]

    yield start
    for one in agents:
        one.end(signal.SIGKILL)


def run(it: AgentProcess, directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env=environment(it.events),
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def last_lines(it: AgentProcess) -> list[dict[str, Any]]:
    return [lines[-1] for lines in events_by_file(it.events).values()]


def view_of(it: AgentProcess, name: str) -> dict[str, Any]:
    return next(r for r in it.live()["runs"] if r["run"] == name)


def test_a_plain_loop_over_its_budget_stops_with_its_checkpoint_on_disk(
    tmp_path: Path, agent: Callable[..., AgentProcess]
) -> None:
    it = agent(BUDGET.replace("WAIT", "10m"))
    completed = run(it, tmp_path, sys.executable, "-c", LOOP)
    assert completed.returncode == 0, completed.stderr
    assert "stopped: budget: over-budget" in completed.stdout
    assert (tmp_path / "checkpoint").exists()
    (end,) = last_lines(it)
    assert (end["ev"], end["status"], end["stopped"]) == ("end", "preempted", "budget")
    wait_for(lambda: view_of(it, "r")["state"] == "preempted", what="the end of the run")
    assert view_of(it, "r")["stopped"] == "budget"
    assert "epochcost_run_stopped_info{" in it.get("/metrics")[1]


def test_exec_sends_the_signal_that_its_command_understands(tmp_path: Path, agent: Callable[..., AgentProcess]) -> None:
    it = agent(BUDGET.replace("WAIT", "10m"))
    command = [sys.executable, "-m", "epochcost", "exec", "--id", "r", "--budget-usd", "3", "--"]
    completed = run(it, tmp_path, *command, sys.executable, "-c", PRINTS, "saves")
    assert completed.returncode == 0, completed.stderr
    assert (tmp_path / "checkpoint").exists()
    (end,) = last_lines(it)
    assert (end["status"], end["stopped"], end["exit_status"]) == ("preempted", "budget", 0)


def test_exec_ends_a_command_that_ignores_the_signal(tmp_path: Path, agent: Callable[..., AgentProcess]) -> None:
    it = agent(BUDGET.replace("WAIT", "5s"))
    command = [sys.executable, "-m", "epochcost", "exec", "--id", "r", "--budget-usd", "3", "--stop-wait", "1", "--"]
    completed = run(it, tmp_path, *command, sys.executable, "-c", PRINTS, "ignores")
    assert completed.returncode == -signal.SIGKILL
    (end,) = last_lines(it)
    assert (end["status"], end["stopped"], end["exit_status"]) == ("preempted", "budget", 128 + signal.SIGKILL)


def test_a_hung_run_is_ended_and_a_kept_one_is_not(tmp_path: Path, agent: Callable[..., AgentProcess]) -> None:
    it = agent(HUNG, "--states.stall-after=1s")
    keep = [sys.executable, "-m", "epochcost", "keep", "1h", "--run", "kept", "--why", "a debugger is attached"]
    assert run(it, tmp_path, *keep).returncode == 0
    runs = {
        name: subprocess.Popen([sys.executable, "-c", HANGS, name], env=environment(it.events), cwd=tmp_path)
        for name in ("kept", "hung")
    }
    try:
        assert runs["hung"].wait(timeout=120) == -signal.SIGTERM
        wait_for(
            lambda: "epochcost_guard_ended_usd_per_hour_total{" in it.get("/metrics")[1], what="the account of the end"
        )
        assert runs["kept"].poll() is None
        assert 'why="a debugger is attached"' in it.get("/metrics")[1]
        assert f'by="user {os.geteuid()}"' in it.get("/metrics")[1]
    finally:
        for process in runs.values():
            process.kill()
            process.wait()
