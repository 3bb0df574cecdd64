"""One HTTP exchange with a service that may be anybody: bounded in time and size, never redirected, never by a proxy.

A metadata service lies on an address that any network can take, so nothing it does may hold up, fill or mislead the
agent. ``urllib`` would follow redirects and bound each read but not all of them together; this bounds the whole.
"""

from __future__ import annotations

import io
import json
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Any, cast
from urllib.parse import urlsplit

from epochcost.nodes.node_source import NodeError

MAX_ANSWER_BYTES = 256 * 1024
OK = 200
NOT_FOUND = 404


class MetadataError(NodeError):
    """A service did not answer, or not as documented; the text says which, what was asked and what came back."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status, the headers (names in lower case), and the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Service:
    """One HTTP service, asked without proxies and without following redirects.

    Attributes:
        name: how errors call it.
        url: ``http://HOST[:PORT]`` or ``https://...``, without a path.
        tls: needed for https.
        max_bytes: of a whole answer.
    """

    name: str
    url: str
    tls: ssl.SSLContext | None = None
    max_bytes: int = MAX_ANSWER_BYTES

    def ask(self, path: str, headers: Mapping[str, str], deadline: float, method: str = "GET") -> Answer:
        """The answer, whatever its status; ``deadline`` by the monotonic clock.

        Raises:
            MetadataError: without a whole answer until then, or with one that is too long or no HTTP.
        """
        try:
            return self._ask(path, headers, deadline, method)
        except (OSError, HTTPException, ValueError) as err:
            raise MetadataError(f"{self.name}: {method} {path}: {_reason(err)}") from None

    def text(self, path: str, headers: Mapping[str, str], deadline: float) -> str:
        """The body of a 200 as text.

        Raises:
            MetadataError: for any other status, or bytes that are no UTF-8.
        """
        answer = self.ask(path, headers, deadline)
        if answer.status != OK:
            raise MetadataError(f"{self.name}: GET {path}: HTTP {answer.status}")
        return self.decoded(answer, path)

    def document(self, path: str, headers: Mapping[str, str], deadline: float) -> Mapping[str, Any]:
        """The body of a 200 as a JSON object.

        Raises:
            MetadataError: when it is none.
        """
        return self.parsed(self.text(path, headers, deadline), path)

    def decoded(self, answer: Answer, path: str) -> str:
        """The body as text. Raises MetadataError when it is none."""
        try:
            return answer.body.decode("utf-8").strip()
        except UnicodeDecodeError:
            raise MetadataError(f"{self.name}: GET {path}: the answer is no text: {answer.body[:40]!r}") from None

    def parsed(self, text: str, path: str) -> Mapping[str, Any]:
        """``text`` as a JSON object. Raises MetadataError when it is none."""
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise MetadataError(f"{self.name}: GET {path}: the answer is no JSON object: {text[:40]!r}")
        return found

    def _ask(self, path: str, headers: Mapping[str, str], deadline: float, method: str) -> Answer:
        parts = urlsplit(self.url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        with socket.create_connection((host, port), timeout=_left(deadline)) as plain:
            plain.settimeout(_left(deadline))
            sock = self.tls.wrap_socket(plain, server_hostname=host) if self.tls is not None else plain
            with sock:
                sock.settimeout(_left(deadline))
                sock.sendall(_request(method, path, parts.netloc, headers))
                return self._read(sock, deadline, method)

    def _read(self, sock: socket.socket, deadline: float, method: str) -> Answer:
        # HTTPResponse asks of its socket only that it can make a file.
        response = HTTPResponse(cast("socket.socket", _Bounded(sock, deadline, self.max_bytes)), method=method)
        try:
            response.begin()
            body = response.read()
            return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)
        finally:
            response.close()


def _request(method: str, path: str, host: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", "Accept: */*"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if method == "PUT":
        lines.append("Content-Length: 0")
    if any(not line.isprintable() for line in lines):
        raise ValueError("a header or path holds characters that cannot be sent")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("no whole answer in time")
    return left


def _reason(err: Exception) -> str:
    if isinstance(err, TimeoutError):
        return "no whole answer in time"
    text = getattr(err, "strerror", None) or str(err)
    return f"{type(err).__name__}: {' '.join(str(text).split())[:200]!r}"


class _Bounded:
    """A socket, all of whose reads together end by a deadline and hold so many bytes at most."""

    def __init__(self, sock: socket.socket, deadline: float, max_bytes: int) -> None:
        self._reads = _Reads(sock, deadline, max_bytes)

    def makefile(self, mode: str) -> io.BufferedReader:
        """What `HTTPResponse` reads from."""
        if mode != "rb":
            raise ValueError(f"mode {mode!r}: only rb is known")
        return io.BufferedReader(self._reads)


class _Reads(io.RawIOBase):
    def __init__(self, sock: socket.socket, deadline: float, max_bytes: int) -> None:
        self._sock = sock
        self._deadline = deadline
        self._room = max_bytes
        self._max = max_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any writable buffer
        self._sock.settimeout(_left(self._deadline))
        count = self._sock.recv_into(buffer)
        self._room -= count
        if self._room < 0:
            raise ValueError(f"the answer is longer than {self._max} bytes")
        return count
