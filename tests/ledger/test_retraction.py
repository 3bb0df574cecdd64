"""Guessed progress can be retracted as if it was never reported; the run and its dollars stay."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.ledger.story import T0, event, gpus, ledger, play, run_cost

from epochcost.ledger import Ledger, RunAccount
from epochcost.ledger.finished_epoch import Epoch
from epochcost.model import PriceStep, RunId, TrainingEvent

START = event("start", 0, epochs=8)
GUESSED = [
    event("phase", 2, phase="train", epoch=0),
    *[event("epoch_end", 2 + 3 * n, epoch=n, epochs=40, step=7 * n, samples=9 * n, tokens=n) for n in range(1, 9)],
    event("progress", 27, epoch=8.5),
]
TRUTH = [
    event("phase", 40, phase="train", epoch=0),
    event("progress", 45, epoch=0.5, step=5),
    event("epoch_end", 50, epoch=1, step=10),
    event("epoch_end", 60, epoch=2, step=20),
    event("progress", 65, epoch=2.5, step=25),
]


def account(it: Ledger) -> RunAccount:
    return it.runs[RunId("r")]


def retracted_run(*events: TrainingEvent, until: float = 70, **settings: Any) -> Ledger:
    it = ledger(**settings)
    play(it, until, list(events), gpus(0.5))
    return it


def figures(it: Ledger) -> dict[str, Any]:
    """All figures of the run's progress."""
    a = account(it)
    e = a.epochs
    return {
        "position": e.position, "executed": e.executed, "lost": e.lost, "high_water": e.high_water, "count": e.count,
        "seconds": e.seconds_sum, "steps": e.steps.executed, "samples": e.samples.executed,
        "tokens": e.tokens.executed, "planned": a.facts.epochs, "finished": e.finished,
        "usd": a.epoch_cost_usd_sum(it.price), "start": a.counted.start,
        "counted": a.counted.amounts(e, {}),
    }  # fmt: skip


def test_retracted_progress_leaves_no_trace() -> None:
    guessed = retracted_run(START, *GUESSED, event("retract", 30), *TRUTH)
    assert figures(guessed) == figures(retracted_run(START, *TRUTH))
    assert run_cost(guessed) == pytest.approx(0.07, abs=1e-12)


def test_until_the_next_report_the_progress_is_unknown() -> None:
    it = retracted_run(START, *GUESSED, event("retract", 30))
    a = account(it)
    assert (a.epochs.position, a.epochs.executed, a.epochs.count, a.epochs.begin_t) == (None, 0, 0, None)
    assert a.facts.epochs == 8  # the start event was not a guess
    assert a.epoch_cost_usd_sum(it.price) == (0, 0)
    assert a.is_open
    assert run_cost(it) == pytest.approx(0.07, abs=1e-12)


def test_progress_of_earlier_attempts_stays() -> None:
    first = [event("phase", 1, phase="train", epoch=0, writer="a"), event("epoch_end", 11, epoch=1, writer="a")]
    first = [event("start", 1, writer="a"), *first, event("end", 15, status="failed", writer="a")]
    again = [event("start", 16)]
    guess = [event("epoch_end", 20 + n, epoch=n) for n in range(1, 5)]
    ledger_after = retracted_run(*first, *again, *guess, event("retract", 30))
    assert figures(ledger_after) == figures(retracted_run(*first, *again))
    assert account(ledger_after).epochs.finished == [Epoch(1.0, T0 + 1, T0 + 11, 1)]


def test_it_may_be_retracted_repeatedly_and_only_by_its_writer() -> None:
    other = event("start", 1, writer="other")
    ledger_after = retracted_run(START, other, *GUESSED, event("retract", 28, writer="other"))
    assert account(ledger_after).epochs.count == 8
    ledger_after = retracted_run(
        START, *GUESSED, event("retract", 30), event("retract", 31), TRUTH[0], TRUTH[2], event("retract", 55)
    )
    assert figures(ledger_after) == figures(retracted_run(START))


@pytest.mark.parametrize("when", [10, 29, 31])
def test_it_is_retracted_after_a_restart_of_the_agent_too(when: float) -> None:
    events = [START, *GUESSED, event("retract", 30), *TRUTH]
    it = retracted_run(*[e for e in events if e.t <= T0 + when], until=when)
    it = Ledger.restored(json.loads(json.dumps(it.state())), it.settings)
    play(it, 70, [e for e in events if e.t > T0 + when], gpus(0.5))
    assert figures(it) == figures(retracted_run(START, *TRUTH))


def test_epochs_beyond_the_kept_ones_are_retracted_exactly_too() -> None:
    real = [event("epoch_end", 1 + n / 100, epoch=n, writer="a") for n in range(1, 3001)]
    first = [event("start", 0, writer="a"), *real, event("end", 32, status="failed", writer="a")]
    guess = [event("epoch_end", 34 + n / 1000, epoch=n) for n in range(1, 9001)]
    again = [event("start", 33)]
    ledger_after = ledger()
    for e in [*first, *again, *guess]:
        ledger_after.advance(e.t, gpus(1.0))
        ledger_after.apply(e)
        account(ledger_after).epoch_costs(ledger_after.price)  # as it is read each second
    assert len(account(ledger_after).epochs.finished) < 9000
    ledger_after.apply(event("retract", 50))
    a = account(ledger_after)
    assert (a.epochs.count, a.epochs.executed, a.epochs.lost) == (3000, 3000, 0)
    assert a.epochs.seconds_sum == pytest.approx(31, abs=1e-6)
    usd, count = a.epoch_cost_usd_sum(ledger_after.price)
    assert (usd, count) == (pytest.approx(0.031, abs=1e-9), 3000)


def test_a_price_published_late_does_not_affect_retracted_epochs() -> None:
    ledger_after = retracted_run(START, *GUESSED, event("retract", 30), *TRUTH)
    ledger_after.set_price([PriceStep(T0 - 1000, 7.2)], T0 + 70)
    assert account(ledger_after).epoch_cost_usd_sum(ledger_after.price) == (pytest.approx(0.04, abs=1e-12), 2)


def test_a_retraction_of_an_unknown_run_is_ignored() -> None:
    it = ledger()
    assert it.apply(event("retract", 1)) == "ignored"
    assert not it.runs
