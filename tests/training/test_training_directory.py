"""The choice of the events directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from epochcost.training.directory import SYSTEM, candidates, events_dir


def test_a_configured_directory_is_the_only_candidate_and_is_created(tmp_path: Path):
    configured = tmp_path / "a" / "b"
    environ = {"EPOCHCOST_DIR": str(configured), "TMPDIR": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    assert candidates(environ) == (configured,)
    assert events_dir(environ) == configured
    assert configured.is_dir()


def test_the_search_goes_from_the_system_to_the_user_to_the_temporary_directory():
    environ = {"XDG_RUNTIME_DIR": "/run/user/7", "TMPDIR": "/scratch"}
    assert candidates(environ) == (SYSTEM, Path("/run/user/7/epochcost"), Path(f"/scratch/epochcost-{os.getuid()}"))
    assert candidates({}) == (SYSTEM, Path(f"/tmp/epochcost-{os.getuid()}"))


def test_directories_of_the_user_are_created_private(tmp_path: Path):
    runtime = tmp_path / "run"
    runtime.mkdir()
    assert (
        events_dir({"XDG_RUNTIME_DIR": str(runtime), "TMPDIR": str(tmp_path)}, tmp_path / "none")
        == runtime / "epochcost"
    )
    directory = events_dir({"XDG_RUNTIME_DIR": str(tmp_path / "none"), "TMPDIR": str(tmp_path)}, tmp_path / "none")
    assert directory == tmp_path / f"epochcost-{os.getuid()}"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert events_dir({"TMPDIR": str(tmp_path)}, tmp_path / "none") == directory


def test_a_symbolic_link_or_a_directory_open_to_others_is_rejected(tmp_path: Path):
    own_directory = tmp_path / f"epochcost-{os.getuid()}"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    own_directory.symlink_to(elsewhere)
    with pytest.raises(OSError, match="symbolic links"):
        events_dir({"TMPDIR": str(tmp_path)}, tmp_path / "none")
    own_directory.unlink()
    own_directory.mkdir()
    own_directory.chmod(0o777)
    with pytest.raises(OSError, match="belongs to another user"):
        events_dir({"TMPDIR": str(tmp_path)}, tmp_path / "none")


@pytest.mark.skipif(os.getuid() != 0, reason="needs to give a directory to somebody else")
def test_a_directory_of_another_user_is_rejected(tmp_path: Path):
    own_directory = tmp_path / f"epochcost-{os.getuid()}"
    own_directory.mkdir(mode=0o700)
    os.chown(own_directory, 12345, 12345)
    with pytest.raises(OSError, match="belongs to another user"):
        events_dir({"TMPDIR": str(tmp_path)}, tmp_path / "none")


def test_a_file_in_place_of_the_directory_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        events_dir({"EPOCHCOST_DIR": str(tmp_path / "file")})


def test_an_existing_system_directory_comes_first_and_is_never_created(tmp_path: Path):
    environ = {"TMPDIR": str(tmp_path)}
    system = tmp_path / "system"
    assert events_dir(environ, system) != system
    assert not system.exists()
    system.mkdir()
    assert events_dir(environ, system) == system
