"""Where the agent keeps its state: never where another user could have put files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epochcost.agent.agent_state_file import StateFile
from epochcost.agent.state_directory import agent_state_dir

SOMEBODY = 65534


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "events").mkdir()
    return tmp_path / "events", tmp_path / "machine"


def test_a_configured_directory_is_used_as_it_is(places: tuple[Path, Path]):
    events, machine = places
    assert agent_state_dir("/some/where", events, {}, machine) == Path("/some/where")


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o1777])
def test_it_is_beside_the_events_where_no_other_user_can_move_it(places: tuple[Path, Path], mode: int):
    events, machine = places
    events.chmod(mode)
    for _ in range(2):
        assert agent_state_dir("", events, {}, machine) == events / "state"
        StateFile(events / "state", among_others=True).close()
    assert (events / "state").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("trap", ["link", "file", "writable by anybody", "another user's"])
def test_a_directory_prepared_by_another_user_is_not_used_and_does_not_prevent_a_start(
    places: tuple[Path, Path], tmp_path: Path, trap: str
):
    events, machine = places
    events.chmod(0o1777)
    foreign, state = tmp_path / "theirs", events / "state"
    foreign.mkdir()
    if trap == "link":
        state.symlink_to(foreign)
    elif trap == "file":
        state.touch()
    else:
        state.mkdir()
        state.chmod(0o777 if trap == "writable by anybody" else 0o755)
    if trap == "another user's":
        if os.geteuid() != 0:
            pytest.skip("only root can give a directory away")
        os.chown(state, SOMEBODY, SOMEBODY)
    directory = agent_state_dir("", events, {}, machine)
    assert directory.parent == machine
    state_file = StateFile(directory)
    state_file.save({"meter": 1})
    state_file.close()
    assert not list(foreign.iterdir())
    assert trap == "file" or not list(state.iterdir())
    (state.unlink if trap in ("link", "file") else state.rmdir)()
    assert agent_state_dir("", events, {}, machine) == directory, "the choice stays, or the state is lost"


def test_it_is_not_where_any_user_can_rename_it(places: tuple[Path, Path], tmp_path: Path):
    events, machine = places
    events.chmod(0o777)
    assert agent_state_dir("", events, {}, machine).parent == machine
    assert not (events / "state").exists()


def test_each_events_directory_has_its_own_and_without_systemd_it_is_the_users(tmp_path: Path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    other = tmp_path / "other"
    other.mkdir()
    other.chmod(0o777)
    directories = {agent_state_dir("", events, {}, tmp_path / "system") for events in (shared, other)}
    assert len(directories) == 2
    if os.geteuid() == 0:
        assert {path.parent for path in directories} == {tmp_path / "system"}


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.none() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=20,
        ),
        max_size=5,
    )
)
def test_a_state_saved_in_pieces_is_loaded_unchanged(tmp_path_factory: pytest.TempPathFactory, state: dict[str, Any]):
    state_file = StateFile(tmp_path_factory.mktemp("state"))
    try:
        state_file.save({"meter": state})
        assert state_file.load() == {"version": 1, "meter": state}
    finally:
        state_file.close()
