"""A directory without signs of changed names is not listed each second, and no event is missed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from epochcost.progress.clock import NodeClock
from epochcost.progress.event_files import EventFiles
from epochcost.progress.place_listing import LOOK_SECONDS
from epochcost.progress.reading_settings import EventDirectories

LONG_AGO = 1_700_000_000


class Wall:
    """The clock that dates files, set by the test."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def files(tmp_path: Path, wall: Wall) -> Iterator[EventFiles]:
    it = EventFiles(EventDirectories(tmp_path), wall=wall)
    yield it
    it.close()


@pytest.fixture
def clock() -> NodeClock:
    return NodeClock(time.time, time.monotonic, "boot")


def write_event(directory: Path, name: str, ev: str = "start") -> None:
    with (directory / f"{name}.jsonl").open("a") as out:
        out.write(json.dumps({"v": 1, "ev": ev, "ts": time.time(), "mono": time.monotonic(), "run": name}) + "\n")


def as_if_nothing_had_changed(directory: Path) -> None:
    os.utime(directory, (LONG_AGO, LONG_AGO))


def new_runs(files: EventFiles, clock: NodeClock) -> list[str]:
    return [event.run for event in files.poll(clock)]


def test_a_new_file_is_read_with_the_next_poll(tmp_path: Path, files: EventFiles, clock: NodeClock) -> None:
    write_event(tmp_path, "a")
    as_if_nothing_had_changed(tmp_path)
    assert [new_runs(files, clock), new_runs(files, clock)] == [["a"], []]
    write_event(tmp_path, "b")
    assert new_runs(files, clock) == ["b"]


def test_lines_of_known_files_are_read_without_listing(tmp_path: Path, files: EventFiles, clock: NodeClock) -> None:
    write_event(tmp_path, "a")
    as_if_nothing_had_changed(tmp_path)
    new_runs(files, clock)
    write_event(tmp_path, "a", "progress")
    assert new_runs(files, clock) == ["a"]


def test_a_directory_without_change_times_is_listed_every_five_seconds(
    tmp_path: Path, files: EventFiles, clock: NodeClock, wall: Wall
) -> None:
    as_if_nothing_had_changed(tmp_path)
    new_runs(files, clock)
    write_event(tmp_path, "b")
    as_if_nothing_had_changed(tmp_path)
    assert new_runs(files, clock) == []
    wall.now += LOOK_SECONDS
    assert new_runs(files, clock) == ["b"]


def test_a_directory_that_changed_just_now_may_change_unseen_and_is_listed_again(
    tmp_path: Path, files: EventFiles, clock: NodeClock, wall: Wall
) -> None:
    stamp = int(wall.now * 1e9)
    os.utime(tmp_path, ns=(stamp, stamp))
    new_runs(files, clock)
    write_event(tmp_path, "b")
    os.utime(tmp_path, ns=(stamp, stamp))  # in the same grain of the kernel's clock
    assert new_runs(files, clock) == ["b"]


def test_a_clock_that_is_set_back_makes_it_listed(
    tmp_path: Path, files: EventFiles, clock: NodeClock, wall: Wall
) -> None:
    as_if_nothing_had_changed(tmp_path)
    new_runs(files, clock)
    write_event(tmp_path, "b")
    as_if_nothing_had_changed(tmp_path)
    wall.now -= 3600
    assert new_runs(files, clock) == ["b"]


def test_a_deleted_file_is_gone_with_the_next_poll(tmp_path: Path, files: EventFiles, clock: NodeClock) -> None:
    write_event(tmp_path, "a")
    as_if_nothing_had_changed(tmp_path)
    new_runs(files, clock)
    (tmp_path / "a.jsonl").unlink()
    new_runs(files, clock)
    assert files.state()["files"] == []
