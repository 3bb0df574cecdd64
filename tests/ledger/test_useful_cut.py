"""Useful time split by multiprocessor activity, and energy by run: exact, and parts sum to the total."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epochcost.ledger import Device, Ledger
from epochcost.ledger.useful_cut import by_activity
from epochcost.model import EventKind, Phase, PriceStep, RunId, SmActivity, State, TrainingEvent

T = 1_700_000_000.0
RUN = RunId("r")


def training(run: str = "r", t: float = T, gpus: tuple[str, ...] | None = None) -> list[TrainingEvent]:
    where = {"run": RunId(run), "writer": f"{run}.jsonl", "gpus": gpus}
    return [
        TrainingEvent(EventKind.START, t, **where),  # type: ignore[arg-type]
        TrainingEvent(EventKind.PHASE, t, **where, phase=Phase.TRAIN, epoch=0.0),  # type: ignore[arg-type]
        TrainingEvent(EventKind.PROGRESS, t, **where, step=1, epoch=0.01),  # type: ignore[arg-type]
    ]


def started_ledger(*events: TrainingEvent) -> Ledger:
    ledger = Ledger()
    ledger.begin(T, T, T)
    for event in events:
        ledger.apply(event)
    return ledger


def split(ledger: Ledger) -> tuple[dict[SmActivity, float], dict[SmActivity, float]]:
    return by_activity(ledger.useful_cut.totals(ledger.price), ledger.node_ledger.totals(ledger.price), [RUN])


def gpu(busy: float | None, sm: float | None = None, watts: float | None = None, index: str = "0") -> Device:
    return Device(f"GPU-{index}", index, busy, sm_active_ratio=sm, power_watts=watts)


def test_a_busy_gpu_with_a_fifth_of_its_multiprocessors_active_shows_it_in_dollars():
    ledger = started_ledger(*training())
    ledger.set_price([PriceStep(T - 10, 36.0)], T)
    ledger.advance(T + 100, [gpu(1.0, 0.2)])
    seconds, usd = split(ledger)
    assert seconds == pytest.approx({SmActivity.ACTIVE: 20, SmActivity.REST: 80, SmActivity.UNKNOWN: 0})
    assert usd == pytest.approx({SmActivity.ACTIVE: 0.2, SmActivity.REST: 0.8, SmActivity.UNKNOWN: 0})


def test_without_hardware_counters_there_is_no_split():
    ledger = started_ledger(*training())
    ledger.advance(T + 100, [gpu(1.0)])
    assert split(ledger) == ({}, {})


def test_a_late_price_reprices_the_parts_too():
    ledger = started_ledger(*training())
    ledger.advance(T + 100, [gpu(0.5, 0.25)])
    ledger.set_price([PriceStep(T - 10, 36.0)], T + 100)
    assert split(ledger)[1] == pytest.approx({SmActivity.ACTIVE: 0.25, SmActivity.REST: 0.25, SmActivity.UNKNOWN: 0})


RATIO = st.one_of(st.none(), st.floats(0, 1))
READINGS = st.tuples(RATIO, RATIO, st.one_of(st.none(), st.floats(0, 900)))


@given(st.lists(st.tuples(st.floats(0.5, 50), READINGS, READINGS), min_size=1, max_size=12), st.booleans())
def test_the_parts_sum_to_the_useful_time_and_its_dollars_whatever_was_read(
    steps: list[tuple[float, tuple[float | None, ...], tuple[float | None, ...]]],
    restart: bool,
):
    ledger = started_ledger(*training(), *training("other", gpus=("1",)))
    t, joules = T, 0.0
    for seconds, one, two in steps:
        t += seconds
        ledger.advance(t, [gpu(*one), gpu(*two, index="1")])  # type: ignore[arg-type, misc]
        if one[2] is not None and two[2] is not None:  # r has all of one, and half of the other
            joules += (one[2] + two[2] / 2) * seconds
        ledger.set_price([PriceStep(T - 10, 36.0)], t)
    if restart:
        ledger = Ledger.restored(ledger.state())
    seconds, usd = split(ledger)  # type: ignore[assignment]
    totals = ledger.node_ledger.totals(ledger.price)
    if seconds:
        assert sum(seconds.values()) == pytest.approx(totals.seconds[RUN, State.USEFUL])  # type: ignore[attr-defined]
        assert sum(usd.values()) == pytest.approx(totals.cost_usd[RUN, State.USEFUL])
        assert min(seconds.values()) >= 0  # type: ignore[attr-defined]
    assert ledger.runs[RUN].energy.joules == pytest.approx(joules)
