"""The ledger's state as the version before wrote it, brought to the present form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from epochcost.ledger.parts import base36

VERSION = 2


def upgraded(state: Mapping[str, Any]) -> dict[str, Any]:
    """What version 1 wrote, as version 2 would have written it.

    Raises:
        KeyError, TypeError, ValueError: when it is not what version 1 wrote.
    """
    taken: set[str] = set()
    runs = {run: _run(account, taken) for run, account in state["runs"].items()}
    return {**state, "version": VERSION, "runs": runs, "unsettled": [state["cursor"] or 0.0, []]}


def _run(account: Mapping[str, Any], taken: set[str]) -> dict[str, Any]:
    second = int(account["started_t"] or account["last_event_t"])
    while (part := base36(second)) in taken:
        second += 1
    taken.add(part)
    epochs = dict(account["epochs"])
    amounts = epochs.pop("counted")
    count = epochs["dropped_count"] + sum(finished for *_, finished in epochs["finished"])
    seconds = epochs["dropped_seconds"] + math.fsum(end - start for _, start, end, _ in epochs["finished"])
    epochs |= {
        "amounts": amounts,
        "counted": True,
        "fresh": epochs["attempts"] <= 1,
        "attempt_start": None,
        "count": count,
        "seconds_sum": seconds,
        "count_here": count,
        "seconds_here": seconds,
    }
    settled = {**account["settled"], "epochs_here": account["settled"]["epochs"]}
    members = {name: [*member, None, None] for name, member in account["members"].items()}
    known: dict[str, Any] = {
        "part": part,
        "members": members,
        "epochs": epochs,
        "settled": settled,
        "counted": _counted(epochs),
    }
    known |= {"before_reports": None, "retracted": 0}
    return {**account, **known}


def _counted(epochs: Mapping[str, Any]) -> list[Any]:
    """It knew no ranks: all that it saw was counted, from the position at which that adds up."""
    reached = epochs["position"] if epochs["position"] is not None else epochs["before"]
    start = None if reached is None else max(0.0, reached - (epochs["executed"] - epochs["lost"]))
    return [True, True, start, reached, epochs["high_water"], {}, {}]
