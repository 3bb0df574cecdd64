"""Money in pieces of one payer each: a run's part on one machine, or what a machine costs beside its runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from epochcost.reports.history import IDENTITY, History, NodeHistory, NodeKey
from epochcost.reports.money import HOUR_SECONDS, UNSETTLED, Prices, node_money
from epochcost.reports.tracks import Labels, increments

OF_RUNS = ("startup", "replay", "stalled", "useful", "idle")
"""States in which a run pays."""
LATE = "charged to runs later"
"""Difference between the machine's states and its runs' dollars, after a start, an end or a price that arrived late."""
_CENT, _NOTEWORTHY = 0.01, 0.001


@dataclass(frozen=True, slots=True)
class Piece:
    """Node hours and dollars (None where no price is known) with their run, owner and team; empty where unknown.

    Attributes:
        run: id, empty for what a machine costs beside its runs.
        node: name of the machine; see `identity`.
        useful_usd: of ``usd``, for time in which the devices worked.
    """

    run: str
    node: str
    provider: str
    instance_type: str
    option: str
    hours: float
    usd: float | None
    useful_usd: float = 0.0
    experiment: str = ""
    team: str = ""
    owner: str = ""
    namespace: str = ""
    account: str = ""


@dataclass(slots=True)
class Outside:
    """What machines cost outside of their runs.

    Attributes:
        pieces: by machine, and by the owners of its GPUs if requested.
        hours, usd: by state, over all machines with a price.
        unpriced: hours by state, over the others.
    """

    pieces: list[Piece] = field(default_factory=list)
    hours: dict[str, float] = field(default_factory=dict)
    usd: dict[str, float] = field(default_factory=dict)
    unpriced: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Charged:
    """What runs pay of one machine, by state."""

    seconds: dict[str, float] = field(default_factory=dict)
    usd: dict[str, float] = field(default_factory=dict)

    def add(self, seconds: Mapping[str, float], usd: Mapping[str, float]) -> None:
        """Take in one part of a run."""
        for into, amounts in ((self.seconds, seconds), (self.usd, usd)):
            for state, amount in amounts.items():
                into[state] = into.get(state, 0.0) + amount


def outside(history: History, prices: Prices, charged: Mapping[NodeKey, Charged]) -> Outside:
    """What is left of each machine's bill; only where all runs were read, for else it is not known."""
    result = Outside()
    if not history.whole:
        return result
    for key, node in history.nodes.items():
        hours, usd = _unallocated(node, history, prices.paid(key), charged.get(key, Charged()))
        for into, amounts in ((result.hours if usd else result.unpriced, hours), (result.usd, usd or {})):
            for state, amount in amounts.items():
                into[state] = into.get(state, 0.0) + amount
        result.pieces += _by_user(_piece(key, node, hours, usd), node.held)
    late = max(_CENT, _NOTEWORTHY * sum(result.usd.values()))
    result.usd = {s: a for s, a in result.usd.items() if s != LATE or abs(a) >= late}
    return result


def _unallocated(
    node: NodeHistory, history: History, paid: list[tuple[float, bool] | None], charged: Charged
) -> tuple[dict[str, float], dict[str, float] | None]:
    """Hours and dollars by state of a machine less those of its runs; dollars are None without a price."""
    born = node.begins_in(history.span)
    money = node_money(node, paid, from_zero=born)
    seconds = {state: sum(increments(t, from_zero=born).values()) for state, t in node.seconds.items()}
    hours = {s: a / HOUR_SECONDS for s, a in _less(seconds, charged.seconds).items()}
    return hours, None if money is None else _less(money.states, charged.usd)


def _less(whole: Mapping[str, float], part: Mapping[str, float]) -> dict[str, float]:
    rest = {s: _difference(whole.get(s, 0.0), part.get(s, 0.0)) for s in (*whole, *OF_RUNS)}
    left = {s: rest[s] for s in whole if s not in OF_RUNS}
    late = sum(rest[s] for s in OF_RUNS) - part.get(UNSETTLED, 0.0)
    for state in ("unallocated", "unknown"):  # of what is not settled no state is known: a run may pay these too
        moved = min(left.get(state, 0.0), max(0.0, -late))
        left[state] = left.get(state, 0.0) - moved
        late += moved
    return {**left, LATE: late}


def _difference(whole: float, part: float) -> float:
    """0 where both are sums of the same figures in another order, which differ by their rounding."""
    return 0.0 if math.isclose(whole, part, rel_tol=1e-9) else whole - part


def identity(name: str, context: Labels) -> str:
    """One text for a machine or a run, that no other has."""
    return ",".join((name, *(value for _, value in context)))


def _piece(key: NodeKey, node: NodeHistory, hours: Mapping[str, float], usd: Mapping[str, float] | None) -> Piece:
    node_info = node.who((node.seen.last() or (0, 0.0))[0])
    return Piece(
        run="",
        node=identity(key.name, key.context),
        provider=node_info.get("provider", ""),
        instance_type=node_info.get("instance_type", ""),
        option=node_info.get("purchase_option", ""),
        hours=sum(hours.values()),
        usd=None if usd is None else sum(usd.values()),
        team=node.team,
    )


def _by_user(piece: Piece, held: Mapping[tuple[str, str], float]) -> list[Piece]:
    """Split by the owners of the GPUs without a run."""
    whole = sum(held.values())
    if not whole:
        return [piece]
    return [
        replace(
            piece,
            owner=owner,
            namespace=namespace,
            hours=piece.hours * seconds / whole,
            usd=None if piece.usd is None else piece.usd * seconds / whole,
        )
        for (owner, namespace), seconds in held.items()
        if seconds > 0
    ]


def kinds(node: NodeHistory, windows: Iterable[int]) -> set[tuple[str, ...]]:
    """Which machines (provider, region, zone, type, purchase option) it was in these windows."""
    machines = (node.who(window) for window in windows)
    return {tuple(node_info.get(name, "") for name in IDENTITY) for node_info in machines}


NONE = {
    "team": "no team", "owner": "no owner", "namespace": "no namespace", "account": "no account",
    "experiment": "no experiment", "purchase-option": "not known",
}  # fmt: skip
"""By what a bill can be split, and what is written if it is unknown."""
NO_RUN = "no run"
_VALUE: dict[str, Callable[[Piece], str]] = {
    "team": lambda p: p.team,
    "owner": lambda p: p.owner,
    "namespace": lambda p: p.namespace,
    "account": lambda p: p.account,
    "experiment": lambda p: p.experiment if p.run else NO_RUN,
    "purchase-option": lambda p: p.option,
}


@dataclass(frozen=True, slots=True)
class Split:
    """One row of a bill that is split: hours and dollars of runs and beside runs.

    Attributes:
        usd: of machines whose price is known; None where none is.
        outside_usd: of it, what machines cost outside of their runs.
        unpriced_hours: of ``hours``, those of machines without a price.
    """

    name: str
    runs: int
    nodes: int
    hours: float
    usd: float | None
    useful_usd: float
    outside_usd: float
    unpriced_hours: float
    share: float | None = None


def split(by: str, pieces: Iterable[Piece]) -> list[Split]:
    """The bill by team, owner, ...: rows sum to it, the most expensive first, what is unknown last."""
    groups: dict[str, list[Piece]] = {}
    for piece in pieces:
        groups.setdefault(_VALUE[by](piece) or NONE[by], []).append(piece)
    rows = [_split(name, of_group) for name, of_group in groups.items()]
    whole = sum(row.usd or 0.0 for row in rows)
    rows = [replace(row, share=row.usd / whole if row.usd is not None and whole else None) for row in rows]
    return sorted(rows, key=lambda row: (row.name in (NONE[by], NO_RUN), -(row.usd or 0.0), row.name))


def _split(name: str, pieces: list[Piece]) -> Split:
    priced = [piece for piece in pieces if piece.usd is not None]
    return Split(
        name=name,
        runs=len({piece.run for piece in pieces if piece.run}),
        nodes=len({piece.node for piece in pieces}),
        hours=sum(piece.hours for piece in pieces),
        usd=sum(piece.usd or 0.0 for piece in priced) if priced else None,
        useful_usd=sum(piece.useful_usd for piece in priced),
        outside_usd=sum(piece.usd or 0.0 for piece in priced if not piece.run),
        unpriced_hours=sum(piece.hours for piece in pieces if piece.usd is None),
    )
