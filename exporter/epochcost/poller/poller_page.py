"""The poller's landing page: where things are, and how each source fares."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from html import escape

from epochcost._version import __version__
from epochcost.poller.snapshot import PollerSnapshot, SourceHealth
from epochcost.prices.price_source import summary
from epochcost.serve import Request, Response, Route, html

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>epochcost prices</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem }}
:root {{ color-scheme: light dark }}
table {{ border-collapse: collapse }} td, th {{ text-align: left; padding: .2rem 1rem .2rem 0; vertical-align: top }}
</style></head><body><h1>epochcost prices</h1>
<p>Version {version}. <a href="/metrics">Metrics</a> · <a href="/-/ready">Ready</a> · prices of one machine at
<code>/v1/price?provider=&amp;region=&amp;zone=&amp;instance_type=&amp;purchase_option=</code></p>
<table><tr><th>Source</th><th>State</th><th>Prices</th><th>Last full response (UTC)</th></tr>
{rows}</table></body></html>
"""


def landing_route(snapshot: Callable[[], PollerSnapshot]) -> Route:
    """The page, rebuilt for each request."""

    def landing(request: Request) -> Response:  # noqa: ARG001 - a route takes the request
        """Sources and prices, for people."""
        rows = "".join(_row(name, health) for name, health in snapshot().sources.items())
        return html(200, _PAGE.format(version=escape(__version__), rows=rows).encode())

    return landing


def _row(name: str, health: SourceHealth) -> str:
    state = health.sentence or ("responding" if health.success else "not polled yet")
    state = "; ".join(filter(None, (state, health.held_sentence, summary(health.unpriced_sentences))))
    if health.unknown:
        state += f"; kinds of prices that are not known here: {', '.join(health.unknown)}"
    last = "never"
    if health.last_success_ts is not None:
        last = f"{datetime.fromtimestamp(health.last_success_ts, timezone.utc):%Y-%m-%d %H:%M:%S}"
    cells = "".join(f"<td>{escape(cell)}</td>" for cell in (name, state, str(health.prices), last))
    return f"<tr>{cells}</tr>\n"
