"""Something wrong every half a minute for two hours: the cost stays exact, and nothing accumulates.

`benchmarks/day.py` plays the whole day.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.agent.day import Day


def test_after_two_hours_of_faults_the_cost_is_exact_and_every_second_has_a_state(tmp_path: Path) -> None:
    day = Day(tmp_path)
    try:
        day.play(2 * 3600 + 700)  # every price change has been published
        seconds, dollars = day.accounted
        assert day.start is not None
        assert seconds == pytest.approx(day.machine.wall - day.start, abs=1e-6)
        assert dollars == pytest.approx(day.market.bill(day.start, day.machine.wall), abs=1e-6)
        assert day.it.sum("node_seconds_total") == pytest.approx(seconds)
        for number in range(6):
            assert day.it.value("run_epochs_total", run=f"run-{number}") == pytest.approx((2 * 3600 + 700) / 600)
    finally:
        day.close()
