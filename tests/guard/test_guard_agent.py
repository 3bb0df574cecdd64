"""The guard in a real agent whose clock the test drives: real event files, cost files, state and commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.agent.driven_agent import DrivenAgent, SimulatedMachine
from tests.guard.guarded_agent import STALLED, advance, begin, guarded, post, stop_of

from epochcost.settings import SettingsError
from epochcost.training.cost import CostFile

BUDGET = """
dry_run: false
policies:
  - use: budget
    when: {for: 1m}
    ladder: [{step: checkpoint, wait: 2m}, {step: stop, retry: 1m}]
"""


def test_a_run_over_its_budget_gets_a_request_in_its_cost_file(machine: SimulatedMachine) -> None:
    it = guarded(machine, BUDGET)
    begin(machine, budget_usd=1.0)
    advance(it, machine, 90)
    assert stop_of(machine) is None
    advance(it, machine, 90)
    assert stop_of(machine) == {"policy": "budget", "reason": "budget: over-budget", "at": "checkpoint"}
    advance(it, machine, 120)
    assert stop_of(machine) == {"policy": "budget", "reason": "budget: over-budget", "at": "now"}
    assert it.value("guard_actions_total", policy="budget", step="checkpoint", result="done") == 1
    machine.write_event("end", status="preempted", stopped="budget")
    it.run(10)
    assert it.value("guard_ended_usd_per_hour_total", policy="budget", result="done") == pytest.approx(36)
    assert it.value("collector_success", collector="guard") == 1
    it.close()


def test_a_part_of_a_run_is_never_over_budget(machine: SimulatedMachine) -> None:
    it = guarded(machine, BUDGET)
    begin(machine, budget_usd=0.1, nodes=2, world=16, rank=0)
    advance(it, machine, 600)
    assert stop_of(machine) is None
    it.close()


def test_a_stalled_run_is_announced_and_its_command_runs(machine: SimulatedMachine, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    it = guarded(machine, STALLED.format(mark=mark))
    begin(machine)
    advance(it, machine, 60)
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


def test_a_full_disk_makes_no_run_hung(
    machine: SimulatedMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "mark"
    it = guarded(machine, STALLED.format(mark=mark))
    begin(machine)
    advance(it, machine, 60)
    full = os.statvfs_result((4096, 4096, 100, 0, 0, 100, 50, 50, 0, 255))
    with monkeypatch.context() as disk:
        disk.setattr(os, "statvfs", lambda _: full)
        it.run(5)
    it.run(3600)
    assert it.value("guard_actions_total", policy="hung", step="ask", result="done") is None
    it.close()


def test_a_run_that_is_kept_is_not_stopped(machine: SimulatedMachine, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    it = guarded(machine, STALLED.format(mark=mark))
    begin(machine)
    advance(it, machine, 60)
    keep = machine.events / f"keep.{os.geteuid()}"
    keep.write_text("2h a debugger is attached\n")
    os.utime(keep, (machine.wall, machine.wall))
    it.run(7000)
    assert not mark.exists()
    assert it.value("guard_actions_total", policy="hung", step="ask", result="done") is None
    labels = {"run": "", "by": f"user {os.geteuid()}", "why": "a debugger is attached"}
    assert it.value("guard_keep_until_timestamp_seconds", **labels) is not None
    it.run(120 + 420 + 30)
    assert it.value("guard_actions_total", policy="hung", step="ask", result="done") == 1
    it.close()


def test_a_keep_ends_when_its_file_is_removed(machine: SimulatedMachine, tmp_path: Path) -> None:
    it = guarded(machine, STALLED.format(mark=tmp_path / "mark"))
    begin(machine)
    advance(it, machine, 60)
    keep = machine.events / f"keep.{os.geteuid()}"
    keep.write_text("10h\n")
    os.utime(keep, (machine.wall, machine.wall))
    it.run(900)
    keep.unlink()
    it.run(340)
    assert it.value("guard_actions_total", policy="hung", step="ask", result="done") == 1
    it.close()


def test_a_restart_restarts_the_wait_and_keeps_the_counts(machine: SimulatedMachine, tmp_path: Path) -> None:
    text = STALLED.format(mark=tmp_path / "mark")
    it = guarded(machine, text)
    begin(machine)
    advance(it, machine, 60)
    it.run(120 + 330)
    assert it.value("guard_actions_total", policy="hung", step="ask", result="done") == 1
    it.save()
    it.kill()
    it = guarded(machine, text)
    it.run(290)
    assert it.value("guard_actions_total", policy="hung", step="ask", result="done") == 1
    it.run(30)
    assert it.value("guard_actions_total", policy="hung", step="ask", result="done") == 2
    it.close()


def test_a_policy_that_becomes_invalid_guards_nothing_and_is_reported(
    machine: SimulatedMachine, tmp_path: Path
) -> None:
    it = guarded(machine, STALLED.format(mark=tmp_path / "mark"))
    begin(machine)
    advance(it, machine, 60)
    it.run(200)
    (machine.root / "guard.yml").write_text("policies: nonsense")
    it.run(1800)
    assert it.value("collector_success", collector="guard") == 0
    assert it.value("guard_actions_total", policy="hung", step="ask", result="done") is None
    it.close()


def test_a_wrong_policy_keeps_the_agent_from_starting(machine: SimulatedMachine) -> None:
    with pytest.raises(SettingsError, match=r"guard\.yml: line 1: policies: must be a list"):
        guarded(machine, "policies: {}")


def test_invalid_guard_state_is_ignored(machine: SimulatedMachine, tmp_path: Path) -> None:
    text = STALLED.format(mark=tmp_path / "mark")
    it = guarded(machine, text)
    begin(machine)
    advance(it, machine, 60)
    it.save()
    it.kill()
    file = machine.root / "state" / "agent-state.json"
    for odd in (7, {"v": 1}, {"v": 1, "keeps": {"secret": "zz", "keeps": []}, "account": {}, "acted": [], "users": []}):
        state = json.loads(file.read_text())
        file.write_text(json.dumps({**state, "guard": odd}))
        it = guarded(machine, text)
        it.run(5)
        assert it.sum("run_seconds_total") > 0
        it.kill()


def test_without_a_policy_there_is_no_thread_and_no_metric(machine: SimulatedMachine) -> None:
    before = {thread.name for thread in threading.enumerate()}
    it = DrivenAgent(machine, price__usd_per_hour="36")
    begin(machine)
    advance(it, machine, 60)
    assert it.app.guarding is None
    assert not [name for name, _ in it.scrape() if "guard" in name]
    assert not {name for name in {t.name for t in threading.enumerate()} - before if "guard" in name}
    it.close()


def test_without_a_policy_no_guard_module_is_loaded(tmp_path: Path) -> None:
    program = """
import sys, threading
from pathlib import Path
from tests.agent.driven_agent import DrivenAgent, SimulatedMachine
it = DrivenAgent(SimulatedMachine(Path(sys.argv[1])), price__usd_per_hour="36")
it.machine.write_event("start", run="r", epochs=3)
it.run(30)
it.scrape()
it.save()
print([name for name in sys.modules if name.startswith("epochcost.guard.") or name.endswith((".guarding", "yaml"))])
print([t.name for t in threading.enumerate() if "guard" in t.name])
it.close()
"""
    completed = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (completed.returncode, completed.stdout.splitlines()) == (0, ["[]", "[]"]), completed.stderr


def test_only_the_holder_of_the_link_may_keep_it(machine: SimulatedMachine, tmp_path: Path) -> None:
    it = guarded(machine, STALLED.format(mark=tmp_path / "mark"))
    begin(machine)
    advance(it, machine, 60)
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


def test_without_a_policy_no_keep_is_accepted(machine: SimulatedMachine) -> None:
    it = DrivenAgent(machine)
    it.run(2)
    assert post(it, {})[0] in (404, 405)
    it.close()


def test_the_cost_file_passes_it_to_the_library(machine: SimulatedMachine) -> None:
    it = guarded(machine, BUDGET)
    begin(machine, budget_usd=0.5)
    advance(it, machine, 180)
    costs = CostFile(lambda: machine.events, "r")
    assert costs.figure("cost_usd") == pytest.approx(1.7, abs=0.2)
    it.close()
