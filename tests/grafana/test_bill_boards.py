"""Cost allocation: Fleet's panels by team, owner and experiment, and the dashboard Finance."""

from __future__ import annotations

import pytest
from tests.grafana.answers import MANY, by, one, panel_query
from tests.grafana.scenarios import LENGTH
from tests.grafana.simulated_prometheus import over

from epochcost.model import State

pytestmark = pytest.mark.stack


class TestCostAllocation:
    def test_teams_owners_and_experiments_each_sum_to_the_waste(self, many):
        wasted = one(many, "fleet", "Wasted now")
        for dimension in ("team", "owner", "experiment"):
            assert sum(by(dimension, many, "fleet", f"Wasted by {dimension}").values()) == pytest.approx(
                wasted, rel=1e-6
            )
        assert by("experiment", many, "fleet", "Wasted by experiment")["no run, or no experiment"] == pytest.approx(
            3.06
        )

    def test_a_node_without_a_price_is_counted_in_the_headline(self, many):
        assert one(many, "fleet", "Spend now", "B") == 1

    def test_alerts_show_their_dollars(self, many):
        dollars = by("row", many, "fleet", "Firing alerts", "B")
        assert dollars["/EpochcostNodeUpAfterRun/warning/sim-p3-02"] == pytest.approx(3.06)
        assert dollars["/EpochcostRunStalled/warning/diffusion-55"] == pytest.approx(0.1566771)
        rows = by("row", many, "fleet", "Firing alerts")
        # Alerts that Alertmanager suppresses are not rows: their dollars are joined to nothing.
        held_back = set(dollars) - set(rows)
        assert "/EpochcostIdleCost/critical/sim-h100-01" in set(dollars) & set(rows)
        assert "/EpochcostIdleCost/warning/sim-h100-01" in held_back
        assert all("sim-h100-01" in row or "vit-large-902" in row for row in held_back)
        both = {row.replace("/critical/", "/warning/") for row in rows if "/critical/" in row}
        assert not both & set(rows), "an alert of two severities stands there twice"


class TestFinance:
    def month(self) -> float:
        """Dollars of the whole hours: the simulation begins at 22:13:20 UTC, the last full hour is 4:00."""
        return total_usd(LENGTH - (MANY.epoch_ts + LENGTH) % 3600)

    def test_the_month_is_the_cost_of_the_machines_in_its_full_hours(self, many):
        assert one(many, "finance", "This month") == pytest.approx(self.month(), rel=0.005)
        assert one(many, "finance", "This month", "B") == 1_000_000

    @pytest.mark.parametrize("dimension", ["team", "experiment", "owner", "purchase option", "state"])
    def test_the_parts_sum_to_the_month(self, many, dimension):
        parts = by(dimension.replace(" ", "_"), many, "finance", f"This month by {dimension}")
        assert sum(parts.values()) == pytest.approx(one(many, "finance", "This month"), rel=1e-6)
        assert "" not in parts

    def test_an_experiments_month_is_the_cost_of_its_runs(self, many):
        until = LENGTH - (MANY.epoch_ts + LENGTH) % 3600
        truth = {
            e: sum(n.run_cost(r.run, until) for r in MANY.runs if r.experiment == e for n in MANY.nodes)
            for e in ("llm-7b", "vit-large", "char-lm", "diffusion")
        }
        usd_by_experiment = by("experiment", many, "finance", "This month by experiment")
        assert {e: usd_by_experiment[e] for e in truth} == pytest.approx(truth, rel=0.02)

    def test_the_forecast_is_a_range_around_the_expected_cost(self, many):
        low, expected, high = (one(many, "finance", "Forecast", ref) for ref in "ABC")
        assert self.month() < low <= expected <= high
        hours_left = 24 * (30 - 15 + 1) - 4
        assert expected == pytest.approx(self.month() * (1 + hours_left / (5 + 46 / 60 + 40 / 3600)), rel=0.01)

    def test_spot_savings_realised_and_missed_are_the_price_differences(self, many):
        until = LENGTH - (MANY.epoch_ts + LENGTH) % 3600
        spot = [n for n in MANY.nodes if n.purchase_option == "spot"]
        listed = sum((n.on_demand_usd_per_hour or 0.0) * until / 3600 for n in spot)
        saved_usd = listed - sum(usd for n in spot for _, usd in n.totals(until).values())
        h100 = sum(usd for _, usd in MANY.nodes[2].totals(until).values())
        assert one(many, "finance", "Spot") == pytest.approx(saved_usd, rel=0.02)
        assert one(many, "finance", "Spot", "B") == pytest.approx(h100 * (1 - 36.4 / 88.25), rel=0.02)

    def test_failed_runs_and_lost_work_are_dollars(self, many):
        failed_usd = sum(node.run_cost("vit-large-901", LENGTH) for node in MANY.nodes)
        replay = sum(node.totals(LENGTH)[State.REPLAY][1] for node in MANY.nodes)
        assert one(many, "finance", "Lost dollars") == pytest.approx(failed_usd)
        assert one(many, "finance", "Lost dollars", "B") == pytest.approx(replay, rel=0.05)
        assert by("row", many, "finance", "Runs that failed or were lost") == pytest.approx(
            {"/vit-large-901": failed_usd}
        )

    def test_the_daily_bars_sum_to_the_total_cost(self, many):
        midnight = many.now - many.now % 86_400
        days = over(many.url, panel_query("finance", "Days").filled(), midnight - 86_400, midnight, 86_400)[0]["values"]
        assert sum(float(usd) for _, usd in days) == pytest.approx(total_usd(LENGTH), rel=0.005)
        assert float(days[0][1]) == pytest.approx(total_usd(midnight - MANY.epoch_ts), rel=0.01)


def total_usd(until: float) -> float:
    """Dollars of all machines."""
    return sum(usd for node in MANY.nodes for _, usd in node.totals(until).values())
