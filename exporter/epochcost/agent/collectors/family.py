"""How a metric is described once: its name, its help, its labels, and where its samples come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias, TypeVar

from epochcost.agent.snapshot import Snapshot
from epochcost.metric_families import MetricFamily, Sample

T = TypeVar("T")
PREFIX = "epochcost_"
MACHINE = "epochcost_machine"
"""First label of every series: its machine, whatever target labels a scrape configuration sets (none sets this)."""
Value: TypeAlias = float | int | bool | None
Row: TypeAlias = tuple[Sequence[str], Value]
"""Label values, and the value of the sample; None is not exported."""


class FailedRow(NamedTuple):
    """Replaces rows that could not be made; the text contains the reason. The other rows are exported."""

    error: str


Rows: TypeAlias = Callable[[Snapshot], Iterable[Row | FailedRow]]


def one(value: Callable[[Snapshot], Value]) -> Rows:
    """The only sample of a metric without labels."""
    return lambda snapshot: [((), value(snapshot))]


def each(items: Callable[[Snapshot], Iterable[T]], rows: Callable[[T], Iterable[Row]]) -> Rows:
    """The rows of each of ``items``; one whose rows cannot be made does not affect the others."""

    def of_all(snapshot: Snapshot) -> Iterator[Row | FailedRow]:
        for item in items(snapshot):
            try:
                yield from rows(item)
            except Exception as err:  # noqa: BLE001, PERF203 - whatever is wrong with it, the others are exported
                yield FailedRow(_text(err))

    return of_all


class Family(NamedTuple):
    """One metric: its name without prefix, help, labels after `MACHINE`, and how its samples come from a snapshot."""

    name: str
    help: str
    labels: tuple[str, ...]
    rows: Rows

    def metric(self, snapshot: Snapshot) -> tuple[MetricFamily | None, str]:
        """The family with its samples, None when nothing is known; and why some of them could not be made."""
        name, names = PREFIX + self.name, (MACHINE, *self.labels)
        known, error = [], ""
        try:
            for row in self.rows(snapshot):
                if isinstance(row, FailedRow):
                    error = row.error
                elif row[1] is not None:
                    try:
                        labels = dict(zip(names, (snapshot.machine, *row[0]), strict=True))
                        known.append(Sample(name, labels, float(row[1])))
                    except Exception as err:  # noqa: BLE001 - the other rows are exported
                        error = _text(err)
        except Exception as err:  # noqa: BLE001 - whatever is wrong with this metric, the others are exported
            error = _text(err)
        if not known:
            return None, error
        kind = "counter" if name.endswith("_total") else "gauge"
        return MetricFamily(name.removesuffix("_total"), self.help, kind, known), error


class SubjectCollector:
    """All families of one subject, each series with the machine's name. Nothing before the first snapshot.

    Attributes:
        problem: why some samples are missing from the last collection; empty when none is.
    """

    def __init__(self, families: Sequence[Family], snapshot: Callable[[], Snapshot | None]) -> None:
        self.problem = ""
        self._families = families
        self._snapshot = snapshot

    def collect(self) -> Iterator[MetricFamily]:
        """The families that have a sample."""
        snapshot, self.problem = self._snapshot(), ""
        if snapshot is None:
            return
        for family in self._families:
            metric, error = family.metric(snapshot)
            if error:
                self.problem = f"{PREFIX}{family.name}: {error}"
            if metric is not None:
                yield metric


def _text(err: Exception) -> str:
    return f"{type(err).__name__}: {err}"
