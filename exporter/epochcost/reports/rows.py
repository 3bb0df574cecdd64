"""The table: a row for each run, and one for each way in which an experiment was run."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from epochcost.reports.money import HOUR_SECONDS
from epochcost.reports.pieces import Piece


@dataclass(frozen=True, slots=True)
class Row:
    """One run, or all runs of an experiment on one instance type, purchase option and batch size.

    Sums over the span, with None where unknown. A ratio is a property, made of sums, so that rows can be added.

    Attributes:
        label: id of the run; empty for a group.
        option: how the nodes are paid.
        batch_size: as the run reports it; empty if it does not.
        team, owner: the team that pays, the user who began it; empty if unknown.
        ended: how a run ended: finished, failed, preempted, lost or stopped (by the guard); empty where it had not.
        runs: how many are in this row.
        nodes: how many different ones were used.
        gpus_per_node: the most that it used of one node at once; None if no agent reports it.
        hours: in which the run was running, on however many nodes.
        node_hours: hours of nodes that it paid for; half a node for an hour is 0.5.
        usd: all dollars.
        on_demand_usd: what the same hours of nodes would have cost on demand.
        useful_on_demand_usd: what its useful hours would have cost on demand.
        epochs, epoch_seconds_sum: finished in the span, counted once, and how long they took.
        epoch_usd_sum: what the finished epochs cost, on all nodes.
        epochs_executed: with fractions, and with repeated ones.
        useful_epochs: without those that were repeated.
        fill: highest peak of device memory, 0-1.
        reported: the last value that it reported of each metric.
        metric, better, value, trial: by which metric it was compared with the experiment's other runs, which value is
            better, its own, and how it came out; empty and None where it was not.
        seconds, dollars: by state; they sum to node_hours and usd.
        source: of the dollars: ``agent``, ``prices`` (seconds x stored prices), or both; empty where there are none.
        frontier: no other row of the experiment is both cheaper and faster per epoch.
        notes: what to know about these figures.
        pieces: its dollars by machine.
    """

    experiment: str
    label: str = ""
    context: str = ""
    provider: str = ""
    instance_type: str = ""
    option: str = ""
    batch_size: str = ""
    framework: str = ""
    team: str = ""
    owner: str = ""
    ended: str = ""
    runs: int = 1
    nodes: int = 0
    gpus_per_node: float | None = None
    hours: float = 0.0
    node_hours: float = 0.0
    usd: float | None = None
    on_demand_usd: float | None = None
    useful_on_demand_usd: float | None = None
    epochs: float = 0.0
    epoch_seconds_sum: float = 0.0
    epoch_usd_sum: float | None = None
    epochs_executed: float = 0.0
    useful_epochs: float | None = None
    fill: float | None = None
    reported: Mapping[str, float] = field(default_factory=dict)
    metric: str = ""
    better: str = ""
    value: float | None = None
    trial: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    dollars: Mapping[str, float] = field(default_factory=dict)
    source: str = ""
    frontier: bool = False
    notes: tuple[str, ...] = ()
    pieces: tuple[Piece, ...] = ()

    @property
    def seconds_per_epoch(self) -> float | None:
        """Of finished epochs."""
        return over(self.epoch_seconds_sum, self.epochs)

    @property
    def usd_per_epoch(self) -> float | None:
        """Of finished epochs; start-up apart."""
        return over(self.epoch_usd_sum, self.epochs)

    @property
    def usd_per_useful_epoch(self) -> float | None:
        """All dollars over the epochs that were worth it."""
        return over(self.usd, self.useful_epochs) if (self.useful_epochs or 0) >= 1 else None

    @property
    def usd_per_hour(self) -> float | None:
        """What the run paid for an hour, on however many nodes."""
        return over(self.usd, self.hours)

    @property
    def utilization(self) -> float | None:
        """Share of the training time in which the devices were busy."""
        useful = self.seconds.get("useful", 0.0)
        return over(useful, useful + self.seconds.get("idle", 0.0))

    @property
    def price_saving(self) -> float | None:
        """Against the same hours on demand."""
        return None if (paid := over(self.usd, self.on_demand_usd)) is None else 1 - paid

    @property
    def realised_saving(self) -> float | None:
        """Against the useful hours alone on demand: start-up, idle time and lost work count against it.

        Only of spot machines: on others nothing was saved that could be lost again.
        """
        if "spot" not in self.option.split(" + "):
            return None
        return None if (paid := over(self.usd, self.useful_on_demand_usd)) is None else 1 - paid

    def share(self, state: str) -> float | None:
        """Of the run's node time."""
        return over(self.seconds.get(state, 0.0), sum(self.seconds.values()))


def over(part: float | None, whole: float | None) -> float | None:
    """Their ratio; None where either is unknown or the whole is nothing."""
    return None if part is None or not whole else part / whole


def grouped(runs: Iterable[Row]) -> list[Row]:
    """A row for each experiment, provider, instance type, purchase option and batch size."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in runs:
        key = (row.experiment or row.label, row.provider, row.instance_type, row.option, row.batch_size)
        groups.setdefault(key, []).append(row)
    return [_group(rows) for rows in groups.values()]


def _group(rows: Sequence[Row]) -> Row:
    fills = [row.fill for row in rows if row.fill is not None]
    return replace(
        rows[0],
        experiment=rows[0].experiment or rows[0].label,
        label=rows[0].label if len(rows) == 1 else "",
        context="",
        team="",
        owner="",
        ended="",
        reported={},
        metric="",
        better="",
        value=None,
        trial="",
        pieces=tuple(piece for row in rows for piece in row.pieces),
        runs=len(rows),
        nodes=sum(row.nodes for row in rows),
        hours=sum(row.hours for row in rows),
        node_hours=sum(row.node_hours for row in rows),
        usd=added(row.usd for row in rows),
        on_demand_usd=added(row.on_demand_usd for row in rows),
        useful_on_demand_usd=added(row.useful_on_demand_usd for row in rows),
        epochs=sum(row.epochs for row in rows),
        epoch_seconds_sum=sum(row.epoch_seconds_sum for row in rows),
        epoch_usd_sum=added(row.epoch_usd_sum for row in rows if row.epochs),
        epochs_executed=sum(row.epochs_executed for row in rows),
        useful_epochs=added(row.useful_epochs for row in rows),
        fill=max(fills, default=None),
        gpus_per_node=max((row.gpus_per_node for row in rows if row.gpus_per_node is not None), default=None),
        seconds=merged(row.seconds for row in rows),
        dollars=merged(row.dollars for row in rows),
        source="+".join(sorted({part for row in rows for part in row.source.split("+") if part})),
        notes=tuple(dict.fromkeys(note for row in rows for note in row.notes)),
    )


def added(parts: Iterable[float | None]) -> float | None:
    """Their sum; None where one is unknown, since the rest would look like the whole."""
    known = list(parts)
    return None if any(part is None for part in known) else sum(part for part in known if part is not None)


def merged(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Sums by state."""
    out: dict[str, float] = {}
    for part in parts:
        for state, amount in part.items():
            out[state] = out.get(state, 0.0) + amount
    return out


def with_frontier(rows: Iterable[Row]) -> list[Row]:
    """Rows in order: experiments by dollars, then by dollars per epoch; those on the efficient frontier are marked."""
    ordered = list(rows)
    spent: dict[str, float] = {}
    for row in ordered:
        spent[row.experiment] = spent.get(row.experiment, 0.0) + (row.usd or 0.0)
    ordered.sort(
        key=lambda r: (-spent[r.experiment], r.experiment, _or_last(r.usd_per_epoch), r.label, r.instance_type)
    )
    efficient = _efficient(ordered)
    return [replace(row, frontier=i in efficient) for i, row in enumerate(ordered)]


def _or_last(value: float | None) -> float:
    return float("inf") if value is None else value


def _efficient(rows: Sequence[Row]) -> set[int]:
    """Rows that no other of the experiment dominates; none if the experiment was run in one way only."""
    placed: dict[str, list[tuple[float, float, int]]] = {}
    ways: dict[str, set[tuple[object, ...]]] = {}
    for i, row in enumerate(rows):
        seconds, usd = row.seconds_per_epoch, row.usd_per_epoch
        if seconds is not None and usd is not None:
            experiment = row.experiment or row.label
            placed.setdefault(experiment, []).append((seconds, usd, i))
            way = row.provider, row.instance_type, row.option, row.batch_size, row.nodes if row.label else 0
            ways.setdefault(experiment, set()).add(way)
    return {i for name, points in placed.items() if len(ways[name]) > 1 for i in _unbeaten(points)}


def _unbeaten(places: list[tuple[float, float, int]]) -> Iterator[int]:
    """From the quickest on, those that are cheaper than all that are quicker."""
    cheapest = float("inf")
    for _, same in itertools.groupby(sorted(places), key=lambda place: place[0]):
        alike = list(same)
        if alike[0][1] < cheapest:
            cheapest = alike[0][1]
            yield from (i for _, usd, i in alike if usd == cheapest)


def hours(seconds: float) -> float:
    """Seconds -> hours."""
    return seconds / HOUR_SECONDS
