"""Short functions that feed a ledger with events."""

from __future__ import annotations

import math
from typing import Any

from epochcost.ledger import Device, Ledger, LedgerSettings
from epochcost.model import EndStatus, EventKind, Phase, PriceStep, RunId, State, TrainingEvent

T0 = 1_700_000_000.0


def event(kind: str, t: float, run: str = "r", writer: str = "", **fields: Any) -> TrainingEvent:
    if "phase" in fields:
        fields["phase"] = Phase(fields["phase"])
    if "status" in fields:
        fields["status"] = EndStatus(fields["status"])
    return TrainingEvent(EventKind(kind), T0 + t, RunId(run), writer or f"{run}.jsonl", **fields)  # type: ignore[arg-type]


def ledger(usd_per_hour: float | None = 3.6, **settings: Any) -> Ledger:
    """A ledger opened at T0; 3.6 $/h is a tenth of a cent a second."""
    it = Ledger(LedgerSettings(**settings))  # type: ignore[arg-type]
    it.begin(T0, T0, T0 - 1000)
    if usd_per_hour is not None:
        it.set_price([PriceStep(-math.inf, usd_per_hour)], T0)
    return it


def gpus(*utilization: float | None) -> list[Device]:
    return [Device(f"GPU-{i}", str(i), u) for i, u in enumerate(utilization)]


def sliced(gpu: int, remainder: float, *slices: tuple[float, float | None]) -> list[Device]:
    """One GPU cut into slices of (weight, utilisation), and the remainder."""
    slices_of_gpu = [Device(f"MIG-{gpu}-{i}", f"{gpu}:{i}", u, weight=w) for i, (w, u) in enumerate(slices)]
    return [Device(f"GPU-{gpu}", str(gpu), 0.0, weight=remainder), *slices_of_gpu]


def play(it: Ledger, until: float, events: list[TrainingEvent], devices: list[Device], every: float = 1.0) -> None:
    """Tick to ``T0 + until``; each event is applied in the tick in which it happens."""
    pending = sorted(events, key=lambda e: e.t)
    assert it.cursor is not None
    tick = it.cursor
    while tick < T0 + until:
        tick = min(tick + every, T0 + until)
        while pending and pending[0].t <= tick:
            first = pending.pop(0)
            it.advance(first.t, devices)
            it.apply(first)
        it.advance(tick, devices)


def seconds(it: Ledger) -> dict[State, float]:
    total: dict[State, float] = {}
    for (_, state), value in it.node_ledger.totals(it.price).seconds.items():
        total[state] = total.get(state, 0.0) + value
    return {state: value for state, value in total.items() if value}


def dollars(it: Ledger) -> dict[State, float]:
    total: dict[State, float] = {}
    for (_, state), value in it.node_ledger.totals(it.price).cost_usd.items():
        total[state] = total.get(state, 0.0) + value
    return total


def run_cost(it: Ledger, run: str = "r") -> float | None:
    assert it.cursor is not None
    return it.runs[RunId(run)].cost_usd(it.cursor, it.price)


def last_epoch_usd(it: Ledger, run: str = "r") -> float | None:
    return it.runs[RunId(run)].epoch_costs(it.price)[-1]
