"""Metrics as text, several times as fast as prometheus_client writes them, and byte for byte the same.

That one checks and escapes every name and label letter by letter at each scrape; here a label that was written is kept.
Whatever is out of the ordinary (an exemplar, a time of its own, a name to be escaped) is left to prometheus_client.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import Metric

KEPT_PAIRS = 8192
"""Labels with their values: the same region or machine type is in many series of a price poller."""
KEPT_SERIES = 2048
"""All labels of a series: those of an agent are the same at each scrape, but for their values."""
GO_WRITES_AS_PYTHON_BELOW = 1e6
GO_WRITES_DIGITS = 6
"""Before the point; a number that has more of them is written with an exponent."""
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_SUFFIXES = {"counter": ("_total",), "gauge": ("",), "summary": ("_count", "_sum")}
"""Of the samples, by kind, that both formats write in the order in which they come."""
_NOTHING_MORE = ((None, None, None), (None, None))
"""Neither time nor exemplar nor, since prometheus_client 0.22, a native histogram."""
_TEXTS = "_epochcost_texts"
"""Attribute of a settled family: its text in either format."""


class OutOfTheOrdinaryError(Exception):
    """There is something that only prometheus_client is to write."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What is left of a registry, for an encoder, once it was collected."""

    metrics: Sequence[Metric]

    def collect(self) -> Sequence[Metric]:
        """All of it."""
        return self.metrics


def settled(metric: Metric) -> Metric:
    """``metric``, with samples that no longer change: once written, its text is kept with it."""
    setattr(metric, _TEXTS, {})
    return metric


def write_ahead(metrics: Iterable[Metric]) -> None:
    """Write settled ``metrics`` in both formats now, so that no scrape has to."""
    for metric in metrics:
        try:
            for open_metrics in (False, True):
                _kept_family(metric, open_metrics=open_metrics)
        except OutOfTheOrdinaryError:  # noqa: PERF203 - prometheus_client writes it at each scrape, and the others
            continue


def written(metrics: Sequence[Metric], *, open_metrics: bool) -> bytes:
    """``metrics`` as text.

    Raises:
        OutOfTheOrdinaryError: when only prometheus_client can write them.
    """
    parts = [_kept_family(metric, open_metrics=open_metrics) for metric in metrics]
    return b"".join((*parts, b"# EOF\n" if open_metrics else b""))


def _kept_family(metric: Metric, *, open_metrics: bool) -> bytes:
    texts: dict[bool, bytes] | None = getattr(metric, _TEXTS, None)
    if texts is None:
        return _family(metric, open_metrics=open_metrics)
    if open_metrics not in texts:
        texts[open_metrics] = _family(metric, open_metrics=open_metrics)
    return texts[open_metrics]


def _family(metric: Metric, *, open_metrics: bool) -> bytes:
    parts = [_head(metric, open_metrics=open_metrics)]
    names = {metric.name + suffix for suffix in _SUFFIXES.get(metric.type, ())}
    for sample in metric.samples:
        name, labels, value = sample[:3]
        if name not in names or sample[3:] not in _NOTHING_MORE:
            raise OutOfTheOrdinaryError
        plain = type(value) is float and -math.inf < value < GO_WRITES_AS_PYTHON_BELOW
        parts.append(f"{_series(name, labels)} {repr(value) if plain else _number(value)}\n")
    return "".join(parts).encode()


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


def _series(name: str, labels: Mapping[str, str]) -> str:
    return f"{name}{_labels(tuple(labels.items()))}" if labels else name


@functools.lru_cache(KEPT_SERIES)
def _labels(pairs: tuple[tuple[str, str], ...]) -> str:
    return f"{{{','.join([_pair(label, value) for label, value in sorted(pairs)])}}}"


@functools.lru_cache(KEPT_PAIRS)
def _pair(label: str, value: str) -> str:
    if not _NAME.fullmatch(label):
        raise OutOfTheOrdinaryError
    escaped = value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return f'{label}="{escaped}"'


def _number(value: float) -> str:
    """``value`` as Go writes it, which changes to exponents sooner than Python."""
    number = float(value)
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "+Inf" if number > 0 else "-Inf"
    text = repr(number)
    point = text.find(".")
    if number > 0 and point > GO_WRITES_DIGITS:
        mantissa = f"{text[0]}.{text[1:point]}{text[point + 1 :]}".rstrip("0.")
        return f"{mantissa}e+{point - 1:02d}"
    return text
