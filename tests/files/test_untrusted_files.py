"""Files that other users may have created, in a real world-writable directory."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from epochcost.untrusted_files import (
    UntrustedFileError,
    is_private,
    open_directory,
    open_regular,
    printable_name,
    read_regular,
    replaced,
    trusted_owners,
)

SOMEBODY = 65534
PIN = b"4242424242 secretpin\n"
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")


def reason(path: Path, **changes: Any) -> str:
    with pytest.raises(UntrustedFileError) as caught:
        read_regular(path, 100, **changes)
    assert "secretpin" not in str(caught.value)
    return caught.value.strerror or ""


def test_a_regular_file_is_read_completely(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"x" * 100)
    assert read_regular(tmp_path / "a", 100) == b"x" * 100
    (tmp_path / "a").write_bytes(b"")
    assert read_regular(tmp_path / "a", 100) == b""
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "b", 100)


def test_links_are_not_followed(tmp_path: Path):
    (tmp_path / "secret").write_bytes(PIN)
    (tmp_path / "soft").symlink_to(tmp_path / "secret")
    assert "symbolic link" in reason(tmp_path / "soft")
    (tmp_path / "hard").hardlink_to(tmp_path / "secret")
    assert "another hard link" in reason(tmp_path / "hard")
    fd, status = open_regular(tmp_path / "hard", one_name=False)
    os.close(fd)
    assert status.st_nlink == 2
    (tmp_path / "loop").symlink_to("loop")
    assert "symbolic link" in reason(tmp_path / "loop")


def test_a_pipe_a_socket_a_device_and_a_directory_are_rejected_at_once(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in reason(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        assert reason(tmp_path / "socket")
    (tmp_path / "folder").mkdir()
    assert "not a regular file" in reason(tmp_path / "folder")
    assert "not a regular file" in reason(Path("/dev/zero"))


def test_a_file_whose_real_or_reported_size_is_too_large_is_not_read(tmp_path: Path):
    (tmp_path / "long").write_bytes(b"x" * 101)
    assert "longer than 100 bytes" in reason(tmp_path / "long")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    assert "longer than 100 bytes" in reason(tmp_path / "sparse")


def test_a_file_without_a_size_is_bounded_too():
    with pytest.raises(UntrustedFileError, match="longer than 10 bytes"):
        read_regular("/proc/self/status", 10)


@ROOT_ONLY
def test_a_file_of_another_user_counts_only_where_they_may_write_it(tmp_path: Path):
    (tmp_path / "a").write_bytes(PIN)
    os.chown(tmp_path / "a", SOMEBODY, SOMEBODY)
    assert read_regular(tmp_path / "a", 100) == PIN
    assert read_regular(tmp_path / "a", 100, owners={SOMEBODY}) == PIN
    assert "belongs to user 65534" in reason(tmp_path / "a", owners=trusted_owners())


def test_paths_outside_a_trusted_directory_are_rejected_through_it_too(tmp_path: Path):
    tmp_path.chmod(0o755)
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "soft").symlink_to("/etc/passwd")
    directory = open_directory(tmp_path, owners=trusted_owners())
    try:
        assert read_regular("a", 100, directory=directory) == b"1"
        with pytest.raises(UntrustedFileError, match="symbolic link"):
            read_regular("soft", 100, directory=directory)
        with pytest.raises(FileNotFoundError):
            read_regular("b", 100, directory=directory)
    finally:
        os.close(directory)


@pytest.mark.parametrize("mode", [0o1777, 0o777, 0o775, 0o757])
def test_a_directory_that_others_can_write_is_not_trusted(tmp_path: Path, mode: int):
    tmp_path.chmod(mode)
    assert not is_private(tmp_path)
    with pytest.raises(UntrustedFileError, match="can be written by others"):
        open_directory(tmp_path, owners=trusted_owners())


def test_a_link_or_a_file_is_not_accepted_as_a_directory(tmp_path: Path):
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "soft").symlink_to("real")
    (tmp_path / "file").write_bytes(b"")
    assert is_private(tmp_path / "real")
    assert not is_private(tmp_path / "soft")
    assert not is_private(tmp_path / "file")
    assert not is_private(tmp_path / "none")
    for name in ("soft", "file"):
        with pytest.raises(UntrustedFileError):
            open_directory(tmp_path / name, owners=trusted_owners())
    with pytest.raises(FileNotFoundError):
        open_directory(tmp_path / "none", owners=trusted_owners())


@ROOT_ONLY
def test_a_directory_of_another_user_is_not_trusted(tmp_path: Path):
    (tmp_path / "his").mkdir(mode=0o700)
    os.chown(tmp_path / "his", SOMEBODY, SOMEBODY)
    assert not is_private(tmp_path / "his")
    with pytest.raises(UntrustedFileError, match="who is not trusted"):
        open_directory(tmp_path / "his", owners=trusted_owners())


def test_a_file_is_replaced_in_one_step_and_a_link_in_its_place_is_not_followed(tmp_path: Path):
    (tmp_path / "victim").write_bytes(b"mine")
    (tmp_path / "out").symlink_to("victim")
    with replaced(tmp_path / "out", 0o600) as file:
        file.write(b"new")
        assert (tmp_path / "out").read_bytes() == b"mine", "not before it is whole"
    assert (tmp_path / "victim").read_bytes() == b"mine"
    assert (tmp_path / "out").read_bytes() == b"new"
    assert (tmp_path / "out").lstat().st_mode & 0o777 == 0o600
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "victim"]


def test_a_blocking_directory_is_moved_aside_only_in_a_shared_directory(tmp_path: Path):
    (tmp_path / "out" / "full").mkdir(parents=True)
    with pytest.raises(IsADirectoryError), replaced(tmp_path / "out") as file:
        file.write(b"x")
    with replaced(tmp_path / "out", among_others=True) as file:
        file.write(b"new")
    assert (tmp_path / "out").read_bytes() == b"new"
    (moved_aside,) = (path for path in tmp_path.iterdir() if path.name != "out")
    assert moved_aside.name.startswith(".")
    assert (moved_aside / "full").is_dir()


def test_a_new_file_has_the_requested_mode_whatever_the_umask(tmp_path: Path):
    before = os.umask(0o077)
    try:
        with replaced(tmp_path / "out") as file:
            file.write(b"for everybody")
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o644


def test_after_an_error_the_old_file_is_unchanged_and_nothing_is_left_behind(tmp_path: Path):
    (tmp_path / "out").write_bytes(b"old")
    with pytest.raises(TypeError), replaced(tmp_path / "out") as file:
        file.writelines([b"half", None])  # type: ignore[list-item]
    assert (tmp_path / "out").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError), replaced(tmp_path / "folder", flush=True) as file:  # noqa: PT011 - the system's
        file.write(b"x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "out"]


def test_a_foreign_file_name_cannot_control_the_terminal():
    assert printable_name("a\x1b[2J\n\u202eb.jsonl") == "a?[2J??b.jsonl"
    assert len(printable_name("x" * 5000)) < 300
