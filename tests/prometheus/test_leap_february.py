"""A February of 29 days: its dollars so far and the forecast of its end, by the rules' own expressions.

A rule is evaluated at its present only, and the tests of promtool begin in 1970. So a real Prometheus is given the
dollars of each hour, as `epochcost-spend` records them, and queried with the rules' expressions.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest
from tests.grafana.simulated_prometheus import instant
from tests.prometheus.rule_files import RECORDINGS

from epochcost.demo.history import History

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(not shutil.which("promtool"), reason="no Prometheus on this machine"),
]
BEGIN = datetime(2028, 2, 1, tzinfo=timezone.utc)
HOURS = 24 * 31
EXPRESSIONS = {rule.name: rule.body["expr"] for rule in RECORDINGS}
USD = 1.2
"""Of each hour."""


def lines() -> Iterator[str]:
    """One step an hour, at its end; and the current hour by the rules' definition."""
    for hour in range(HOURS):
        of = BEGIN + timedelta(hours=hour)
        end = (of + timedelta(hours=1)).timestamp()
        labels = f'cluster="lab",month="{of.month}",day="{of.day}",hour="{of.hour}"'
        yield f"cluster:epochcost_spent_usd:step{{{labels}}} {USD} {end - 60}\n"
        yield f'cluster:epochcost_step_start_timestamp_seconds:last{{cluster="lab"}} {end - 3600} {end - 60}\n'


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("leap")
    history = History(home / "data", home, BEGIN.timestamp(), BEGIN.timestamp() + 3600 * HOURS)
    history.write(lines())
    with history.served() as address:
        yield address


def rule_value(url: str, rule: str, at: datetime) -> float:
    """The value that a rule would have recorded, with the rules that it reads substituted."""
    expr = EXPRESSIONS[rule]
    for name in (
        "cluster:epochcost_cost_usd:month", "cluster:epochcost_cost_usd_per_hour:day", "utc:epochcost_calendar:running",
    ):  # fmt: skip
        if name != rule:
            expr = expr.replace(name, f"({EXPRESSIONS[name]})")
    expr = expr.replace("utc:epochcost_calendar:running", f"({EXPRESSIONS['utc:epochcost_calendar:running']})")
    (series,) = instant(url, expr, at.timestamp())
    return float(series["value"][1])


@pytest.mark.parametrize(
    ("day", "hour", "hours"), [(1, 2, 2), (28, 23, 671), (29, 0, 672), (29, 5, 677), (29, 23, 695)]
)
def test_all_29_days_count_in_the_sum_and_the_forecast(url: str, day: int, hour: int, hours: int) -> None:
    at = BEGIN + timedelta(days=day - 1, hours=hour)
    assert rule_value(url, "cluster:epochcost_cost_usd:month", at) == pytest.approx(USD * hours)
    assert rule_value(url, "cluster:epochcost_cost_usd:month_projected", at) == pytest.approx(USD * 24 * 29)


def test_march_starts_at_zero(url: str) -> None:
    at = datetime(2028, 3, 1, 5, tzinfo=timezone.utc)
    assert rule_value(url, "cluster:epochcost_cost_usd:month", at) == pytest.approx(USD * 5)
    assert rule_value(url, "cluster:epochcost_cost_usd:month_projected", at) == pytest.approx(USD * 24 * 31)
