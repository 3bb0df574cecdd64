"""Market and Compare, checked against the reference articles."""

from __future__ import annotations

import re

import pytest
from tests.grafana.answers import by, one
from tests.grafana.boards import DASHBOARDS
from tests.grafana.conftest import History
from tests.grafana.scenarios import FLEETS, STUDY
from tests.grafana.simulated_prometheus import instant

pytestmark = pytest.mark.stack


class TestTheMarket:
    def test_the_savings_are_those_of_the_article(self, articles):
        saving = by("offer", articles, "market", "Savings of spot", "C")
        assert saving["gcp, us-central1, , n1-standard-16+p4"] == pytest.approx(0.720588, abs=1e-6)
        assert saving["azure, eastus, , Standard_NV6"] == pytest.approx(0.824561, abs=1e-6)
        assert saving["aws, us-east-1, us-east-1a, g3.4xlarge"] == pytest.approx(0.701754, abs=1e-6)

    def test_break_even_is_price_there_over_price_here(self, articles):
        faster = by("offer", articles, "market", "Break-even speed-up against the machine in use", "C")
        assert faster["aws, us-east-1, , p3.2xlarge, on_demand"] == pytest.approx(3.06 / 0.9)
        assert faster["aws, us-east-1, , p2.xlarge, on_demand"] == 1
        assert faster["aws, us-east-1, us-east-1a, g3.4xlarge, spot"] == pytest.approx(0.34 / 0.9)

    def test_possible_spot_savings_of_on_demand_machines_in_use_come_first(self, many):
        table = ("market", "Savings of spot")
        saves, in_use = by("offer", many, *table, "F"), by("offer", many, *table, "E")
        h100 = "gcp, us-central1, , a3-highgpu-8g"
        assert saves[h100] == max(saves.values()) == pytest.approx(88.25 - 36.4)
        assert in_use["aws, us-east-1, us-east-1b, p4d.24xlarge"] == 2
        assert saves["aws, us-east-1, us-east-1b, p4d.24xlarge"] == 0, "those in use are on spot already"
        best = by("offer", many, "market", "Missed spot saving")
        assert best == pytest.approx({"a3-highgpu-8g, us-central1": 88.25 - 36.4})

    def test_a_gpu_hour_is_the_machines_price_over_its_gpus(self, many):
        prices = by("offer", many, "market", "Price of a GPU-hour")
        assert prices["NVIDIA A100-SXM4-40GB, aws, spot"] == 9.83 / 8
        assert prices["Tesla M60, azure, spot"] == 0.2

    def test_the_zones_of_a_type_are_compared_with_its_on_demand_price(self, many):
        prices = by("offer", many, "market", "Price by zone and purchase option")
        assert prices == {
            "on_demand, us-east-1": 32.7726,
            "spot, us-east-1a": 12.2,
            "spot, us-east-1b": 9.83,
            "spot, us-east-1d": 14.4,
        }


ARTICLE = {
    "1 x c4.8xlarge, on_demand, batch 20": (1404, 65.325),
    "1 x g2.2xlarge, on_demand, batch 20": (3779, 68.2319444),
    "1 x p2.xlarge, on_demand, batch 20": (428, 10.70),
    "1 x p2.xlarge, on_demand, batch 100": (170, 4.25),
    "1 x p3.2xlarge, on_demand, batch 100": (60, 5.10),
}
"""Seconds and cents an epoch; the last line is no part of the article."""


class TestTheComparison:
    table = ("compare", "Cost of training by machine")

    def test_the_table_is_the_articles(self, articles):
        seconds, usd = by("setup", articles, *self.table, "A"), by("setup", articles, *self.table, "C")
        assert seconds == pytest.approx({setup: s for setup, (s, _) in ARTICLE.items()})
        assert {k: 100 * v for k, v in usd.items()} == pytest.approx({setup: c for setup, (_, c) in ARTICLE.items()})

    def test_a_training_run_of_25_epochs_has_the_articles_time_and_cost(self, articles):
        hours, usd = by("setup", articles, *self.table, "G"), by("setup", articles, *self.table, "H")
        batch_100 = "1 x p2.xlarge, on_demand, batch 100"
        assert hours[batch_100] / 3600 == pytest.approx(1.1806, abs=1e-4)
        assert usd[batch_100] == pytest.approx(1.0625)
        assert usd["1 x g2.2xlarge, on_demand, batch 20"] == pytest.approx(17.058, abs=1e-3)

    def test_no_setup_is_both_cheaper_and_faster_than_one_on_the_frontier(self, articles):
        best = {
            setup
            for setup, (s, c) in ARTICLE.items()
            if not any(s2 <= s and c2 <= c for other, (s2, c2) in ARTICLE.items() if other != setup)
        }
        assert set(by("setup", articles, *self.table, "F")) == best
        assert set(by("setup", articles, "compare", "Cost per epoch", "B")) == set(ARTICLE)
        assert set(by("setup", articles, "compare", "Cost per epoch", "C")) == best

    def test_a_million_samples_and_a_step_are_those_of_the_epoch(self, articles):
        samples = 26_520
        batch, usd = (by("setup", articles, "compare", "Cost of a million samples by batch size", ref) for ref in "AB")
        assert batch == {setup: float(setup.rsplit(" ", 1)[1]) for setup in ARTICLE}
        assert usd == pytest.approx({k: 1e6 * cents / 100 / samples for k, (_, cents) in ARTICLE.items()}, rel=1e-3)
        step = by("setup", articles, "compare", "Time per step by machine")
        assert step == pytest.approx({k: s * batch[k] / samples for k, (s, _) in ARTICLE.items()}, rel=0.02)

    def test_the_best_setup_of_an_experiment_is_the_cheapest_of_those_tried(self, articles):
        best = by("setup", articles, "compare", "Best of every experiment")
        assert best == pytest.approx({"1 x p2.xlarge, on_demand, batch 100": 0.0425})
        assert one(articles, "compare", "Best of every experiment", "C") == len(ARTICLE)

    def test_the_chart_of_the_study_has_its_frontier_at_the_lower_left(self, study):
        panel = "Cost per hour against time to train"
        time, rate, best = (by("setup", study, "compare", panel, ref) for ref in "ABC")
        setups = {setup: f"1 x {kind}, {option}, batch 64" for setup, (_, kind, option, *_) in STUDY.items()}
        assert time == pytest.approx({setups[n]: 60 * minutes for n, (*_, minutes) in STUDY.items()}, rel=1e-6)
        assert rate == pytest.approx({setups[n]: usd for n, (_, _, _, usd, *_) in STUDY.items()}, rel=1e-6)
        assert set(best) == {setups["sim-vast"], setups["sim-v100x4"]}
        cost = by("setup", study, "compare", "Cost per epoch", "B")
        assert cost[setups["sim-vast"]] == pytest.approx(0.008, abs=5e-4)
        assert cost[setups["sim-k80"]] == pytest.approx(0.0933, abs=5e-5)
        assert cost[setups["sim-k80x8"]] == pytest.approx(1.08)


class TestWhatABoardOpensWith:
    def test_compare_opens_with_the_dollars_of_several_setups(self, many):
        options = offered(many, "compare", "experiment")
        assert options[:2] == ["llm-7b", "char-lm"], "vit-large costs more, but ran on one setup"
        assert set(options) >= {"vit-large", "diffusion", "resnet"}
        assert options.index("vit-large") < options.index("resnet")

    def test_market_opens_with_the_type_that_costs_most(self, many):
        assert offered(many, "market", "here")[:2] == ["a3-highgpu-8g", "p4d.24xlarge"]
        assert offered(many, "market", "instance_type")[0] == "a3-highgpu-8g"

    def test_node_opens_with_the_machine_that_wastes_most_and_has_each_once(self, many):
        options = offered(many, "node", "machine")
        assert options[0].startswith("sim-h100-01-")
        assert len(options) == len(set(options)) == len(FLEETS["many"].nodes)

    @pytest.mark.parametrize(("board", "name"), [("compare", "experiment"), ("market", "here"), ("node", "machine")])
    def test_nothing_is_offered_without_reports(self, empty, board, name):
        assert offered(empty, board, name) == []

    def test_without_a_price_experiments_and_machines_are_still_offered(self, unpriced):
        assert offered(unpriced, "compare", "experiment") == ["char-lm"]
        assert len(offered(unpriced, "node", "machine")) == 1

    def test_a_name_may_contain_quotes(self):
        (variable,) = [v for v in DASHBOARDS["compare"]["templating"]["list"] if v["name"] == "experiment"]
        assert _value(variable["regex"], {"experiment": 'a "b" {c}'}) == 'a "b" {c}'


def offered(history: History, board: str, name: str) -> list[str]:
    """The options of a variable in order, as Grafana derives them from the lines of ``query_result``."""
    (variable,) = [v for v in DASHBOARDS[board]["templating"]["list"] if v["name"] == name]
    assert variable["sort"] == 0, "Grafana keeps the order of the query"
    expr = variable["query"]["query"].removeprefix("query_result(").removesuffix(")")
    expr = expr.replace("$cluster", ".*").replace("$provider", ".*").replace("$__range", "6h")
    return [_value(variable["regex"], series["metric"]) for series in instant(history.url, expr, history.now)]


def _value(regex: str, labels: dict[str, str]) -> str:
    series = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    line = f"{{{series}}} 1 1700000000000"
    match = re.search(regex.strip("/").replace("(?<", "(?P<"), line)
    assert match, f"{regex} fits no {line}"
    return match["value"]
