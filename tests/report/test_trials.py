"""Trials of an experiment by the metrics of their runs: the best, the others, and the cost of each."""

from __future__ import annotations

import pytest
from tests.each import each
from tests.report.conftest import HistoryStore, run_of

from epochcost.reports.rows import Row
from epochcost.reports.tables import tables
from epochcost.reports.trials import (
    BEST,
    HIGHER,
    LOST,
    LOWER,
    NO_VALUE,
    OPEN,
    Metric,
    compared,
    direction,
    metrics,
    trials,
)

DIRECTIONS = {
    "val_loss": LOWER,
    "loss/val": LOWER,
    "eval/rmse": LOWER,
    "validationError": LOWER,
    "valRMSE": LOWER,
    "test_perplexity_epoch": LOWER,
    "val_acc": HIGHER,
    "eval_accuracy": HIGHER,
    "val_acc_top5": HIGHER,
    "test/f1_macro": HIGHER,
    "testF1": HIGHER,
    "loss_scale": "",
    "lr": "",
    "val_score": "",
    "reward": "",
    "error_rate_limit": "",
    "": "",
}


@each("name, better", DIRECTIONS.items(), name_of=lambda pair: pair[0] or "nothing")
def test_the_better_direction_is_known_by_the_metrics_name_or_not_at_all(name: str, better: str) -> None:
    assert direction(name) == better


def test_metrics_are_given_by_name_and_by_direction_where_the_name_implies_none() -> None:
    assert metrics("val_loss, reward:higher,val_acc:lower") == (
        Metric("val_loss", LOWER),
        Metric("reward", HIGHER),
        Metric("val_acc", LOWER),
    )
    assert metrics("") == ()


@pytest.mark.parametrize("text", ["reward", ":higher", "lr:up", "val_loss,score"])
def test_a_metric_without_a_direction_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="lower or higher is better is not known"):
        metrics(text)


def row(
    run: str, usd: float | None = 1.0, status: str = "finished", experiment: str = "sweep", **reported: float
) -> Row:
    return Row(experiment, run, hours=2.0, usd=usd, ended=status, reported=reported)


SWEEP = [
    row("a", 3, val_loss=0.4, loss=0.1),
    row("b", 2, val_loss=0.3, loss=0.2),
    row("c", 1, status="failed", val_loss=2.5),
    row("d", 4, status="", val_loss=0.9),
    row("e", 5),
]


def test_the_best_run_is_distinguished_from_worse_running_and_unmeasured_ones() -> None:
    rows, notes = compared(SWEEP, ())
    assert [(r.label, r.trial, r.value) for r in rows] == [
        ("a", LOST, 0.4), ("b", BEST, 0.3), ("c", LOST, 2.5), ("d", OPEN, 0.9), ("e", NO_VALUE, None),
    ]  # fmt: skip
    assert notes == []
    assert [(t.outcome, t.run, t.runs, t.usd, t.value, t.share) for t in trials(rows)] == [
        (BEST, "b", 1, 2, 0.3, 2 / 15),
        (LOST, "", 2, 4, 0.4, 4 / 15),
        (OPEN, "", 1, 4, 0.9, 4 / 15),
        (NO_VALUE, "", 1, 5, None, 5 / 15),
    ]


def test_unknown_dollars_make_no_sum() -> None:
    rows, _ = compared([row("a", None, val_loss=1.0), row("b", 2, val_loss=0.5)], ())
    assert [(t.outcome, t.usd, t.share) for t in trials(rows)] == [(BEST, 2, None), (LOST, None, None)]


def test_equal_values_are_equally_good() -> None:
    rows, _ = compared([row("a", val_acc=0.5), row("b", val_acc=0.5), row("c", val_acc=0.1)], ())
    assert [r.trial for r in rows] == [BEST, BEST, LOST]
    assert [(t.run, t.runs) for t in trials(rows)] == [("", 2), ("", 1)]


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([row("a", loss=1.0), row("b", loss=2.0)], id="a loss of training"),
        pytest.param([row("a", val_score=1.0), row("b", val_score=2.0)], id="what nobody knows how to read"),
        pytest.param([row("a", val_loss=1.0), row("b")], id="one run alone"),
        pytest.param([row("a", experiment="", val_loss=1), row("b", experiment="", val_loss=2)], id="no experiment"),
    ],
)
def test_without_an_unambiguous_metric_nothing_is_compared(rows: list[Row]) -> None:
    assert compared(rows, ()) == (rows, [])
    assert trials(rows) == []


def test_conflicting_metrics_are_named_and_one_has_to_be_chosen() -> None:
    rows = [row("a", val_loss=1.0, val_acc=0.9), row("b", val_loss=0.5, val_acc=0.8)]
    trials, (note,) = compared(rows, ())
    assert trials == rows
    assert "(sweep: val_acc, val_loss)" in note
    trials, notes = compared(rows, metrics("val_acc"))
    assert [r.trial for r in trials] == [BEST, LOST]
    assert notes == []
    agreeing = [row("a", val_loss=1.0, val_acc=0.8), row("b", val_loss=0.5, val_acc=0.9)]
    assert [r.trial for r in compared(agreeing, ())[0]] == [LOST, BEST]


def test_a_named_metric_is_the_only_one_and_may_be_a_training_metric() -> None:
    assert [r.trial for r in compared(SWEEP, metrics("loss"))[0]] == [BEST, LOST, NO_VALUE, NO_VALUE, NO_VALUE]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (SWEEP, "no experiment has two runs that reported reward or bleu. Reported: loss, val_loss."),
        ([row("a"), row("b")], "No run reported a metric."),
        ([row("a", bleu=1.0), row("b", loss=1.0)], "Reported: bleu, loss."),
        (
            [Row("sweep", "a", reported={f"m{n}": 1.0 for n in range(11)})],
            "Reported: m0, m1, m10, m2, m3, m4, m5, m6 and 3 more.",
        ),
    ],
)
def test_a_named_metric_that_is_not_reported_is_a_note(rows: list[Row], message: str) -> None:
    trials, (note,) = compared(rows, metrics("reward:higher,bleu"))
    assert trials == rows
    assert message in note
    assert compared([], metrics("bleu")) == ([], [])


@pytest.mark.stack
def test_trials_are_read_from_a_store(store: HistoryStore) -> None:
    report = store.report(metric=metrics("score:higher"), experiment="vit-large")
    failed_run, best = run_of(report, "vit-large-901"), run_of(report, "vit-large-902")
    assert best.trial == BEST
    assert failed_run.trial in (LOST, OPEN)
    assert best.reported["score"] - failed_run.reported["score"] == pytest.approx(0.2, abs=0.03)
    (table,) = [table for table in tables(report) if table.key == "trials"]
    assert [row.usd for row in table.rows] == [pytest.approx(best.usd), pytest.approx(failed_run.usd)]
    assert not any(table.key == "trials" for table in tables(store.full_report()))
