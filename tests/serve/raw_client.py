"""A client that sends exactly the given bytes, and reads exactly one response."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from epochcost.serve import Server


@dataclass(frozen=True)
class RawResponse:
    status: int
    headers: dict[str, str]
    body: bytes


class RawClient:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._rest = b""

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def read(self, *, head_only: bool = False) -> RawResponse:
        """The next response; ConnectionError when the server closed the connection first."""
        while b"\r\n\r\n" not in self._rest:
            self._more()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        start, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = 0 if head_only else int(headers.get("content-length", "0"))
        while len(self._rest) < length:
            self._more()
        body, self._rest = self._rest[:length], self._rest[length:]
        return RawResponse(int(start.split()[1]), headers, body)

    def request(self, path: str, method: str = "GET", extra: str = "", body: bytes = b"") -> RawResponse:
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        self.send(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{length}{extra}\r\n".encode() + body)
        return self.read(head_only=method == "HEAD")

    def is_closed(self) -> bool:
        """Whether the server has closed the connection (waits for it)."""
        try:
            return self._rest == b"" and self.sock.recv(1) == b""
        except ConnectionError:
            return True

    def _more(self) -> None:
        chunk = self.sock.recv(65536)
        if not chunk:
            raise ConnectionError(f"ended after {self._rest!r}")
        self._rest += chunk


@contextmanager
def connected(server: Server, seconds: float = 15.0) -> Iterator[RawClient]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as sock:
        yield RawClient(sock)
