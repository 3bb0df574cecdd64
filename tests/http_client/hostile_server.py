"""A TCP server with arbitrary behaviour per connection, for a client that must be robust."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

Behaviour = Callable[[socket.socket, threading.Event], None]


class Hostile:
    """Serves every connection by ``behave`` on a thread of its own.

    Attributes:
        port: on 127.0.0.1.
        heads: what each connection sent first.
        over: set when the test is over; behaviours end then.
    """

    def __init__(self, behave: Behaviour) -> None:
        self._behave = behave
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.heads: list[bytes] = []
        self.over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):  # the client does not wait for the end of it
            sock.settimeout(10.0)
            self.heads.append(sock.recv(65536))
            self._behave(sock, self.over)

    def stop(self) -> None:
        """Close everything and wait for the threads."""
        self.over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join()
        for thread in self._threads:
            thread.join()


@contextlib.contextmanager
def hostile(behave: Behaviour) -> Iterator[Hostile]:
    """One for the length of a block."""
    server = Hostile(behave)
    try:
        yield server
    finally:
        server.stop()


def responds(response: bytes) -> Behaviour:
    """One block of bytes and the end of the connection."""
    return lambda sock, _: sock.sendall(response)


def trickles(beginning: bytes, piece: bytes = b"a", every: float = 0.02) -> Behaviour:
    """Sends a beginning, then a piece at intervals, forever."""

    def behave(sock: socket.socket, over: threading.Event) -> None:
        sock.sendall(beginning)
        while not over.wait(every):
            sock.sendall(piece)

    return behave


def floods(beginning: bytes, piece: bytes) -> Behaviour:
    """Sends a beginning, then pieces as fast as they are read, forever."""

    def behave(sock: socket.socket, over: threading.Event) -> None:
        sock.sendall(beginning)
        while not over.is_set():
            sock.sendall(piece)

    return behave


def never_responds(_: socket.socket, over: threading.Event) -> None:
    """Reads the request and sends nothing."""
    over.wait()


BEHAVIOURS: dict[str, Behaviour] = {
    "never responds": never_responds,
    "status line that trickles": trickles(b"HTTP/1.1 2"),
    "headers that trickle": trickles(b"HTTP/1.1 200 OK\r\nX-A: "),
    "body that trickles": trickles(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"),
    "body without an end that trickles": trickles(b"HTTP/1.1 200 OK\r\n\r\n"),
    "chunks that trickle": trickles(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
    "trailers that trickle": trickles(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
    "100 Continue now and then": trickles(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "100 Continue for ever": floods(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 50),
    "headers for ever": floods(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 50),
    "one header for ever": floods(b"HTTP/1.1 200 OK\r\nX: ", b"y" * 4096),
    "body for ever": floods(b"HTTP/1.1 200 OK\r\n\r\n", b"y" * 4096),
    "chunks of one byte for ever": floods(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n" * 99),
    "trailers for ever": floods(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n" * 99),
    "length beyond every memory": responds(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999999999\r\n\r\n{}"),
    "chunk beyond every memory": responds(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}\r\n0\r\n\r\n"
    ),
    "chunk of less than nothing": responds(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n{}\r\n0\r\n\r\n"
    ),
    "chunk that is not a number": responds(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"
    ),
    "no HTTP": responds(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "nothing": responds(b""),
    "a status beyond": responds(b"HTTP/1.1 99999 OK\r\n\r\n"),
    "a status of digits without end": responds(b"HTTP/1.1 " + b"9" * 60_000 + b" OK\r\n\r\n"),
    "cut in the head": responds(b"HTTP/1.1 200 OK\r\nContent-"),
    "cut in the body": responds(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"),
    "control bytes": responds(b"\x00\x1b[2J\x1b]0;owned\x07 200 OK\r\n\r\n"),
}
"""What no honest server does; of none of them comes an answer."""
