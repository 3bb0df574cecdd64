"""A line to a server that a test can cut: the view of a client when a network fails, not of a server that rejects."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from urllib.parse import urlsplit

_AT_ONCE = struct.pack("ii", 1, 0)
"""Linger of no time: the other side gets a reset."""


class Line:
    """A relay on a port of its own to ``url``, as `url`; it starts in working order.

    ``cut`` breaks every connection and refuses new ones; ``silence`` lets clients connect and passes nothing on any
    more, also on connections that are open; ``mend`` undoes either.
    """

    def __init__(self, url: str) -> None:
        self._target = ("127.0.0.1", urlsplit(url).port)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._silent = threading.Event()
        self._listener = self._listen(0)
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """As if the cable was unplugged on this side."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._reset()

    def silence(self) -> None:
        """As if packets were dropped."""
        self._silent.set()

    def mend(self) -> None:
        """Work again; data in transit is lost."""
        if self._silent.is_set():
            self._reset()
            self._silent.clear()
        else:
            self._listener = self._listen(self.port)

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(OSError):
            self.cut()

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:  # cut
                return
            try:
                server = socket.create_connection(self._target, timeout=10)  # type: ignore[arg-type]
            except OSError:  # the server itself has ended
                client.close()
                continue
            server.settimeout(None)
            with self._lock:
                self._open |= {client, server}
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if not self._silent.is_set():
                    target.sendall(data)
            if not self._silent.is_set():
                target.shutdown(socket.SHUT_WR)
        except OSError:  # reset by either side
            pass

    def _reset(self) -> None:
        with self._lock:
            broken, self._open = self._open, set()
        for each in broken:
            with contextlib.suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
                each.shutdown(socket.SHUT_RDWR)
            each.close()
