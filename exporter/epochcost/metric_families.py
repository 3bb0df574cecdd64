"""Metric families as an agent makes them: what prometheus_client would take for its own, without loading it.

That library brings an HTTP server, a client and OpenSSL along: 7 MiB of which an agent needs nothing. A price poller,
which has them anyway, uses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol


class Sample(NamedTuple):
    """One line of a family. What comes after the value is never set here: the writers of text look at it."""

    name: str
    labels: Mapping[str, str]
    value: float
    timestamp: None = None
    exemplar: None = None
    native_histogram: None = None


class MetricFamily:
    """A gauge, counter or summary with its samples. A counter's own name ends before ``_total``."""

    __slots__ = ("documentation", "name", "samples", "type", "unit")

    def __init__(self, name: str, documentation: str, kind: str, samples: list[Sample]) -> None:
        self.name = name
        self.documentation = documentation
        self.type = kind
        self.unit = ""
        self.samples = samples


class Collects(Protocol):
    """What prometheus_client calls a collector, and what it calls a registry."""

    def collect(self) -> Iterable[Any]:
        """The families now: `MetricFamily`, or prometheus_client's own."""
        ...


class Together:
    """Several collectors as one: what prometheus_client has a registry for."""

    def __init__(self, collectors: Sequence[Collects]) -> None:
        self._collectors = collectors

    def collect(self) -> Iterable[Any]:
        """The families of all, in their order."""
        return [family for collector in self._collectors for family in collector.collect()]
