"""``/metrics`` in the format that the scraper asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from epochcost.serve.exposition import write
from epochcost.serve.messages import Request, Response, Route

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

PLAIN = "text/plain; version=0.0.4; charset=utf-8"


def metrics_route(registry: CollectorRegistry) -> Route:
    """A route that writes ``registry`` as text 0.0.4, text 1.0.0 or OpenMetrics, by the Accept header."""
    from prometheus_client.exposition import choose_encoder, generate_latest

    def metrics(request: Request) -> Response:
        """For Prometheus: text 0.0.4, text 1.0.0 or OpenMetrics, by the header ``Accept``; gzip."""
        try:
            encode, content_type = choose_encoder(request.headers.get("accept", ""))
        except (ValueError, TypeError):  # a version that is no version: the format that every scraper reads
            encode, content_type = generate_latest, PLAIN
        return Response(200, write(registry, encode), content_type)

    return metrics
