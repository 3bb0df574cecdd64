"""Keep files count by their owner; a webhook that does not respond blocks nothing."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.guard.seen import T0

from epochcost.guard.conditions import Finding
from epochcost.guard.decisions import Notice
from epochcost.guard.keep_files import (
    MOST_CHANGES,
    NAMES_PER_USER,
    KeepFileError,
    KeepFiles,
    OwnPlace,
    present,
    wish_of,
)
from epochcost.guard.keeps import MAX_KEEPS, KeepList
from epochcost.guard.observation import Person
from epochcost.guard.policy import Condition, Webhook
from epochcost.guard.regulars import MAX_USERS
from epochcost.guard.webhook import Sender

SOMEBODY, ANOTHER = 65534, 65533
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="files of other users can be made by root alone")


def write_keep(directory: Path, name: str, text: str, uid: int) -> Path:
    file = directory / name
    file.write_text(text)
    os.utime(file, (T0, T0))
    os.chown(file, uid, uid)
    return file


def looked(directory: Path, *uids: int) -> tuple[KeepList, KeepFiles]:
    keeps, files = KeepList(), KeepFiles(directory, 86400.0)
    files.look(keeps, uids, T0, T0)
    return keeps, files


@AS_ROOT
def test_a_file_counts_only_for_its_user_and_under_their_name(tmp_path: Path) -> None:
    write_keep(tmp_path, f"keep.{SOMEBODY}", "4h mine", SOMEBODY)
    write_keep(tmp_path, f"keep.{ANOTHER}", "4h not mine", SOMEBODY)
    write_keep(tmp_path, "keep.0", "4h nor this", SOMEBODY)
    keeps, files = looked(tmp_path, 0, SOMEBODY, ANOTHER)
    assert [(keep.uid, keep.why, keep.until_t) for keep in keeps.keeps.values()] == [(SOMEBODY, "mine", T0 + 4 * 3600)]
    assert "belongs to user" in files.problems["keep.0"]


@AS_ROOT
def test_names_taken_by_others_do_not_block_a_keep(tmp_path: Path) -> None:
    write_keep(tmp_path, f"keep.{SOMEBODY}", "30d", ANOTHER)
    write_keep(tmp_path, f"keep.{SOMEBODY}.1", "4h mine", SOMEBODY)
    keeps, _ = looked(tmp_path, SOMEBODY)
    assert [keep.why for keep in keeps.keeps.values()] == ["mine"]
    (tmp_path / f"keep.{SOMEBODY}").unlink()
    keeps, _ = looked(tmp_path, SOMEBODY)
    assert [keep.why for keep in keeps.keeps.values()] == ["mine"]


@AS_ROOT
def test_links_pipes_and_nonsense_keep_nothing(tmp_path: Path) -> None:
    (tmp_path / f"keep.{SOMEBODY}").symlink_to("/etc/hostname")
    os.mkfifo(tmp_path / f"keep.{SOMEBODY}.1")
    write_keep(tmp_path, f"keep.{SOMEBODY}.2", "for ever", SOMEBODY)
    write_keep(tmp_path, f"keep.{SOMEBODY}.3", "4h " + "x" * 2000, SOMEBODY)
    keeps, files = looked(tmp_path, SOMEBODY)
    assert keeps.keeps == {}
    assert len(files.problems) == 4


def test_a_keep_is_at_most_as_long_as_the_policy_allows_and_an_old_one_is_over(tmp_path: Path) -> None:
    file = write_keep(tmp_path, f"keep.{os.geteuid()}", "30d", os.geteuid())
    keeps, files = looked(tmp_path, os.geteuid())
    assert [keep.until_t for keep in keeps.keeps.values()] == [T0 + 86400]
    file.unlink()
    files.look(keeps, [os.geteuid()], T0 + 10, T0 + 10)
    assert keeps.keeps == {}


class Place:
    """A directory of one user's own, as the platform provides it."""

    def __init__(self, path: Path, uid: int) -> None:
        self.path = path
        self.own = OwnPlace(str(path), self.opened, lambda _found, _name: uid, "whoever has it")

    @contextmanager
    def opened(self) -> Iterator[int]:
        fd = os.open(self.path, os.O_RDONLY)
        yield fd
        os.close(fd)


def test_in_a_users_own_directory_a_keep_is_theirs_whoever_owns_the_file(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    write_keep(home, "keep", "4h a pod's root", os.geteuid())
    keeps, files = KeepList(), KeepFiles(tmp_path, 86400.0)
    directory = Place(home, SOMEBODY)
    for _ in range(2):
        files.look(keeps, (), T0, T0, [directory.own])
    (keep,) = keeps.keeps.values()
    assert (keep.uid, keep.why, keep.by, keep.until_t) == (SOMEBODY, "a pod's root", "whoever has it", T0 + 4 * 3600)
    assert keep.holds(Finding("", Condition.VACANT, 1.0, (), (Person(SOMEBODY),)))
    assert not keep.holds(Finding("", Condition.VACANT, 1.0, (), (Person(ANOTHER),)))
    (home / "keep").unlink()
    files.look(keeps, (), T0, T0, [directory.own])
    assert keeps.keeps == {}


def test_a_directory_that_is_unreadable_now_leaves_its_keep_unchanged(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    write_keep(home, "keep", "4h", os.geteuid())
    keeps, files = KeepList(), KeepFiles(tmp_path, 86400.0)

    @contextmanager
    def shut() -> Iterator[int]:
        raise PermissionError(13, "Permission denied")
        yield 0

    files.look(keeps, (), T0, T0, [Place(home, SOMEBODY).own])
    files.look(keeps, (), T0, T0, [OwnPlace(str(home), shut, lambda _found, _name: SOMEBODY, "whoever has it")])
    assert len(keeps.keeps) == 1
    assert files.problems == {f"{home}/keep": "Permission denied"}
    files.look(keeps, (), T0, T0, [])
    assert keeps.keeps == {}


def test_ever_changing_keeps_are_ignored_and_the_earlier_one_stays_valid(tmp_path: Path) -> None:
    me = os.geteuid()
    keeps, files = KeepList(), KeepFiles(tmp_path, 86400.0)
    reasons = set()
    for n in range(100):  # each would be a log line and a series
        file = write_keep(tmp_path, f"keep.{me}", f"4h why {n}", me)
        os.utime(file, (T0 + n, T0 + n))
        files.look(keeps, [me], T0 + 10 * n, T0 + 10 * n)
        reasons |= {keep.why for keep in keeps.keeps.values()}
    assert len(reasons) == MOST_CHANGES
    assert len(keeps.keeps) == 1
    assert "20 times in an hour" in files.problems[f"keep.{me}"]
    files.look(keeps, [me], T0 + 4600, T0 + 4600)
    assert [keep.why for keep in keeps.keeps.values()] == ["why 99"]


def test_the_names_of_all_users_together_are_bounded(tmp_path: Path) -> None:
    assert MAX_USERS * NAMES_PER_USER < MAX_KEEPS


@pytest.mark.parametrize("text", ["", "four hours", "4h2", "-4h", "1e9h", "0h", "31d"])
def test_an_invalid_duration_is_rejected(text: str) -> None:
    with pytest.raises(KeepFileError):
        wish_of(text)


@AS_ROOT
def test_a_policys_keep_file_of_another_user_keeps_nothing(tmp_path: Path) -> None:
    file = write_keep(tmp_path, "keep-it", "", SOMEBODY)
    of_others = Finding("", Condition.VACANT, 1.0, (), (Person(ANOTHER),))
    assert present((str(file), str(tmp_path / "none")), of_others) == ""
    assert present((str(file),), Finding("", Condition.VACANT, 1.0, (), (Person(SOMEBODY),))) == str(file)


def test_a_webhook_that_does_not_respond_times_out_and_blocks_nothing() -> None:
    notice = Notice("p", "", "tell", "done", "p: tell", 1.0, 0.5, keep_link="x")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        sender = Sender(Webhook(f"http://127.0.0.1:{silent.getsockname()[1]}/", 0.2), pause_seconds=0.01)
        sender.send(notice, "n-1", "http://127.0.0.1/#keep=!x")
        sender.wait(30.0)
    assert sender.failures == 1
    assert sender.error


@pytest.mark.parametrize("subject", ["", "r", "\ud800"])
@pytest.mark.parametrize("token", ["", "x", "\udfff", "\x00", "é"])
def test_a_forged_link_of_any_characters_proves_nothing(subject: str, token: str) -> None:
    keeps = KeepList()
    link = keeps.link(subject, T0)
    assert keeps.proves(subject, link, T0)
    assert not keeps.proves(subject, f"{link.partition('.')[0]}.{token}", T0)
    assert not keeps.proves(f"{subject}\ud801", link, T0)
