"""How a metric is described once: its name, its help, its labels, and where its samples come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.samples import Sample

PREFIX = "epochcost_"
MACHINE = "epochcost_machine"
"""Label of every series, first: whose it is, whatever target labels a scrape configuration makes (none makes this)."""
Value = float | int | bool | None
Row = tuple[Sequence[str], Value]
"""Label values, and the value of the sample; None is not exported."""


class Family(NamedTuple):
    """One metric: its name without prefix, help, labels after `MACHINE`, and how its samples come from a subject."""

    name: str
    help: str
    labels: tuple[str, ...]
    rows: Callable[..., Iterable[Row]]

    def metric(self, rows: Iterable[Row], machine: str) -> Metric | None:
        """The family with its samples, None when nothing is known."""
        name, names = PREFIX + self.name, (MACHINE, *self.labels)
        # Not by `add_metric`: this is most of what a scrape takes.
        known = [
            Sample(name, dict(zip(names, (machine, *labels), strict=True)), float(value))
            for labels, value in rows
            if value is not None
        ]
        if not known:
            return None
        kind = CounterMetricFamily if self.name.endswith("_total") else GaugeMetricFamily
        metric = kind(name, self.help, labels=names)
        metric.samples = known
        return metric


def one(value: Value) -> list[Row]:
    """The only sample of a metric without labels."""
    return [((), value)]


class SubjectCollector:
    """All families of one subject of the snapshot, each series with the machine's name."""

    def __init__(
        self, families: Sequence[Family], rows: Callable[[Family], Iterable[Row]], machine: Callable[[], str]
    ) -> None:
        self._families = families
        self._rows = rows
        self._machine = machine

    def collect(self) -> Iterator[Metric]:
        """The families that have a sample."""
        machine = self._machine()
        for family in self._families:
            metric = family.metric(self._rows(family), machine)
            if metric is not None:
                yield metric
