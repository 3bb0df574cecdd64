"""``/metrics`` in the format that the scraper accepts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from epochcost.metric_families import Collects
from epochcost.serve.exposition import Collected, OutOfTheOrdinaryError, written
from epochcost.serve.messages import Request, Response, Route

PLAIN = "text/plain; version=0.0.4; charset=utf-8"


OPEN_METRICS = "application/openmetrics-text"
ESCAPED = ("dots", "values")
"""Ways to write names beside ``underscores``, and ``allow-utf-8`` which leaves an ordinary name alone as that does."""
Version: TypeAlias = "tuple[int | str, ...]"


@dataclass(frozen=True, slots=True)
class Format:
    """The format that a scraper accepts.

    Attributes:
        content_type: of the response.
        open_metrics: OpenMetrics, else Prometheus's own text.
        escaped: names are requested in an escaping that only prometheus_client writes.
    """

    content_type: str
    open_metrics: bool = False
    escaped: bool = False


def metrics_route(registry: Collects) -> Route:
    """A route that writes ``registry`` as text 0.0.4, text 1.0.0 or OpenMetrics, by the Accept header."""

    def metrics(request: Request) -> Response:
        """For Prometheus: text 0.0.4, text 1.0.0 or OpenMetrics, by the header ``Accept``; gzip."""
        accept = request.headers.get("accept", "")
        form, collected = format_of(accept), tuple(registry.collect())
        if not form.escaped:
            try:
                return Response(200, written(collected, open_metrics=form.open_metrics), form.content_type)
            except OutOfTheOrdinaryError:
                pass
        return Response(200, _by_the_library(accept, Collected(collected)), form.content_type)

    return metrics


def format_of(accept: str) -> Format:
    """What ``choose_encoder`` of prometheus_client takes an Accept header for."""
    try:
        return next((form for one in accept.split(",") if (form := _format_of_one(one.split(";")))), Format(PLAIN))
    except TypeError:  # not a version: the format that every scraper reads
        return Format(PLAIN)


def _format_of_one(tokens: Sequence[str]) -> Format | None:
    kind, version, escaping = tokens[0].strip(), _value(tokens, "version"), _value(tokens, "escaping")
    escaping = escaping if escaping in (*ESCAPED, "allow-utf-8") else "underscores"
    if kind == OPEN_METRICS and not version:
        return Format(f"{OPEN_METRICS}; version=1.0.0; charset=utf-8", open_metrics=True)
    if kind not in (OPEN_METRICS, "text/plain") or not version or _parts(version) < (1, 0, 0):
        return None
    announced = version if kind == OPEN_METRICS else "1.0.0"
    content_type = f"{kind}; version={announced}; charset=utf-8; escaping={escaping}"
    return Format(content_type, open_metrics=kind == OPEN_METRICS, escaped=escaping in ESCAPED)


def _value(tokens: Sequence[str], key: str) -> str:
    pairs = (token.strip().split("=", 1) for token in tokens if "=" in token)
    return next((value for name, value in pairs if name == key), "")


def _parts(version: str) -> Version:
    parts: list[int | str] = []
    for part in version.split("."):
        try:
            parts.append(int(part))
        except ValueError:  # noqa: PERF203 - two or three of them
            parts.append(part)
    return tuple(parts)


def _by_the_library(accept: str, collected: Collected) -> bytes:
    from prometheus_client.exposition import choose_encoder, generate_latest

    try:
        encode, _ = choose_encoder(accept)
    except (ValueError, TypeError):
        encode = generate_latest
    return encode(collected)
