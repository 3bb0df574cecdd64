"""Times on the node timeline are independent of the wall clock."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from tests.progress.timelines import MORNING, Time

from epochcost.progress.clock import NodeClock

HOUR = 3600.0


def test_the_timeline_starts_at_the_wall_clock_and_continues_with_the_monotonic_one():
    time = Time()
    clock = time.clock()
    time.sleep(10)
    time.set_wall(-HOUR)
    time.sleep(10)
    assert clock.now() == MORNING + 20


def test_jumps_of_the_wall_clock_are_counted_and_slewing_is_not():
    time = Time()
    clock = time.clock()
    for _ in range(100):
        time.sleep(1)
        time.set_wall(0.05)
        clock.now()
    assert clock.jumps == 0
    for by in (-HOUR, HOUR, 1.0, 2.5):
        time.set_wall(by)
        clock.now()
    assert clock.jumps == 3


def test_a_process_paused_between_two_clock_readings_sees_no_jump():
    time = Time()
    clock = NodeClock(time.wall, lambda: (time.sleep(5), time.mono())[1], "boot")  # type: ignore[func-returns-value]
    clock.now()
    assert clock.jumps == 0
    assert len(clock.state()["seen"]) == 1


def test_a_jump_seen_by_many_threads_is_one_jump():
    time = Time()
    clock = time.clock()
    time.set_wall(HOUR)
    threads = [threading.Thread(target=lambda: [clock.now() for _ in range(200)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.jumps == 1


def test_durations_of_a_writer_are_exact_over_a_clock_set_back_an_hour():
    time = Time()
    clock = time.clock()
    times = []
    for by in (0, -HOUR, 0, 2 * HOUR, 0):
        time.set_wall(by)
        times.append(clock.event_time("w", time.wall(), time.mono()))
        time.sleep(100)
    assert times == [MORNING + 100 * n for n in range(5)]


def test_a_writer_that_starts_after_a_jump_is_on_the_same_timeline():
    time = Time()
    clock = time.clock()
    time.sleep(50)
    time.set_wall(-HOUR)
    assert clock.event_time("w", time.wall(), time.mono()) == MORNING + 50 == clock.now()


def test_events_from_before_the_jump_that_are_read_after_it_are_dated_right():
    time = Time()
    clock = time.clock()
    ts, mono = time.wall(), time.mono()
    time.sleep(50)
    time.set_wall(-HOUR)
    assert clock.event_time("w", ts, mono) == MORNING
    assert clock.event_time("late", ts + 1, mono + 1) == MORNING + 1


def test_a_writer_with_another_monotonic_clock_is_anchored_at_its_first_event():
    time = Time()
    clock = time.clock()
    assert clock.event_time("vm", time.wall(), 7.0) == MORNING
    time.sleep(100)
    time.set_wall(-HOUR)
    assert clock.event_time("vm", time.wall(), 107.0) == MORNING + 100


def test_a_writer_without_a_monotonic_clock_follows_the_wall_and_never_goes_back():
    time = Time()
    clock = time.clock()
    times = []
    for by in (0, -HOUR, HOUR):
        time.set_wall(by)
        times.append(clock.event_time("sh", time.wall(), None))
        time.sleep(60)
    assert times == [MORNING, MORNING + 60, MORNING + 120]
    assert clock.event_time("sh", MORNING - 500, None) == MORNING + 120


def test_nothing_has_happened_later_than_it_was_read():
    time = Time()
    clock = time.clock()
    assert clock.event_time("a", MORNING + 1e6, None) == MORNING
    assert clock.event_time("b", MORNING + 1e6, time.mono() + 1e6) == MORNING


def test_a_slewed_clock_still_distinguishes_new_writers_from_foreign_ones():
    time = Time()
    clock = time.clock()
    for _ in range(200):
        time.sleep(60)
        time.set_wall(0.03)
        clock.now()
    assert clock.event_time("w", time.wall(), time.mono()) == clock.now() == MORNING + 12000


def test_the_timeline_continues_in_a_later_agent_of_the_same_boot():
    time = Time()
    first = time.clock()
    first.event_time("vm", time.wall(), 7.0)
    time.sleep(10)
    state = json.loads(json.dumps(first.state()))
    time.set_wall(-HOUR)
    time.sleep(10)
    second = time.clock()
    second.restore(state)
    assert second.now() == MORNING + 20
    assert second.jumps == 1
    assert second.event_time("vm", time.wall(), 27.0) == MORNING + 20
    assert second.event_time("new", time.wall(), time.mono()) == MORNING + 20


def test_after_a_reboot_the_timeline_restarts_and_old_writers_keep_their_times():
    time = Time()
    first = time.clock()
    assert first.event_time("w", time.wall(), time.mono()) == MORNING
    later = Time(MORNING + 500, 20.0)
    second = later.clock("boot-2")
    second.restore(first.state())
    assert second.now() == MORNING + 500
    assert second.event_time("w", MORNING + 30, time.mono() + 30) == MORNING + 30


def test_without_a_boot_id_no_boot_counts_as_the_same():
    time = Time()
    state = time.clock("").state()
    time.set_wall(-HOUR)
    clock = time.clock("")
    clock.restore(state)
    assert clock.now() == MORNING - HOUR


def test_a_forgotten_writer_takes_no_room():
    time = Time()
    clock = time.clock()
    clock.event_time("w", time.wall(), None)
    clock.forget("w")
    clock.forget("w")
    assert clock.state()["writers"] == {}


@pytest.mark.parametrize(
    "change",
    [
        {"offset": None},
        {"offset": float("nan")},
        {"offset": 10**400},
        {"seen": 7},
        {"writers": []},
        {"writers": {"w": [1]}},
        {"jumps": "x"},
    ],
)
def test_a_damaged_state_is_rejected_entirely(change: dict[str, Any]):
    time = Time()
    clock = time.clock()
    before = clock.state()
    with pytest.raises(ValueError, match="state of the clock"):
        clock.restore({**before, **change})
    assert clock.state() == before


def test_an_empty_state_is_rejected():
    with pytest.raises(ValueError, match="state of the clock"):
        NodeClock(lambda: 1.0, lambda: 1.0).restore({})


def test_a_timeline_begins_by_the_pair_of_readings_that_was_held_up_least() -> None:
    readings = iter([5.0, 5.4, 6.0, 6.000001, 6.1, 6.4, 6.5, 6.6, 6.7, 6.9, 7.0])  # before and after each wall time
    walls = iter([1_700_000_005.0, 1_700_000_006.0, 1_700_000_006.1, 1_700_000_006.5, 1_700_000_006.7])
    clock = NodeClock(lambda: next(walls, 1_700_000_007.0), lambda: next(readings, 7.0))
    assert clock.now() == pytest.approx(1_700_000_006.999999, abs=2e-7)
