"""The only client for third-party HTTP servers: bounded in time and size as a whole, without redirects elsewhere.

Example::

    answer = ask(Request("https://prices.example/v1/price"), Bounds.within(5.0, max_bytes=1 << 20))

or, for a response that is too long for memory, piece by piece::

    with open_stream(request, bounds) as stream:
        for piece in stream.pieces():
            ...
"""

from __future__ import annotations

from epochcost.http_client.exchange_errors import (
    BrokenOffError,
    ConnectError,
    DeadlineError,
    ExchangeError,
    InvalidRequestError,
    TooLongError,
)
from epochcost.http_client.http_date import http_date
from epochcost.http_client.http_exchange import OK, Answer, Stream, ask, open_stream
from epochcost.http_client.http_request import Bounds, Request, host_of, place_of
from epochcost.http_client.tls_contexts import client_tls

__all__ = [
    "OK",
    "Answer",
    "Bounds",
    "BrokenOffError",
    "ConnectError",
    "DeadlineError",
    "ExchangeError",
    "InvalidRequestError",
    "Request",
    "Stream",
    "TooLongError",
    "ask",
    "client_tls",
    "host_of",
    "http_date",
    "open_stream",
    "place_of",
]
