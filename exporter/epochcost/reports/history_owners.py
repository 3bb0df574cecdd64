"""Owners of GPUs: of runs by their namespace, and of GPUs without a run by the owners of their memory."""

from __future__ import annotations

from collections.abc import Callable

from epochcost.reports.history import History, NodeKey, RunKey
from epochcost.reports.tracks import Labels, Reader, Track, increments

WITHOUT_A_RUN = 'state=~"finished|unattributed|vacant|unallocated"'
_Holders = dict[tuple[NodeKey, str], dict[tuple[str, str], Track]]


def read_owners(
    reader: Reader,
    matchers: str,
    history: History,
    node: Callable[[Labels, int], NodeKey],
    run: Callable[[Labels], RunKey],
) -> None:
    """Note owners and namespaces of runs, and of the GPU-seconds of machines in which no run had them.

    ``node`` and ``run`` return the machine (in a window) and the run (by its label ``run``) of labels.
    """
    holders: _Holders = {}
    for labels, track in reader.tracks("gpu_owner_share_ratio", matchers, "avg_over_time").items():
        named = dict(labels)
        if named.get("owner_kind") == "run":
            _of_run(history, run(_as_run(labels, named.get("owner", ""))), named)
            continue
        who = named.get("owner_user") or (named.get("owner", "") if named.get("owner_kind") == "user" else "")
        gpu = node(labels, history.span.steps), named.get("uuid", "")
        holders.setdefault(gpu, {}).setdefault((who, named.get("owner_namespace", "")), Track()).merge(track)
    for labels, track in reader.tracks("gpu_seconds_total", _both(matchers, WITHOUT_A_RUN), counter=True).items():
        key = node(labels, history.span.steps)
        if (machine := history.nodes.get(key)) is None:
            continue
        born = machine.begins_in(history.span)
        shares = {who: dict(part.items()) for who, part in holders.get((key, dict(labels).get("uuid", "")), {}).items()}
        for window, seconds in increments(track, from_zero=born).items():
            _hold(machine.held, shares, window, seconds)


def _hold(
    held: dict[tuple[str, str], float], shares: dict[tuple[str, str], dict[int, float]], window: int, seconds: float
) -> None:
    """Split seconds of one GPU over its owners in this window; the rest has no owner."""
    left = 1.0
    for who, by_window in shares.items():
        share = min(left, by_window.get(window, 0.0))
        held[who] = held.get(who, 0.0) + share * seconds
        left -= share
    held["", ""] = held.get(("", ""), 0.0) + left * seconds


def _of_run(history: History, key: RunKey, named: dict[str, str]) -> None:
    if (run := history.runs.get(key)) is not None:
        run.namespace = run.namespace or named.get("owner_namespace", "")
        run.owner = run.owner or named.get("owner_user", "")


def _as_run(labels: Labels, run: str) -> Labels:
    return (*(pair for pair in labels if pair[0] != "run"), ("run", run))


def _both(*matchers: str) -> str:
    return ",".join(filter(None, matchers))
