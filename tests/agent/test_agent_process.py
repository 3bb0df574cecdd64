"""The agent as users run it: a process."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.agent.agent_process import AgentProcess
from tests.waiting import wait_for


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Callable[..., AgentProcess]]:
    agents: list[AgentProcess] = []

    def start(*flags: str, **env: str) -> AgentProcess:
        agents.append(AgentProcess(tmp_path, "--gpus.source=none", *flags, env=env))
        return agents[-1]

    yield start
    for one in agents:
        one.end(signal.SIGKILL)


def test_it_serves_and_shuts_down_on_sigterm(agent: Callable[..., AgentProcess]) -> None:
    it = agent("--price.usd-per-hour=2").up()
    assert it.get("/-/healthy")[0] == 200
    series = re.compile(
        r'^epochcost_node_price_usd_per_hour\{epochcost_machine="[^"]+-[0-9a-f]{8}"\} 2\.0$', re.MULTILINE
    )
    wait_for(lambda: series.search(it.get("/metrics")[1]), what="the price, with the machine's name")
    assert "<title>" in it.get("/")[1]
    assert it.end() == 0
    assert "Traceback" not in it.log.read_text()


def test_after_a_kill_a_new_agent_resumes_the_run(agent: Callable[..., AgentProcess]) -> None:
    first = agent("--price.usd-per-hour=36").up()
    program = "import epochcost, sys\nwith epochcost.run(id='r') as run:\n sys.stdin.read()"
    training = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, env={**os.environ, "EPOCHCOST_DIR": str(first.events)}
    )
    wait_for(lambda: first.live()["runs"], what="the run")
    state = first.events.parent / "state" / "agent-state.json"
    wait_for(state.exists, what="the state")
    first.end(signal.SIGKILL)
    second = agent("--price.usd-per-hour=36").up()
    (run,) = wait_for(lambda: second.live()["runs"], what="the run after the restart")
    live = second.live()
    assert training.stdin is not None
    training.stdin.close()
    assert training.wait() == 0
    finished_run = wait_for(
        lambda: (first_run := second.live()["runs"][0])["state"] == "finished" and first_run, what="the end of the run"
    )
    seconds = finished_run["ended_ts"] - finished_run["started_ts"]
    assert finished_run["cost_usd"] == pytest.approx(seconds * 0.01, rel=1e-9)
    assert run["started_ts"] == finished_run["started_ts"]
    assert live["node"]["seconds"] >= live["t"] - run["started_ts"] - 1e-6


def test_a_training_process_killed_hard_is_noticed(agent: Callable[..., AgentProcess]) -> None:
    it = agent("--price.usd-per-hour=36").up()
    training = subprocess.Popen(
        [sys.executable, "-c", "import epochcost, sys\nwith epochcost.run(id='r') as run:\n sys.stdin.read()"],
        stdin=subprocess.PIPE,
        env={**os.environ, "EPOCHCOST_DIR": str(it.events)},
    )
    wait_for(lambda: it.live()["runs"], what="the run")
    training.kill()
    training.wait()
    assert training.stdin is not None
    training.stdin.close()
    wait_for(lambda: it.live()["runs"][0]["state"] == "lost", what="the loss")


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--web.listen-address=nowhere"], 2, "--web.listen-address: 'nowhere' is not valid: expected HOST:PORT"),
        (["--price.usd-per-hour=nan"], 2, "--price.usd-per-hour: 'nan' is not valid"),
        (["--price.usd-per-hour=0"], 2, "expected a number above 0"),
        (["--gpus.source=nvml"], 1, "libnvidia-ml.so.1"),
        (["--web.config.file=/does/not/exist.yml"], 1, "/does/not/exist.yml"),
        (["--config.file=/does/not/exist.yml"], 2, "/does/not/exist.yml: cannot be read"),
        (["--node.region=a\nb"], 1, "region"),
        (["--unknown"], 2, "unrecognized arguments: --unknown"),
    ],
)
def test_a_wrong_setting_is_one_clear_line_and_an_exit_code(
    tmp_path: Path, flags: list[str], code: int, message: str
) -> None:
    command = [sys.executable, "-m", "epochcost", "agent", f"--events.dir={tmp_path / 'e'}", *flags]
    completed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert completed.returncode == code, completed.stderr
    assert message in completed.stderr
    assert "Traceback" not in completed.stderr


def test_a_port_in_use_is_reported(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        command = [
            sys.executable,
            "-m",
            "epochcost",
            "agent",
            f"--web.listen-address=127.0.0.1:{other.getsockname()[1]}",
        ]
        command += [f"--events.dir={tmp_path / 'e'}", f"--state.dir={tmp_path / 's'}", "--gpus.source=none"]
        completed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert completed.returncode == 1
    assert "in use" in completed.stderr
    assert "Traceback" not in completed.stderr


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--events.dir=/proc/no/such", "--events.dir=/proc/no/such: no such file or directory"),
        ("--events.dir=FILE", "--events.dir=FILE: not a directory"),
        ("--state.dir=FILE", "--state.dir=FILE: cannot keep the agent's state here"),
        ("--gpus.source=tpu", "--gpus.source=tpu: "),
        ("--sample.interval=1h", "--sample.interval: '1h' is not valid: expected a duration from 100ms to 1m"),
    ],
)
def test_a_setting_that_prevents_a_start_is_named_by_its_flag(tmp_path: Path, flag: str, message: str):
    file = tmp_path / "file"
    file.touch()
    one = AgentProcess(tmp_path, flag.replace("FILE", str(file)))
    assert one.process.wait(timeout=30) in {1, 2}
    assert f"epochcost agent: {message.replace('FILE', str(file))}" in one.log.read_text()
    assert "Traceback" not in one.log.read_text()
