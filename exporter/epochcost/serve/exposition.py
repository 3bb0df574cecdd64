"""Metrics as text, several times as fast as prometheus_client writes them, and byte for byte the same.

That one checks and escapes every name and label letter by letter at each scrape; here what was written once is kept.
Whatever is out of the ordinary (an exemplar, a time of its own, a name to be escaped) is left to prometheus_client.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric

Encoder: TypeAlias = "Callable[[CollectorRegistry], bytes]"
Series: TypeAlias = tuple[str, ...]
"""Name, names of labels, and their values, of a sample."""

KEPT_SERIES = 5000
"""A node has hundreds; of a registry that has more, the rest is written anew each time."""
GO_WRITES_AS_PYTHON_BELOW = 1e6
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_SUFFIXES = {"counter": ("_total",), "gauge": ("",), "summary": ("_count", "_sum")}
"""Of the samples, by kind, that both formats write in the order in which they come."""
_NOTHING_MORE = ((None, None, None), (None, None))
"""Neither time nor exemplar nor, since prometheus_client 0.22, a native histogram."""
_AS_THEY_ARE = ("underscores", "allow-utf-8")
"""Ways to escape names that leave an ordinary one alone."""


class OutOfTheOrdinaryError(Exception):
    """There is something that only prometheus_client is to write."""


@dataclass(frozen=True, slots=True)
class _Collected:
    """What is left of a registry, for an encoder, once it was collected."""

    metrics: Sequence[Metric]

    def collect(self) -> Sequence[Metric]:
        return self.metrics


class Writer:
    """Writes one registry, for any number of threads at once."""

    def __init__(self) -> None:
        self._kept: dict[Series, str] = {}

    def write(self, registry: CollectorRegistry, encode: Encoder) -> bytes:
        """What ``encode``, one of prometheus_client's encoders, makes of ``registry``. It is collected once."""
        collected = _Collected(tuple(registry.collect()))
        if getattr(encode, "keywords", {}).get("escaping", _AS_THEY_ARE[0]) in _AS_THEY_ARE:
            try:
                return self._written(collected.metrics, open_metrics="openmetrics" in _module(encode))
            except OutOfTheOrdinaryError:
                pass
        return encode(collected)  # type: ignore[arg-type] # an encoder asks for nothing but `collect`

    def _written(self, metrics: Sequence[Metric], *, open_metrics: bool) -> bytes:
        parts: list[str] = []
        before = self._kept
        kept: dict[Series, str] = {}
        for metric in metrics:
            parts.append(_head(metric, open_metrics=open_metrics))
            names = {metric.name + suffix for suffix in _SUFFIXES.get(metric.type, ())}
            for sample in metric.samples:
                name, labels, value = sample[:3]
                if name not in names or sample[3:] not in _NOTHING_MORE:
                    raise OutOfTheOrdinaryError
                series = (name, *labels, *labels.values())
                start = before.get(series) or _start(name, labels)
                if len(kept) < KEPT_SERIES:
                    kept[series] = start
                plain = type(value) is float and -math.inf < value < GO_WRITES_AS_PYTHON_BELOW
                parts.append(f"{start}{repr(value) if plain else _number(value)}\n")
        self._kept = kept
        return ("".join(parts) + ("# EOF\n" if open_metrics else "")).encode()


def _module(encode: Encoder) -> str:
    return str(getattr(encode, "func", encode).__module__)


def _head(metric: Metric, *, open_metrics: bool) -> str:
    """The lines before the samples of a family."""
    name, text = metric.name, metric.documentation.replace("\\", r"\\").replace("\n", r"\n")
    if not _NAME.fullmatch(name):
        raise OutOfTheOrdinaryError
    if not open_metrics:
        name += "_total" if metric.type == "counter" else ""
        return f"# HELP {name} {text}\n# TYPE {name} {metric.type}\n"
    quoted = text.replace('"', r"\"")
    unit = f"# UNIT {name} {metric.unit}\n" if metric.unit else ""
    return f"# HELP {name} {quoted}\n# TYPE {name} {metric.type}\n{unit}"


def _start(name: str, labels: Mapping[str, str]) -> str:
    """A sample's line as far as its value."""
    if not all(map(_NAME.fullmatch, (name, *labels))):
        raise OutOfTheOrdinaryError
    pairs = ",".join(f'{label}="{_escaped(value)}"' for label, value in sorted(labels.items()))
    return f"{name}{{{pairs}}} " if pairs else f"{name} "


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    """``value`` as Go writes it."""
    from prometheus_client.utils import floatToGoString

    return str(floatToGoString(value))  # type: ignore[no-untyped-call]
