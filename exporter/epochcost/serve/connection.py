"""One client's connection: each request gets its response in one write, all of it under deadlines."""

from __future__ import annotations

import logging
import math
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from epochcost.serve.addressed import misdirected
from epochcost.serve.messages import (
    MAX_HEAD_BYTES,
    BadRequestError,
    Gate,
    Head,
    Request,
    Response,
    parse_head,
    render,
    text,
)
from epochcost.serve.places import RESERVED
from epochcost.serve.policy import Policy

log = logging.getLogger("epochcost.serve")
_CHUNK = 16 * 1024
_TLS_HANDSHAKE = b"\x16"
_LINGER_SECONDS = 1.0
MAX_SENT_AHEAD = 32
"""Requests per connection: after that many a client needs a new one, which has to be admitted."""
GRACE_SECONDS = 5.0
LEAST_BYTES_PER_SECOND = 4096.0
"""Of a body, once the grace is over."""
LEAST_SENT_PER_SECOND = 65536.0
"""The same for a response; what the system's buffers hold counts as sent."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may take.

    Attributes:
        connections: at once.
        reserved: more of them, for this machine and for authenticated clients.
        request_seconds: from the first byte of a request (or a TLS handshake) to its last.
        idle_seconds: without a request on an open connection; above the usual scrape intervals.
        send_seconds: for the whole of a response.
        body_bytes: of a request.
        shed_paths: requested by many clients in one instant: while all places are taken, requests that have waited for
            long are asked to retry, so that later clients with other requests are served.
    """

    connections: int = 64
    reserved: int = RESERVED
    request_seconds: float = 10.0
    idle_seconds: float = 130.0
    send_seconds: float = 30.0
    body_bytes: int = 1024 * 1024
    shed_paths: tuple[str, ...] = ()


class Service(NamedTuple):
    """What a server does with the requests of one client.

    Attributes:
        admit: what keeps a client out, called before the body is read; returns None for nothing. Never raises.
        answer: returns the response to a whole request; never raises.
        policy: TLS, users and headers as they are now.
    """

    admit: Gate
    answer: Callable[[Request], Response]
    policy: Callable[[], Policy]


class Connection:
    """A connected socket and what is read from it.

    Args:
        sock: owned from here on, closed by `run`.
        service: what responds to it.
        limits: see `Limits`.
        stopping: once set, the request under way is the last.
    """

    def __init__(self, sock: socket.socket, service: Service, limits: Limits, stopping: threading.Event) -> None:
        self.since: float | None = time.monotonic()
        """When the client began what it is at; None while the server works for it."""
        self.proved = False
        self._sock = sock
        self._admit, self._answer, self._policy = service
        self._limits = limits
        self._stopping = stopping
        self._buffer = bytearray()
        self._sent_ahead = 0
        """Requests in a row behind which the next one was waiting already."""
        self._local = str(sock.getsockname()[0]) if sock.family in (socket.AF_INET, socket.AF_INET6) else ""

    def run(self) -> None:
        """Serve until either side ends it; closes the socket."""
        try:
            if self._secured():
                while self._exchange() and not self._stopping.is_set():
                    self.since = time.monotonic()
        except (OSError, ValueError) as err:
            # A client that goes away, or does not speak TLS, is not our fault: ssl raises ValueError for a dead socket.
            log.debug("connection ended: %s", err)
        finally:
            self.since = None
            self._sock.close()

    def cut(self) -> None:
        """End the connection from another thread; `run` then returns."""
        try:
            # The plain shutdown: that of an SSLSocket would first turn it into an unencrypted one.
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
        except OSError as err:
            log.debug("connection was already gone: %s", err)

    def _secured(self) -> bool:
        """Do the TLS handshake if TLS is configured; False when the connection is to end."""
        policy = self._policy()
        if policy.tls is None:
            return True
        self._sock.settimeout(self._limits.request_seconds)
        first = self._sock.recv(1, socket.MSG_PEEK)
        if first != _TLS_HANDSHAKE:
            self._refuse(BadRequestError(400, "this port speaks HTTPS")) if first else None
            return False
        self._sock = policy.tls.wrap_socket(self._sock, server_side=True, do_handshake_on_connect=False)
        self._sock.do_handshake()
        certificate = self._sock.getpeercert()
        if policy.allows_peer(certificate):
            self.proved = bool(certificate)
            return True
        self._refuse(BadRequestError(403, "the client certificate does not name an allowed client"))
        return False

    def _exchange(self) -> bool:
        """One request and its response; False when the connection is to end."""
        head: Head | None = None
        try:
            raw = self._read_head()
            if raw is None:
                return False
            began = self.since or time.monotonic()
            head = parse_head(raw)
            self.since = None
            refusal = misdirected(head.request, self._local) or self._admit(head.request)
            self.since = began
            if refusal is not None and head.content_length:  # a stranger's body takes no memory
                self._end_with(refusal, head)
                return False
            request = self._with_body(head)
        except BadRequestError as err:
            self._refuse(err, head)
            return False
        except TimeoutError:
            self._refuse(BadRequestError(408, f"no complete request within {self._limits.request_seconds:g} s"), head)
            return False
        self.since = None
        response = refusal or self._answer(request)
        self.since = began
        self._sent_ahead = self._sent_ahead + 1 if self._buffer else 0
        keep_alive = head.keep_alive and not self._stopping.is_set() and self._sent_ahead < MAX_SENT_AHEAD
        self._send(response, head, keep_alive=keep_alive)
        return keep_alive

    def _read_head(self) -> bytes | None:
        """All bytes before the empty line; None when the client has no further request."""
        deadline: float | None = time.monotonic() + self._limits.request_seconds if self._buffer else None
        while True:
            while self._buffer.startswith(b"\r\n"):  # some clients end a body with an uncounted line end
                del self._buffer[:2]
            end = self._buffer.find(b"\r\n\r\n")
            if (end if end >= 0 else len(self._buffer)) > MAX_HEAD_BYTES:
                raise BadRequestError(431, f"request line and headers are longer than {MAX_HEAD_BYTES} bytes")
            if end >= 0:
                raw = bytes(self._buffer[:end])
                del self._buffer[: end + 4]
                return raw
            if deadline is None:
                if not self._await_first():
                    return None
                self.since = time.monotonic()
                deadline = self.since + self._limits.request_seconds
            elif not self._receive(deadline):
                return None

    def _await_first(self) -> bool:
        try:
            return self._receive(time.monotonic() + self._limits.idle_seconds)
        except TimeoutError:
            return False

    def _receive(self, deadline: float) -> bool:
        """Take what has come; False at the end of the stream.

        Raises:
            TimeoutError: when nothing comes until ``deadline`` (monotonic seconds).
        """
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        chunk = self._sock.recv(_CHUNK)
        self._buffer += chunk
        return bool(chunk)

    def _with_body(self, head: Head) -> Request:
        length = head.content_length
        if length > self._limits.body_bytes:
            raise BadRequestError(413, f"the body is longer than {self._limits.body_bytes} bytes")
        if length == 0:
            return head.request
        if head.request.headers.get("expect", "").lower() == "100-continue":
            self._sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        began = time.monotonic()
        while len(self._buffer) < length:
            # In time as a whole, and all along at a rate: or many that dribble would hold every place to the end of it.
            in_time = began + GRACE_SECONDS + len(self._buffer) / LEAST_BYTES_PER_SECOND
            if not self._receive(min(began + self._limits.request_seconds, in_time)):
                raise BadRequestError(400, "the body ended early")
        body = bytes(self._buffer[:length])
        del self._buffer[:length]
        request = head.request
        return replace(request, body=body)

    def _send(self, response: Response, head: Head | None, *, keep_alive: bool) -> None:
        extra = self._policy().headers
        try:
            block = render(response, head, extra, keep_alive=keep_alive)
        except ValueError:
            log.exception("the response to %s cannot be sent", head.request.path if head else "a bad request")
            block = render(text(500, "internal error; see the log"), head, extra, keep_alive=keep_alive)
        self._send_all(block)

    def _send_all(self, block: bytes) -> None:
        """In time as a whole, and all along at a rate. One write, where the system takes it in one."""
        began, view, sent = time.monotonic(), memoryview(block), 0
        while sent < len(block):
            in_time = began + GRACE_SECONDS + sent / LEAST_SENT_PER_SECOND
            left = min(began + self._limits.send_seconds, in_time) - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._sock.settimeout(left)
            sent += self._sock.send(view[sent:])

    def _refuse(self, err: BadRequestError, head: Head | None = None) -> None:
        self._end_with(text(err.status, str(err)), head)

    def _end_with(self, response: Response, head: Head | None) -> None:
        """Respond and end. What the client still sends is drained for a moment, or a reset would lose the response."""
        self.since = -math.inf  # it has its response: of all connections the first that may be closed
        self._send(response, head, keep_alive=False)
        socket.socket.shutdown(self._sock, socket.SHUT_WR)
        deadline = time.monotonic() + _LINGER_SECONDS
        try:
            while self._receive(deadline):
                self._buffer.clear()
        except TimeoutError:
            return
