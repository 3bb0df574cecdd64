"""Requests that have waited so long that the client no longer waits for the response are refused, quickly.

Thousands of clients may send requests in one instant, and each gives up after some seconds. Served in turn, the later
ones get their response when they are gone, and so do all behind them. A request to retry, after a different time for
each client, costs a tenth of that, and the newest clients are served. Only Linux reports how long data has been
waiting.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
from collections.abc import Collection

WAITED_SECONDS = 2.0
"""Less than half of the time after which an agent gives up."""
RETRY_SECONDS = 5
CLOSED_BY_PEER = 8
"""State of a connection that the client has closed on its side (``CLOSE_WAIT``)."""
_HEAD_BYTES = 2048
_LAST_DATA_RECEIVED = 52
"""Where ``struct tcp_info`` has the milliseconds since data came."""
_BODY = json.dumps({"error": "too many requests at once; retry", "pending": True}).encode()
REFUSAL = (
    f"HTTP/1.1 503 Service Unavailable\r\nRetry-After: {RETRY_SECONDS}\r\nContent-Type: application/json\r\n"
    f"Content-Length: {len(_BODY)}\r\nConnection: close\r\n\r\n"
).encode() + _BODY


def is_too_late(sock: socket.socket) -> bool:
    """Whether the client of a connection just accepted is gone, or has waited for long."""
    if sys.platform != "linux":
        return False
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA_RECEIVED + 4)
    except OSError:
        return False
    (waited_ms,) = struct.unpack_from("=I", info, _LAST_DATA_RECEIVED)
    return info[0] == CLOSED_BY_PEER or waited_ms > 1000 * WAITED_SECONDS


def asks_for(sock: socket.socket, paths: Collection[str]) -> bool:
    """Whether the request that has come, and is left where it is, is a GET of one of ``paths``."""
    try:
        head = sock.recv(_HEAD_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError:
        return False
    method, _, rest = head.partition(b" ")
    target = rest.partition(b" ")[0].partition(b"?")[0].decode("latin-1")
    return method == b"GET" and target in paths


def refuse(sock: socket.socket) -> None:
    """Send a request to retry, and close; what cannot be sent at once is not sent."""
    try:
        sock.recv(_HEAD_BYTES * 8, socket.MSG_DONTWAIT)  # unread bytes would cause a reset, and lose the response
        sock.send(REFUSAL, socket.MSG_DONTWAIT)
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the client is gone
    finally:
        sock.close()
