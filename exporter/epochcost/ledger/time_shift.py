"""A saved ledger on another timeline: every time in it moved by as much.

A machine may have booted with a clock that was ahead. In its next boot, with the clock right, all that was accounted
lies in the future. It happened before this boot all the same, and what it cost stays what it cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

LEDGER = ("cursor", "boot_until", "floor", "price_floor")
EPOCHS = ("begin_t", "started_t", "moved_t", "busy_since", "whole_t")
COUNTED = 7
MEMBER = (0, 1, 3)
"""Where a process began, ended, and last spoke."""


def earlier(state: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """What `Ledger.state` made, ``seconds`` earlier.

    Raises:
        KeyError, TypeError, ValueError, IndexError: when it is not what `Ledger.state` makes.
    """
    until, blocks = state["unsettled"]
    return {
        **_moved(state, LEDGER, seconds),
        "price": [[_at(t, seconds), usd] for t, usd in state["price"]],
        "free": _spans(state.get("free", ()), seconds),
        **{name: _intervals(state[name], seconds) for name in ("book", "useful_cut") if name in state},
        "unsettled": [_at(until, seconds), _spans(blocks, seconds)],
        "runs": {run: _run(account, seconds) for run, account in state["runs"].items()},
    }


def _intervals(state: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    return {**state, "spans": _spans(state["spans"], seconds)}


def _run(account: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    times, shares = account["share"]
    before, finished = account["before_reports"], account.get("finished")
    members = {
        name: [_at(value, seconds) if i in MEMBER else value for i, value in enumerate(member)]
        for name, member in account["members"].items()
    }
    return {
        **_moved(account, ("started_t", "last_event_t"), seconds),
        "members": members,
        "finished": finished and [finished[0], _at(finished[1], seconds)],
        "counted": _counted(account["counted"], seconds),
        "epochs": _epochs(account["epochs"], seconds),
        "share": [[_at(t, seconds) for t in times], shares],
        "settled": _moved(account["settled"], ("until", "cut_t"), seconds),
        "before_reports": before
        and [*before[:2], _epochs(before[2], seconds), before[3], _counted(before[4], seconds), *before[5:]],
    }


def _counted(counted: Sequence[Any], seconds: float) -> list[Any]:
    """The last of it, where it is there, is when an attempt began."""
    return [*counted[:COUNTED], *(_at(t, seconds) for t in counted[COUNTED:])]


def _epochs(epochs: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    finished = [[number, start - seconds, end - seconds, *more] for number, start, end, *more in epochs["finished"]]
    return {**_moved(epochs, EPOCHS, seconds), "finished": finished}


def _spans(spans: Iterable[Sequence[Any]], seconds: float) -> list[list[Any]]:
    return [[start - seconds, end - seconds, *more] for start, end, *more in spans]


def _moved(record: Mapping[str, Any], names: Iterable[str], seconds: float) -> dict[str, Any]:
    return {**record, **{name: _at(record[name], seconds) for name in names}}


def _at(t: float | None, seconds: float) -> float | None:
    """``t`` moved; None and 0 are not times."""
    return t - seconds if t else t
