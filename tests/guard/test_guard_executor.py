"""Commands: no shell, a deadline, a bounded output."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from epochcost.guard.decisions import Order
from epochcost.guard.executor import Executor, run
from epochcost.guard.policy import Command


def test_a_command_that_succeeds_reports_no_error() -> None:
    assert run(["/bin/echo", "done; rm -rf $HOME"], 30.0) == ("", "done; rm -rf $HOME")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["/nowhere/at/all"], "cannot be started: No such file"),
        (["/etc/passwd"], "cannot be started: Permission denied"),
        (["/bin/sh", "-c", "exit 3"], "exit code 3"),
        (["/bin/sh", "-c", "kill -9 $$"], "ended by signal 9"),
        (["/bin/true", "a\0b"], "cannot be started"),
    ],
)
def test_a_command_that_fails_reports_how(argv: list[str], message: str) -> None:
    error, _ = run(argv, 30.0)
    assert message in error


def test_a_command_that_hangs_is_killed_with_its_descendants(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 1000 & echo $! $$ > {pids}; trap '' TERM; sleep 1000"
    error, _ = run(["/bin/sh", "-c", script], 1.0)
    assert "not done within 1 s" in error
    for pid in pids.read_text().split():
        until = time.monotonic() + 30
        while time.monotonic() < until and _is_alive(int(pid)):
            time.sleep(0.02)
        assert not _is_alive(int(pid))


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_command_that_prints_endlessly_is_killed() -> None:
    user_seconds_before = os.times().user
    error, output = run([sys.executable, "-c", "import os\nwhile 1: os.write(1, b'x' * 65536)"], 60.0)
    assert "printed more than 1 MiB" in error
    assert len(output) <= 2000
    assert os.times().user - user_seconds_before < 20


def test_a_command_whose_child_keeps_the_output_open_counts_as_ended() -> None:
    error, output = run(["/bin/sh", "-c", "echo left; setsid sleep 5 & exit 0"], 60.0)
    assert (error, output) == ("", "left")


def test_control_bytes_of_its_output_do_not_reach_the_log() -> None:
    _, output = run(["/bin/printf", r"a\033[2Jb\nc"], 30.0)
    assert output == "a?[2Jb | c"


def test_the_guard_is_notified_of_the_end() -> None:
    executor = Executor()
    order = Order("p", "", Command("c", ("/bin/false",)), ("/bin/false",), "because")
    executor.start(order)
    executor.wait(30.0)
    assert [(o.order, o.error) for o in executor.outcomes()] == [(order, "exit code 1")]
    assert executor.outcomes() == []
