"""Time accounted at once is split as if accounted report by report."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ledger.story import T0, event, ledger

from epochcost.ledger import Device, Ledger
from epochcost.model import PriceStep, TrainingEvent

KINDS = (
    "start", "phase", "progress", "progress", "progress", "progress", "progress", "epoch_end", "resume", "end", "gone",
    "retract",
)  # fmt: skip
PHASES = ("train", "eval", "checkpoint", "data", "restore")


@st.composite
def reports(draw: st.DrawFn) -> TrainingEvent:
    kind, run = draw(st.sampled_from(KINDS)), draw(st.sampled_from(["a", "b", "c"]))
    fields: dict[str, Any] = {}
    if kind == "phase":
        fields["phase"] = draw(st.sampled_from(PHASES))
    elif kind in {"progress", "epoch_end", "resume", "end"}:
        fields["epoch"] = float(draw(st.integers(0, 6))) / (2 if kind == "progress" else 1)
        fields["step"] = draw(st.integers(0, 50))
    elif kind == "start":
        fields["gpus"] = draw(st.sampled_from([None, ("0",), ("1",), ("0", "1")]))
    if kind in {"end", "gone"}:
        fields["status"] = "finished" if kind == "end" else "lost"
    writer = draw(st.sampled_from([run, f"{run}-2"]))
    return event(kind, 0.0, run, writer, **fields)


@st.composite
def ticks(draw: st.DrawFn) -> list[tuple[list[tuple[float, TrainingEvent]], list[Device], float]]:
    """For each tick: the reports and their offsets, the devices' activity, and its length."""
    all_ticks = []
    for _ in range(draw(st.integers(1, 12))):
        at = sorted(draw(st.lists(st.floats(0, 1), max_size=6)))
        events = [(part, draw(reports())) for part in at]
        busy = draw(st.sampled_from([(0.9, 0.0), (1.0, 1.0), (0.3, None), (0.0, 0.0)]))
        devices = [
            Device(
                f"GPU-{i}", str(i), u, 1 << 30, sm_active_ratio=draw(st.sampled_from([None, 0.4])), power_watts=300.0
            )
            for i, u in enumerate(busy)
        ]
        all_ticks.append((events, devices, draw(st.sampled_from([0.5, 1.0, 40.0, 130.0]))))
    return all_ticks


def tick(it: Ledger, t: float, events: Any, devices: list[Device], length: float) -> None:
    for part, report in events:
        happened = dataclasses.replace(report, t=t + part * length)
        it.advance(happened.t, devices)
        it.apply(happened)
    it.advance(t + length, devices)


def ledger_after(ticks_drawn: list[Any], *, at_once: bool) -> Ledger:
    it = ledger(None, stall_after=60.0)
    it.set_price([PriceStep(T0 - 500, 3.6), PriceStep(T0 + 3.3, 7.2), PriceStep(T0 + 90, 1.8)], T0)
    it.boot_until = T0 + 2.5
    t = T0
    for events, devices, length in ticks_drawn:
        if at_once:
            with it.many_events():
                tick(it, t, events, devices, length)
        else:
            tick(it, t, events, devices, length)
        t += length
    return it


@settings(max_examples=150, deadline=None)
@given(ticks())
def test_any_sequence_gives_the_same_result(ticks_drawn: list[Any]) -> None:
    one, other = ledger_after(ticks_drawn, at_once=True), ledger_after(ticks_drawn, at_once=False)
    for book, same in ((one.node_ledger, other.node_ledger), (one.useful_cut, other.useful_cut)):
        first, second = book.totals(one.price), same.totals(other.price)
        for actual, expected in ((first.seconds, second.seconds), (first.cost_usd, second.cost_usd)):
            for key in actual.keys() | expected.keys():
                assert actual.get(key, 0.0) == pytest.approx(expected.get(key, 0.0), abs=1e-7)
    for uuid, totals in other.devices.devices.items():
        mine_of = one.devices.devices[uuid]
        assert mine_of.seconds == pytest.approx(totals.seconds)
        assert mine_of.utilization_seconds == pytest.approx(totals.utilization_seconds)
        assert mine_of.memory_used_byte_seconds == pytest.approx(totals.memory_used_byte_seconds)
    pending, expected_pending = one.unsettled.dollars(one.price), other.unsettled.dollars(other.price)
    assert math.fsum(pending.values()) == pytest.approx(math.fsum(expected_pending.values()))
    assert one.runs.keys() == other.runs.keys()
    for run, account in other.runs.items():
        mine_account = one.runs[run]
        assert mine_account.phase_seconds == pytest.approx(account.phase_seconds)
        assert mine_account.energy.joules == pytest.approx(account.energy.joules)
        assert mine_account.epochs.state() == account.epochs.state()
        now = one.cursor or 0.0
        assert mine_account.share.seconds(now) == pytest.approx(account.share.seconds(now))
        assert mine_account.counted.amounts(mine_account.epochs, mine_account.phase_seconds) == pytest.approx(
            account.counted.amounts(account.epochs, account.phase_seconds)
        )
        assert mine_account.cost_usd(now, one.price) == pytest.approx(account.cost_usd(now, other.price))


def test_an_error_in_the_middle_of_many_events_loses_no_time() -> None:
    it = ledger()
    devices = [Device("GPU-0", "0", 0.9)]
    it.apply(event("start", 0, gpus=("0",)))

    def breaks_off() -> None:
        with it.many_events():
            it.advance(T0 + 5, devices)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        breaks_off()
    assert math.fsum(it.node_ledger.totals(it.price).seconds.values()) == 5.0
