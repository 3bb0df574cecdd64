"""The guard in a real agent whose clock the test drives: real event files, cost files, state and commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from tests.agent.driven import Driven, World

from epochcost.settings import SettingsError
from epochcost.training.cost import CostFile

BUDGET = """
dry_run: false
policies:
  - use: budget
    when: {for: 1m}
    ladder: [{step: checkpoint, wait: 2m}, {step: stop, retry: 1m}]
"""
STALLED = """
dry_run: false
commands:
  mark: {{command: [/usr/bin/touch, "{mark}"], scope: run}}
policies:
  - name: hung
    when: {{states: [stalled], for: 5m}}
    ladder: [ask, {{step: stop, command: mark, retry: 10m}}]
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def guarded(world: World, text: str, **flags: str) -> Driven:
    file = world.root / "guard.yml"
    file.write_text(text)
    beat = {"sample__interval": "5s", **flags}  # an hour of beats a second takes nine seconds
    it = Driven(world, guard__file=str(file), price__usd_per_hour="36", **beat)
    assert it.ask_price()
    return it


def begin(world_: World, run: str = "r", **fields: Any) -> None:
    world_.say("start", run=run, epochs=100, pid=os.getpid(), pidns=Path("/proc/self/ns/pid").stat().st_ino, **fields)
    world_.say("phase", run=run, phase="train", epoch=0)


def advance(it: Driven, world: World, seconds: float, run: str = "r") -> None:
    """A run that reports every ten seconds."""
    for _ in range(int(seconds // 10)):
        world.say("progress", run=run, step=int(world.wall), epoch=(world.wall % 1e6) / 1e6)
        it.run(10)


def stop_of(world: World, run: str = "r") -> object:
    return json.loads((world.events / f"{run}.cost.json").read_text()).get("stop")


def test_a_run_over_its_budget_is_asked_by_its_cost_file(world: World) -> None:
    it = guarded(world, BUDGET)
    begin(world, budget_usd=1.0)
    advance(it, world, 90)
    assert stop_of(world) is None
    advance(it, world, 90)
    assert stop_of(world) == {"policy": "budget", "reason": "budget: over-budget", "at": "checkpoint"}
    advance(it, world, 120)
    assert stop_of(world) == {"policy": "budget", "reason": "budget: over-budget", "at": "now"}
    assert it.value("guard_actions_total", policy="budget", step="checkpoint", result="done") == 1
    world.say("end", status="preempted", stopped="budget")
    it.run(10)
    assert it.value("guard_ended_usd_per_hour_total", policy="budget", result="done") == pytest.approx(36)
    assert it.value("collector_success", collector="guard") == 1
    it.close()


def test_a_part_of_a_run_is_never_over_budget(world: World) -> None:
    it = guarded(world, BUDGET)
    begin(world, budget_usd=0.1, nodes=2, world=16, rank=0)
    advance(it, world, 600)
    assert stop_of(world) is None
    it.close()


def test_a_stalled_run_is_asked_for_and_its_command_runs(world: World, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    it = guarded(world, STALLED.format(mark=mark))
    begin(world)
    advance(it, world, 60)
    it.run(120 + 5 * 60 - 20)
    assert it.value("guard_actions_total", policy="hung", step="ask", result="done") is None
    it.run(40)
    assert it.value("guard_actions_total", policy="hung", step="ask", result="done") == 1
    it.run(1800)
    assert it.app.guarding is not None
    it.app.guarding.executor.wait(30)
    it.run(2)
    assert mark.exists()
    assert it.value("guard_actions_total", policy="hung", step="stop", result="done") == 1
    it.close()


def test_a_full_disk_makes_no_run_hung(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "mark"
    it = guarded(world, STALLED.format(mark=mark))
    begin(world)
    advance(it, world, 60)
    full = os.statvfs_result((4096, 4096, 100, 0, 0, 100, 50, 50, 0, 255))
    with monkeypatch.context() as disk:
        disk.setattr(os, "statvfs", lambda _: full)
        it.run(5)
    it.run(3600)
    assert it.value("guard_actions_total", policy="hung", step="ask", result="done") is None
    it.close()


def test_a_run_that_is_kept_is_not_stopped(world: World, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    it = guarded(world, STALLED.format(mark=mark))
    begin(world)
    advance(it, world, 60)
    keep = world.events / f"keep.{os.geteuid()}"
    keep.write_text("2h a debugger is attached\n")
    os.utime(keep, (world.wall, world.wall))
    it.run(7000)
    assert not mark.exists()
    assert it.value("guard_actions_total", policy="hung", step="ask", result="done") is None
    labels = {"run": "", "by": f"user {os.geteuid()}", "why": "a debugger is attached"}
    assert it.value("guard_keep_until_timestamp_seconds", **labels) is not None
    it.run(120 + 420 + 30)
    assert it.value("guard_actions_total", policy="hung", step="ask", result="done") == 1
    it.close()


def test_the_end_of_a_keep_is_its_file_gone(world: World, tmp_path: Path) -> None:
    it = guarded(world, STALLED.format(mark=tmp_path / "mark"))
    begin(world)
    advance(it, world, 60)
    keep = world.events / f"keep.{os.geteuid()}"
    keep.write_text("10h\n")
    os.utime(keep, (world.wall, world.wall))
    it.run(900)
    keep.unlink()
    it.run(340)
    assert it.value("guard_actions_total", policy="hung", step="ask", result="done") == 1
    it.close()


def test_a_restart_starts_the_wait_anew_and_keeps_what_was_counted(world: World, tmp_path: Path) -> None:
    text = STALLED.format(mark=tmp_path / "mark")
    it = guarded(world, text)
    begin(world)
    advance(it, world, 60)
    it.run(120 + 330)
    assert it.value("guard_actions_total", policy="hung", step="ask", result="done") == 1
    it.save()
    it.kill()
    it = guarded(world, text)
    it.run(290)
    assert it.value("guard_actions_total", policy="hung", step="ask", result="done") == 1
    it.run(30)
    assert it.value("guard_actions_total", policy="hung", step="ask", result="done") == 2
    it.close()


def test_a_policy_that_becomes_wrong_guards_nothing_and_says_so(world: World, tmp_path: Path) -> None:
    it = guarded(world, STALLED.format(mark=tmp_path / "mark"))
    begin(world)
    advance(it, world, 60)
    it.run(200)
    (world.root / "guard.yml").write_text("policies: nonsense")
    it.run(1800)
    assert it.value("collector_success", collector="guard") == 0
    assert it.value("guard_actions_total", policy="hung", step="ask", result="done") is None
    it.close()


def test_a_wrong_policy_keeps_the_agent_from_starting(world: World) -> None:
    with pytest.raises(SettingsError, match=r"guard\.yml: line 1: policies: must be a list"):
        guarded(world, "policies: {}")


def test_state_that_is_no_guards_is_left(world: World, tmp_path: Path) -> None:
    text = STALLED.format(mark=tmp_path / "mark")
    it = guarded(world, text)
    begin(world)
    advance(it, world, 60)
    it.save()
    it.kill()
    file = world.root / "state" / "agent-state.json"
    for odd in (7, {"v": 1}, {"v": 1, "keeps": {"secret": "zz", "keeps": []}, "account": {}, "acted": [], "users": []}):
        state = json.loads(file.read_text())
        file.write_text(json.dumps({**state, "guard": odd}))
        it = guarded(world, text)
        it.run(5)
        assert it.sum("run_seconds_total") > 0
        it.kill()


def test_without_a_policy_there_is_no_thread_and_no_metric(world: World) -> None:
    before = {thread.name for thread in threading.enumerate()}
    it = Driven(world, price__usd_per_hour="36")
    begin(world)
    advance(it, world, 60)
    assert it.app.guarding is None
    assert not [name for name, _ in it.scrape() if "guard" in name]
    assert not {name for name in {t.name for t in threading.enumerate()} - before if "guard" in name}
    it.close()


def test_without_a_policy_nothing_of_it_is_loaded(tmp_path: Path) -> None:
    program = """
import sys, threading
from pathlib import Path
from tests.agent.driven import Driven, World
it = Driven(World(Path(sys.argv[1])), price__usd_per_hour="36")
it.world.say("start", run="r", epochs=3)
it.run(30)
it.scrape()
it.save()
print([name for name in sys.modules if name.startswith("epochcost.guard.") or name.endswith((".guarding", "yaml"))])
print([t.name for t in threading.enumerate() if "guard" in t.name])
it.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout.splitlines()) == (0, ["[]", "[]"]), done.stderr


def post(it: Driven, body: object, **headers: str) -> tuple[int, str]:
    it.scrape()
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(
        f"{it.app.server.url}/v1/keep", data, {"Content-Type": "application/json", **headers}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as err:
        return err.code, err.read().decode()


def test_whoever_has_the_link_may_keep_it_and_nobody_else(world: World, tmp_path: Path) -> None:
    it = guarded(world, STALLED.format(mark=tmp_path / "mark"))
    begin(world)
    advance(it, world, 60)
    it.run(120 + 330)
    assert it.app.guarding is not None
    link = it.app.guarding.guard.keeps.link("r", it.app.clock.now())
    good = {"subject": "r", "link": link, "for": "2h", "why": "looking\x1b[2J at it"}
    assert post(it, {**good, "subject": "another"})[0] == 403
    assert post(it, {**good, "subject": ""})[0] == 403
    assert post(it, {**good, "link": "9999999999.AAAA"})[0] == 403
    assert post(it, {**good, "link": f"{link}x"})[0] == 403
    assert post(it, {**good, "for": "2 hours"})[0] == 400
    assert post(it, b"[1]")[0] == 400
    assert post(it, b"{")[0] == 400
    assert post(it, {**good, "why": "x" * 5000})[0] == 413
    assert post(it, good, **{"Content-Type": "text/plain"})[0] == 415
    assert post(it, good, Origin="http://evil.example")[0] == 403
    assert post(it, good)[0] == 200
    it.run(3600)
    labels = {"run": "r", "by": "whoever had the link", "why": "looking?[2J at it"}
    assert it.value("guard_keep_until_timestamp_seconds", **labels) is not None
    assert it.value("guard_actions_total", policy="hung", step="ask", result="kept") == 1
    assert not (tmp_path / "mark").exists()
    it.close()


def test_without_a_policy_nobody_can_keep_anything(world: World) -> None:
    it = Driven(world)
    it.run(2)
    assert post(it, {})[0] in (404, 405)
    it.close()


def test_the_cost_file_says_it_to_the_library(world: World) -> None:
    it = guarded(world, BUDGET)
    begin(world, budget_usd=0.5)
    advance(it, world, 180)
    costs = CostFile(lambda: world.events, "r")
    assert costs.figure("cost_usd") == pytest.approx(1.7, abs=0.2)
    it.close()
