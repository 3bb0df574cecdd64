"""Free hours: a zero price that ends when they are used up, and restarts with the period."""

from __future__ import annotations

import itertools
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epochcost.prices.allowances import MONTH, Limit
from epochcost.prices.free_hours import OtherUse, free_until, free_windows, period_of

HOUR = 3600.0


def utc(year: int, month: int, day: int, hour: int = 0) -> float:
    return datetime(year, month, day, hour, tzinfo=timezone.utc).timestamp()


THIRTY_A_WEEK = Limit("kaggle", free_seconds=30 * HOUR, period="week")
NOW = utc(2026, 11, 25, 12)  # a Wednesday
MONDAY, NEXT_MONDAY = utc(2026, 11, 23), utc(2026, 11, 30)


@pytest.mark.parametrize(
    ("limit", "start", "end"),
    [
        (THIRTY_A_WEEK, MONDAY, NEXT_MONDAY),
        (Limit("x", free_seconds=1.0, period="day"), utc(2026, 11, 25), utc(2026, 11, 26)),
        (Limit("x", free_seconds=1.0, period="month"), utc(2026, 11, 1), utc(2026, 12, 1)),
        # Weeks that begin on Saturdays, given by a future Saturday and by one long past.
        (
            Limit("x", free_seconds=1.0, period="week", since_ts=utc(2026, 12, 5)),
            utc(2026, 11, 21),
            utc(2026, 11, 28),
        ),
        (Limit("x", free_seconds=1.0, period="week", since_ts=utc(2024, 1, 6)), utc(2026, 11, 21), utc(2026, 11, 28)),
    ],
)
def test_periods_are_those_of_utc_or_of_the_given_day(limit: Limit, start: float, end: float) -> None:
    assert period_of(limit, NOW) == (start, end)
    assert period_of(limit, start) == (start, end)


def test_a_december_is_followed_by_january() -> None:
    assert period_of(Limit("x", free_seconds=1.0, period="month"), utc(2026, 12, 31, 23)) == (
        utc(2026, 12, 1),
        utc(2027, 1, 1),
    )


def test_hours_used_earlier_in_this_period_count_and_those_of_the_last_one_do_not() -> None:
    usage_windows = [(MONDAY - 20 * HOUR, MONDAY - HOUR), (MONDAY + HOUR, MONDAY + 11 * HOUR), (NOW - 5 * HOUR, NOW)]
    assert free_windows([THIRTY_A_WEEK], usage_windows, NOW, ()) == [
        (MONDAY, NOW + 15 * HOUR),
        (NEXT_MONDAY, NEXT_MONDAY + 30 * HOUR),
    ]


def test_when_they_are_used_up_the_window_has_an_end_in_the_past() -> None:
    usage_windows = [(NOW - 40 * HOUR, NOW)]
    windows = free_windows([THIRTY_A_WEEK], usage_windows, NOW, ())
    assert windows[0] == (MONDAY, NOW - 10 * HOUR)
    assert free_until(windows, NOW) is None
    assert free_until(windows, NOW - 11 * HOUR) == NOW - 10 * HOUR
    assert free_until(windows, NEXT_MONDAY) == NEXT_MONDAY + 30 * HOUR


def test_free_hours_do_not_outlive_their_period_and_join_those_of_the_next() -> None:
    now = NEXT_MONDAY - 2 * HOUR
    windows = free_windows([THIRTY_A_WEEK], [(now - HOUR, now)], now, ())
    assert windows == [(MONDAY, NEXT_MONDAY), (NEXT_MONDAY, NEXT_MONDAY + 30 * HOUR)]
    assert free_until(windows, now) == NEXT_MONDAY + 30 * HOUR


def test_an_end_does_not_move_by_rounding_and_does_when_the_machine_was_off() -> None:
    first = free_windows([THIRTY_A_WEEK], [(NOW, NOW + 0.1)], NOW + 0.1, ())
    again = free_windows([THIRTY_A_WEEK], [(NOW, NOW + 60.3)], NOW + 60.3000001, first)
    assert again == first
    later = free_windows([THIRTY_A_WEEK], [(NOW, NOW + 60.3), (NOW + HOUR, NOW + HOUR + 1)], NOW + HOUR + 1, again)
    assert later[0] == (MONDAY, pytest.approx(NOW + HOUR + 30 * HOUR - 60.3))


def test_windows_of_earlier_periods_stay_and_very_old_ones_are_dropped() -> None:
    first = free_windows([THIRTY_A_WEEK], [(MONDAY, NOW)], NOW, ())
    next_week = NOW + 7 * 86400
    second = free_windows([THIRTY_A_WEEK], [(MONDAY, next_week)], next_week, first)
    assert second[:2] == [(MONDAY, MONDAY + 30 * HOUR), (NEXT_MONDAY, NEXT_MONDAY + 30 * HOUR)]
    assert len(free_windows([THIRTY_A_WEEK], [], NOW + 60 * 86400, second)) == 2


def test_free_hours_that_are_no_longer_configured_end_now() -> None:
    before = free_windows([THIRTY_A_WEEK], [(NOW - HOUR, NOW)], NOW, ())
    assert free_windows([Limit("x", session_seconds=HOUR)], [(NOW - HOUR, NOW)], NOW, before) == [(MONDAY, NOW)]
    assert free_windows([], [], NOW, ()) == []


LIMITS = st.builds(
    lambda free, period, since: Limit(
        "x", free_seconds=free, period=period, since_ts=None if period == MONTH else since
    ),
    st.floats(1e-9, 86400.0),
    st.sampled_from(["day", "week", MONTH]),
    st.none() | st.floats(-1e12, 1e12),
)


@given(st.lists(st.tuples(LIMITS, st.floats(0.0, 3e6), st.floats(0.0, 1e5)), min_size=1, max_size=6))
def test_whatever_limits_come_one_after_another_windows_follow_one_another(
    usage: list[tuple[Limit, float, float]],
) -> None:
    now, windows = 1_795_000_000.0, []
    for limit, elapsed, elsewhere in usage:
        now += elapsed
        windows = free_windows([limit], [(now - 4e6, now)], now, windows, OtherUse(elsewhere, now))
        assert all(start < end for start, end in windows)
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(windows))
