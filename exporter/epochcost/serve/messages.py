"""Requests and responses: values, strict parsing of the first, one block of bytes for the second."""

from __future__ import annotations

import gzip
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

MAX_REQUEST_LINE_BYTES = 8 * 1024
MAX_HEAD_BYTES = 32 * 1024
MAX_HEADERS = 100
MAX_QUERY_FIELDS = 100
GZIP_FROM_BYTES = 1024
ONCE = frozenset({"host", "content-length", "authorization", "origin", "content-type", "transfer-encoding"})
"""Headers of which two would let two readers of a request see two requests."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


@dataclass(frozen=True, slots=True)
class Request:
    """A client's request.

    Attributes:
        path: percent-decoded, without the query.
        query: values by name, in their order.
        headers: by lower-case name; several of one name are joined by ", ".
        method: upper case as sent.
        body: whole; empty for GET and HEAD.
        proved: the client has sent a correct password or a verified certificate.
    """

    path: str
    query: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "GET"
    body: bytes = b""
    proved: bool = False


@dataclass(frozen=True, slots=True)
class Response:
    """The response of a route. Length, encoding and connection headers are added by the server."""

    status: int
    body: bytes
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)


Route: TypeAlias = Callable[[Request], Response]
Gate: TypeAlias = Callable[[Request], Response | None]
"""Sees a request without its body; what it returns is the response, None lets the request through."""


class BadRequestError(Exception):
    """The client's bytes are not an acceptable request; ``status`` and the text contain the reason."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def text(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> Response:
    """A line of plain text."""
    return Response(status, f"{sentence}\n".encode("utf-8", "replace"), "text/plain; charset=utf-8", headers or {})


def json_response(status: int, obj: object) -> Response:
    """``obj`` as strict JSON, never cached.

    Raises:
        ValueError: for NaN or infinity, which JSON cannot hold.
    """
    json_text = json.dumps(obj, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    body = json_text.encode("utf-8", "backslashreplace")  # half a character, which UTF-8 has not, JSON writes so
    return Response(status, body, "application/json; charset=utf-8", {"Cache-Control": "no-store"})


def html(status: int, page: bytes, headers: Mapping[str, str] | None = None) -> Response:
    """A page, UTF-8."""
    return Response(status, page, "text/html; charset=utf-8", headers or {})


@dataclass(frozen=True, slots=True)
class Head:
    """The request before its body: ``content_length`` bytes follow."""

    request: Request
    content_length: int
    keep_alive: bool


def parse_head(raw: bytes) -> Head:
    """Parse request line and headers, ``raw`` being all bytes before the empty line.

    Raises:
        BadRequestError: with the status of the response.
    """
    line, _, rest = raw.decode("latin-1").partition("\r\n")
    method, target, version = _request_line(line)
    headers = _headers(rest)
    if version == "HTTP/1.1" and "host" not in headers:
        raise BadRequestError(400, "an HTTP/1.1 request needs a Host header")
    path, query, authority = _target(target)
    if authority:  # then the Host header is ignored
        headers["host"] = authority
    connection = {token.strip() for token in headers.get("connection", "").lower().split(",")}
    keep_alive = "keep-alive" in connection if version == "HTTP/1.0" else "close" not in connection
    length = _content_length(headers)
    if length and method in ("GET", "HEAD"):
        raise BadRequestError(400, f"a {method} request has no body here")
    return Head(Request(path, query, headers, method), length, keep_alive)


def _request_line(line: str) -> tuple[str, str, str]:
    if len(line) > MAX_REQUEST_LINE_BYTES:
        raise BadRequestError(414, f"the request line is longer than {MAX_REQUEST_LINE_BYTES} bytes")
    match = re.fullmatch(r"([A-Z]{1,20}) ([\x21-\x7e]+) (HTTP/\d\.\d)", line)
    if not match:
        raise BadRequestError(400, "the request line is not METHOD PATH HTTP/1.1")
    if match[3] not in ("HTTP/1.0", "HTTP/1.1"):
        raise BadRequestError(505, "only HTTP/1.0 and HTTP/1.1 are supported")
    return match[1], match[2], match[3]


def _headers(block: str) -> dict[str, str]:
    lines = block.split("\r\n") if block else []
    if len(lines) > MAX_HEADERS:
        raise BadRequestError(431, f"more than {MAX_HEADERS} headers")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        value = value.strip(" \t")
        if not colon or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise BadRequestError(400, "a header line is not NAME: VALUE")
        key = name.lower()
        if key in ONCE and key in headers:
            raise BadRequestError(400, f"header {key} occurs twice")
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return headers


def _target(target: str) -> tuple[str, dict[str, tuple[str, ...]], str]:
    """Path, query, and the host if the target is an absolute URL."""
    try:
        parts = urlsplit(target)
        fields = parse_qs(parts.query, keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS)
    except ValueError:
        raise BadRequestError(400, "the request target cannot be read") from None
    if not target.startswith("/") and parts.scheme not in ("http", "https"):
        raise BadRequestError(400, "the request target must be a path")
    # urlsplit would take the first part of "//x/y" for a host.
    path = target.partition("?")[0] if target.startswith("/") else parts.path or "/"
    authority = "" if target.startswith("/") else parts.netloc
    return unquote(path.partition("#")[0]), {name: tuple(values) for name, values in fields.items()}, authority


def _content_length(headers: Mapping[str, str]) -> int:
    if "transfer-encoding" in headers:
        raise BadRequestError(501, "send the body with Content-Length, not Transfer-Encoding")
    length = headers.get("content-length", "0")
    if not re.fullmatch(r"[0-9]{1,18}", length):
        raise BadRequestError(400, "Content-Length is not a number of bytes")
    return int(length)


def render(response: Response, head: Head | None, extra: Mapping[str, str], *, keep_alive: bool) -> bytes:
    """Headers and body of ``response`` as one block of bytes: two writes would meet Nagle and delayed ACK.

    ``head`` None means that the request could not be read. ``extra`` are headers that the response may override.
    """
    body = response.body
    headers = {"Content-Type": response.content_type, "X-Content-Type-Options": "nosniff", **extra, **response.headers}
    if len(body) > GZIP_FROM_BYTES:
        headers["Vary"] = "Accept-Encoding"
        if head and accepts_gzip(head.request.headers.get("accept-encoding", "")):
            body = gzip.compress(body, compresslevel=1, mtime=0)
            headers["Content-Encoding"] = "gzip"
    headers["Content-Length"] = str(len(body))
    headers["Date"] = http_date(time.time())
    headers["Connection"] = "keep-alive" if keep_alive else "close"
    lines = "".join(f"{name}: {_one_line(value)}\r\n" for name, value in headers.items())
    start = f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}\r\n"
    block = f"{start}{lines}\r\n".encode("latin-1")
    return block if head and head.request.method == "HEAD" else block + body


def http_date(ts: float) -> str:
    """As HTTP writes it. By module `email` it would be 0.4 MiB more of memory."""
    t = time.gmtime(ts)
    day, month = _DAYS[t.tm_wday], _MONTHS[t.tm_mon - 1]
    return f"{day}, {t.tm_mday:02d} {month} {t.tm_year:04d} {t.tm_hour:02d}:{t.tm_min:02d}:{t.tm_sec:02d} GMT"


def _one_line(value: str) -> str:
    if not _VALUE.fullmatch(value):
        raise ValueError("a response header must be one printable line")
    return value


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether an Accept-Encoding header takes gzip (``gzip;q=0`` refuses it)."""
    for entry in accept_encoding.split(","):
        coding, _, parameter = entry.strip().lower().partition(";")
        if coding.strip() in ("gzip", "*"):
            return not re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", parameter)
    return False
