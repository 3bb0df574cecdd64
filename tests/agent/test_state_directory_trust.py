"""Where the agent keeps its state: never where another user could have put something."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from epochcost.agent.agent_state_file import StateFile
from epochcost.agent.state_directory import agent_state_dir

SOMEBODY = 65534


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, dict[str, str], Path]:
    """The events, the environment, and the directory of the machine."""
    (tmp_path / "events").mkdir()
    home = tmp_path / "apart"
    return tmp_path / "events", {"XDG_STATE_HOME": str(home)}, home / "epochcost"


def test_a_configured_directory_is_taken_as_it_is(places: tuple[Path, dict[str, str], Path]):
    assert agent_state_dir("/some/where", *places) == Path("/some/where")


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o1777])
def test_it_lies_beside_the_events_where_nobody_can_move_it(places: tuple[Path, dict[str, str], Path], mode: int):
    events, environ, machine = places
    events.chmod(mode)
    for _ in range(2):
        state = agent_state_dir("", events, environ, machine)
        assert state == events / "state"
        StateFile(state).close()
    assert (events / "state").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("trap", ["link", "file", "writable by anybody", "another user's"])
def test_what_somebody_else_laid_out_there_is_not_used_and_keeps_nobody_from_starting(
    places: tuple[Path, dict[str, str], Path], tmp_path: Path, trap: str
):
    events, environ, machine = places
    events.chmod(0o1777)
    theirs, state = tmp_path / "theirs", events / "state"
    theirs.mkdir()
    if trap == "link":
        state.symlink_to(theirs)
    elif trap == "file":
        state.touch()
    else:
        state.mkdir()
        state.chmod(0o777 if trap == "writable by anybody" else 0o755)
    if trap == "another user's":
        if os.geteuid() != 0:
            pytest.skip("only root can give a directory away")
        os.chown(state, SOMEBODY, SOMEBODY)
    apart = agent_state_dir("", events, environ, machine)
    assert apart.parent == machine
    it = StateFile(apart)
    it.save({})
    it.close()
    assert not list(theirs.iterdir())
    assert trap == "file" or not list(state.iterdir())
    (state.unlink if trap in ("link", "file") else state.rmdir)()
    assert agent_state_dir("", events, environ, machine).parent == machine, "the choice stays, or the state is lost"


def test_where_anybody_can_rename_it_it_does_not_lie(places: tuple[Path, dict[str, str], Path], tmp_path: Path):
    events, environ, machine = places
    events.chmod(0o777)
    assert agent_state_dir("", events, environ, machine).parent == machine
    assert not (events / "state").exists()


def test_each_events_directory_has_its_own_and_without_systemd_it_is_the_users(tmp_path: Path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    other = tmp_path / "other"
    other.mkdir()
    other.chmod(0o777)
    found = {agent_state_dir("", place, {}, tmp_path / "system") for place in (shared, other)}
    assert len(found) == 2
    if os.geteuid() == 0:
        assert {path.parent for path in found} == {tmp_path / "system"}
