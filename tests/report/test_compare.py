"""Rent or own: the figures of the reference article, and measured ones."""

from __future__ import annotations

import json

import pytest
from tests.report.test_report_command import SPAN, epochcost
from tests.report.worlds import FLEET, LENGTH, cost, last_scrape

from epochcost.prices.owned.owned_source import OwnedMachine
from epochcost.reports.rent_own import Question, answer, as_text

ARTICLE = Question(2880, 0.75, OwnedMachine("owned", 2000, 2, 355, 0.12))


def test_the_figures_of_the_article_are_reproduced_exactly():
    costs = answer(ARTICLE)
    assert costs.rent_usd == pytest.approx(2160, abs=1e-9)
    assert costs.electricity_usd == pytest.approx(122.688, abs=1e-9)
    assert costs.owned_usd == pytest.approx(2122.688, abs=1e-9)
    assert costs.break_even_hours_without_electricity == pytest.approx(8000 / 3, abs=1e-9)
    assert costs.break_even_hours == pytest.approx(2000 / (0.75 - 0.355 * 0.12), abs=1e-9)
    assert costs.break_even_hours == pytest.approx(2827, abs=0.5)
    assert costs.usd_per_hour == pytest.approx(0.15668, abs=5e-6)


def test_the_command_prints_the_articles_figures():
    completed = epochcost(
        "compare", "rent", "own", "--hours", "2880", "--rent-usd-per-hour", "0.75", "--price-usd", "2000", "--years",
        "2", "--watts", "355", "--tariff", "0.12",
    )  # fmt: skip
    assert completed.returncode == 0, completed.stderr
    for figure in ("$2,160.00", "$122.69", "2,827.3 h", "2,666.7 h", "$0.15668", "owning is cheaper, by $37.31"):
        assert figure in completed.stdout


def test_extra_costs_of_renting_bring_the_break_even_nearer():
    costs = answer(Question(2880, 0.75, ARTICLE.machine, rent_extra_usd=140))
    assert costs.rent_usd == pytest.approx(2300)
    assert costs.break_even_hours == pytest.approx(1860 / (0.75 - 0.355 * 0.12))


def test_an_owned_machine_that_costs_more_to_run_than_to_rent_never_breaks_even():
    costs = answer(Question(100, 0.03, ARTICLE.machine))
    assert costs.break_even_hours is None
    assert "never" in as_text(ARTICLE, costs)


def test_a_slower_machine_is_paid_for_longer_and_equal_speed_is_a_stated_assumption():
    slower = Question(1000, 0.75, ARTICLE.machine, own_hours=2500)
    costs = answer(slower)
    assert costs.rent_usd == pytest.approx(750)
    assert costs.electricity_usd == pytest.approx(2500 * 0.0426)
    assert costs.owned_usd == pytest.approx(2000 + 2500 * 0.0426)
    assert costs.break_even_hours == pytest.approx(2000 / (0.75 - 2.5 * 0.0426))
    at_break_even = answer(
        Question(costs.break_even_hours, 0.75, ARTICLE.machine, own_hours=2.5 * costs.break_even_hours)  # type: ignore[arg-type]
    )
    assert at_break_even.rent_usd == pytest.approx(at_break_even.owned_usd)
    assert "2,500.0 h on the owned machine, 1,000.0 h on the rented one" in as_text(slower, costs)
    assert "Assumed: the owned machine takes as many hours" in as_text(ARTICLE, answer(ARTICLE))


def test_more_hours_than_a_lifetime_need_more_machines():
    costs = answer(Question(40_000, 0.75, ARTICLE.machine))
    assert costs.machines == 3
    assert costs.owned_usd == pytest.approx(3 * 2000 + 40_000 * 0.0426)
    assert "3 machines" in as_text(ARTICLE, costs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["own", "rent"], "unknown comparison; supported: rent own"),
        (["rent", "own"], "--price-usd is required"),
        (["rent", "own", "--price-usd", "2000", "--watts", "300"], "--hours is required"),
        (["rent", "own", "--price-usd", "-1"], "--price-usd: '-1' is not valid"),
        (["rent", "own", "--price-usd", "9", "--watts", "1", "--pue", "0.5"], "--pue: 0.5: PUE must be >= 1"),
        (["rent", "own", "--price-usd", "9", "--watts", "1", "--residual-usd", "10"], "--residual-usd: 10.0 must not"),
        (["rent", "own", "--hours", "nan"], "--hours: 'nan' is not valid"),
    ],
)
def test_missing_or_wrong_arguments_are_named(arguments, message):
    completed = epochcost("compare", *arguments)
    assert (completed.returncode, message in completed.stderr) == (2, True), completed.stderr


def measured(url: str, *arguments: str) -> tuple[int, dict, str]:
    completed = epochcost(
        "compare", "rent", "own", "--prometheus.url", url, *SPAN, "--price-usd", "2000", "--tariff", "0.12",
        "--format", "json", *arguments,
    )  # fmt: skip
    return completed.returncode, json.loads(completed.stdout or "{}"), completed.stderr


@pytest.mark.stack
def test_hours_price_and_watts_default_to_the_measured_ones(in_prometheus):
    _, costs, _ = measured(in_prometheus.url, "--experiment", "char-lm", "--instance-type", "g5.xlarge")
    totals = [n.totals(last_scrape(n, LENGTH), "char-lm-31") for n in FLEET.nodes]
    hours = sum(s for t in totals for s, _ in t.values()) / 3600
    assert costs["hours"] == pytest.approx(hours / (LENGTH / 3600) * 2 * 8766)
    assert costs["rent_usd_per_hour"] == pytest.approx(cost("char-lm-31") / hours)
    assert 180 < costs["machine"]["watts"] < 220
    assert costs["simulated"]
    assert any("SIMULATED" in note for note in costs["notes"])


@pytest.mark.stack
def test_hours_of_different_machine_types_are_not_added_up(in_prometheus):
    code, _, costs = measured(in_prometheus.url, "--experiment", "char-lm")
    assert code == 2
    assert "--instance-type must be given: runs were on 2 types of rented machines" in costs
    assert "aws/c7i.8xlarge 6.00 h at $1.4280/h" in costs
    figures = ("--hours", "2880", "--rent-usd-per-hour", "0.75", "--watts", "355")
    code, costs_json, _ = measured(in_prometheus.url, "--experiment", "char-lm", *figures)
    assert (code, costs_json["rent_usd"]) == (0, 2160)


@pytest.mark.stack
def test_an_owned_machine_has_no_rent(in_prometheus):
    code, _, costs = measured(in_prometheus.url, "--experiment", "diffusion")
    assert (code, "--watts is required" in costs) == (2, True)
    _, costs_json, _ = measured(in_prometheus.url, "--experiment", "diffusion|vit-large")
    assert costs_json["rent_usd_per_hour"] == pytest.approx(88.25)
    assert any("on owned machines are not rent" in note for note in costs_json["notes"])
