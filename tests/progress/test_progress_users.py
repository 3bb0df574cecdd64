"""Several users in one directory: the owner of each run, and quotas per user."""

from __future__ import annotations

import json
import logging
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.progress.timelines import Time, append, kinds_and_epochs

from epochcost.model import EventKind, RunId
from epochcost.progress.event_files import EventFiles, without_content
from epochcost.progress.event_sources import EventSources
from epochcost.progress.parse import Rejected, parse_line
from epochcost.progress.reading_settings import EventDirectories, EventUsers, ReadLimits
from epochcost.progress.run_owners import NETWORK, ROOT, RunOwners
from epochcost.progress.user_quotas import Limits, UserQuotas

ANN, MALLORY = 1001, 65534
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")


@pytest.fixture
def time() -> Time:
    return Time()


def owned(path: Path, user: int, *lines: bytes) -> Path:
    append(path, *lines)
    os.chown(path, user, user)
    return path


# -- owners of runs ----------------------------------------------------------------------------------------------------


def test_a_run_belongs_to_the_user_who_started_it_and_the_same_id_of_another_is_another_run():
    owners, run = RunOwners(), RunId("net-1")
    assert owners.run_of(run, ANN) == "net-1"
    assert owners.run_of(run, MALLORY) == f"net-1~{MALLORY}"
    assert owners.run_of(run, NETWORK) == "net-1~net"
    assert owners.run_of(run, ROOT) == "net-1", "root may speak for everybody"
    assert owners.run_of(run, ANN) == "net-1"
    assert [owners.user_of(RunId(r)) for r in ("net-1", "net-1~65534", "net-1~net", "x", "x~y")] == [
        ANN, MALLORY, NETWORK, None, None,
    ]  # fmt: skip


def test_no_reported_run_can_have_the_name_of_another_users_run():
    line = parse_line(b'{"v":1,"ev":"start","ts":1,"run":"net-1~1001"}')
    assert not isinstance(line, Rejected)
    assert "~" not in line.run


def test_runs_per_user_are_bounded_and_a_flood_displaces_only_the_users_own():
    owners = RunOwners(most_per_user=3)
    owners.run_of(RunId("victim"), ANN)
    for number in range(10):
        owners.run_of(RunId(f"m{number}"), MALLORY)
        owners.run_of(RunId("kept"), MALLORY)
    assert owners.run_of(RunId("victim"), MALLORY) == f"victim~{MALLORY}"
    assert owners.run_of(RunId("kept"), ANN) == f"kept~{ANN}", "what is heard of is not the oldest"
    assert owners.run_of(RunId("m0"), ANN) == "m0"


def test_the_owner_of_a_run_survives_the_agent_and_nonsense_is_rejected():
    owners, later = RunOwners(), RunOwners()
    owners.run_of(RunId("a"), ANN)
    later.restore(json.loads(json.dumps(owners.state())))
    assert later.run_of(RunId("a"), MALLORY) == f"a~{MALLORY}"
    with pytest.raises(ValueError, match="whole numbers"):
        later.restore({"a": "root"})
    assert later.user_of(RunId("a")) == ANN


@AS_ROOT
def test_another_user_cannot_end_continue_or_advance_a_run(tmp_path: Path, time: Time):
    reader, clock = EventFiles(EventDirectories(tmp_path)), time.clock()
    owned(tmp_path / "victim.jsonl", ANN, time.line("start", run="v"))
    assert kinds_and_epochs(reader.poll(clock)) == [("start", None)]
    lines = [
        time.line("progress", run="v", epoch=9, continues="victim.jsonl"),
        time.line("end", run="v", status="failed"),
    ]
    owned(tmp_path / "hijack.jsonl", MALLORY, *lines)
    events = reader.poll(clock)
    assert {event.run for event in events} == {f"v~{MALLORY}"}
    assert {event.writer for event in events} == {"hijack.jsonl"}, "nor is his file taken for a part of the other"
    append(tmp_path / "victim.jsonl", time.line("progress", run="v", epoch=1))
    (event,) = reader.poll(clock)
    assert (event.run, event.writer, event.epoch) == ("v", "victim.jsonl", 1)


@AS_ROOT
def test_the_name_of_a_deleted_file_gives_another_user_nothing(tmp_path: Path, time: Time):
    reader, clock = EventFiles(EventDirectories(tmp_path)), time.clock()
    path = owned(tmp_path / "a.jsonl", ANN, time.line("start", run="v", pid=os.getpid(), pidns=pidns()))
    reader.poll(clock)
    path.unlink()  # its writer lives on, so it is remembered
    owned(path, MALLORY, time.line("end", run="v", status="failed"))
    events = reader.poll(clock)
    assert [event.run for event in events] == [f"v~{MALLORY}"]


@AS_ROOT
def test_another_file_of_that_name_is_not_read_as_the_one_whose_writer_lives_on(tmp_path: Path, time: Time):
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    elsewhere.mkdir()
    reader, clock = EventFiles(EventDirectories(tmp_path)), time.clock()
    writer = subprocess.Popen(["sleep", "600"])
    try:
        path = owned(tmp_path / "a.jsonl", ANN, time.line("start", run="v", pid=writer.pid, pidns=pidns()))
        reader.poll(clock)
        path.rename(elsewhere / "kept")  # as deleted, but its inode cannot be used again
        owned(path, MALLORY, time.line("end", run="v", status="failed"))
        assert [event.run for event in reader.poll(clock)] == [f"v~{MALLORY}"]
        assert reader.watched() == {"a.jsonl"}
    finally:
        writer.kill()
        writer.wait()
    assert [(event.kind, event.run) for event in reader.poll(clock)] == [(EventKind.GONE, "v")]


def pidns() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino


@AS_ROOT
def test_a_file_that_changes_owner_is_read_again_as_the_new_owners(tmp_path: Path, time: Time):
    reader, clock = EventFiles(EventDirectories(tmp_path)), time.clock()
    path = owned(tmp_path / "a.jsonl", ANN, time.line("start", run="v"))
    assert reader.poll(clock)[0].run == "v"
    os.chown(path, MALLORY, MALLORY)
    append(path, time.line(run="v", epoch=1))
    assert {event.run for event in reader.poll(clock)} == {f"v~{MALLORY}"}


@AS_ROOT
def test_root_may_continue_and_end_what_another_user_began(tmp_path: Path, time: Time):
    reader, clock = EventFiles(EventDirectories(tmp_path)), time.clock()
    owned(tmp_path / "a.jsonl", ANN, time.line("start", run="v"))
    reader.poll(clock)
    owned(tmp_path / "b.jsonl", ROOT, time.line("end", run="v", status="preempted"))
    assert [(event.run, event.kind) for event in reader.poll(clock)] == [("v", EventKind.END)]


@AS_ROOT
def test_a_hard_link_to_a_file_of_root_does_not_act_as_root(tmp_path: Path, time: Time):
    (tmp_path / "private").mkdir()
    (tmp_path / "events").mkdir()
    owned_file = owned(tmp_path / "private" / "http-x.jsonl", ROOT, time.line("end", run="v", status="failed"))
    (tmp_path / "events" / "x.jsonl").hardlink_to(owned_file)
    reader = EventFiles(EventDirectories(tmp_path / "events"))
    assert reader.poll(time.clock()) == []
    assert reader.counts["unreadable"] == 1


@AS_ROOT
def test_owners_of_files_and_runs_are_known_after_a_restart(tmp_path: Path, time: Time):
    (tmp_path / "events").mkdir()
    places = tmp_path / "events", tmp_path / "network"
    reader, clock = EventSources(*places), time.clock()
    path = owned(places[0] / "a.jsonl", ANN, time.line("start", run="v"))
    assert len(reader.poll(clock)) == 1
    again = EventSources(*places)
    again.restore(json.loads(json.dumps(reader.state())))
    owned(places[0] / "b.jsonl", MALLORY, time.line("start", run="v"))
    append(path, time.line(run="v", epoch=1))
    assert {event.run for event in again.poll(clock)} == {"v", f"v~{MALLORY}"}


@pytest.mark.parametrize("damaged", [{"users": []}, {"users": {"a": "b"}}, {"network": {"v": 2}}, {"v": 3}])
def test_a_damaged_state_of_users_is_rejected(tmp_path: Path, damaged: dict[str, Any]):
    reader = EventSources(tmp_path, tmp_path / "network")
    with pytest.raises(ValueError):  # noqa: PT011 - the sentence is about a person's file
        reader.restore({**reader.state(), **damaged})


def test_events_from_the_network_belong_to_no_local_user(tmp_path: Path, time: Time):
    events, network = tmp_path / "events", tmp_path / "network"
    events.mkdir()
    network.mkdir()
    reader, clock = EventSources(events, network), time.clock()
    append(events / "a.jsonl", time.line("start", run="v"))
    assert reader.poll(clock)[0].run == "v"
    append(network / "http-x.jsonl", time.line("end", run="v", status="failed"), time.line("start", run="w"))
    assert [event.run for event in reader.poll(clock)] == ["v~net", "w"]
    assert reader.counts["accepted"] == 3


# -- quotas per user -------------------------------------------------------------------------------------------------


def quotas(**limits: float) -> UserQuotas:
    return UserQuotas(Limits(**limits))  # type: ignore[arg-type]


def open_runs(it: UserQuotas, user: int, count: int, t: float = 0.0) -> int:
    return sum(it.admits(user, RunId(f"{user}-{n}"), "w", t) for n in range(count))


def test_one_user_may_have_half_of_the_runs_and_the_next_user_still_has_places(caplog):
    it = quotas(runs=12)
    with caplog.at_level(logging.WARNING):
        assert open_runs(it, MALLORY, 100) == 6
        assert open_runs(it, ANN, 100) == 4
        assert open_runs(it, 1002, 1) == 1
    assert it.refused == {(MALLORY, "runs"): 94, (ANN, "runs"): 96}
    assert it.refused_by_name() == {(str(MALLORY), "runs"): 94, (str(ANN), "runs"): 96}
    assert [r.message.partition(":")[0] for r in caplog.records] == [f"user {MALLORY}", f"user {ANN}"], "once each"


def test_a_place_is_free_again_when_its_run_ends_or_has_been_silent_for_long():
    it = quotas(runs=4, forgotten_after=100.0)
    assert open_runs(it, ANN, 3) == 2
    it.ended(ANN, RunId(f"{ANN}-0"), "w")
    assert it.admits(ANN, RunId("next"), "w", 1.0)
    assert not it.admits(ANN, RunId("more"), "w", 99.0)
    assert it.admits(ANN, RunId("more"), "w", 200.0)
    it.gone(ANN, "w")
    assert open_runs(it, ANN, 3, 200.0) == 2


def test_processes_of_one_run_and_of_one_user_are_bounded():
    it = quotas(runs=100, members=20, members_of_one_run=4)
    assert sum(it.admits(ANN, RunId("many"), f"w{n}", 0.0) for n in range(50)) == 4
    assert sum(it.admits(ANN, RunId(f"r{r}"), f"w{n}", 0.0) for r in range(10) for n in range(3)) == 6
    assert it.admits(ANN, RunId("many"), "w0", 1.0), "those that are in stay in"


def test_rejections_are_counted_for_a_bounded_number_of_users():
    it = quotas()
    for user in range(5000):
        it.refuse(user, "files", "too many")
    assert len(it.refused) <= 1001
    assert sum(it.refused.values()) == 5000


def test_one_user_cannot_fill_the_log(caplog):
    it = quotas()
    with caplog.at_level(logging.WARNING):
        for number in range(500):
            it.log(MALLORY, f"nonsense {number}")
        it.log(ANN, "a mistake")
    assert len(caplog.records) == 21
    assert "a mistake" in caplog.text


@AS_ROOT
def test_a_flood_of_runs_does_not_exclude_a_new_user(tmp_path: Path, time: Time):
    reader, clock = EventFiles(EventDirectories(tmp_path)), time.clock()
    for number in range(300):
        owned(tmp_path / f"m{number}.jsonl", MALLORY, time.line("start", run=f"m{number}"))
    for _ in range(5):
        reader.poll(clock)
    owned(tmp_path / "victim.jsonl", ANN, time.line("start", run="v"))
    assert [event.run for event in reader.poll(clock)] == ["v"]
    assert reader.counts["refused"] == 200


@AS_ROOT
def test_a_flood_of_files_neither_excludes_nor_delays_a_new_user(tmp_path: Path, time: Time):
    reader, clock = (
        EventFiles(EventDirectories(tmp_path), limits=ReadLimits(followed=100, files_per_poll=60)),
        time.clock(),
    )
    for number in range(150):
        owned(tmp_path / f"m{number:03}.jsonl", MALLORY, time.line("start", run="many"))
    for _ in range(5):
        reader.poll(clock)
    for number in range(3):
        owned(tmp_path / f"v{number}.jsonl", ANN, time.line("start", run=f"v{number}"))
    for number in range(100):
        append(tmp_path / f"m{number:03}.jsonl", *[time.line(run="many")] * 50)
    runs = [event.run for event in reader.poll(clock) if event.run != "many"]
    assert sorted(runs) == ["v0", "v1", "v2"], "at the first poll, whatever else there is to read"


@AS_ROOT
def test_users_with_few_lines_are_read_before_those_with_many(tmp_path: Path, time: Time):
    reader, clock = EventFiles(EventDirectories(tmp_path), limits=ReadLimits(bytes_per_poll=60_000)), time.clock()
    backdated = owned(tmp_path / "m.jsonl", MALLORY, *[time.line(run="m", padding="x" * 500)] * 1000)
    an_hour_ago = backdated.stat().st_mtime - 3600
    os.utime(backdated, (an_hour_ago, an_hour_ago))
    owned(tmp_path / "v.jsonl", ANN, time.line("start", run="v"))
    runs = [event.run for event in reader.poll(clock)]
    assert "v" in runs
    assert reader.behind > 0


def test_of_lines_about_the_present_a_bounded_number_is_taken_at_once_and_none_is_lost(tmp_path: Path, time: Time):
    reader, clock = EventFiles(EventDirectories(tmp_path)), time.clock()
    append(tmp_path / "a.jsonl", time.line("start"))
    reader.poll(clock)
    time.sleep(1.0)
    append(tmp_path / "a.jsonl", *[time.line(epoch=0.001 * n) for n in range(3000)])
    first = len(reader.poll(clock))
    assert 900 < first < 1200
    assert reader.behind > 0
    time.sleep(1.0)
    assert first + len(reader.poll(clock)) == 3000, "those that are late by now cost little"


def test_an_end_of_a_run_that_never_started_makes_no_owner(tmp_path: Path, time: Time):
    owners = RunOwners()
    reader, clock = EventFiles(EventDirectories(tmp_path), EventUsers(owners=owners)), time.clock()
    append(tmp_path / "a.jsonl", *[time.line("end", run=f"r{n}", status="failed") for n in range(5)])
    assert len(reader.poll(clock)) == 5
    assert owners.state() == {}


def test_a_directory_with_more_names_than_one_poll_lists_is_listed_in_several(tmp_path: Path, time: Time):
    reader, clock = EventFiles(EventDirectories(tmp_path), limits=ReadLimits(listed=10)), time.clock()
    for number in range(25):
        append(tmp_path / f"{number}.jsonl", time.line("start", run=f"r{number}"))
    assert [len(reader.poll(clock)) for _ in range(3)] == [0, 0, 25]
    (tmp_path / "3.jsonl").unlink()
    append(tmp_path / "4.jsonl", time.line(run="r4", epoch=1))
    assert kinds_and_epochs(reader.poll(clock)) == [("progress", 1.0)], "what is known is read meanwhile"
    reader.close()


# -- nothing of a file in the log --------------------------------------------------------------------------------------

PIN = "secretpin"


@pytest.mark.parametrize(
    "line",
    [
        f'"{PIN}"', f'{{"v":"{PIN}"}}', f'{{"v":1,"ev":"{PIN}"}}', f'{{"v":1,"ev":"start","run":"r","ts":"{PIN}"}}',
        f'{{"v":1,"ev":"start","run":"r","ts":"x; {PIN}; y"}}', f"4242 {PIN}", f"{PIN} 4242", f'{{"{PIN}', f"[{PIN}]",
        f'{{"v":1,"ev":"start","run":"r","ts":1,"gpus":["{PIN}",null]}}', "9" * 5000 + PIN,
    ],
)  # fmt: skip
def test_no_content_of_a_line_reaches_the_log(tmp_path: Path, time: Time, caplog, line: str):
    append(tmp_path / "a.jsonl", line.encode() + b"\n")
    with caplog.at_level(logging.WARNING):
        EventFiles(EventDirectories(tmp_path)).poll(time.clock())
    assert "a.jsonl: malformed" in caplog.text
    assert PIN not in caplog.text
    assert "4242" not in caplog.text


def test_the_wrong_key_and_the_expected_value_are_still_logged():
    rejected = parse_line(b'{"v":1,"ev":"start","run":"r","ts":"noon"}')
    assert isinstance(rejected, Rejected)
    assert without_content(rejected.reason) == "ts: expected seconds, from 0 to 1e+11"


def test_control_bytes_of_a_name_do_not_reach_the_log(tmp_path: Path, time: Time, caplog):
    append(tmp_path / "a\x1b[2J\nERROR all is lost.jsonl", b"nonsense\n")
    with caplog.at_level(logging.WARNING):
        EventFiles(EventDirectories(tmp_path)).poll(time.clock())
    assert "\x1b" not in caplog.text
    assert len(caplog.text.splitlines()) == 1
