"""Following event files."""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.progress.timelines import MORNING, Time, append, kinds_and_epochs

from epochcost.model import EventKind, TrainingEvent
from epochcost.progress.event_files import CHUNK_BYTES, EventFiles
from epochcost.progress.line_splitter import cut
from epochcost.progress.reading_settings import EventDirectories, EventUsers, ReadLimits
from epochcost.progress.user_quotas import Limits, UserQuotas


@pytest.fixture
def time() -> Time:
    return Time()


def aged(path: Path, days: float) -> None:
    """File times come from the real clock."""
    then = path.stat().st_mtime - days * 86400
    os.utime(path, (then, then))


def saved_state(reader: EventFiles) -> dict[str, Any]:
    return json.loads(json.dumps(reader.state()))


def test_lines_arrive_once_in_order(tmp_path: Path, time: Time):
    reader, clock = EventFiles(EventDirectories(tmp_path)), time.clock()
    assert reader.poll(clock) == []
    append(tmp_path / "a.jsonl", time.line("start", epochs=2), time.line("phase", phase="train", epoch=0))
    assert kinds_and_epochs(reader.poll(clock)) == [("start", None), ("phase", 0.0)]
    assert reader.poll(clock) == []
    append(tmp_path / "a.jsonl", time.line(epoch=0.5))
    (event,) = reader.poll(clock)
    assert (event.epoch, event.t, event.run, event.writer) == (0.5, MORNING, "r", "a.jsonl")
    assert reader.counts == {
        "accepted": 3,
        "malformed": 0,
        "too_long": 0,
        "unknown_version": 0,
        "unreadable": 0,
        "refused": 0,
    }
    assert reader.behind == 0


def test_a_partial_line_waits_for_its_newline(tmp_path: Path, time: Time):
    reader, clock = EventFiles(EventDirectories(tmp_path)), time.clock()
    line = time.line(epoch=1)
    append(tmp_path / "a.jsonl", line, line[:20])
    assert len(reader.poll(clock)) == 1
    append(tmp_path / "a.jsonl", line[20:-1])
    assert reader.poll(clock) == []
    append(tmp_path / "a.jsonl", b"\n")
    assert kinds_and_epochs(reader.poll(clock)) == [("progress", 1.0)]
    assert reader.counts["malformed"] == 0


def test_a_corrupt_line_is_counted_logged_once_and_affects_nothing_else(tmp_path: Path, time: Time, caplog):
    reader, clock = EventFiles(EventDirectories(tmp_path)), time.clock()
    append(tmp_path / "a.jsonl", time.line("start"), b"{oops\n", b'{"v":9}\n', b"\xff\xfe\n", time.line(epoch=1))
    append(tmp_path / "b.jsonl", time.line("start", run="other"))
    with caplog.at_level(logging.WARNING):
        events = reader.poll(clock)
    assert sorted(kinds_and_epochs(events), key=str) == [("progress", 1.0), ("start", None), ("start", None)]
    assert (reader.counts["accepted"], reader.counts["malformed"], reader.counts["unknown_version"]) == (3, 2, 1)
    assert len(caplog.records) == 1
    assert "a.jsonl" in caplog.text


def test_empty_lines_are_ignored(tmp_path: Path, time: Time):
    reader = EventFiles(EventDirectories(tmp_path))
    append(tmp_path / "a.jsonl", b"\n\n \r\n", time.line(), b"\n")
    assert len(reader.poll(time.clock())) == 1
    assert reader.counts["malformed"] == 0


def test_a_line_of_ten_megabytes_is_skipped_in_little_memory(tmp_path: Path, time: Time):
    import tracemalloc

    reader, clock = EventFiles(EventDirectories(tmp_path)), time.clock()
    append(tmp_path / "a.jsonl", time.line("start"), b'{"x":"' + b"y" * 10_000_000 + b'"}\n', time.line(epoch=1))
    append(tmp_path / "b.jsonl", time.line("start", run="other"))
    tracemalloc.start()
    events = [*reader.poll(clock), *reader.poll(clock), *reader.poll(clock)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sorted(kinds_and_epochs(events), key=str) == [("progress", 1.0), ("start", None), ("start", None)]
    assert reader.counts["too_long"] == 1
    assert peak < 2_000_000


@pytest.mark.parametrize("content", [b"\x00" * 3_000_000, bytes(range(256)) * 8000, b"\n" * 2_000_000])
def test_a_binary_file_is_counted_and_bounded_and_others_continue(tmp_path: Path, time: Time, content: bytes):
    reader, clock = EventFiles(EventDirectories(tmp_path)), time.clock()
    append(tmp_path / "a.jsonl", content.replace(b"\n", b"") if content[:1] != b"\n" else content)
    append(tmp_path / "b.jsonl", time.line("start", run="other"))
    events = [event for _ in range(130) for event in reader.poll(clock)]
    assert kinds_and_epochs(events) == [("start", None)]
    assert reader.counts["too_long"] == (content[:1] != b"\n")
    append(tmp_path / "a.jsonl", b"\n", time.line("start"))
    assert kinds_and_epochs(reader.poll(clock)) == [("start", None)]


def test_work_per_poll_is_bounded_and_what_waits_is_reported(tmp_path: Path, time: Time):
    reader, clock = EventFiles(EventDirectories(tmp_path), limits=ReadLimits(bytes_per_poll=CHUNK_BYTES)), time.clock()
    line = time.line(padding="x" * 1000)
    append(tmp_path / "a.jsonl", *[line] * 1000)
    first = reader.poll(clock)
    assert 0 < len(first) <= CHUNK_BYTES // len(line)
    assert reader.behind == 1000 * len(line) - len(first) * len(line)
    total = len(first)
    while reader.behind:
        total += len(reader.poll(clock))
    assert total == 1000


def test_the_oldest_file_is_read_first_when_there_is_too_much(tmp_path: Path, time: Time):
    reader, clock = EventFiles(EventDirectories(tmp_path), limits=ReadLimits(bytes_per_poll=1)), time.clock()
    for name, days in (("b", 1), ("a", 2), ("c", 0)):
        append(tmp_path / f"{name}.jsonl", time.line("start", run=name))
        aged(tmp_path / f"{name}.jsonl", days)
    assert [event.run for _ in range(3) for event in reader.poll(clock)] == ["a", "b", "c"]


def test_starts_and_ends_of_processes_are_expensive_and_bounded_too(tmp_path: Path, time: Time):
    reader, clock = EventFiles(EventDirectories(tmp_path)), time.clock()
    for number in range(20_000):
        both = time.line("start", run=f"r{number}"), time.line("end", run=f"r{number}", status="finished")
        append(tmp_path / "sweep.jsonl", *both)
    first = len(reader.poll(clock))
    assert 0 < first < 10_000
    assert first + sum(len(reader.poll(clock)) for _ in range(10)) == 40_000


def test_an_endless_file_does_not_delay_others(tmp_path: Path, time: Time):
    with (tmp_path / "endless.jsonl").open("wb") as file:
        file.truncate(2**40)
    aged(tmp_path / "endless.jsonl", 1)
    append(tmp_path / "a.jsonl", time.line("start"))
    reader, clock = EventFiles(EventDirectories(tmp_path), limits=ReadLimits(bytes_per_poll=CHUNK_BYTES)), time.clock()
    assert kinds_and_epochs([*reader.poll(clock), *reader.poll(clock)]) == [("start", None)]
    append(tmp_path / "a.jsonl", time.line("end", status="finished"))
    assert kinds_and_epochs(reader.poll(clock)) == [("end", None)]
    assert reader.behind > 2**39


def test_files_beyond_the_limit_are_left_out_and_logged_until_some_are_deleted(tmp_path: Path, time: Time, caplog):
    reader, clock = EventFiles(EventDirectories(tmp_path), limits=ReadLimits(followed=5)), time.clock()
    for number in range(8):
        append(tmp_path / f"{number}.jsonl", time.line("start", run=f"r{number}", pid=1))
    os.mkfifo(tmp_path / "fifo.jsonl")
    read = [event.run for _ in range(3) for event in reader.poll(clock)]
    assert len(read) == 5
    assert reader.counts["unreadable"] == 2
    assert "3 more than 5; delete old ones" in caplog.text
    for run in read[:3]:
        (tmp_path / f"{run[1:]}.jsonl").unlink()
    reader.poll(clock)
    later = [event.run for _ in range(2) for event in reader.poll(clock) if event.kind is EventKind.START]
    assert {*read, *later} == {f"r{number}" for number in range(8)}


def test_ten_thousand_files_are_bounded_and_none_is_lost(tmp_path: Path, time: Time):
    from time import perf_counter

    for number in range(10_000):
        append(tmp_path / f"{number}.jsonl", time.line("start", run=f"r{number}", pid=1))
    users, limits = EventUsers(quotas=UserQuotas(Limits(runs=100_000, members=100_000))), ReadLimits(listed=20_000)
    reader, clock = EventFiles(EventDirectories(tmp_path), users, limits=limits), time.clock()
    assert len(reader.poll(clock)) == 5000
    assert len(reader.poll(clock)) == 5000
    started_at = perf_counter()
    assert reader.poll(clock) == []
    assert perf_counter() - started_at < 2
    append(tmp_path / "77.jsonl", time.line("end", run="r77", status="finished"))
    assert [event.run for event in reader.poll(clock)] == ["r77"]


def test_a_truncated_file_is_read_from_its_beginning(tmp_path: Path, time: Time):
    reader, clock = EventFiles(EventDirectories(tmp_path)), time.clock()
    append(tmp_path / "a.jsonl", time.line("start"), time.line(epoch=1))
    reader.poll(clock)
    os.truncate(tmp_path / "a.jsonl", 0)
    assert reader.poll(clock) == []
    append(tmp_path / "a.jsonl", time.line(epoch=2))
    assert kinds_and_epochs(reader.poll(clock)) == [("progress", 2.0)]


def test_a_file_truncated_and_grown_beyond_is_noticed_by_its_beginning(tmp_path: Path, time: Time):
    reader, clock = EventFiles(EventDirectories(tmp_path)), time.clock()
    append(tmp_path / "a.jsonl", time.line("start"))
    reader.poll(clock)
    os.truncate(tmp_path / "a.jsonl", 0)
    time.sleep(5)
    append(tmp_path / "a.jsonl", time.line("start", run="s", experiment="longer than the first was"))
    assert [event.run for event in reader.poll(clock)] == ["s"]


def test_a_rotated_file_is_read_to_its_end_and_its_successor_from_its_beginning(tmp_path: Path, time: Time):
    reader, clock = EventFiles(EventDirectories(tmp_path)), time.clock()
    path = tmp_path / "a.jsonl"
    append(path, time.line("start"))
    reader.poll(clock)
    append(path, time.line(epoch=1))
    path.rename(tmp_path / "a.jsonl.1")
    append(path, time.line(epoch=2))
    events = reader.poll(clock)
    assert kinds_and_epochs(events) == [("progress", 1.0), ("progress", 2.0)]
    assert {event.writer for event in events} == {"a.jsonl"}


def test_a_deleted_file_is_forgotten_and_another_of_its_name_is_new(tmp_path: Path, time: Time):
    reader, clock = EventFiles(EventDirectories(tmp_path)), time.clock()
    path = tmp_path / "a.jsonl"
    append(path, time.line("start"), time.line(epoch=1))
    reader.poll(clock)
    path.unlink()
    assert reader.poll(clock) == []
    assert saved_state(reader)["files"] == []
    append(path, time.line("start", run="s"), time.line(run="s", epoch=7), time.line(run="s", epoch=8))
    assert [event.run for event in reader.poll(clock)] == ["s", "s", "s"]


def test_a_file_deleted_and_replaced_between_two_polls_is_read_from_its_beginning(tmp_path: Path, time: Time):
    reader, clock = EventFiles(EventDirectories(tmp_path)), time.clock()
    for name in ("a", "b"):  # the filesystem may give b the inode of a
        append(tmp_path / f"{name}.jsonl", *[time.line("start", run=name)] * (2 if name == "a" else 3))
        assert {(e.run, e.writer) for e in reader.poll(clock)} == {(name, f"{name}.jsonl")}
        (tmp_path / f"{name}.jsonl").unlink()


def test_the_directory_may_come_go_and_come_again(tmp_path: Path, time: Time):
    directory = tmp_path / "events"
    reader, clock = EventFiles(EventDirectories(directory)), time.clock()
    assert reader.poll(clock) == []
    for run in ("a", "b"):
        directory.mkdir()
        append(directory / f"{run}.jsonl", time.line("start", run=run))
        assert [event.run for event in reader.poll(clock)] == [run]
        shutil.rmtree(directory)
        assert reader.poll(clock) == []


def test_anything_but_a_regular_file_is_counted_once_and_does_not_block(tmp_path: Path, time: Time, caplog):
    os.mkfifo(tmp_path / "fifo.jsonl")
    (tmp_path / "link.jsonl").symlink_to("/etc/passwd")
    (tmp_path / "directory.jsonl").mkdir()
    (tmp_path / "notes.txt").write_text("not ours")
    (tmp_path / ".hidden.jsonl").write_bytes(time.line())
    (tmp_path / "r.cost.json").write_text("{}")
    append(tmp_path / "a.jsonl", time.line("start"))
    reader, clock = EventFiles(EventDirectories(tmp_path)), time.clock()
    assert kinds_and_epochs([*reader.poll(clock), *reader.poll(clock)]) == [("start", None)]
    assert reader.counts["unreadable"] == 3
    assert len(caplog.records) == 3


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_counted_once_and_read_when_it_may(tmp_path: Path, time: Time):
    reader, clock = EventFiles(EventDirectories(tmp_path)), time.clock()
    append(tmp_path / "a.jsonl", time.line("start"))
    (tmp_path / "a.jsonl").chmod(0)
    assert [*reader.poll(clock), *reader.poll(clock)] == []
    assert reader.counts["unreadable"] == 1
    (tmp_path / "a.jsonl").chmod(0o600)
    assert kinds_and_epochs(reader.poll(clock)) == [("start", None)]


def test_a_file_in_place_of_the_directory_is_an_error(tmp_path: Path, time: Time):
    (tmp_path / "events").write_text("")
    assert EventFiles(EventDirectories(tmp_path / "events")).poll(time.clock()) == []


def test_two_processes_with_the_same_run_id_are_two_writers(tmp_path: Path, time: Time):
    reader, clock = EventFiles(EventDirectories(tmp_path)), time.clock()
    append(tmp_path / "a.jsonl", time.line("start", run="same"))
    append(tmp_path / "b.jsonl", time.line("start", run="same"))
    assert {(event.run, event.writer) for event in reader.poll(clock)} == {("same", "a.jsonl"), ("same", "b.jsonl")}


def test_events_of_several_writers_come_in_order_of_time(tmp_path: Path, time: Time):
    reader, clock = EventFiles(EventDirectories(tmp_path)), time.clock()
    for name in "abab":
        append(tmp_path / f"{name}.jsonl", time.line(run=name))
        time.sleep(1)
    events = reader.poll(clock)
    assert [event.run for event in events] == list("abab")
    assert [event.t for event in events] == [MORNING, MORNING + 1, MORNING + 2, MORNING + 3]


def test_several_runs_in_one_file_are_all_read(tmp_path: Path, time: Time):
    reader, clock = EventFiles(EventDirectories(tmp_path), limits=ReadLimits(bytes_per_poll=1)), time.clock()
    for run in ("a", "b"):
        append(tmp_path / "all.jsonl", time.line("start", run=run), time.line("end", run=run, status="finished"))
    assert [(e.run, e.kind.value) for e in reader.poll(clock)] == [
        ("a", "start"), ("a", "end"), ("b", "start"), ("b", "end"),
    ]  # fmt: skip
    append(tmp_path / "all.jsonl", time.line("start", run="c"))
    assert [event.run for event in reader.poll(clock)] == ["c"]


def test_a_restarted_reader_continues_from_its_state(tmp_path: Path, time: Time):
    first, clock = EventFiles(EventDirectories(tmp_path)), time.clock()
    append(tmp_path / "a.jsonl", time.line("start"), time.line(epoch=1)[:10])
    append(tmp_path / "b.jsonl", time.line("start", run="b"), time.line("end", run="b"))
    assert len(first.poll(clock)) == 3
    state = saved_state(first)
    append(tmp_path / "a.jsonl", time.line(epoch=1)[10:])
    second = EventFiles(EventDirectories(tmp_path))
    second.restore(state)
    assert kinds_and_epochs(second.poll(clock)) == [("progress", 1.0)]


def test_a_reader_killed_before_it_kept_its_state_reads_again_what_it_had_read(tmp_path: Path, time: Time):
    first, clock = EventFiles(EventDirectories(tmp_path)), time.clock()
    append(tmp_path / "a.jsonl", time.line("start"))
    first.poll(clock)
    state, clock_state = saved_state(first), clock.state()
    time.sleep(30)
    append(tmp_path / "a.jsonl", time.line(epoch=1))
    unsaved_events = first.poll(clock)
    time.sleep(30)
    second, later = EventFiles(EventDirectories(tmp_path)), time.clock()
    later.restore(clock_state)
    second.restore(state)
    assert second.poll(later) == unsaved_events


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"v": 2, "files": []},
        {"v": 1, "files": [[1, 2]]},
        {"v": 1, "files": 7},
        {"v": 1, "files": [[-1, "a", "a", 0, 0, 0, 0, False, "new", "", False, None, None, True, 0.0]]},
        {"v": 1, "files": [[1, "a", "../a", 0, 0, 0, 0, False, "new", "", False, None, None, True, 0.0]]},
        {"v": 1, "files": [[1, "a", "a", 0, 0, 0, 0, False, "odd", "", False, None, None, True, 0.0]]},
    ],
)
def test_a_damaged_state_is_rejected_entirely(tmp_path: Path, time: Time, state: dict[str, Any]):
    reader = EventFiles(EventDirectories(tmp_path))
    append(tmp_path / "a.jsonl", time.line("start"))
    reader.poll(time.clock())
    before = reader.state()
    with pytest.raises(ValueError, match="state of the event files"):
        reader.restore(state)
    assert reader.state() == before


def test_files_untouched_for_a_week_are_left_alone_until_they_grow(tmp_path: Path, time: Time):
    append(tmp_path / "old.jsonl", time.line("start", run="old"), time.line("end", run="old"))
    aged(tmp_path / "old.jsonl", 8)
    append(tmp_path / "new.jsonl", time.line("start", run="new"))
    aged(tmp_path / "new.jsonl", 6)
    reader, clock = EventFiles(EventDirectories(tmp_path)), time.clock()
    assert [event.run for event in reader.poll(clock)] == ["new"]
    assert len(reader.state()["files"]) == 1
    append(tmp_path / "old.jsonl", time.line("start", run="old"))
    assert [event.run for event in reader.poll(clock)] == ["old"] * 3


def test_a_continuation_is_the_same_writer(tmp_path: Path, time: Time):
    reader, clock = EventFiles(EventDirectories(tmp_path)), time.clock()
    append(tmp_path / "a.jsonl", time.line("start"))
    reader.poll(clock)
    (tmp_path / "a.jsonl").unlink()
    time.sleep(2)
    append(tmp_path / "b.jsonl", time.line("epoch_end", continues="a.jsonl", lock=False))
    (event,) = reader.poll(clock)
    assert (event.writer, event.t) == ("a.jsonl", MORNING + 2)


def test_a_file_continues_one_other_and_not_a_thousand(tmp_path: Path, time: Time):
    reader, clock = EventFiles(EventDirectories(tmp_path)), time.clock()
    append(tmp_path / "b.jsonl", *(time.line("progress", continues=f"a{number}.jsonl") for number in range(1000)))
    assert {event.writer for event in reader.poll(clock)} == {"a0.jsonl"}
    assert len(clock.state()["writers"]) == 1


def file_of_everything(time: Time) -> bytes:
    """A file with a bit of everything."""
    lines = [time.line("start", epochs=3)]
    for number in range(12):
        time.sleep(1)
        lines.append(time.line(epoch=number / 4, step=number))
    return b"".join([*lines[:5], b"\n", b"junk\n", *lines[5:9], b"z" * 70000, b"\n", *lines[9:], time.line("end")])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 73000), max_size=8), st.booleans())
def test_however_a_file_arrives_its_events_are_the_same(tmp_path_factory, cuts: list[int], restart: bool):
    directory = tmp_path_factory.mktemp("events")
    time = Time()
    content = file_of_everything(time)
    clock, reader = time.clock(), EventFiles(EventDirectories(directory))
    events: list[TrainingEvent] = []
    counts = dict.fromkeys(reader.counts, 0)
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(content)], strict=True):
        append(directory / "a.jsonl", content[begin:end])
        events += reader.poll(clock)
        if restart:
            counts = {name: counts[name] + reader.counts[name] for name in counts}
            state, reader = saved_state(reader), EventFiles(EventDirectories(directory))
            reader.restore(state)
    counts = {name: counts[name] + reader.counts[name] for name in counts}
    assert [event.kind for event in events] == [EventKind.START, *[EventKind.PROGRESS] * 12, EventKind.END]
    assert [event.t for event in events] == [MORNING + second for second in (*range(13), 12)]
    assert counts == {
        "accepted": 14,
        "malformed": 1,
        "too_long": 1,
        "unknown_version": 0,
        "unreadable": 0,
        "refused": 0,
    }


@given(st.binary(max_size=2000).map(lambda data: data * 40), st.booleans())
def test_cutting_never_loses_or_invents_a_line(data: bytes, skipping: bool):
    piece = cut(data, skipping=skipping)
    assert 0 <= piece.consumed <= len(data)
    if not skipping and not piece.too_long:
        assert b"".join(line + b"\n" for line in piece.lines) == data[: piece.consumed]
    assert len(data) - piece.consumed <= 65536
