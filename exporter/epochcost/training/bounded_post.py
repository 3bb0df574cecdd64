"""One POST to a server that is not trusted, inside a user's training: bounded in time, size and work.

Not `http.client`: a server that sends ``100 Continue`` for ever, or one endless header, costs it a core, and each of
its reads may wait again. Here everything together has one deadline, the head and the body have a size, and nothing is
parsed that is not needed.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import SplitResult

MAX_HEAD_BYTES = 8192
MAX_BODY_BYTES = 65536
_PIECE = 16384
_STATUS = re.compile(rb"HTTP/1\.[01] ([2-5][0-9]{2})(?: [^\r\n]*)?\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*(?=\r\n)", re.IGNORECASE)
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})(?:;[^\r\n]*)?\r\n")
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)


class NotAnAgentError(Exception):
    """The server does not behave like an agent; retrying is useless."""


class Request(NamedTuple):
    """What is sent.

    Attributes:
        path: with the query.
        headers: beside Host, Content-Length and Connection.
        body: as it is sent.
    """

    path: str
    headers: dict[str, str]
    body: bytes


def post(url: SplitResult, request: Request, seconds: float, make_tls_context: Callable[[], Any]) -> tuple[int, bytes]:
    """Status and body of the response.

    Args:
        url: scheme, host and port.
        request: what is sent.
        seconds: for all of it, but for the name's resolution.
        make_tls_context: makes an SSL context; called for https only.

    Raises:
        OSError: without a response; another time there may be one.
        NotAnAgentError: for a response that breaks a bound, or is none.
    """
    if url.scheme not in ("http", "https") or not url.hostname:
        raise NotAnAgentError("it is not an http or https address")
    secure = url.scheme == "https"
    deadline = time.monotonic() + seconds
    with socket.create_connection((url.hostname, url.port or (443 if secure else 80)), timeout=seconds) as plain:
        plain.settimeout(_remaining(deadline))
        sock = make_tls_context().wrap_socket(plain, server_hostname=url.hostname) if secure else plain
        with sock:
            _write(sock, _head(url, request) + request.body, deadline)
            return _answer(sock, deadline)


def _head(url: SplitResult, request: Request) -> bytes:
    host = url.netloc.rpartition("@")[2]
    all_headers = {"Host": host, "Connection": "close", "Content-Length": str(len(request.body)), **request.headers}
    lines = [f"POST {request.path} HTTP/1.1", *(f"{name}: {value}" for name, value in all_headers.items())]
    if not all(line.isprintable() and line.isascii() for line in lines):
        raise NotAnAgentError("the address or the token contains characters that cannot be sent")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def _write(sock: socket.socket, data: bytes, deadline: float) -> None:
    view = memoryview(data)
    while view:
        sock.settimeout(_remaining(deadline))
        view = view[sock.send(view[:65536]) :]


def _answer(sock: socket.socket, deadline: float) -> tuple[int, bytes]:
    data = bytearray()
    end = -1
    while end < 0:
        before = len(data)
        try:
            more = _more(sock, data, deadline)
        except TimeoutError:
            if data:  # an agent's response comes in one piece
                raise NotAnAgentError("its response headers arrive too slowly") from None
            raise
        if not more:
            raise NotAnAgentError("its response is not HTTP") if data else ConnectionError("no response")
        end = data.find(b"\r\n\r\n", max(0, before - 3))
        if (end if end >= 0 else len(data)) > MAX_HEAD_BYTES:
            raise NotAnAgentError(f"its response headers are longer than {MAX_HEAD_BYTES} bytes")
    head, body = bytes(data[: end + 2]), data[end + 4 :]
    status = _STATUS.match(head)
    if status is None:  # interim responses too: none was requested
        raise NotAnAgentError("its response is not HTTP")
    return int(status[1]), _body(sock, head, body, deadline)


def _body(sock: socket.socket, head: bytes, body: bytearray, deadline: float) -> bytes:
    """What follows the head, in the length that it declares, else to the end of the connection."""
    chunked = _CHUNKED.search(head) is not None  # as a proxy before the agent may make it
    length = None if chunked else _LENGTH.search(head)
    length_bytes = int(length[1][:12]) if length else MAX_BODY_BYTES + 1
    if length and length_bytes > MAX_BODY_BYTES:
        raise NotAnAgentError(f"its response is longer than {MAX_BODY_BYTES} bytes")
    while len(body) < length_bytes:
        if not _more(sock, body, deadline):
            if length:
                raise ConnectionError("the response was cut off")
            break
    if len(body) > MAX_BODY_BYTES:
        raise NotAnAgentError(f"its response is longer than {MAX_BODY_BYTES} bytes")
    return _joined(bytes(body)) if chunked else bytes(body[:length_bytes])


def _joined(chunks: bytes) -> bytes:
    """What is in the chunks of a body, ``SIZE CRLF DATA CRLF`` and so on to one of size 0."""
    whole: list[bytes] = []
    at = 0
    while size := _CHUNK.match(chunks, at):
        count = int(size[1], 16)
        if not count:
            return b"".join(whole)
        whole.append(chunks[size.end() : size.end() + count])
        at = size.end() + count + 2
    raise ConnectionError("the response was cut off")


def _more(sock: socket.socket, data: bytearray, deadline: float) -> bool:
    sock.settimeout(_remaining(deadline))
    piece = sock.recv(_PIECE)
    data += piece
    return bool(piece)


def _remaining(deadline: float) -> float:
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError("no complete response in time")
    return remaining
