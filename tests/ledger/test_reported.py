"""Numbers that a run reports beside its position: the newest of each name, of one attempt, said by one machine."""

from __future__ import annotations

from typing import Any

import pytest
from tests.ledger.story import T0, event, gpus, ledger, tell

from epochcost.agent.settlement import Settlement
from epochcost.agent.views import Histories, Instant, run_views
from epochcost.ledger import Ledger
from epochcost.ledger.reported import MAX_NAMES, ReportedValues
from epochcost.ledger.state_check import ImpossibleStateError, check_ledger
from epochcost.model import RunId, TrainingEvent

START = event("start", 0, epochs=4)


def reporting(t: float, *metrics: tuple[str, float | None], kind: str = "progress", **fields: Any) -> TrainingEvent:
    return event(kind, t, metrics=metrics, **fields)


def shown(*events: TrainingEvent, until: float = 30) -> dict[str, float]:
    it = ledger()
    tell(it, until, list(events), gpus(0.5))
    return view(it)


def view(it: Ledger) -> dict[str, float]:
    (run,) = run_views(Instant(it, Settlement(), Histories(), it.cursor or 0.0), 900)
    return dict(run.reported)


def test_the_newest_of_each_name_counts_in_the_order_of_the_names() -> None:
    found = shown(START, reporting(1, ("loss", 0.5), epoch=0.5), reporting(2, ("acc", 0.9), ("loss", -0.25), epoch=1))
    assert list(found.items()) == [("loss", -0.25), ("acc", 0.9)]


def test_null_takes_a_name_back() -> None:
    assert shown(START, reporting(1, ("loss", 0.5), ("acc", 0.5)), reporting(2, ("loss", None))) == {"acc": 0.5}


def test_no_more_than_eight_names_are_kept() -> None:
    many = [reporting(n, (f"m{n}", float(n)), epoch=0.1 * n) for n in range(1, 30)]
    assert list(shown(START, *many, until=40)) == [f"m{n}" for n in range(1, MAX_NAMES + 1)]


def test_what_was_taken_back_is_not_shown() -> None:
    assert shown(START, reporting(1, ("loss", 0.5), epoch=1), event("retract", 3)) == {}
    again = reporting(5, ("loss", 0.75), epoch=0.5)
    assert shown(START, reporting(1, ("loss", 0.5), epoch=1), event("retract", 3), again) == {"loss": 0.75}


def test_the_last_values_stay_after_the_end_and_until_the_next_attempt_says_its_own() -> None:
    first = (START, reporting(1, ("loss", 0.5), ("old", 1.0), epoch=0.5), event("end", 5, status="failed"))
    second = event("start", 8, writer="r2.jsonl")
    assert shown(*first) == {"loss": 0.5, "old": 1.0}
    assert shown(*first, second) == {"loss": 0.5, "old": 1.0}
    assert shown(*first, second, reporting(9, ("loss", 0.375), epoch=0.25, writer="r2.jsonl")) == {"loss": 0.375}


def test_one_process_alone_is_heard_and_one_machine_alone_says_it() -> None:
    zero: dict[str, Any] = {"rank": 0, "world": 2, "writer": "a.jsonl"}
    one: dict[str, Any] = {"rank": 1, "world": 2, "writer": "b.jsonl"}
    both = [event("start", 0, **zero), event("start", 0.5, **one)]
    words = [reporting(1, ("loss", 0.5), epoch=0.5, **zero), reporting(2, ("loss", 9.0), epoch=0.5, **one)]
    assert shown(*both, *words) == {"loss": 0.5}
    alone = [event("start", 0, **one), reporting(1, ("loss", 9.0), epoch=0.5, **one)]
    assert shown(*alone) == {}


def test_they_are_kept_over_a_restart_and_what_cannot_be_true_is_refused() -> None:
    it = ledger()
    tell(it, 10, [START, reporting(1, ("loss", 0.5), epoch=0.5)], gpus(0.5))
    again = Ledger.restored(it.state(), it.settings)
    assert view(again) == {"loss": 0.5}
    check_ledger(again, T0 + 100)
    kept = again.runs[RunId("r")]
    for values in ({"loss": "0.5"}, {"": 1.0, "\n": 2.0}, {f"m{n}": 1.0 for n in range(9)}, {"loss": 10**400}):
        kept.reported = ReportedValues(1, "w", values)  # type: ignore[arg-type]
        with pytest.raises(ImpossibleStateError):
            check_ledger(again, T0 + 100)


def test_a_state_of_before_has_none() -> None:
    assert ReportedValues.restored(None) == ReportedValues()
