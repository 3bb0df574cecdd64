"""Interactive users: read from the terminals of the machine itself, and from no others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from epochcost.agent.interactive_users import FIRST_PID_NAMESPACE, interactive

NOW = 1_795_000_000.0


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "proc/self/ns").mkdir(parents=True)
    (tmp_path / "proc/self/ns/pid").symlink_to(FIRST_PID_NAMESPACE)
    return tmp_path / "proc"


@pytest.fixture
def terminals(tmp_path: Path) -> Path:
    directory = tmp_path / "pts"
    directory.mkdir()
    for name, idle_seconds in (("0", 30.0), ("12", -5.0), ("ptmx", 0.0)):
        (directory / name).touch()
        os.utime(directory / name, (NOW - idle_seconds, NOW - 9999.0))
    return directory


def test_each_terminal_has_its_user_and_idle_time(proc: Path, terminals: Path) -> None:
    people = interactive(NOW, terminals, proc)
    assert people is not None
    assert sorted((person.uid, seconds) for person, seconds in people) == [(os.geteuid(), 0.0), (os.geteuid(), 30.0)]


def test_a_terminal_that_was_closed_meanwhile_has_no_user(proc: Path, terminals: Path) -> None:
    (terminals / "7").symlink_to(terminals / "closed")
    people = interactive(NOW, terminals, proc)
    assert people is not None
    assert len(people) == 2


def test_in_a_container_the_machines_terminals_are_unknown(tmp_path: Path, terminals: Path) -> None:
    (tmp_path / "other/self/ns").mkdir(parents=True)
    (tmp_path / "other/self/ns/pid").symlink_to("pid:[4026532000]")
    assert interactive(NOW, terminals, tmp_path / "other") is None
    assert interactive(NOW, terminals, tmp_path / "no proc") is None


def test_without_terminals_there_are_no_users_and_an_unreadable_directory_is_unknown(
    proc: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    assert interactive(NOW, tmp_path / "empty", proc) == ()
    assert interactive(NOW, tmp_path / "missing", proc) is None
