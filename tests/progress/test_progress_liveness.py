"""Writers that die without an end event."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time as real
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.progress.timelines import MORNING, Time, append, kinds_and_epochs
from tests.waiting import wait_for

from epochcost.model import EndStatus, EventKind, TrainingEvent
from epochcost.progress.clock import NodeClock
from epochcost.progress.event_files import EventFiles
from epochcost.progress.liveness import KernelProcesses, WriterClaim, writer_alive
from epochcost.progress.reading_settings import EventDirectories

PACKAGE = Path(__file__).parents[2] / "exporter"
PROGRAM = """
import os, sys, time, epochcost
run = epochcost.start("x", id="job", epochs=3)
run.phase("train")
print(os.getpid(), flush=True)
sys.stdin.readline()
"""


@dataclass
class Machine:
    """Processes as a test sets them: a fake of the kernel."""

    ns: int | None = 9
    living: set[int] = field(default_factory=set)
    locked: bool = False

    def namespace(self) -> int | None:
        return self.ns

    def alive(self, pid: int) -> bool:
        return pid in self.living

    def lock_held(self, fd: int) -> bool:
        return self.locked


def gone_events(events: list[TrainingEvent]) -> list[TrainingEvent]:
    return [event for event in events if event.kind is EventKind.GONE]


def real_clock() -> NodeClock:
    return NodeClock(real.time, real.monotonic, "boot")


def training(directory: Path) -> subprocess.Popen[str]:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": str(PACKAGE), "EPOCHCOST_DIR": str(directory)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    program.stdout.readline()
    return program


def finish(program: subprocess.Popen[str]) -> None:
    program.communicate("\n", timeout=30)


def test_a_training_killed_hard_is_gone_within_a_poll(tmp_path: Path):
    program = training(tmp_path)
    reader, clock = EventFiles(EventDirectories(tmp_path)), real_clock()
    try:
        assert kinds_and_epochs(reader.poll(clock)) == [("start", None), ("phase", None)]
        assert reader.poll(clock) == []
    finally:
        program.kill()
        finish(program)
    before = clock.now()
    (event,) = wait_for(lambda: reader.poll(clock))
    assert (event.kind, event.run, event.status) == (EventKind.GONE, "job", EndStatus.LOST)
    assert before <= event.t <= clock.now()
    assert reader.poll(clock) == []


def test_a_training_that_ends_by_itself_is_not_gone(tmp_path: Path):
    program = training(tmp_path)
    reader, clock = EventFiles(EventDirectories(tmp_path)), real_clock()
    reader.poll(clock)
    finish(program)
    assert [event.kind for event in reader.poll(clock)] == [EventKind.END]
    assert reader.poll(clock) == []


def test_a_training_whose_child_outlives_it_is_gone(tmp_path: Path):
    code = """
import os, sys, time, epochcost
run = epochcost.start("x", id="job")
if os.fork() == 0:
    sys.stdin.readline()
    os._exit(0)
print("ready", flush=True)
time.sleep(600)
"""
    program = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(PACKAGE), "EPOCHCOST_DIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    program.stdout.readline()
    reader, clock = EventFiles(EventDirectories(tmp_path)), real_clock()
    reader.poll(clock)
    assert reader.poll(clock) == []
    program.kill()
    program.wait(timeout=30)
    assert len(gone_events(wait_for(lambda: reader.poll(clock)))) == 1
    finish(program)


def test_a_writer_found_dead_after_a_restart_was_gone_after_its_last_event(tmp_path: Path):
    program = training(tmp_path)
    first, clock = EventFiles(EventDirectories(tmp_path)), real_clock()
    last = first.poll(clock)[-1].t
    state = json.loads(json.dumps(first.state()))
    program.kill()
    finish(program)
    second = EventFiles(EventDirectories(tmp_path))
    second.restore(state)
    (event,) = second.poll(clock)
    assert (event.kind, event.t) == (EventKind.GONE, last)


def test_a_stopped_training_is_alive(tmp_path: Path):
    program = training(tmp_path)
    reader, clock = EventFiles(EventDirectories(tmp_path)), real_clock()
    reader.poll(clock)
    program.send_signal(signal.SIGSTOP)
    try:
        assert reader.poll(clock) == []
    finally:
        program.kill()
        finish(program)


def test_a_writer_in_this_very_process_is_alive(tmp_path: Path):
    time = Time()
    own = KernelProcesses().namespace()
    append(tmp_path / "a.jsonl", time.line("start", lock=True, pid=os.getpid(), pidns=own))
    reader, clock = EventFiles(EventDirectories(tmp_path)), time.clock()
    reader.poll(clock)
    assert reader.poll(clock) == []


def test_without_a_lock_the_process_is_checked_in_the_same_namespace_only(tmp_path: Path):
    time, machine = Time(), Machine(living={70})
    reader, clock = EventFiles(EventDirectories(tmp_path), processes=machine), time.clock()
    append(tmp_path / "a.jsonl", time.line("start", run="here", pid=70, pidns=9, lock=False))
    append(tmp_path / "b.jsonl", time.line("start", run="elsewhere", pid=71, pidns=8))
    append(tmp_path / "c.jsonl", time.line("start", run="silent"))
    reader.poll(clock)
    reader.poll(clock)
    machine.living.clear()
    time.sleep(5)
    (event,) = reader.poll(clock)
    assert (event.kind, event.run, event.t) == (EventKind.GONE, "here", MORNING + 5)
    assert reader.poll(clock) == []


def test_lines_written_right_before_death_come_before_gone(tmp_path: Path):
    time, machine = Time(), Machine(locked=True)
    reader, clock = EventFiles(EventDirectories(tmp_path), processes=machine), time.clock()
    append(tmp_path / "a.jsonl", time.line("start", lock=True))
    reader.poll(clock)
    machine.locked = False
    append(tmp_path / "a.jsonl", time.line(epoch=1), time.line(epoch=2)[:30])
    assert [event.kind for event in reader.poll(clock)] == [EventKind.PROGRESS, EventKind.GONE]


def test_a_writer_that_was_not_gone_is_accepted_and_not_watched_again(tmp_path: Path):
    time, machine = Time(), Machine(locked=False)
    reader, clock = EventFiles(EventDirectories(tmp_path), processes=machine), time.clock()
    append(tmp_path / "a.jsonl", time.line("start", lock=True))
    kinds = [event.kind.value for _ in range(2) for event in reader.poll(clock)]
    for _ in range(3):
        time.sleep(1)
        append(tmp_path / "a.jsonl", time.line(epoch=1))
        kinds += [event.kind.value for event in reader.poll(clock)]
    assert kinds == ["start", "gone", "progress", "progress", "progress"]


def test_a_dead_writer_whose_file_was_deleted_is_gone_if_its_process_can_be_seen(tmp_path: Path):
    time, machine = Time(), Machine(living={70}, locked=True)
    reader, clock = EventFiles(EventDirectories(tmp_path), processes=machine), time.clock()
    append(tmp_path / "a.jsonl", time.line("start", run="a", pid=70, pidns=9, lock=True))
    append(tmp_path / "b.jsonl", time.line("start", run="b", pid=71, pidns=8, lock=True))
    reader.poll(clock)
    for path in tmp_path.iterdir():
        path.unlink()
    assert reader.poll(clock) == []
    machine.living.clear()
    assert [(event.kind, event.run) for event in reader.poll(clock)] == [(EventKind.GONE, "a")]


def test_a_deleted_file_that_continues_under_another_name_is_not_gone(tmp_path: Path):
    time, machine = Time(), Machine(living={70}, locked=True)
    reader, clock = EventFiles(EventDirectories(tmp_path), processes=machine), time.clock()
    append(tmp_path / "a.jsonl", time.line("start", pid=70, pidns=9, lock=True))
    reader.poll(clock)
    (tmp_path / "a.jsonl").unlink()
    reader.poll(clock)
    append(tmp_path / "b.jsonl", time.line(epoch=1, continues="a.jsonl", pid=70, pidns=9, lock=True))
    assert [(e.kind.value, e.writer) for e in reader.poll(clock)] == [("progress", "a.jsonl")]
    machine.living.clear()
    machine.locked = False
    assert [(e.kind.value, e.writer) for e in reader.poll(clock)] == [("gone", "a.jsonl")]


@pytest.mark.parametrize(
    ("line", "machine", "expected"),
    [
        ({"lock": True, "pid": 70, "pidns": 8}, Machine(locked=True), True),
        ({"lock": True, "pid": 70, "pidns": 9}, Machine(locked=False, living={70}), False),
        ({"lock": False, "pid": 70, "pidns": 9}, Machine(living={70}), True),
        ({"lock": False, "pid": 70, "pidns": 9}, Machine(), False),
        ({"lock": False, "pid": 70, "pidns": 8}, Machine(), None),
        ({"lock": False, "pid": None, "pidns": None}, Machine(), None),
        ({"lock": False, "pid": 70, "pidns": 9}, Machine(ns=None), None),
        ({"lock": True, "pid": 1, "pidns": 9}, Machine(), True),
    ],
)
def test_a_writer_is_alive_by_its_lock_or_else_by_its_process(line, machine: Machine, expected: bool | None):
    assert writer_alive(machine, WriterClaim(**line), fd=0, own_pid=1) is expected


def test_the_kernel_distinguishes_running_dead_and_zombie_processes():
    kernel = KernelProcesses()
    assert kernel.alive(os.getpid())
    program = subprocess.Popen([sys.executable, "-c", "pass"])
    wait_for(lambda: not kernel.alive(program.pid), what="a zombie to count as dead")
    program.wait()
    assert not kernel.alive(program.pid)
    assert kernel.alive(2**63 - 1)
