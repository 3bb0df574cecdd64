"""A job that is suspended by a scheduler or a debugger is not hung."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.agent.driven_agent import SimulatedMachine
from tests.guard.guarded_agent import STALLED, advance, guarded
from tests.waiting import wait_for

from epochcost.agent.suspended_processes import suspended


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield child
    child.kill()
    child.wait()


def test_a_stopped_process_is_detected_and_a_running_one_is_not(process: subprocess.Popen[bytes]) -> None:
    assert suspended([process.pid, os.getpid(), 2**22 + 5]) == ""
    process.send_signal(signal.SIGSTOP)
    wait_for(lambda: suspended([process.pid]) == f"process {process.pid} is stopped", what="the stop")
    process.send_signal(signal.SIGCONT)
    wait_for(lambda: suspended([process.pid]) == "", what="that it goes on")


def test_a_debugger_and_a_frozen_container_are_detected(tmp_path: Path) -> None:
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    for pid, status in (7, "State:\tS (sleeping)\nTracerPid:\t99\n"), (8, "State:\tS (sleeping)\nTracerPid:\t0\n"):
        (proc / str(pid)).mkdir(parents=True)
        (proc / str(pid) / "status").write_text(status)
        (proc / str(pid) / "cgroup").write_text("0::/docker/abc\n")
    assert suspended([7], proc, cgroups) == "a debugger is attached to process 7"
    assert suspended([8], proc, cgroups) == ""
    (cgroups / "docker/abc").mkdir(parents=True)
    (cgroups / "docker/abc/cgroup.events").write_text("populated 1\nfrozen 1\n")
    assert suspended([8], proc, cgroups) == "process 8 is frozen"


def test_a_run_whose_process_is_stopped_is_left_alone_until_it_continues(
    machine: SimulatedMachine,
    tmp_path: Path,
    process: subprocess.Popen[bytes],
) -> None:
    it = guarded(machine, STALLED.format(mark=tmp_path / "mark"))
    machine.write_event("start", run="r", epochs=100, pid=process.pid, pidns=Path("/proc/self/ns/pid").stat().st_ino)
    machine.write_event("phase", run="r", phase="train", epoch=0)
    advance(it, machine, 60)
    process.send_signal(signal.SIGSTOP)
    wait_for(lambda: suspended([process.pid]), what="the stop")
    it.run(1800)
    assert it.value("guard_actions_total", policy="hung", step="ask", result="done") is None
    process.send_signal(signal.SIGCONT)
    wait_for(lambda: not suspended([process.pid]), what="that it goes on")
    it.run(320)
    assert it.value("guard_actions_total", policy="hung", step="ask", result="done") == 1
    it.close()


def test_a_keep_of_the_last_seconds_counts_even_without_a_request(machine: SimulatedMachine, tmp_path: Path) -> None:
    text = STALLED.format(mark=tmp_path / "mark").replace("[ask, {step: stop", "[{step: stop")
    it = guarded(machine, text)
    machine.write_event("start", run="r", epochs=100, pid=os.getpid(), pidns=Path("/proc/self/ns/pid").stat().st_ino)
    machine.write_event("phase", run="r", phase="train", epoch=0)
    advance(it, machine, 60)
    step = {"policy": "hung", "run": "r", "step": "stop", "dry_run": "false"}
    while (due := it.value("guard_next_step_timestamp_seconds", **step)) is None:
        it.run(5)
    it.run(due - machine.wall - 1.5)
    keep = machine.events / f"keep.{os.geteuid()}"
    keep.write_text("1h\n")
    os.utime(keep, (machine.wall, machine.wall))
    it.run(60)
    assert it.app.guarding is not None
    it.app.guarding.executor.wait(5)
    assert not (tmp_path / "mark").exists()
    it.close()
