"""Something wrong every half a minute for two hours: the bill stays exact, and nothing piles up.

`benchmarks/day.py` plays the whole day.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.agent.day import Day


def test_two_hours_of_faults_leave_the_bill_exact_and_every_second_in_a_state(tmp_path: Path) -> None:
    day = Day(tmp_path)
    try:
        day.play(2 * 3600 + 700)  # every change of the price has come to be known
        seconds, dollars = day.accounted
        assert day.began is not None
        assert seconds == pytest.approx(day.world.wall - day.began, abs=1e-6)
        assert dollars == pytest.approx(day.market.bill(day.began, day.world.wall), abs=1e-6)
        assert day.it.sum("node_seconds_total") == pytest.approx(seconds)
        for number in range(6):
            assert day.it.value("run_epochs_total", run=f"run-{number}") == pytest.approx((2 * 3600 + 700) / 600)
    finally:
        day.close()
