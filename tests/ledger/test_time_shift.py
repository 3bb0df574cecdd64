"""A saved ledger whose clock was ahead is shifted as a whole: no time is left unshifted, and no dollar changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.ledger.story import T0, event, gpus, ledger, play

from epochcost.ledger import Ledger
from epochcost.ledger.time_shift import earlier
from epochcost.model import PriceStep, RunId

AHEAD = 1e6


def ledger_with_history() -> Ledger:
    it = ledger(None)
    it.set_price([PriceStep(T0 - 500, 3.6), PriceStep(T0 + 30, 7.2)], T0)
    it.forget_price(T0 + 400)
    events = [
        event("start", 1, "a", epochs=9), event("phase", 2, "a", phase="train", epoch=0),
        event("epoch_end", 20, "a", epoch=1, step=5), event("progress", 30, "a", epoch=2.0),
        event("start", 25, "b", gpus=("0",)), event("end", 60, "b", status="failed"),
        event("start", 70, "b", gpus=("0",), writer="b2"),
        event("start", 80, "c"), event("phase", 81, "c", phase="train", epoch=0), event("epoch_end", 85, "c", epoch=1),
        event("end", 90, "c", status="finished"),
    ]  # fmt: skip
    play(it, 150, events, gpus(0.9, 0.1))
    it.unsettled.settle(T0 + 100)
    return it


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from numbers(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from numbers(inner)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield value


def test_every_time_is_shifted() -> None:
    state = json.loads(json.dumps(ledger_with_history().state()))
    shifted = json.loads(json.dumps(earlier(state, AHEAD)))
    times = [n for n in numbers(state) if abs(n - T0) < 1e5]
    assert len(times) > 30
    assert [n for n in numbers(shifted) if abs(n - T0) < 1e5] == []
    assert [n for n in numbers(shifted) if abs(n - (T0 - AHEAD)) < 1e5] == pytest.approx([n - AHEAD for n in times])


def test_the_cost_does_not_change() -> None:
    it = ledger_with_history()
    shifted = Ledger.restored(json.loads(json.dumps(earlier(json.loads(json.dumps(it.state())), AHEAD))))
    for run in ("a", "b"):
        before, after = it.runs[RunId(run)], shifted.runs[RunId(run)]
        assert after.cost_usd(T0 + 150 - AHEAD, shifted.price) == pytest.approx(before.cost_usd(T0 + 150, it.price))
        assert after.seconds(T0 + 150 - AHEAD) == pytest.approx(before.seconds(T0 + 150))
        assert after.epoch_cost_usd_sum(shifted.price) == pytest.approx(before.epoch_cost_usd_sum(it.price))
        assert after.part == before.part  # its name contains its first time, and stays
    assert shifted.node_ledger.totals(shifted.price).cost_usd == pytest.approx(it.node_ledger.totals(it.price).cost_usd)
    assert shifted.unsettled.dollars(shifted.price) == pytest.approx(it.unsettled.dollars(it.price))


@pytest.mark.parametrize(
    "damaged", [{}, {"unsettled": 3}, {"unsettled": [1, 2, 3]}, {"unsettled": [1, []], "price": 4}]
)
def test_an_invalid_ledger_is_rejected(damaged: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError, IndexError)):
        earlier(damaged, 10.0)
