"""Connections by a deadline: names, addresses, the environment's proxies, TLS."""

from __future__ import annotations

import base64
import ipaddress
import queue
import socket
import ssl
import threading
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

from epochcost.http_client.exchange_errors import BrokenOffError, ConnectError, DeadlineError, InvalidRequestError
from epochcost.http_client.http_request import Bounds, Target
from epochcost.http_client.tls_contexts import client_tls

_Address: TypeAlias = tuple[int, int, int, str, Any]
MAX_LOOKUPS = 16
"""Names looked up at once: a resolver that hangs cannot be interrupted, only left behind."""
_MAX_TUNNEL_HEAD = 8192
_lookups = threading.BoundedSemaphore(MAX_LOOKUPS)


@dataclass(frozen=True, slots=True)
class Proxy:
    """One of the environment's.

    Attributes:
        host, port: where it listens.
        authorization: value of its header; empty for none.
    """

    host: str
    port: int
    authorization: str = field(default="", repr=False)


def proxy_for(target: Target) -> Proxy | None:
    """The proxy that the environment names for ``target``; None for none.

    Raises:
        InvalidRequestError: for one that is not spoken. Its URL is not repeated: it may hold a password.
    """
    from urllib.request import getproxies, proxy_bypass

    url = getproxies().get(target.scheme)
    if not url or proxy_bypass(f"{target.host}:{target.port}"):
        return None
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in ("http", "https"):
        raise InvalidRequestError(f"{target.scheme}_proxy does not name an HTTP proxy")
    pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    authorization = f"Basic {base64.b64encode(pair.encode()).decode()}" if parts.username else ""
    return Proxy(host, port or 80, authorization)


def connected(target: Target, proxy: Proxy | None, tls: ssl.SSLContext | None, bounds: Bounds) -> socket.socket:
    """A socket on which the request can be written.

    Raises:
        ExchangeError: without one until the deadline.
    """
    sock = _socket_to(proxy.host if proxy else target.host, proxy.port if proxy else target.port, bounds)
    try:
        if target.scheme != "https":
            return sock
        if proxy:
            _tunnel(sock, target, proxy, bounds)
        return _secured(sock, target.host, tls or client_tls(), bounds)
    except BaseException:
        sock.close()
        raise


def write(sock: socket.socket, block: bytes, bounds: Bounds) -> None:
    """Send all of ``block`` (``sendall`` over TLS would restart the timeout with each piece)."""
    view = memoryview(block)
    while view:
        sock.settimeout(bounds.left())
        view = view[sock.send(view[:65536]) :]


def _secured(sock: socket.socket, host: str, tls: ssl.SSLContext, bounds: Bounds) -> socket.socket:
    sock.settimeout(bounds.left())
    try:
        return tls.wrap_socket(sock, server_hostname=host)
    except TimeoutError:
        raise DeadlineError("no complete response in time") from None
    except ssl.SSLCertVerificationError as err:
        raise ConnectError(
            f"its certificate is not trusted: {err.verify_message}", "CERTIFICATE_VERIFY_FAILED"
        ) from None
    except ssl.SSLError as err:
        raise ConnectError(f"TLS failed: {err.reason or type(err).__name__}", err.reason or "") from None
    except (OSError, ValueError) as err:
        raise ConnectError(f"TLS failed: {why(err)}") from None


def _socket_to(host: str, port: int, bounds: Bounds) -> socket.socket:
    """The first address that responds; each gets an equal part of the time that is left."""
    addresses = _resolved(host, port, bounds)
    failure: Exception = ConnectError("its name does not resolve")
    for i, (family, kind, protocol, _, address) in enumerate(addresses):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(bounds.left() / (len(addresses) - i))
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except TimeoutError:
            sock.close()
            failure = DeadlineError("no connection in time")
        except OSError as err:
            sock.close()
            failure = ConnectError(why(err), refused=isinstance(err, ConnectionRefusedError))
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure


def _resolved(host: str, port: int, bounds: Bounds) -> list[_Address]:
    if _is_literal(host):
        return _lookup(host, port)
    if not _lookups.acquire(timeout=bounds.left()):
        raise DeadlineError(f"its name was not resolved in time: {MAX_LOOKUPS} other lookups are blocked")
    resolved: queue.SimpleQueue[list[_Address] | Exception] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            resolved.put(_lookup(host, port))
        except Exception as err:  # noqa: BLE001 - raised again in the waiting thread
            resolved.put(err)
        finally:
            _lookups.release()

    try:
        threading.Thread(target=look_up, name="epochcost-name", daemon=True).start()
    except RuntimeError as err:
        _lookups.release()
        raise ConnectError(f"no thread is left to resolve its name: {err}") from None
    try:
        answer = resolved.get(timeout=bounds.left())
    except queue.Empty:
        raise DeadlineError("its name was not resolved in time") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _lookup(host: str, port: int) -> list[_Address]:
    try:
        return [*socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError) as err:
        raise ConnectError(why(err)) from None


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _tunnel(sock: socket.socket, target: Target, proxy: Proxy, bounds: Bounds) -> None:
    host = f"[{target.host}]" if ":" in target.host else target.host
    lines = [f"CONNECT {host}:{target.port} HTTP/1.1", f"Host: {host}:{target.port}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    write(sock, ("\r\n".join(lines) + "\r\n\r\n").encode("ascii"), bounds)
    head = b""
    while b"\r\n\r\n" not in head:
        sock.settimeout(bounds.left())
        # Byte by byte at the end: what follows the head is TLS.
        piece = sock.recv(1)
        if not piece or len(head) > _MAX_TUNNEL_HEAD:
            raise BrokenOffError("the proxy did not respond with HTTP")
        head += piece
    status = head.split(b" ", 2)[1:2]
    if not head.startswith(b"HTTP/1.") or status != [b"200"]:
        status_line = status[0].decode("latin-1") if status else "nothing"
        raise ConnectError(f"the proxy refuses to connect: {status_line[:20]!r}")


def why(err: Exception) -> str:
    """A network error in words, without its subject."""
    if isinstance(err, socket.gaierror) and err.strerror:
        return f"its name does not resolve: {err.strerror}"
    if isinstance(err, OSError) and err.strerror:
        return f"{type(err).__name__}: {err.strerror}"
    return f"{type(err).__name__}: {err}"
