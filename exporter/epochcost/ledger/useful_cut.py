"""A second split of useful time: by whether the streaming multiprocessors were active, if the hardware reports it.

A GPU counts as busy while any kernel runs, though it may use a fifth of it. The state stays one; the two parts here and
what is not known of it sum to it, in seconds and in dollars.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from epochcost.ledger.devices import Device
from epochcost.ledger.node_ledger import Key, Totals
from epochcost.model import RunId, SmActivity, State

ACTIVE, REST = State.USEFUL, State.IDLE
"""The keys of the parts in a `NodeLedger` of their own."""


class SmSplit(NamedTuple):
    """Seconds and dollars by part; they sum to those of useful time."""

    seconds: dict[SmActivity, float]
    usd: dict[SmActivity, float]


def parts_of(device: Device, split: Mapping[Key, float]) -> dict[Key, float]:
    """The useful time of one device by run and part; nothing where its activity is not known.

    Args:
        device: what it did.
        split: where its time goes, by run and state.
    """
    busy, active = device.utilization_ratio, device.sm_active_ratio
    if not busy or active is None:
        return {}
    part = min(1.0, active / busy)
    useful = {run: share for (run, state), share in split.items() if state is State.USEFUL}
    return {(run, key): share * of for run, share in useful.items() for key, of in ((ACTIVE, part), (REST, 1 - part))}


def by_activity(cut: Totals, useful: Totals, runs: Iterable[RunId | None]) -> SmSplit:
    """Useful seconds and dollars of ``runs`` together; nothing where their activity was never reported."""
    split = SmSplit({}, {})
    runs = list(runs)
    for parts, whole, into in (
        (cut.seconds, useful.seconds, split.seconds),
        (cut.cost_usd, useful.cost_usd, split.usd),
    ):
        if not any(cut.seconds.get((run, key)) for run in runs for key in (ACTIVE, REST)):
            continue
        active, rest = (sum(parts.get((run, key), 0.0) for run in runs) for key in (ACTIVE, REST))
        unknown = max(0.0, sum(whole.get((run, State.USEFUL), 0.0) for run in runs) - active - rest)
        into.update({SmActivity.ACTIVE: active, SmActivity.REST: rest, SmActivity.UNKNOWN: unknown})
    return split
