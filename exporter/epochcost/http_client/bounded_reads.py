"""A socket with one deadline and one maximum of bytes for all reads together."""

from __future__ import annotations

import io
import socket
from typing import Any

from epochcost.http_client.exchange_errors import BrokenOffError, TooLongError
from epochcost.http_client.http_request import Bounds

_FEWEST_BYTES = 4096
"""What the framing of a body may add to it: chunk sizes and trailers."""


class BoundedReads(io.RawIOBase):
    """What an `http.client.HTTPResponse` reads from: first the head with its own bound, then the body."""

    def __init__(self, sock: socket.socket, bounds: Bounds) -> None:
        self._sock = sock
        self._bounds = bounds
        self._ended = False
        self._what, self._most = "header block of the response", bounds.max_head_bytes
        # The buffer above reads ahead, so that the beginning of a body may come with the head.
        self._room = bounds.max_head_bytes + io.DEFAULT_BUFFER_SIZE

    def begin_body(self) -> None:
        """The head is read: from now on the bound of the body holds.

        Raises:
            BrokenOffError: when the connection ended before the head did, which `http.client` takes for its end.
        """
        if self._ended:
            raise BrokenOffError("the response was cut off in its headers")
        self._what, self._most = "answer", self._bounds.max_bytes
        # A body in chunks of one byte takes six on the wire; what comes out of it is counted by the reader.
        self._room = 6 * self._most + _FEWEST_BYTES

    def makefile(self, mode: str, *_: object) -> io.BufferedReader:
        """As a socket's: HTTPResponse uses nothing else of it."""
        if mode != "rb":
            raise ValueError(f"mode {mode!r}: only rb is known")
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any writable buffer
        """Bytes as they come.

        Raises:
            DeadlineError: when there is no time left.
            TooLongError: when more came than is allowed.
        """
        self._sock.settimeout(self._bounds.left())
        count = self._sock.recv_into(buffer)
        self._ended = not count
        self._room -= count
        if self._room < 0:
            raise TooLongError(f"the {self._what} is longer than {self._most} bytes")
        return count
