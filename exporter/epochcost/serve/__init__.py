"""The one HTTP server of agent and price poller: bounded, with TLS and basic auth from a ``web.config.yml``.

Example::

    server = Server(("127.0.0.1", 10835), {"/metrics": metrics_route(registry)}, web_config="", ready=lambda: None)
    server.start()
    ...
    server.stop()
"""

from __future__ import annotations

from epochcost.serve.connection import Limits
from epochcost.serve.messages import Gate, Request, Response, Route, html, json_response, text
from epochcost.serve.metrics import metrics_route
from epochcost.serve.policy import WebConfigError
from epochcost.serve.server import PostRoutes, Server

__all__ = [
    "Gate",
    "Limits",
    "PostRoutes",
    "Request",
    "Response",
    "Route",
    "Server",
    "WebConfigError",
    "html",
    "json_response",
    "metrics_route",
    "text",
]
