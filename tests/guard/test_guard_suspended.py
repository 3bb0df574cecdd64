"""A job that a scheduler suspends, or somebody debugs, is not hung."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.agent.driven import World
from tests.guard.test_guard_agent import STALLED, advance, guarded, world
from tests.waiting import wait_for

from epochcost.agent.suspended_processes import suspended

__all__ = ["world"]


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield started
    started.kill()
    started.wait()


def test_a_stopped_process_is_seen_to_be_and_a_living_one_is_not(process: subprocess.Popen[bytes]) -> None:
    assert suspended([process.pid, os.getpid(), 2**22 + 5]) == ""
    process.send_signal(signal.SIGSTOP)
    wait_for(lambda: suspended([process.pid]) == f"process {process.pid} is stopped", what="the stop")
    process.send_signal(signal.SIGCONT)
    wait_for(lambda: suspended([process.pid]) == "", what="that it goes on")


def test_a_debugger_and_a_frozen_container_are_seen(tmp_path: Path) -> None:
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


def test_a_run_whose_process_is_stopped_is_left_alone_until_it_goes_on(
    world: World,
    tmp_path: Path,
    process: subprocess.Popen[bytes],
) -> None:
    it = guarded(world, STALLED.format(mark=tmp_path / "mark"))
    world.say("start", run="r", epochs=100, pid=process.pid, pidns=Path("/proc/self/ns/pid").stat().st_ino)
    world.say("phase", run="r", phase="train", epoch=0)
    advance(it, world, 60)
    process.send_signal(signal.SIGSTOP)
    wait_for(lambda: suspended([process.pid]), what="the stop")
    it.run(1800)
    assert it.value("guard_actions_total", policy="hung", step="ask", result="done") is None
    process.send_signal(signal.SIGCONT)
    wait_for(lambda: not suspended([process.pid]), what="that it goes on")
    it.run(320)
    assert it.value("guard_actions_total", policy="hung", step="ask", result="done") == 1
    it.close()


def test_a_keep_of_the_last_seconds_counts_though_nobody_was_asked(world: World, tmp_path: Path) -> None:
    text = STALLED.format(mark=tmp_path / "mark").replace("[ask, {step: stop", "[{step: stop")
    it = guarded(world, text)
    world.say("start", run="r", epochs=100, pid=os.getpid(), pidns=Path("/proc/self/ns/pid").stat().st_ino)
    world.say("phase", run="r", phase="train", epoch=0)
    advance(it, world, 60)
    step = {"policy": "hung", "run": "r", "step": "stop", "dry_run": "false"}
    while (due := it.value("guard_next_step_timestamp_seconds", **step)) is None:
        it.run(5)
    it.run(due - world.wall - 1.5)
    keep = world.events / f"keep.{os.geteuid()}"
    keep.write_text("1h\n")
    os.utime(keep, (world.wall, world.wall))
    it.run(60)
    assert it.app.guarding is not None
    it.app.guarding.executor.wait(5)
    assert not (tmp_path / "mark").exists()
    it.close()
