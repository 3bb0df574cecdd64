"""Old intervals take little memory and saved state, and keep their values."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.ledger.story import T0, event, gpus, ledger, play

from epochcost.ledger import Device, Ledger
from epochcost.ledger.packed_seconds import PackedSeconds
from epochcost.ledger.time_shift import earlier
from epochcost.model import PriceStep


def long_ago() -> Ledger:
    """Nine hours with a run and a change of price each."""
    it = ledger(None)
    it.set_price([PriceStep(T0 - 500, 3.6), PriceStep(T0 + 5000, 7.2)], T0)
    devices = [Device("GPU-0", "0", 0.9, sm_active_ratio=0.4), *gpus(0.0, 0.5)[1:]]
    events = [event("start", 5, "a", gpus=("0",)), event("phase", 6, "a", phase="train", epoch=0)]
    events += [event("epoch_end", 3000 * n, "a", epoch=n, step=n) for n in range(1, 10)]
    events += [event("start", 16000, "b", gpus=("1",)), event("end", 20000, "b", status="failed")]
    play(it, 32400, events, devices, every=20.0)
    return it


@pytest.fixture(scope="module")
def old() -> Ledger:
    return long_ago()


def round_trip(it: Ledger) -> Ledger:
    return Ledger.restored(json.loads(json.dumps(it.state())))


def test_packed_seconds_are_a_mapping() -> None:
    packed = PackedSeconds(("a", "b"), (1.5, 2.0))
    assert (dict(packed), len(packed), packed["b"], "c" in packed) == ({"a": 1.5, "b": 2.0}, 2, 2.0, False)
    with pytest.raises(KeyError):
        packed["c"]


def test_intervals_older_than_two_hours_are_packed_and_newer_ones_are_not(old: Ledger) -> None:
    kinds = [isinstance(span.seconds, PackedSeconds) for span in old.node_ledger.spans]
    assert kinds.index(False) >= 6
    assert not any(kinds[kinds.index(False) :])
    assert old.node_ledger.spans[kinds.index(False)].start > T0 + 32400 - 3 * 3600


def test_equal_keys_are_kept_once(old: Ledger) -> None:
    keys = [span.seconds.keys_in_order for span in old.node_ledger.spans if isinstance(span.seconds, PackedSeconds)]
    assert len({id(one) for one in keys}) == len(set(keys)) < len(keys)


def test_the_seconds_and_dollars_are_those_of_all_intervals(old: Ledger) -> None:
    for book in (old.node_ledger, old.useful_cut):
        totals = book.totals(old.price)
        book.reprice()
        again = book.totals(old.price)
        assert again.seconds == pytest.approx({key: value for key, value in totals.seconds.items() if value}, abs=1e-6)
        assert again.cost_usd == pytest.approx({k: v for k, v in totals.cost_usd.items() if v}, abs=1e-9)


def test_a_saved_state_is_complete_and_continues(old: Ledger) -> None:
    back = round_trip(old)
    assert back.node_ledger.totals(back.price).cost_usd == pytest.approx(old.node_ledger.totals(old.price).cost_usd)
    assert back.node_ledger.totals(back.price).seconds == pytest.approx(old.node_ledger.totals(old.price).seconds)
    play(back, 32400 + 400, [], gpus(0.0, 0.0), every=20.0)
    assert sum(back.node_ledger.totals(back.price).seconds.values()) == pytest.approx(32800)
    assert isinstance(back.node_ledger.spans[0].seconds, PackedSeconds)


def test_an_hour_of_a_saved_state_is_small(old: Ledger) -> None:
    state = old.state()["book"]
    packed = [span for span in state["spans"] if len(span) == 4]
    assert packed
    assert all(len(json.dumps(span)) < 40 + 22 * len(span[3]) for span in packed)


def test_a_late_price_is_applied_to_the_right_old_intervals(old: Ledger) -> None:
    it = round_trip(old)
    it.set_price([PriceStep(T0 - 500, 3.6), PriceStep(T0 + 3600, 36.0)], T0 + 32400)
    usd = sum(it.node_ledger.totals(it.price).cost_usd.values())
    assert usd == pytest.approx(3600 * 0.001 + (32400 - 3600) * 0.01)


def test_names_of_forgotten_runs_are_dropped_in_old_intervals_too(old: Ledger) -> None:
    it = round_trip(old)
    play(it, 32460, [], gpus(0.0, 0.0), every=20.0)
    total = sum(it.node_ledger.totals(it.price).seconds.values())
    it.node_ledger.drop_run_names({})
    assert {run for run, _ in it.node_ledger.totals(it.price).seconds} <= {None, ""}
    assert sum(it.node_ledger.totals(it.price).seconds.values()) == pytest.approx(total)
    assert isinstance(it.node_ledger.spans[0].seconds, PackedSeconds)


def test_old_intervals_and_the_split_of_useful_time_are_shifted_with_the_clock(old: Ledger) -> None:
    state = json.loads(json.dumps(old.state()))
    assert state["useful_cut"]["spans"]
    shifted = Ledger.restored(json.loads(json.dumps(earlier(state, 1e6))))
    for book, before in ((shifted.node_ledger, old.node_ledger), (shifted.useful_cut, old.useful_cut)):
        assert [span.start for span in book.spans] == pytest.approx([span.start - 1e6 for span in before.spans])


@pytest.mark.parametrize(
    "row", [[0, [1.0] * 9], [9, [1.0, 2.0]], [-1, []], ["0", [1.0]], [True, []], [0, "x"], [0, [None]], []]
)
def test_a_damaged_interval_is_rejected(old: Ledger, row: list[Any]) -> None:
    state = json.loads(json.dumps(old.state()))
    state["book"]["spans"][0][2:] = row
    with pytest.raises((ValueError, TypeError)):
        Ledger.restored(state)
