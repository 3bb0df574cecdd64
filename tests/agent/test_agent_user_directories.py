"""One agent that reads a directory for each user: a run is charged once, with its cost file where it reports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.agent.driven_agent import DrivenAgent, SimulatedMachine

from epochcost.agent.cost_files import CostFiles
from epochcost.agent.preemption_file import NAME, PreemptionFile
from epochcost.model import PreemptionNotice
from epochcost.progress.event_places import EventPlace

ANN, BOB = 1001, 1002
PRICE = 3600.0
"""A dollar a second."""
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives directories to other users")


@pytest.fixture
def machine(tmp_path: Path) -> SimulatedMachine:
    machine = SimulatedMachine(tmp_path)
    machine.events.chmod(0o1777)
    (tmp_path / "users").mkdir(mode=0o755)
    return machine


def home(machine: SimulatedMachine, user: int) -> Path:
    directory = machine.root / "users" / str(user)
    directory.mkdir(mode=0o700, exist_ok=True)
    os.chown(directory, user, user)
    return directory


def write_event(machine: SimulatedMachine, path: Path, user: int, kind: str, run: str = "r", **fields: object) -> None:
    line = {"v": 1, "ev": kind, "ts": machine.wall, "mono": machine.mono, "run": run, **fields}
    with path.open("a") as out:
        out.write(json.dumps(line) + "\n")
    os.chown(path, user, user)


def agent_of(machine: SimulatedMachine) -> DrivenAgent:
    agent = DrivenAgent(machine, events__user_dirs=f"{machine.root}/users/*", price__usd_per_hour=str(PRICE))
    agent.ask_price()
    return agent


def epochs(machine: SimulatedMachine, agent: DrivenAgent, path: Path, first: int, count: int) -> None:
    for epoch in range(first, first + count):
        agent.run(10.0)
        write_event(machine, path, ANN, "epoch_end", epoch=epoch)


@pytest.mark.parametrize("how", ["stays", "moves", "moves while the agent is down", "goes on elsewhere"])
def test_a_run_is_charged_once_in_whichever_directory_it_reports(machine: SimulatedMachine, how: str):
    agent = agent_of(machine)
    agent.run(3.0)
    path = machine.events / "a.jsonl"
    write_event(machine, path, ANN, "start", epochs=6)
    epochs(machine, agent, path, 1, 3)
    agent.run(1.0)
    if how == "moves while the agent is down":
        agent.save()
        agent.kill()
    if how.startswith("moves"):
        path = path.rename(home(machine, ANN) / "a.jsonl")
    elif how == "goes on elsewhere":
        write_event(machine, path, ANN, "end", status="preempted")
        path = home(machine, ANN) / "b.jsonl"
        write_event(machine, path, ANN, "resume")
    if how == "moves while the agent is down":
        agent = agent_of(machine)
    epochs(machine, agent, path, 4, 3)
    write_event(machine, path, ANN, "end", status="finished")
    agent.run(20.0)
    try:
        assert agent.dollars("run_cost_usd", run="r") == pytest.approx(61.0, abs=1e-6)
        assert agent.value("run_epochs_total", run="r") == 6
        assert agent.dollars("node_cost_usd") == pytest.approx(83.0, abs=1e-6)
        runs = {dict(labels).get("run") for name, labels in agent.scrape() if name == "epochcost_run_seconds_total"}
        assert runs == {"r"}
    finally:
        agent.close()


def test_two_users_in_their_own_directories_share_the_node_and_each_gets_their_own_costs(machine: SimulatedMachine):
    agent = agent_of(machine)
    agent.run(3.0)
    for user in (ANN, BOB):
        write_event(machine, home(machine, user) / "a.jsonl", user, "start", run="train")
    agent.run(20.0)
    try:
        costs = {user: json.loads((home(machine, user) / "train.cost.json").read_text()) for user in (ANN, BOB)}
        assert {costs[user]["run"] for user in costs} == {"train", f"train~{BOB}"}
        assert all(5.0 < costs[user]["cost_usd"] <= 10.0 for user in costs), costs
        assert not list(machine.events.glob("*.cost.json")), "a user with an own directory gets the cost file there"
    finally:
        agent.close()


def test_a_run_in_both_directories_has_a_cost_file_in_both(machine: SimulatedMachine):
    agent = agent_of(machine)
    agent.run(3.0)
    write_event(machine, machine.events / "a.jsonl", ANN, "start", run="train")
    write_event(machine, home(machine, ANN) / "b.jsonl", ANN, "start", run="train")
    agent.run(10.0)
    try:
        assert {path.name for path in machine.events.glob("*.cost.json")} == {"train.cost.json"}
        assert (home(machine, ANN) / "train.cost.json").exists()
    finally:
        agent.close()


def test_traps_in_a_users_own_directory_gain_nothing_and_do_not_fill_the_log(
    machine: SimulatedMachine, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    precious = tmp_path / "precious"
    precious.write_text("precious")
    own_directory = home(machine, ANN)
    (own_directory / "r.cost.json").symlink_to(precious)
    (own_directory / NAME).mkdir()
    write_event(machine, own_directory / "a.jsonl", ANN, "start")
    agent = agent_of(machine)
    agent.run(30.0)
    try:
        assert precious.read_text() == "precious"
        assert json.loads((own_directory / "r.cost.json").read_text())["cost_usd"] > 5.0
        assert agent.dollars("run_cost_usd", run="r") > 5.0
        assert len(caplog.records) < 10
    finally:
        agent.close()


def test_a_notice_is_written_to_every_directory_and_removed_from_each(machine: SimulatedMachine):
    places = [EventPlace.of_one_user(str(home(machine, user)), home(machine, user).stat()) for user in (ANN, BOB)]
    file = PreemptionFile(machine.events)
    (home(machine, BOB) / NAME).write_text("left behind by an agent of before")
    file.write(None, 0.0, places=places)
    assert not (home(machine, BOB) / NAME).exists()
    file.write(PreemptionNotice("interruption", "stop"), 1.0, places=places[:1])
    file.write(PreemptionNotice("interruption", "stop"), 2.0, places=places)
    where = [machine.events, home(machine, ANN), home(machine, BOB)]
    assert [json.loads((directory / NAME).read_text())["action"] for directory in where] == ["stop"] * 3
    file.write(None, 3.0, places=places)
    assert not any((directory / NAME).exists() for directory in where)


def test_a_replaced_directory_is_not_written_to(machine: SimulatedMachine, caplog: pytest.LogCaptureFixture):
    directory = EventPlace.of_one_user(str(home(machine, ANN)), home(machine, ANN).stat())
    home(machine, ANN).rename(machine.root / "users" / "old")
    file, notice = PreemptionFile(machine.events), PreemptionNotice("interruption", "stop")
    other = home(machine, ANN)
    for second in range(5):
        file.write(notice, float(second), places=[directory])
    assert list(other.iterdir()) == []
    assert caplog.text.count("has been replaced by another directory") == 1
    CostFiles(machine.events).write([], 0.0, {}, [directory])


def test_check_describes_the_directories_of_users_and_their_problems(machine: SimulatedMachine):
    home(machine, ANN)
    command = [sys.executable, "-m", "epochcost", "check", f"--events.dir={machine.events}", "--gpus.source=none"]
    command += ["--price.usd-per-hour=1", f"--state.dir={machine.root}/state"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("EPOCHCOST_")}

    def checked(pattern: str, *, as_user: int = 0) -> subprocess.CompletedProcess[str]:
        by = ["setpriv", "--reuid", str(as_user), "--regid", str(as_user), "--clear-groups"] if as_user else []
        return subprocess.run(
            [*by, *command, f"--events.user-dirs={pattern}"], capture_output=True, text=True, env=env, check=False
        )

    assert "1 directory of users" in checked(f"{machine.root}/users/*").stdout
    (machine.root / "users").chmod(0o777)
    completed = checked(f"{machine.root}/users/*")
    assert "0 directories of users" in completed.stdout
    assert "others than root can create directories there" in completed.stderr
    completed = checked("users/*")
    assert completed.returncode == 2
    assert "expected an absolute path" in completed.stderr
