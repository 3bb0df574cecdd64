"""One request and its whole response, under one deadline and one bound of size."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.client import HTTPException, HTTPResponse, IncompleteRead, LineTooLong, RemoteDisconnected
from typing import cast
from urllib.parse import urljoin

from epochcost.http_client.bounded_reads import BoundedReads
from epochcost.http_client.dial import connected, proxy_for, why, write
from epochcost.http_client.exchange_errors import (
    BrokenOffError,
    ConnectError,
    DeadlineError,
    ExchangeError,
    TooLongError,
)
from epochcost.http_client.http_request import Bounds, Request, Target, block_of, target_of

OK = 200
_PIECE_BYTES = 65536
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response, whatever its status; the names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class Stream:
    """A response whose body is still to come.

    Attributes:
        status: of the response.
        headers: names in lower case; of several with one name the last.
    """

    def __init__(self, response: HTTPResponse, reads: BoundedReads, max_bytes: int) -> None:
        self._response = response
        self._reads = reads
        self._max_bytes = max_bytes
        self.status = response.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.getheaders()}

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes, to its end.

        Raises:
            ExchangeError: when it does not come whole, in time, and within its bound.
        """
        size = 0
        with _faults():
            announced = self._response.length
            if announced is not None and announced > self._max_bytes:
                raise TooLongError(f"the response is longer than {self._max_bytes} bytes")
            while piece := self._response.read(_PIECE_BYTES):
                size += len(piece)
                if size > self._max_bytes:
                    raise TooLongError(f"the response is longer than {self._max_bytes} bytes")
                yield piece
            if announced is not None and size < announced:
                raise BrokenOffError(f"the response was cut off after {size} of {announced} bytes")

    def body(self) -> bytes:
        """All of it; raises as `pieces` does."""
        return b"".join(self.pieces())


def ask(request: Request, bounds: Bounds, tls: ssl.SSLContext | None = None) -> Answer:
    """The whole response, whatever its status.

    Args:
        request: to send.
        bounds: for all of it.
        tls: which certificates are trusted; None for the system's.

    Raises:
        ExchangeError: one of its kinds, without a secret in its text.
    """
    with open_stream(request, bounds, tls) as stream:
        return Answer(stream.status, stream.headers, stream.body())


@contextlib.contextmanager
def open_stream(request: Request, bounds: Bounds, tls: ssl.SSLContext | None = None) -> Iterator[Stream]:
    """The response with its body still to be read, as `ask`; the connection ends with the block."""
    for hop in range(request.same_host_redirects + 1):
        target = target_of(request.url)
        with contextlib.ExitStack() as opened:
            stream = _begun(request, target, bounds, tls, opened)
            following = _same_host(request, target, stream) if hop < request.same_host_redirects else ""
            if not following:
                yield stream
                return
            request = replace(request, url=following)


def _begun(
    request: Request, target: Target, bounds: Bounds, tls: ssl.SSLContext | None, opened: contextlib.ExitStack
) -> Stream:
    with _faults():
        proxy = proxy_for(target) if request.by_proxy else None
        extra = {"Proxy-Authorization": proxy.authorization} if proxy and proxy.authorization else {}
        plainly = proxy is not None and target.scheme == "http"
        request_target = f"http://{target.authority}{target.path}" if plainly else target.path
        block = block_of(request, target, request_target, extra if plainly else {})
        sock = opened.enter_context(connected(target, proxy, tls, bounds))
        write(sock, block, bounds)
        reads = BoundedReads(sock, bounds)
        # HTTPResponse needs of its socket only that it can make a file.
        response = HTTPResponse(cast("socket.socket", reads), method=request.method)
        opened.callback(response.close)
        response.begin()
        reads.begin_body()
        return Stream(response, reads, bounds.max_bytes)


def _same_host(request: Request, target: Target, stream: Stream) -> str:
    """The URL that a redirect leads to, empty if it is none or leads to another host."""
    if stream.status not in _REDIRECTS or request.method not in ("GET", "HEAD"):
        return ""
    location = stream.headers.get("location", "")
    if not location or not location.isprintable():
        return ""
    try:
        following = urljoin(request.url, location)
        return following if target_of(following).origin == target.origin else ""
    except (ValueError, ExchangeError):
        return ""


@contextlib.contextmanager
def _faults() -> Iterator[None]:
    """Every network error as one of ours."""
    try:
        yield
    except ExchangeError:
        raise
    except TimeoutError:
        raise DeadlineError("no complete response in time") from None
    except IncompleteRead as err:
        raise BrokenOffError(f"the response was cut off after {len(err.partial)} bytes of a chunk") from None
    except LineTooLong:
        raise TooLongError("a line of the response headers is too long") from None
    except ssl.SSLError as err:  # a server that requires a certificate reports it only after the request
        if not err.reason:
            raise BrokenOffError("the TLS connection was cut off") from None
        raise ConnectError(f"TLS failed: {err.reason}", err.reason) from None
    except RemoteDisconnected:
        raise BrokenOffError("the connection was closed without a response") from None
    except OSError as err:
        raise BrokenOffError(why(err)) from None
    except (HTTPException, ValueError, OverflowError, MemoryError) as err:  # their texts repeat what came
        raise BrokenOffError(f"the response is not HTTP ({type(err).__name__})") from None
