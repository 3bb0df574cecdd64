"""The agent as users run it: a process."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.waiting import wait_for


class AgentProcess:
    def __init__(self, directory: Path, *flags: str, env: dict[str, str] | None = None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = directory / "agent.log"
        self.events = directory / "events"
        command = [sys.executable, "-m", "epochcost", "agent", f"--web.listen-address=127.0.0.1:{self.port}"]
        command += [f"--events.dir={self.events}", f"--state.dir={directory / 'state'}", *flags]
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(command, stderr=out, stdout=out, env={**os.environ, **(env or {})})

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as err:
            with err:
                return err.code, err.read().decode()
        except OSError:
            return 0, ""

    def up(self) -> AgentProcess:
        wait_for(lambda: self.get("/-/ready")[0] == 200 or self.process.poll() is not None, what="the agent")
        assert self.process.poll() is None, self.log.read_text()
        return self

    def live(self) -> dict:
        return json.loads(self.get("/v1/live")[1])

    def end(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=15)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Callable[..., AgentProcess]]:
    started: list[AgentProcess] = []

    def start(*flags: str, **env: str) -> AgentProcess:
        started.append(AgentProcess(tmp_path, "--gpus.source=none", *flags, env=env))
        return started[-1]

    yield start
    for one in started:
        one.end(signal.SIGKILL)


def test_it_serves_and_ends_in_order_on_sigterm(agent: Callable[..., AgentProcess]) -> None:
    it = agent("--price.usd-per-hour=2").up()
    assert it.get("/-/healthy")[0] == 200
    series = re.compile(
        r'^epochcost_node_price_usd_per_hour\{epochcost_machine="[^"]+-[0-9a-f]{8}"\} 2\.0$', re.MULTILINE
    )
    wait_for(lambda: series.search(it.get("/metrics")[1]), what="the price, with the machine's name")
    assert "<title>" in it.get("/")[1]
    assert it.end() == 0
    assert "Traceback" not in it.log.read_text()


def test_a_kill_and_a_new_start_go_on_where_it_was(agent: Callable[..., AgentProcess]) -> None:
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
    ended = wait_for(
        lambda: (found := second.live()["runs"][0])["state"] == "finished" and found, what="the end of the run"
    )
    seconds = ended["ended_ts"] - ended["started_ts"]
    assert ended["cost_usd"] == pytest.approx(seconds * 0.01, rel=1e-9)
    assert run["started_ts"] == ended["started_ts"]
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
    ("flags", "code", "says"),
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
    tmp_path: Path, flags: list[str], code: int, says: str
) -> None:
    command = [sys.executable, "-m", "epochcost", "agent", f"--events.dir={tmp_path / 'e'}", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
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
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "in use" in done.stderr
    assert "Traceback" not in done.stderr


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
def test_a_setting_that_makes_a_start_impossible_is_named_by_its_flag(tmp_path: Path, flag: str, message: str):
    file = tmp_path / "file"
    file.touch()
    one = AgentProcess(tmp_path, flag.replace("FILE", str(file)))
    assert one.process.wait(timeout=30) in {1, 2}
    assert f"epochcost agent: {message.replace('FILE', str(file))}" in one.log.read_text()
    assert "Traceback" not in one.log.read_text()
