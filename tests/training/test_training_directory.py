"""Where events go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from epochcost.training.directory import SYSTEM, candidates, events_dir


def test_a_directory_that_is_told_is_the_only_candidate_and_is_made(tmp_path: Path):
    told = tmp_path / "a" / "b"
    environ = {"EPOCHCOST_DIR": str(told), "TMPDIR": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    assert candidates(environ) == (told,)
    assert events_dir(environ) == told
    assert told.is_dir()


def test_the_search_goes_from_the_system_to_the_user_to_the_temporary_directory():
    environ = {"XDG_RUNTIME_DIR": "/run/user/7", "TMPDIR": "/scratch"}
    assert candidates(environ) == (SYSTEM, Path("/run/user/7/epochcost"), Path(f"/scratch/epochcost-{os.getuid()}"))
    assert candidates({}) == (SYSTEM, Path(f"/tmp/epochcost-{os.getuid()}"))


def test_directories_of_the_user_are_made_for_nobody_else(tmp_path: Path):
    runtime = tmp_path / "run"
    runtime.mkdir()
    assert (
        events_dir({"XDG_RUNTIME_DIR": str(runtime), "TMPDIR": str(tmp_path)}, tmp_path / "none")
        == runtime / "epochcost"
    )
    found = events_dir({"XDG_RUNTIME_DIR": str(tmp_path / "none"), "TMPDIR": str(tmp_path)}, tmp_path / "none")
    assert found == tmp_path / f"epochcost-{os.getuid()}"
    assert found.stat().st_mode & 0o777 == 0o700
    assert events_dir({"TMPDIR": str(tmp_path)}, tmp_path / "none") == found


def test_a_symbolic_link_or_a_directory_open_to_others_is_refused(tmp_path: Path):
    mine = tmp_path / f"epochcost-{os.getuid()}"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    mine.symlink_to(elsewhere)
    with pytest.raises(OSError, match="symbolic links"):
        events_dir({"TMPDIR": str(tmp_path)}, tmp_path / "none")
    mine.unlink()
    mine.mkdir()
    mine.chmod(0o777)
    with pytest.raises(OSError, match="belongs to another user"):
        events_dir({"TMPDIR": str(tmp_path)}, tmp_path / "none")


@pytest.mark.skipif(os.getuid() != 0, reason="needs to give a directory to somebody else")
def test_a_directory_of_somebody_else_is_refused(tmp_path: Path):
    mine = tmp_path / f"epochcost-{os.getuid()}"
    mine.mkdir(mode=0o700)
    os.chown(mine, 12345, 12345)
    with pytest.raises(OSError, match="belongs to another user"):
        events_dir({"TMPDIR": str(tmp_path)}, tmp_path / "none")


def test_a_file_in_place_of_the_directory_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        events_dir({"EPOCHCOST_DIR": str(tmp_path / "file")})


def test_the_system_directory_comes_first_where_it_is_but_is_never_made(tmp_path: Path):
    environ = {"TMPDIR": str(tmp_path)}
    system = tmp_path / "system"
    assert events_dir(environ, system) != system
    assert not system.exists()
    system.mkdir()
    assert events_dir(environ, system) == system
