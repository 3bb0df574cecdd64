"""A directory for each user, read by one agent: the owner of each file, and that a run is charged once."""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path

import pytest
from tests.progress.timelines import Time, append, kinds_and_epochs

from epochcost.model import EventKind, RunId
from epochcost.progress.event_files import EventFiles
from epochcost.progress.reading_settings import EventDirectories, EventUsers, ReadLimits
from epochcost.progress.run_owners import NETWORK, RunOwners, directory_user, namespace_user, user_called
from epochcost.progress.user_directories import UserDirectories
from epochcost.settings import absolute_patterns

ANN, BOB, MALLORY = 1001, 1002, 65534
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives directories to other users")
POD_A, POD_B = "11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-aaaaaaaaaaaa"


@pytest.fixture
def time() -> Time:
    return Time()


class Node:
    """A shared directory, one for each user below ``users``, and a kubelet's pods."""

    def __init__(self, root: Path) -> None:
        self.shared, self.users, self.pods, self.logs = (root / name for name in ("shared", "users", "pods", "logs"))
        for directory in (self.shared, self.users, self.pods, self.logs):
            directory.mkdir(mode=0o755)
        self.shared.chmod(0o1777)

    def of(self, name: str, user: int, mode: int = 0o700) -> Path:
        directory = self.users / name
        directory.mkdir()
        os.chown(directory, user, user)
        directory.chmod(mode)
        return directory

    def pod(self, uid: str, namespace: str = "") -> Path:
        directory = self.pods / uid / "volumes/kubernetes.io~empty-dir/epochcost"
        directory.mkdir(parents=True)
        directory.chmod(0o777)
        if namespace:
            (self.logs / f"{namespace}_train-0_{uid}").mkdir()
        return directory

    def reader(self, *, owners: RunOwners | None = None, **limits: int) -> EventFiles:
        patterns = f"{self.users}/*", f"{self.pods}/*/volumes/kubernetes.io~empty-dir/epochcost"
        directories = UserDirectories(patterns, self.logs, look_seconds=0.0)
        users = EventUsers(owners or RunOwners())
        return EventFiles(EventDirectories(self.shared, of_users=directories), users, limits=ReadLimits(**limits))


@pytest.fixture
def node(tmp_path: Path) -> Node:
    (tmp_path / "pods").parent.chmod(0o755)
    # The kubelet's layout is recognised by its name.
    return Node(tmp_path)


def owned(path: Path, user: int, *lines: bytes) -> Path:
    append(path, *lines)
    os.chown(path, user, user)
    return path


# -- ownership --------------------------------------------------------------------------------------------------------


def test_each_users_directory_is_read_and_its_files_are_the_users(node: Node, time: Time):
    reader, clock = node.reader(), time.clock()
    owned(node.of("ann", ANN) / "a.jsonl", ANN, time.line("start", run="v"))
    assert [event.run for event in reader.poll(clock)] == ["v"]
    owned(node.of("mallory", MALLORY) / "a.jsonl", MALLORY, time.line("end", run="v", status="failed"))
    events = reader.poll(clock)
    assert [event.run for event in events] == [f"v~{MALLORY}"]
    assert [event.writer for event in events] == [f"a.jsonl~{MALLORY}"], "two users' files may have one name"


def test_a_file_of_root_in_a_users_directory_does_not_act_as_root(node: Node, time: Time):
    reader, clock = node.reader(), time.clock()
    owned(node.of("ann", ANN) / "a.jsonl", ANN, time.line("start", run="v"))
    reader.poll(clock)
    for name, mode in (("mallory", 0o700), ("open", 0o777)):
        owned(node.of(name, MALLORY, mode) / "root.jsonl", 0, time.line("end", run="v", status="failed"))
    events = reader.poll(clock)
    assert RunId("v") not in {event.run for event in events}
    assert len(events) == 2


def test_subordinate_ids_of_a_user_namespace_count_as_the_user(node: Node, time: Time):
    reader, clock = node.reader(), time.clock()
    home = node.of("ann", ANN)
    owned(home / "a.jsonl", ANN, time.line("start", run="v"))
    owned(home / "b.jsonl", 100_000, time.line("progress", run="v", epoch=1))
    assert {event.run for event in reader.poll(clock)} == {"v"}


def test_a_hard_link_to_anothers_file_is_not_read_and_blocks_no_other_file(node: Node, time: Time, caplog):
    clock = time.clock()
    home, other = node.of("ann", ANN), node.of("Amallory", MALLORY)  # which is listed first
    victim = owned(home / "a.jsonl", ANN, time.line("start", run="v"))
    (other / "m.jsonl").hardlink_to(victim)
    reader = node.reader()
    with caplog.at_level(logging.WARNING):
        events = [*reader.poll(clock), *reader.poll(clock)]
    assert [(event.run, event.writer) for event in events] == [("v", "a.jsonl")]
    assert caplog.text.count("has another hard link") == 1
    (node.shared / "s.jsonl").hardlink_to(victim)
    append(victim, time.line(run="v", epoch=1))
    assert kinds_and_epochs(reader.poll(clock)) == [("progress", 1.0)], "once, by whichever of its names"


def test_anything_but_a_regular_file_is_rejected_there_too(node: Node, time: Time, tmp_path: Path):
    home, secret = node.of("mallory", MALLORY), tmp_path / "secret.jsonl"
    secret.write_bytes(time.line("start", run="secret"))
    (home / "link.jsonl").symlink_to(secret)
    os.mkfifo(home / "pipe.jsonl")
    (home / "dir.jsonl").mkdir()
    reader = node.reader()
    assert reader.poll(time.clock()) == []
    assert reader.counts["unreadable"] == 3


def test_the_shared_directory_keeps_its_rules(node: Node, time: Time):
    reader, clock = node.reader(), time.clock()
    owned(node.shared / "a.jsonl", ANN, time.line("start", run="v"))
    reader.poll(clock)
    owned(node.shared / "r.jsonl", 0, time.line("end", run="v", status="preempted"))
    assert [event.run for event in reader.poll(clock)] == ["v"], "root's file there is root's"


# -- a pod's directory: the owner is in the path -----------------------------------------------------------------------


def test_pods_of_two_namespaces_are_separate_users_even_as_root(node: Node, time: Time):
    owners = RunOwners()
    reader, clock = node.reader(owners=owners), time.clock()
    append(node.pod(POD_A, "team-a") / "a.jsonl", time.line("start", run="v"))
    assert [event.run for event in reader.poll(clock)] == ["v"]
    other_pod = node.pod(POD_B, "team-b")
    append(other_pod / "b.jsonl", time.line("end", run="v", status="failed"))
    os.chown(other_pod, ANN, ANN)  # root in a pod may do so
    (run,) = {event.run for event in reader.poll(clock)}
    assert run.startswith("v~ns")
    user = user_called(run.partition("~")[2])
    assert user is not None
    assert namespace_user(0) - user >= 0
    assert owners.user_of(RunId(run)) == user


def test_pods_of_one_namespace_may_share_and_continue_a_run(node: Node, time: Time):
    reader, clock = node.reader(), time.clock()
    first = node.pod(POD_A, "team-a")
    append(first / "a.jsonl", time.line("start", run="v"))
    reader.poll(clock)
    append(node.pod(POD_B, "team-a") / "b.jsonl", time.line("resume", run="v"))
    assert [event.run for event in reader.poll(clock)] == ["v"]


def test_a_pod_whose_namespace_is_unknown_waits(node: Node, time: Time):
    reader, clock = node.reader(), time.clock()
    append(node.pod(POD_A) / "a.jsonl", time.line("start", run="v"))
    assert reader.poll(clock) == []
    (node.logs / f"team-a_train-0_{POD_A}").mkdir()
    assert len(reader.poll(clock)) == 1


def test_without_names_of_namespaces_each_pod_is_a_user_and_its_runs_are_free_when_it_is_gone(node: Node, time: Time):
    node.logs.rmdir()
    owners = RunOwners()
    reader, clock = node.reader(owners=owners), time.clock()
    append(node.pod(POD_A) / "a.jsonl", time.line("start", run="v"))
    reader.poll(clock)
    append(node.pod(POD_B) / "b.jsonl", time.line("start", run="v"))
    (other,) = {event.run for event in reader.poll(clock)}
    assert other.startswith("v~dir")
    assert owners.user_of(other) == user_called(other.partition("~")[2])
    shutil.rmtree(node.pods / POD_A)
    time.sleep(1.0)
    ends = reader.poll(clock)
    assert [(event.kind, event.run) for event in ends] == [(EventKind.GONE, "v")], "its writer cannot live on"
    append(node.pods / POD_B / "volumes/kubernetes.io~empty-dir/epochcost/c.jsonl", time.line("start", run="v"))
    assert [event.run for event in reader.poll(clock)] == ["v"], "the pod that takes its place goes on with it"


def test_names_of_non_numeric_users_are_read_back():
    for user in (directory_user(0), directory_user(2**48 - 1), namespace_user(5), NETWORK, 0, 1001):
        owners = RunOwners()
        owners.run_of(RunId("r"), ANN + 1)
        assert owners.user_of(owners.run_of(RunId("r"), user)) in (user, ANN + 1)
    assert user_called("dir12") is None
    assert user_called("٣") is None


# -- a run is charged once ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["renamed", "copied"])
def test_a_file_that_moves_between_directories_is_read_once(node: Node, time: Time, how: str):
    reader, clock = node.reader(), time.clock()
    home = node.of("ann", ANN)
    path = owned(node.shared / "a.jsonl", ANN, time.line("start", run="v"), time.line(run="v", epoch=1))
    assert len(reader.poll(clock)) == 2
    if how == "renamed":
        path.rename(home / "a.jsonl")
    else:  # as mv does between file systems
        shutil.copy(path, home / "a.jsonl")
        os.chown(home / "a.jsonl", ANN, ANN)
        path.unlink()
    append(home / "a.jsonl", time.line(run="v", epoch=2))
    events = reader.poll(clock)
    assert kinds_and_epochs(events) == [("progress", 2.0)]
    assert {event.writer for event in events} == {"a.jsonl"}
    assert reader.poll(clock) == []


def test_a_run_that_continues_in_another_directory_is_the_same_run(node: Node, time: Time):
    reader, clock = node.reader(), time.clock()
    owned(node.shared / "a.jsonl", ANN, time.line("start", run="v"), time.line("end", run="v", status="preempted"))
    reader.poll(clock)
    owned(node.of("ann", ANN) / "b.jsonl", ANN, time.line("resume", run="v", continues="a.jsonl"))
    assert [(event.run, event.writer) for event in reader.poll(clock)] == [("v", "a.jsonl")]


def test_a_directory_named_twice_is_read_once(node: Node, time: Time):
    home = node.of("ann", ANN)
    (node.users / "alias").symlink_to(home)
    patterns = f"{node.users}/*", f"{node.users}/ann", f"{node.users}/a*"
    reader = EventFiles(EventDirectories(node.shared, of_users=UserDirectories(patterns)))
    owned(home / "a.jsonl", ANN, time.line("start", run="v"))
    assert len(reader.poll(time.clock())) == 1


def test_read_positions_survive_a_restart_with_two_directories_of_the_same_inodes(node: Node, time: Time):
    reader, clock = node.reader(), time.clock()
    home = node.of("ann", ANN)
    path = owned(home / "a.jsonl", ANN, time.line("start", run="v"))
    owned(node.shared / "b.jsonl", BOB, time.line("start", run="w"))
    reader.poll(clock)
    state = json.loads(json.dumps(reader.state()))
    inodes = [row[0] for row in state["files"]]
    again = node.reader()
    again.restore(state)
    append(path, time.line(run="v", epoch=1))
    assert kinds_and_epochs(again.poll(clock)) == [("progress", 1.0)]
    same = [[inodes[0], *row[1:]] for row in state["files"]]
    other = node.reader()
    other.restore({**state, "files": same})
    assert len(other._files.by_key) == 2, "on two devices one inode is two files"


@pytest.mark.parametrize("damaged_place", ["relative", 5, None, ["/a"]])
def test_a_damaged_place_in_the_state_is_rejected(node: Node, time: Time, damaged_place: object):
    reader = node.reader()
    owned(node.of("ann", ANN) / "a.jsonl", ANN, time.line("start", run="v"))
    reader.poll(time.clock())
    state = json.loads(json.dumps(reader.state()))
    state["files"][0][-1] = damaged_place
    with pytest.raises(ValueError, match="state of the event files"):
        node.reader().restore(state)


# -- quotas follow the owner -------------------------------------------------------------------------------------------


def test_one_users_places_are_counted_over_all_directories(node: Node, time: Time):
    reader, clock = node.reader(followed=40), time.clock()
    home = node.of("mallory", MALLORY)
    for number in range(30):
        owned((home if number % 2 else node.shared) / f"m{number}.jsonl", MALLORY, time.line("start", run="m"))
    for _ in range(3):
        reader.poll(clock)
    owned(node.of("ann", ANN) / "v.jsonl", ANN, time.line("start", run="v"))
    owned(home / "late.jsonl", MALLORY, time.line("start", run="m"))
    assert [event.run for event in reader.poll(clock)] == ["v"]


def test_a_directory_with_very_many_names_is_logged_with_its_user_and_delays_no_other(node: Node, time: Time, caplog):
    reader, clock = node.reader(listed=50), time.clock()
    home = node.of("mallory", MALLORY)
    for number in range(200):
        owned(home / f"m{number}.jsonl", MALLORY, time.line("start", run="m"))
    owned(node.of("ann", ANN) / "v.jsonl", ANN, time.line("start", run="v"))
    with caplog.at_level(logging.WARNING):
        assert "v" in {event.run for event in reader.poll(clock)}
    assert f"user {MALLORY}: too many event files" in caplog.text


# -- which directories -------------------------------------------------------------------------------------------------


def test_a_pattern_below_a_shared_directory_finds_nothing_and_is_reported(node: Node, time: Time, caplog):
    owned(node.of("ann", ANN) / "a.jsonl", ANN, time.line("start", run="v"))
    node.users.chmod(0o1777)
    with caplog.at_level(logging.WARNING):
        assert node.reader().poll(time.clock()) == []
    assert "others than root can create directories there" in caplog.text


def test_no_link_is_followed_behind_the_first_wildcard(node: Node, time: Time, tmp_path: Path, caplog):
    target = tmp_path / "target"
    target.mkdir()
    owned(target / "a.jsonl", ANN, time.line("start", run="v"))
    (node.of("mallory", MALLORY) / "events").symlink_to(target)
    reader = EventFiles(EventDirectories(node.shared, of_users=UserDirectories([f"{node.users}/*/events"])))
    with caplog.at_level(logging.WARNING):
        assert reader.poll(time.clock()) == []
    assert "a symbolic link, which is not followed here" in caplog.text


def test_a_replaced_directory_is_another_one(node: Node, time: Time):
    directories = UserDirectories([f"{node.users}/*/events"], look_seconds=3600.0)
    own_events = node.of("mallory", MALLORY) / "events"
    own_events.mkdir()
    os.chown(own_events, MALLORY, MALLORY)
    victim = node.of("ann", ANN)
    owned(victim / "a.jsonl", ANN, time.line("start", run="v"))
    reader, clock = EventFiles(EventDirectories(node.shared, of_users=directories)), time.clock()
    assert reader.poll(clock) == []
    own_events.rmdir()
    own_events.symlink_to(victim)
    assert reader.poll(clock) == []
    own_events.unlink()
    victim.rename(own_events)
    assert reader.poll(clock) == [], "nor another directory with that name"


def test_directories_come_and_go(node: Node, time: Time):
    reader, clock = node.reader(), time.clock()
    assert reader.poll(clock) == []
    home = node.of("ann", ANN)
    owned(home / "a.jsonl", ANN, time.line("start", run="v"))
    assert len(reader.poll(clock)) == 1
    assert reader.homes() == {"v": {str(home)}}
    shutil.rmtree(home)
    assert [event.kind for event in reader.poll(clock)] == [EventKind.GONE]
    assert reader.homes() == {}
    shutil.rmtree(node.users)
    assert reader.poll(clock) == []


def test_a_user_who_is_alive_is_not_ended_with_his_directory(node: Node, time: Time):
    reader, clock = node.reader(), time.clock()
    home = node.of("ann", ANN)
    namespace = Path("/proc/self/ns/pid").stat().st_ino
    owned(home / "a.jsonl", ANN, time.line("start", run="v", pid=os.getppid(), pidns=namespace))
    reader.poll(clock)
    shutil.rmtree(home)
    assert reader.poll(clock) == []
    assert reader.watched() == {"a.jsonl"}


@pytest.mark.parametrize("text", ["users/*", "/", "/a/../b", "*"])
def test_a_relative_pattern_is_rejected(text: str):
    with pytest.raises(ValueError, match="expected an absolute path"):
        absolute_patterns(text)
    assert absolute_patterns("/run/users/* , /b/") == ("/run/users/*", "/b")
