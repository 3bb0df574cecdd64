"""Numbers that a run reports beside its position: the newest of each name, of one attempt, exported by one machine."""

from __future__ import annotations

from typing import Any

import pytest
from tests.ledger.story import T0, event, gpus, ledger, play

from epochcost.agent.settlement import Settlement
from epochcost.agent.views import Histories, Instant, run_views
from epochcost.ledger import Ledger
from epochcost.ledger.reported import MAX_NAMES, ReportedValues
from epochcost.ledger.state_check import ImpossibleStateError, check_ledger
from epochcost.model import RunId, TrainingEvent

START = event("start", 0, epochs=4)


def reporting(t: float, *metrics: tuple[str, float | None], kind: str = "progress", **fields: Any) -> TrainingEvent:
    return event(kind, t, metrics=metrics, **fields)


def reported_after(*events: TrainingEvent, until: float = 30) -> dict[str, float]:
    it = ledger()
    play(it, until, list(events), gpus(0.5))
    return view(it)


def view(it: Ledger) -> dict[str, float]:
    (run,) = run_views(Instant(it, Settlement(), Histories(), it.cursor or 0.0), 900)
    return dict(run.reported)


def test_the_newest_of_each_name_counts_in_the_order_of_the_names() -> None:
    values = reported_after(
        START, reporting(1, ("loss", 0.5), epoch=0.5), reporting(2, ("acc", 0.9), ("loss", -0.25), epoch=1)
    )
    assert list(values.items()) == [("loss", -0.25), ("acc", 0.9)]


def test_null_removes_a_name() -> None:
    assert reported_after(START, reporting(1, ("loss", 0.5), ("acc", 0.5)), reporting(2, ("loss", None))) == {
        "acc": 0.5
    }


def test_no_more_than_eight_names_are_kept() -> None:
    many = [reporting(n, (f"m{n}", float(n)), epoch=0.1 * n) for n in range(1, 30)]
    assert list(reported_after(START, *many, until=40)) == [f"m{n}" for n in range(1, MAX_NAMES + 1)]


def test_retracted_values_are_not_shown() -> None:
    assert reported_after(START, reporting(1, ("loss", 0.5), epoch=1), event("retract", 3)) == {}
    again = reporting(5, ("loss", 0.75), epoch=0.5)
    assert reported_after(START, reporting(1, ("loss", 0.5), epoch=1), event("retract", 3), again) == {"loss": 0.75}


def test_the_last_values_stay_after_the_end_and_until_the_next_attempt_reports() -> None:
    first = (START, reporting(1, ("loss", 0.5), ("old", 1.0), epoch=0.5), event("end", 5, status="failed"))
    second = event("start", 8, writer="r2.jsonl")
    assert reported_after(*first) == {"loss": 0.5, "old": 1.0}
    assert reported_after(*first, second) == {"loss": 0.5, "old": 1.0}
    assert reported_after(*first, second, reporting(9, ("loss", 0.375), epoch=0.25, writer="r2.jsonl")) == {
        "loss": 0.375
    }


def test_only_one_process_is_used_and_only_one_machine_exports_it() -> None:
    zero: dict[str, Any] = {"rank": 0, "world": 2, "writer": "a.jsonl"}
    one: dict[str, Any] = {"rank": 1, "world": 2, "writer": "b.jsonl"}
    both = [event("start", 0, **zero), event("start", 0.5, **one)]
    events = [reporting(1, ("loss", 0.5), epoch=0.5, **zero), reporting(2, ("loss", 9.0), epoch=0.5, **one)]
    assert reported_after(*both, *events) == {"loss": 0.5}
    alone = [event("start", 0, **one), reporting(1, ("loss", 9.0), epoch=0.5, **one)]
    assert reported_after(*alone) == {}


def test_they_survive_a_restart_and_impossible_values_are_rejected() -> None:
    it = ledger()
    play(it, 10, [START, reporting(1, ("loss", 0.5), epoch=0.5)], gpus(0.5))
    again = Ledger.restored(it.state(), it.settings)
    assert view(again) == {"loss": 0.5}
    check_ledger(again, T0 + 100)
    run = again.runs[RunId("r")]
    for values in ({"loss": "0.5"}, {"": 1.0, "\n": 2.0}, {f"m{n}": 1.0 for n in range(9)}, {"loss": 10**400}):
        run.reported = ReportedValues(1, "w", values)  # type: ignore[arg-type]
        with pytest.raises(ImpossibleStateError):
            check_ledger(again, T0 + 100)


def test_a_state_of_an_earlier_version_has_none() -> None:
    assert ReportedValues.restored(None) == ReportedValues()
