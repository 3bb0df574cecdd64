"""From what was read to rows: one run over several nodes is one row, its money summed, its progress counted once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from epochcost.reports.history import History, Member, NodeKey, PartKey, RunHistory, RunKey
from epochcost.reports.money import (
    BY_PRICES,
    Filled,
    Money,
    Prices,
    between,
    integrated,
    member_money,
    member_states,
    unsettled,
)
from epochcost.reports.pieces import Charged, Piece, identity, kinds
from epochcost.reports.rows import Row, added, hours, merged
from epochcost.reports.tracks import increments
from epochcost.reports.useful_epochs import useful_epochs

_ROUNDING_SECONDS = 1.0
_COUNT = "run_epoch_seconds_count"
_WHOLE = 0.999
"""Share of a window from which on a part ran in all of it: counters are read a little before or after its edges."""
BEFORE = "began before the period"
EARLIER = "an earlier part is not in the period"
COUNTER_RESET = "a counter was reset"
PRICED = "seconds x stored prices"
CARRIED = "price carried over"
LATE = "dollars from before the period may be included"
LOWER = "some seconds have no price"
SIZES = "batch size changed"
TYPES = "machine type changed"
OPTIONS = "purchase option changed"
GAP = "scrapes are missing"
STOPPED = "stopped"
"""A policy of the guard ended it."""


@dataclass(slots=True)
class Part:
    """A run on one machine, as growth by window; ``named`` if the agent exports which part it is.

    ``epochs_from_zero``: no epoch of it had dollars before the span.
    """

    key: NodeKey
    named: bool
    member: Member
    from_zero: bool
    epochs_from_zero: bool
    grown: dict[str, dict[int, float]] = field(default_factory=dict)
    states: dict[str, dict[int, float]] = field(default_factory=dict)
    money: Money | None = None
    kinds: set[tuple[str, ...]] = field(default_factory=set)
    """Which machines it was on; see `pieces.kinds`."""

    @property
    def windows(self) -> dict[int, float]:
        """Seconds in which the run was running here, by window."""
        return self.grown.get("run_seconds_total", {})

    def total(self, name: str) -> float:
        """Growth of one counter over the span."""
        return sum(self.grown.get(name, {}).values())


def row(key: RunKey, run: RunHistory, history: History, prices: Prices, charged: dict[NodeKey, Charged]) -> Row:
    """The row of one run; what it pays of each machine goes into ``charged``."""
    parts = _charged_parts(run, history, prices, charged)
    lead = leaders({i: part.windows for i, part in enumerate(parts)})
    epochs = _counted(parts, lead, _COUNT)
    pieces = tuple(_piece(key, run, part, history) for part in parts)
    ends, step = _epoch_ends(parts), history.span.step_seconds
    return Row(
        experiment=run.experiment,
        label=key.run,
        context=",".join(f"{name}={value}" for name, value in key.context),
        provider=_joined(piece.provider for piece in pieces),
        instance_type=_joined(piece.instance_type for piece in pieces),
        option=_joined(piece.option for piece in pieces),
        batch_size=_batch_size(parts),
        framework=run.framework,
        team=_joined(piece.team for piece in pieces),
        owner=run.owner,
        ended=_ended(parts),
        nodes=len({part.key for part in parts}),
        gpus_per_node=max((part.member.gpus for part in parts if part.member.gpus is not None), default=None),
        hours=hours(_led(parts, lead, "run_seconds_total")),
        node_hours=sum(piece.hours for piece in pieces),
        usd=added(piece.usd for piece in pieces) if parts else None,
        on_demand_usd=_on_demand(parts, prices, ()),
        useful_on_demand_usd=_on_demand(parts, prices, ("useful",)),
        epochs=round(epochs, 6),
        epoch_seconds_sum=_counted(parts, lead, "run_epoch_seconds_sum"),
        epoch_usd_sum=added(_epochs_usd(part, parts, ends, step) for part in parts) if epochs else None,
        epochs_executed=_counted(parts, lead, "run_epochs_total"),
        useful_epochs=useful_epochs([(part.member, part.from_zero) for part in parts]),
        fill=_fill(parts, history),
        reported=_reported(parts),
        seconds=merged({s: sum(g.values()) for s, g in part.states.items()} for part in parts),
        dollars=merged(part.money.states for part in parts if part.money) if all(p.money for p in parts) else {},
        source="+".join(sorted({part.money.source for part in parts if part.money})),
        notes=_notes(key, parts, history),
        pieces=pieces,
    )


def _charged_parts(run: RunHistory, history: History, prices: Prices, charged: dict[NodeKey, Charged]) -> list[Part]:
    earlier = any(_had_epochs(member) for member in run.members.values())
    parts = [_part(part, member, history, prices, earlier=earlier) for part, member in run.members.items()]
    for part in parts:
        seconds = {s: sum(g.values()) for s, g in part.states.items()}
        charged.setdefault(part.key, Charged()).add(seconds, part.money.states if part.money else {})
    return parts


def _piece(key: RunKey, run: RunHistory, part: Part, history: History) -> Piece:
    node = history.nodes.get(part.key)
    node_info = node.who(max(part.windows or {0: 0.0})) if node is not None else {}
    return Piece(
        run=identity(key.run, key.context),
        node=identity(part.key.name, part.key.context),
        provider=node_info.get("provider", ""),
        instance_type=node_info.get("instance_type", ""),
        option=node_info.get("purchase_option", ""),
        hours=hours(sum(sum(grown.values()) for grown in part.states.values())),
        usd=part.money.usd if part.money else None,
        useful_usd=part.money.states.get("useful", 0.0) if part.money else 0.0,
        experiment=run.experiment,
        team=run.team or (node.team if node is not None else ""),
        owner=run.owner,
        namespace=run.namespace,
        account=run.account or (run.team if run.launcher == "slurm" else ""),
    )


def _ended(parts: list[Part]) -> str:
    """How the run ended: as its part that ran last reports; empty where it had not ended when it was last seen."""
    last = max(parts, key=lambda part: max(part.windows, default=-1), default=None)
    ends = [part for part in parts if part.member.ended is not None and last is not None]
    if last is None or not ends:
        return ""
    newest = max(ends, key=lambda part: part.member.ended or (-1, ""))
    window, state = newest.member.ended or (-1, "")
    ran = max((window for window, seconds in last.windows.items() if seconds > 0), default=-1)
    if window < ran:
        return ""
    return STOPPED if newest.member.stopped else state


def _reported(parts: list[Part]) -> dict[str, float]:
    """The newest value of each metric: of the part that was seen with it last."""
    newest: dict[str, tuple[int, float]] = {}
    for part in parts:
        for name, (window, value) in part.member.reported.items():
            if name not in newest or window >= newest[name][0]:
                newest[name] = window, value
    return {name: value for name, (_, value) in newest.items()}


def _counted(parts: list[Part], lead: list[tuple[int, int]], name: str) -> float:
    """Growth of a counter of progress: only the machine of global rank 0 counts it, so it is a sum.

    Agents of the version before all count it: then it is that of the one that leads in each window.
    """
    if all(part.named for part in parts):
        return sum(part.total(name) for part in parts)
    return _led(parts, lead, name)


def _led(parts: list[Part], lead: list[tuple[int, int]], name: str) -> float:
    return sum(parts[i].grown.get(name, {}).get(window, 0.0) for window, i in lead)


def _part(key: PartKey, member: Member, history: History, prices: Prices, *, earlier: bool) -> Part:
    """A run started when its counters were at 0; unknown means before the span."""
    began = member.started is not None and member.started >= history.span.begin - _ROUNDING_SECONDS
    late = () if began else _from_first_epoch(member, earlier=earlier)
    part = Part(key.node, bool(key.part), member, began, began or "run_epoch_cost_usd_sum" in late)
    part.grown = {name: increments(track, from_zero=began or name in late) for name, track in member.counters.items()}
    whole = member.counters.get("run_seconds_total")
    part.states = member_states(member, "run_state_seconds_total", whole, from_zero=began)
    if key.node in history.nodes:
        ran = [window for window, seconds in part.windows.items() if seconds > 0]
        part.kinds = kinds(history.nodes[key.node], ran)
    part.money = member_money(member, _paid(key.node, history, prices), from_zero=began)
    return part


def _had_epochs(member: Member) -> bool:
    """Whether it had finished epochs before its first sample in the span, by its own count."""
    return bool(member.counters.get(_COUNT)) and not _appears_later(member, _COUNT)


def _appears_later(member: Member, name: str) -> bool:
    """Whether a counter is absent in the first sample of a part."""
    track, whole = member.counters.get(name), member.counters.get("run_seconds_total")
    return bool(track and whole and track.values and whole.values and track.first > whole.first)


def _from_first_epoch(member: Member, *, earlier: bool) -> tuple[str, ...]:
    """Counters of finished epochs that began at 0 within the span: an agent exports them from the first epoch on.

    Their dollars it exports from the first epoch with a price: those of epochs before the span may be in them, if it
    (or, where it does not count epochs, the run: ``earlier``) had finished some.
    """
    had = _had_epochs(member) if member.counters.get(_COUNT) else earlier
    names = (_COUNT, "run_epoch_seconds_sum", *(() if had else ("run_epoch_cost_usd_sum",)))
    return tuple(name for name in names if _appears_later(member, name))


def _paid(node: NodeKey, history: History, prices: Prices) -> Filled:
    return prices.paid(node) if node in history.nodes else [None] * (history.span.steps + 1)


def leaders(grown: Mapping[int, Mapping[int, float]]) -> list[tuple[int, int]]:
    """Which node's progress counts in which window, so that an epoch trained by many nodes is one epoch.

    A node leads for as long as the run continues there; its successor is the node where the run continues longest. What
    a successor did in the window of the change counts too, if it began there.
    """
    lead: list[tuple[int, int]] = []
    now: int | None = None
    windows = sorted({window for by_window in grown.values() for window in by_window})
    for window in windows:
        going = [i for i in grown if grown[i].get(window, 0.0) > 0]
        if now is None or (now not in going and going):
            following = max(going or grown, key=lambda i: (max(grown[i], default=-1), -min(grown[i], default=0)))
            if now is not None and lead and min(grown[following]) == lead[-1][0]:
                lead.append((lead[-1][0], following))
            now = following
        lead.append((window, now))
    return lead


def _epochs_usd(part: Part, parts: list[Part], ends: set[int], step_seconds: float) -> float | None:
    """Dollars of the epochs that finished while this part ran; where the agent has none, those of their seconds."""
    if part.member.counters.get("run_cost_usd_total"):
        if "run_epoch_cost_usd_sum" in part.grown:
            return part.total("run_epoch_cost_usd_sum") + unsettled(
                part.member.provisional_epochs, from_zero=part.epochs_from_zero
            )
        if part.named and not _finished_epochs(part, ends, step_seconds):
            return 0.0
    if part.money is None:
        return None
    ran = part.grown.get("run_seconds_total", {})
    counts = part if part.total("run_epoch_seconds_sum") else max(parts, key=lambda p: p.total("run_epoch_seconds_sum"))
    last = sum(ran.values()) - (counts.member.current_epoch_seconds or 0.0)
    first = last - counts.total("run_epoch_seconds_sum")
    known = between(ran, part.money.windows, first, last)
    if part.from_zero or first >= 0:
        return known
    # The first epoch began before the period, and counts whole: its seconds there at the mean of those that are read.
    return known * (last - first) / last if last > 0 else None


def _epoch_ends(parts: list[Part]) -> set[int]:
    """Windows in which an epoch of the run ended, by the count of the machine of global rank 0."""
    counts = (part.grown.get(_COUNT, {}) for part in parts)
    return {window for grown in counts for window, ended in grown.items() if ended > 0}


def _finished_epochs(part: Part, ends: set[int], step_seconds: float) -> bool:
    """Whether an epoch finished while this part ran: one of its own count, or in a window in which it ran all the time.

    In a window in which it ran some of the time it may have joined after the end of the epoch, or been gone before.
    """
    whole = (window for window, seconds in part.windows.items() if seconds >= _WHOLE * step_seconds)
    return part.total(_COUNT) > 0 or any(window in ends for window in whole)


def _on_demand(parts: list[Part], prices: Prices, states: tuple[str, ...]) -> float | None:
    bills: list[float | None] = []
    for part in parts:
        seconds = {s: g for s, g in part.states.items() if not states or s in states}
        known = prices.on_demand(part.key) if part.key in prices.history.nodes else []
        bill = integrated(seconds, known) if known else None
        bills.append(bill.usd if bill else None)
    return added(bills) if bills else None


def _fill(parts: list[Part], history: History) -> float | None:
    """Highest peak of device memory: as the run reports, else as the driver saw it where the run had the node alone."""
    fills = []
    for part in parts:
        node = history.nodes.get(part.key)
        if node is None or not node.gpu_memory_bytes:
            continue
        peak = part.member.memory_peak_bytes
        if peak is None and _alone(part.key, history):
            ran = part.grown.get("run_seconds_total", {})
            peak = max((v for i, v in node.gpu_memory_used.items() if ran.get(i, 0.0) > 0), default=None)
        if peak is not None:
            fills.append(min(1.0, peak / node.gpu_memory_bytes))
    return max(fills, default=None)


def _alone(node: NodeKey, history: History) -> bool:
    return history.runs_on(node) == 1


def _batch_size(parts: list[Part]) -> str:
    """That of the part that ran last."""
    ran = [part for part in parts if part.member.batch_sizes]
    last = max(ran, key=lambda part: max(part.windows, default=-1), default=None)
    return f"{last.member.batch_sizes[-1]:g}" if last is not None else ""


def _joined(names: Iterable[str]) -> str:
    return " + ".join(sorted({name for name in names if name}))


def _notes(key: RunKey, parts: list[Part], history: History) -> tuple[str, ...]:
    holds = {
        BEFORE: any(not part.from_zero for part in parts),
        EARLIER: all(part.from_zero for part in parts) and _began_late(parts),
        COUNTER_RESET: key in history.counted_again,
        PRICED: any(part.money and part.money.source == BY_PRICES for part in parts),
        CARRIED: any(part.money and part.money.carried_seconds > history.span.step_seconds for part in parts),
        LATE: any(_late(part) for part in parts),
        LOWER: any(_lacking(part, history) for part in parts),
        SIZES: len({size for part in parts for size in part.member.batch_sizes}) > 1,
        TYPES: len({(kind[0], kind[3]) for part in parts for kind in part.kinds if kind[3]}) > 1,
        OPTIONS: len({kind[4] for part in parts for kind in part.kinds if kind[4]}) > 1,
        GAP: any(
            part.member.counters.get("run_seconds_total") and part.member.counters["run_seconds_total"].gaps()
            for part in parts
        ),
    }
    return tuple(note for note, so in holds.items() if so)


def _began_late(parts: list[Part]) -> bool:
    """No part that is known began at epoch 0."""
    starts = [part.member.start_epoch for part in parts if part.member.start_epoch is not None]
    return min(starts, default=0.0) > 0


def _late(part: Part) -> bool:
    """The agent received the price within the span and added what had been spent before it."""
    cost, ran = part.member.counters.get("run_cost_usd_total"), part.member.counters.get("run_seconds_total")
    return bool(not part.from_zero and cost and ran and cost.values and ran.values and cost.first > ran.first)


def _lacking(part: Part, history: History) -> bool:
    node = history.nodes.get(part.key)
    priced = part.money is not None and part.money.source != BY_PRICES
    return priced and node is not None and node.unpriced_seconds > history.span.step_seconds
