"""One agent that reads a directory for each user: a run is charged once, and told its dollars where it reports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.agent.driven import Driven, World

from epochcost.agent.cost_files import CostFiles
from epochcost.agent.preemption_file import NAME, PreemptionFile
from epochcost.model import PreemptionNotice
from epochcost.progress.event_places import EventPlace

ANN, BOB = 1001, 1002
PRICE = 3600.0
"""A dollar a second."""
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives directories to other users")


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.events.chmod(0o1777)
    (tmp_path / "users").mkdir(mode=0o755)
    return world


def home(world: World, user: int) -> Path:
    directory = world.root / "users" / str(user)
    directory.mkdir(mode=0o700, exist_ok=True)
    os.chown(directory, user, user)
    return directory


def say(world: World, path: Path, user: int, kind: str, run: str = "r", **fields: object) -> None:
    line = {"v": 1, "ev": kind, "ts": world.wall, "mono": world.mono, "run": run, **fields}
    with path.open("a") as out:
        out.write(json.dumps(line) + "\n")
    os.chown(path, user, user)


def agent_of(world: World) -> Driven:
    agent = Driven(world, events__user_dirs=f"{world.root}/users/*", price__usd_per_hour=str(PRICE))
    agent.ask_price()
    return agent


def epochs(world: World, agent: Driven, path: Path, first: int, count: int) -> None:
    for epoch in range(first, first + count):
        agent.run(10.0)
        say(world, path, ANN, "epoch_end", epoch=epoch)


@pytest.mark.parametrize("how", ["stays", "moves", "moves while the agent is down", "goes on elsewhere"])
def test_a_run_is_charged_once_whatever_directory_it_is_reported_in(world: World, how: str):
    agent = agent_of(world)
    agent.run(3.0)
    path = world.events / "a.jsonl"
    say(world, path, ANN, "start", epochs=6)
    epochs(world, agent, path, 1, 3)
    agent.run(1.0)
    if how == "moves while the agent is down":
        agent.save()
        agent.kill()
    if how.startswith("moves"):
        path = path.rename(home(world, ANN) / "a.jsonl")
    elif how == "goes on elsewhere":
        say(world, path, ANN, "end", status="preempted")
        path = home(world, ANN) / "b.jsonl"
        say(world, path, ANN, "resume")
    if how == "moves while the agent is down":
        agent = agent_of(world)
    epochs(world, agent, path, 4, 3)
    say(world, path, ANN, "end", status="finished")
    agent.run(20.0)
    try:
        assert agent.dollars("run_cost_usd", run="r") == pytest.approx(61.0, abs=1e-6)
        assert agent.value("run_epochs_total", run="r") == 6
        assert agent.dollars("node_cost_usd") == pytest.approx(83.0, abs=1e-6)
        runs = {dict(labels).get("run") for name, labels in agent.scrape() if name == "epochcost_run_seconds_total"}
        assert runs == {"r"}
    finally:
        agent.close()


def test_two_users_in_their_own_directories_share_the_node_and_each_is_told_his_own(world: World):
    agent = agent_of(world)
    agent.run(3.0)
    for user in (ANN, BOB):
        say(world, home(world, user) / "a.jsonl", user, "start", run="train")
    agent.run(20.0)
    try:
        costs = {user: json.loads((home(world, user) / "train.cost.json").read_text()) for user in (ANN, BOB)}
        assert {costs[user]["run"] for user in costs} == {"train", f"train~{BOB}"}
        assert all(5.0 < costs[user]["cost_usd"] <= 10.0 for user in costs), costs
        assert not list(world.events.glob("*.cost.json")), "who has a directory of his own is told there"
    finally:
        agent.close()


def test_a_run_in_both_directories_is_told_in_both(world: World):
    agent = agent_of(world)
    agent.run(3.0)
    say(world, world.events / "a.jsonl", ANN, "start", run="train")
    say(world, home(world, ANN) / "b.jsonl", ANN, "start", run="train")
    agent.run(10.0)
    try:
        assert {path.name for path in world.events.glob("*.cost.json")} == {"train.cost.json"}
        assert (home(world, ANN) / "train.cost.json").exists()
    finally:
        agent.close()


def test_a_user_who_lays_traps_in_his_own_directory_gains_nothing_and_fills_no_log(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    precious = tmp_path / "precious"
    precious.write_text("precious")
    mine = home(world, ANN)
    (mine / "r.cost.json").symlink_to(precious)
    (mine / NAME).mkdir()
    say(world, mine / "a.jsonl", ANN, "start")
    agent = agent_of(world)
    agent.run(30.0)
    try:
        assert precious.read_text() == "precious"
        assert json.loads((mine / "r.cost.json").read_text())["cost_usd"] > 5.0
        assert agent.dollars("run_cost_usd", run="r") > 5.0
        assert len(caplog.records) < 10
    finally:
        agent.close()


def test_a_notice_is_told_in_every_directory_and_taken_back_in_each(world: World):
    places = [EventPlace.of_one_user(str(home(world, user)), home(world, user).stat()) for user in (ANN, BOB)]
    file = PreemptionFile(world.events)
    (home(world, BOB) / NAME).write_text("left behind by an agent of before")
    file.write(None, 0.0, places=places)
    assert not (home(world, BOB) / NAME).exists()
    file.write(PreemptionNotice("interruption", "stop"), 1.0, places=places[:1])
    file.write(PreemptionNotice("interruption", "stop"), 2.0, places=places)
    where = [world.events, home(world, ANN), home(world, BOB)]
    assert [json.loads((directory / NAME).read_text())["action"] for directory in where] == ["stop"] * 3
    file.write(None, 3.0, places=places)
    assert not any((directory / NAME).exists() for directory in where)


def test_a_directory_that_became_another_is_not_written_to(world: World, caplog: pytest.LogCaptureFixture):
    place = EventPlace.of_one_user(str(home(world, ANN)), home(world, ANN).stat())
    home(world, ANN).rename(world.root / "users" / "old")
    file, notice = PreemptionFile(world.events), PreemptionNotice("interruption", "stop")
    other = home(world, ANN)
    for second in range(5):
        file.write(notice, float(second), places=[place])
    assert list(other.iterdir()) == []
    assert caplog.text.count("has been replaced by another directory") == 1
    CostFiles(world.events).write([], 0.0, {}, [place])


def test_check_describes_the_directories_of_users_and_what_is_wrong_with_them(world: World):
    home(world, ANN)
    command = [sys.executable, "-m", "epochcost", "check", f"--events.dir={world.events}", "--gpus.source=none"]
    command += ["--price.usd-per-hour=1", f"--state.dir={world.root}/state"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("EPOCHCOST_")}

    def checked(pattern: str, *, as_user: int = 0) -> subprocess.CompletedProcess[str]:
        by = ["setpriv", "--reuid", str(as_user), "--regid", str(as_user), "--clear-groups"] if as_user else []
        return subprocess.run(
            [*by, *command, f"--events.user-dirs={pattern}"], capture_output=True, text=True, env=env, check=False
        )

    assert "1 directory of users" in checked(f"{world.root}/users/*").stdout
    (world.root / "users").chmod(0o777)
    done = checked(f"{world.root}/users/*")
    assert "0 directories of users" in done.stdout
    assert "others than root can create directories there" in done.stderr
    done = checked("users/*")
    assert done.returncode == 2
    assert "expected an absolute path" in done.stderr
