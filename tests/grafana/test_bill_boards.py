"""Whose the dollars are: Fleet's panels by whom, and the dashboard Finance."""

from __future__ import annotations

import pytest
from tests.grafana.answers import MANY, asked, by, one
from tests.grafana.scenarios import LENGTH
from tests.grafana.simulated_prometheus import over

from epochcost.model import State

pytestmark = pytest.mark.stack


class TestByWhom:
    def test_teams_owners_and_experiments_each_sum_to_what_is_wasted(self, many):
        wasted = one(many, "fleet", "Wasted now")
        for whom in ("team", "owner", "experiment"):
            assert sum(by(whom, many, "fleet", f"Wasted by {whom}").values()) == pytest.approx(wasted, rel=1e-6)
        assert by("experiment", many, "fleet", "Wasted by experiment")["no run, or no experiment"] == pytest.approx(
            3.06
        )

    def test_a_node_without_a_price_is_counted_in_the_headline(self, many):
        assert one(many, "fleet", "Spend now", "B") == 1

    def test_alerts_have_the_dollars_that_they_are_about(self, many):
        dollars = by("row", many, "fleet", "Firing alerts", "B")
        assert dollars["/EpochcostNodeUpAfterRun/warning/sim-p3-02"] == pytest.approx(3.06)
        assert dollars["/EpochcostRunStalled/warning/diffusion-55"] == pytest.approx(0.1566771)
        rows = by("row", many, "fleet", "Firing alerts")
        # What Alertmanager holds back is no row: the dollars of these are joined to nothing.
        held_back = set(dollars) - set(rows)
        assert "/EpochcostIdleCost/critical/sim-h100-01" in set(dollars) & set(rows)
        assert "/EpochcostIdleCost/warning/sim-h100-01" in held_back
        assert all("sim-h100-01" in row or "vit-large-902" in row for row in held_back)
        both = {row.replace("/critical/", "/warning/") for row in rows if "/critical/" in row}
        assert not both & set(rows), "an alert of two severities stands there twice"


class TestFinance:
    def month(self) -> float:
        """Dollars of the whole hours: the simulation begins at 22:13:20 UTC, the last full hour is 4:00."""
        return spent(LENGTH - (MANY.epoch_ts + LENGTH) % 3600)

    def test_the_month_is_what_the_machines_cost_in_its_whole_hours(self, many):
        assert one(many, "finance", "This month") == pytest.approx(self.month(), rel=0.005)
        assert one(many, "finance", "This month", "B") == 1_000_000

    @pytest.mark.parametrize("whom", ["team", "experiment", "owner", "purchase option", "state"])
    def test_the_parts_sum_to_the_month(self, many, whom):
        parts = by(whom.replace(" ", "_"), many, "finance", f"This month by {whom}")
        assert sum(parts.values()) == pytest.approx(one(many, "finance", "This month"), rel=1e-6)
        assert "" not in parts

    def test_an_experiments_month_is_what_its_runs_cost(self, many):
        until = LENGTH - (MANY.epoch_ts + LENGTH) % 3600
        truth = {
            e: sum(n.run_cost(r.run, until) for r in MANY.runs if r.experiment == e for n in MANY.nodes)
            for e in ("llm-7b", "vit-large", "char-lm", "diffusion")
        }
        shown = by("experiment", many, "finance", "This month by experiment")
        assert {e: shown[e] for e in truth} == pytest.approx(truth, rel=0.02)

    def test_the_forecast_is_a_range_around_what_is_expected(self, many):
        low, expected, high = (one(many, "finance", "Forecast", ref) for ref in "ABC")
        assert self.month() < low <= expected <= high
        left = 24 * (30 - 15 + 1) - 4
        assert expected == pytest.approx(self.month() * (1 + left / (5 + 46 / 60 + 40 / 3600)), rel=0.01)

    def test_spot_saved_and_missed_what_the_prices_differ_by(self, many):
        until = LENGTH - (MANY.epoch_ts + LENGTH) % 3600
        spot = [n for n in MANY.nodes if n.purchase_option == "spot"]
        listed = sum((n.on_demand_usd_per_hour or 0.0) * until / 3600 for n in spot)
        saved = listed - sum(usd for n in spot for _, usd in n.totals(until).values())
        h100 = sum(usd for _, usd in MANY.nodes[2].totals(until).values())
        assert one(many, "finance", "Spot") == pytest.approx(saved, rel=0.02)
        assert one(many, "finance", "Spot", "B") == pytest.approx(h100 * (1 - 36.4 / 88.25), rel=0.02)

    def test_failed_runs_and_lost_work_are_dollars(self, many):
        failed = sum(node.run_cost("vit-large-901", LENGTH) for node in MANY.nodes)
        replay = sum(node.totals(LENGTH)[State.REPLAY][1] for node in MANY.nodes)
        assert one(many, "finance", "Lost dollars") == pytest.approx(failed)
        assert one(many, "finance", "Lost dollars", "B") == pytest.approx(replay, rel=0.05)
        assert by("row", many, "finance", "Runs that failed or were lost") == pytest.approx({"/vit-large-901": failed})

    def test_the_bars_of_days_sum_to_all_that_was_spent(self, many):
        midnight = many.now - many.now % 86_400
        days = over(many.url, asked("finance", "Days").filled(), midnight - 86_400, midnight, 86_400)[0]["values"]
        assert sum(float(usd) for _, usd in days) == pytest.approx(spent(LENGTH), rel=0.005)
        assert float(days[0][1]) == pytest.approx(spent(midnight - MANY.epoch_ts), rel=0.01)


def spent(until: float) -> float:
    """Dollars of all machines."""
    return sum(usd for node in MANY.nodes for _, usd in node.totals(until).values())
