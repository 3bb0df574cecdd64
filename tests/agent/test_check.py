"""``epochcost check``: the description of this machine, and the reasons why the agent could not run."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.loopback import ExpositionServer

from epochcost.agent.check import _age as spelled_age
from epochcost.agent.check import who_answers


@pytest.fixture
def tmp_path(disk_path: Path) -> Path:
    return disk_path


def check(tmp_path: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "epochcost", "check", f"--events.dir={tmp_path / 'events'}", "--gpus.source=none"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("EPOCHCOST_")}
    return subprocess.run([*command, *flags], capture_output=True, text=True, timeout=60, env=env, check=False)


def test_a_machine_that_can_be_metered_is_described_and_passes(tmp_path: Path) -> None:
    completed = check(tmp_path, "--price.usd-per-hour=2.5", "--node.name=n1", "--node.instance-type=desktop")
    assert completed.returncode == 0, completed.stderr
    for line in ("n1", "desktop", "$2.5/h from configured", str(tmp_path / "events"), "metered by its CPUs"):
        assert line in completed.stdout
    assert "Ready: the agent can run here" in completed.stdout


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ([], "price unknown: set --price.usd-per-hour"),
        (
            ["--prices.url=http://127.0.0.1:9", "--node.purchase-option=owned"],
            "price unknown: price poller 127.0.0.1:9",
        ),
        (["--price.usd-per-hour=1", "--gpus.source=nvml"], "libnvidia-ml.so.1"),
        (["--price.usd-per-hour=1", "--node.zone=a\nb"], "zone"),
    ],
)
def test_obstacles_are_named_and_the_exit_code_is_1(tmp_path: Path, flags: list[str], reason: str) -> None:
    completed = check(tmp_path, *flags)
    assert completed.returncode == 1
    assert "Not ready: the agent cannot compute costs" in completed.stderr
    assert reason in completed.stderr
    assert "Traceback" not in completed.stderr


def test_an_impossible_events_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "events").write_text("a file")
    completed = check(tmp_path, "--price.usd-per-hour=1")
    assert completed.returncode == 1
    assert "events directory cannot be used" in completed.stderr


def test_what_does_not_speak_http_is_something_else() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        def speak() -> None:
            connection, _ = other.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"220 mail.example ESMTP\r\n")

        thread = threading.Thread(target=speak)
        thread.start()
        said = who_answers("127.0.0.1", port)
        thread.join()
    assert said.startswith(f"127.0.0.1:{port}: something that is not epochcost (")


@pytest.mark.parametrize(("seconds", "age"), [(-1.0, "0 s"), (119.0, "119 s"), (7200.0, "2 hours"), (3e5, "3 days")])
def test_an_age_is_said_in_the_unit_that_fits(seconds: float, age: str) -> None:
    assert spelled_age(seconds) == age


def test_it_names_the_program_on_the_agents_port(tmp_path: Path) -> None:
    with ExpositionServer(lambda: "epochcost_node_gpus 8\n") as agent, ExpositionServer(lambda: "up 1\n") as other:
        output = check(tmp_path, "--price.usd-per-hour=1", f"--web.listen-address={agent.address}").stdout
        assert f"{agent.address}: an epochcost agent is running there" in output
        output = check(tmp_path, "--price.usd-per-hour=1", f"--web.listen-address={other.address}").stdout
        assert f"{other.address}: another program is running there" in output
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        assert f"{address}: free" in check(tmp_path, "--price.usd-per-hour=1", f"--web.listen-address={address}").stdout
