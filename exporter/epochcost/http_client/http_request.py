"""The request, and limits for the time and size of the response: checked before a byte is sent."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from epochcost.http_client.exchange_errors import DeadlineError, InvalidRequestError

SCHEMES: Mapping[str, int] = {"http": 80, "https": 443}
"""Allowed schemes, with the usual port; everything else (file, ftp, data, ...) is refused."""
MAX_HEAD_BYTES = 64 * 1024
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?")
_HELD_BY_US = frozenset({"host", "connection", "content-length", "transfer-encoding", "accept-encoding"})


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one exchange may take, redirects and all.

    Attributes:
        deadline: by the monotonic clock; from the name's resolution to the last byte of the response.
        max_bytes: of the response's body.
        max_head_bytes: of everything before it, interim responses included.
    """

    deadline: float
    max_bytes: int
    max_head_bytes: int = MAX_HEAD_BYTES

    @classmethod
    def within(cls, seconds: float, max_bytes: int) -> Bounds:
        """Bounds from now on, for ``seconds``."""
        return cls(time.monotonic() + seconds, max_bytes)

    def left(self) -> float:
        """Seconds left.

        Raises:
            DeadlineError: when none are.
        """
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise DeadlineError("no complete response in time")
        return left


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        url: ``http`` or ``https``, without a user or password in it.
        method: ``GET``, ``POST``, ...
        headers: sent beside ours; their values may be secrets.
        body: None for none.
        same_host_redirects: how many are followed, of a GET and only to the scheme, host and port of the request; any
            other is a response like every other.
        by_proxy: whether the proxies of the environment are used (``http_proxy``, ``no_proxy``, ...).
    """

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    same_host_redirects: int = 0
    by_proxy: bool = True


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes: the parts of its URL, checked."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """As the Host header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == SCHEMES[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> tuple[str, str, int]:
        """What must not change in a redirect."""
        return self.scheme, self.host, self.port


def target_of(url: str) -> Target:
    """Where ``url`` leads.

    Raises:
        InvalidRequestError: for anything but a complete http(s) URL. The text does not repeat it: it may hold a secret.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname or ""
        host = host if host.isascii() else host.encode("idna").decode("ascii")
    except (ValueError, UnicodeError):
        raise InvalidRequestError("invalid URL") from None
    if parts.scheme not in SCHEMES:
        raise InvalidRequestError("invalid URL: only http and https are supported")
    if "@" in parts.netloc:
        raise InvalidRequestError("invalid URL: user and password are not allowed in it")
    if not _HOST.fullmatch(host) or port == 0 or not url.isprintable() or " " in url:
        raise InvalidRequestError("invalid URL")
    path = quote(parts.path or "/", safe="/%!$&'()*+,;=:@~-._")
    if parts.query:
        path += "?" + quote(parts.query, safe="/%!$&'()*+,;=:@~-._?")
    return Target(parts.scheme, host, port or SCHEMES[parts.scheme], path)


def block_of(request: Request, target: Target, request_target: str, extra: Mapping[str, str]) -> bytes:
    """Request line, headers and body as bytes; ``request_target`` is the path, or for a proxy the whole URL.

    Raises:
        InvalidRequestError: for what would not arrive as one request. No value of a header is repeated.
    """
    names = {name.lower() for name in request.headers}
    if names & _HELD_BY_US:
        raise InvalidRequestError(f"header {min(names & _HELD_BY_US)} is set by the connection itself")
    headers = {"Host": target.authority, "Connection": "close", "Accept-Encoding": "identity"}
    if "accept" not in names:
        headers["Accept"] = "*/*"
    if request.body is not None or request.method in ("POST", "PUT", "PATCH"):
        headers["Content-Length"] = str(len(request.body or b""))
    lines = [f"{request.method} {request_target} HTTP/1.1"]
    for name, value in {**headers, **request.headers, **extra}.items():
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise InvalidRequestError(f"header {name[:40]!r} holds characters that cannot be sent")
        lines.append(f"{name}: {value}")
    if not re.fullmatch(r"[A-Z]{1,20} [\x21-\x7e]+ HTTP/1\.1", lines[0]):
        raise InvalidRequestError("the path contains characters that cannot be sent")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (request.body or b"")


def host_of(url: str) -> str:
    """Host and port as written, without a password; for people."""
    return urlsplit(url).netloc.rpartition("@")[2] if _splits(url) else ""


def place_of(url: str) -> str:
    """Host, port and path, without a password and without the query; for people."""
    return f"{host_of(url)}{urlsplit(url).path}" if _splits(url) else ""


def _splits(url: str) -> bool:
    try:
        urlsplit(url)
    except ValueError:
        return False
    return True
