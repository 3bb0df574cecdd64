"""What can go wrong between a request and its whole response."""

from __future__ import annotations

from epochcost.shown_text import one_line


class ExchangeError(Exception):
    """No usable response. The text is one printable line of bounded length, without a URL, a header or a secret."""

    def __init__(self, reason: str) -> None:
        super().__init__(one_line(reason))


class InvalidRequestError(ExchangeError):
    """The request cannot be sent as it is: no http(s) URL, or characters that HTTP does not allow."""


class ConnectError(ExchangeError):
    """No connection: the name is unknown, the port closed, the certificate wrong, the proxy unwilling.

    Attributes:
        tls: what OpenSSL calls the fault, where TLS failed; else empty.
        refused: nothing listens there.
    """

    def __init__(self, reason: str, tls: str = "", *, refused: bool = False) -> None:
        super().__init__(reason)
        self.tls = tls
        self.refused = refused


class DeadlineError(ExchangeError):
    """The whole response was not there in time."""


class TooLongError(ExchangeError):
    """The response, or its head, is longer than its bound."""


class BrokenOffError(ExchangeError):
    """The connection ended in the middle of the response, or the response is not HTTP."""
