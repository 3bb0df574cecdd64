"""The server: listens, holds at most so many connections, routes requests, stops cleanly."""

from __future__ import annotations

import inspect
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import final

from epochcost.serve.connection import Connection, Limits, Service
from epochcost.serve.messages import Gate, Request, Response, Route, text
from epochcost.serve.overload import asks_for, is_too_late, refuse
from epochcost.serve.places import Places
from epochcost.serve.web_config import WebConfig

log = logging.getLogger("epochcost.serve")
_BACKLOG = 4096
"""As many as most systems allow: if thousands of agents connect at once, those queued here are served in turn."""
_SLOT_SECONDS = 1.0
_STOP_SECONDS = 5.0
_SEND_BUFFER_BYTES = 256 * 1024
"""Of each connection: otherwise the system would hold megabytes for a client that does not read."""


def always_ready() -> None:
    """Ready from the start."""


@dataclass(frozen=True, slots=True)
class PostRoutes:
    """Responses to POST.

    Attributes:
        routes: by path.
        gates: by path, what a request must pass, beside the web configuration, before its body is read.
        bearer_paths: paths with gates that check a token: a request with one needs no password as well.
    """

    routes: Mapping[str, Route]
    gates: Mapping[str, Gate] = field(default_factory=dict)
    bearer_paths: Collection[str] = ()


@final
class Server:
    """Routes served over HTTP/1.1 by one thread a connection.

    Args:
        address: host ("" for every interface) and port (0: chosen by the system, see `port`).
        routes: responses to GET and HEAD by path.
        web_config: path of a ``web.config.yml``, or empty.
        ready: None when ready, else the reason that ``/-/ready`` returns with status 503.
        posts: responses to POST, and what a request must pass first.
        limits: what one client may take.

    Raises:
        WebConfigError: naming file and key.
    """

    def __init__(  # noqa: PLR0913 - all but two have defaults
        self,
        address: tuple[str, int],
        routes: Mapping[str, Route],
        web_config: str = "",
        *,
        ready: Callable[[], str | None] = always_ready,
        posts: PostRoutes | None = None,
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        posts = posts or PostRoutes({})
        self._address = address
        self._gets: Mapping[str, Route] = {"/-/healthy": _healthy, "/-/ready": _readiness(ready), **routes}
        self._posts: Mapping[str, Route] = dict(posts.routes)
        self._gates: Mapping[str, Gate] = dict(posts.gates)
        self._config = WebConfig(web_config)
        self._limits = limits
        self._places = Places(limits.connections, limits.reserved)
        self._bearer_paths = frozenset(posts.bearer_paths)
        self._shed_paths = frozenset(limits.shed_paths)
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._open: dict[Connection, threading.Thread] = {}
        self._full = False
        self._faults: set[tuple[str, str, str]] = set()
        self._listener: socket.socket | None = None
        self._wake: tuple[socket.socket, socket.socket] | None = None
        self._acceptor: threading.Thread | None = None

    def start(self) -> None:
        """Listen and serve.

        Raises:
            OSError: naming the address that cannot be listened on.
        """
        self._listener = _listen(self._address)
        self._wake = socket.socketpair()
        self._acceptor = threading.Thread(target=self._accept_all, name="http-accept", daemon=True)
        self._acceptor.start()

    def stop(self) -> None:
        """Stop listening, let requests under way end, close every connection and join every thread."""
        if self._listener is None or self._wake is None or self._acceptor is None or self._stopping.is_set():
            return
        self._stopping.set()
        self._wake[1].send(b"x")
        self._acceptor.join()
        for sock in (self._listener, *self._wake):
            sock.close()
        deadline = time.monotonic() + _STOP_SECONDS
        self._cut(lambda connection: connection.since is not None)
        self._join(deadline - _STOP_SECONDS / 2)
        self._cut(lambda _: True)
        self._join(deadline)

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def described(self) -> list[tuple[str, str, str]]:
        """Method, path and response of every route."""
        tables = (("GET", self._gets), ("POST", self._posts))
        every = ((method, path, route) for method, table in tables for path, route in table.items())
        return [(method, path, inspect.getdoc(route) or "") for method, path, route in every]

    @property
    def port(self) -> int:
        """The port listened on; the configured one before `start`."""
        listener = self._listener
        if listener is None or listener.fileno() < 0:
            return self._address[1]
        return int(listener.getsockname()[1])

    @property
    def url(self) -> str:
        """Where a browser on this machine finds it, without a trailing slash."""
        host = self._address[0]
        if host in ("", "0.0.0.0", "::"):
            host = "127.0.0.1"
        scheme = "https" if self._config.current().tls else "http"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    def _accept_all(self) -> None:
        assert self._listener is not None  # noqa: S101 - for the type checker: start() made it
        assert self._wake is not None  # noqa: S101
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._wake[0], selectors.EVENT_READ)
            while not self._stopping.is_set():
                selector.select()
                if not self._stopping.is_set():
                    self._accept(self._listener)

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, address = listener.accept()
        except BlockingIOError:  # the client went away between select and accept
            return
        except OSError as err:
            log.warning("cannot accept a connection: %s", err)
            self._stopping.wait(_SLOT_SECONDS)  # out of file descriptors: trying at once again would spin
            return
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self._begin(sock, str(address[0]))

    def _is_shed(self, sock: socket.socket, address: str) -> bool:
        """Whether this client is refused: there is no free connection, it has waited long, and it can retry."""
        return (
            bool(self._shed_paths)
            and not self._places.has_one_for(address)
            and is_too_late(sock)
            and asks_for(sock, self._shed_paths)
        )

    def _begin(self, sock: socket.socket, address: str) -> None:
        if self._is_shed(sock, address):
            refuse(sock)
            return
        service = Service(self._admission(address), self._answer, self._config.current)
        connection = Connection(sock, service, self._limits, self._stopping)
        if not self._places.take(connection, address):
            refuse(sock) if asks_for(sock, self._shed_paths) else sock.close()
            if not self._full:
                log.warning("connections refused: the limit of open connections is reached")
            self._full = True
            return
        self._full = False
        thread = threading.Thread(target=self._serve, args=(connection,), name="http-connection", daemon=True)
        with self._lock:
            self._open[connection] = thread
        try:
            thread.start()
        except RuntimeError as err:  # the system has no thread left: this client is dropped, the server continues
            log.warning("cannot serve a connection: %s", err)
            sock.close()
            self._forget(connection)

    def _serve(self, connection: Connection) -> None:
        try:
            connection.run()
        finally:
            self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        with self._lock:
            del self._open[connection]
        self._places.give_back(connection)

    def _cut(self, which: Callable[[Connection], bool]) -> None:
        with self._lock:
            chosen = [connection for connection in self._open if which(connection)]
        for connection in chosen:
            connection.cut()

    def _join(self, deadline: float) -> None:
        with self._lock:
            threads = list(self._open.values())
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    @property
    def knows_its_clients(self) -> bool:
        """Whether the web configuration lets in only those with a password or a verified certificate."""
        policy = self._config.current()
        return bool(policy.users) or policy.asks_for_certificates

    def _admission(self, address: str) -> Gate:
        """What a request from ``address`` must pass before its body is read."""
        return lambda request: self._admit(request, address)

    def _admit(self, request: Request, address: str) -> Response | None:
        gate = self._gates.get(request.path) if request.method == "POST" else None
        authorization = request.headers.get("authorization", "")
        by_token = request.path in self._bearer_paths and authorization.lower().startswith("bearer ")
        if not (gate is not None and by_token):
            refusal = self._config.refusal(authorization, address)
            if refusal is not None:
                return refusal
            if self.knows_its_clients:
                self._places.proved(address)
                request = replace(request, proved=True)
        if request.method not in ("GET", "HEAD", "POST") or (
            request.method == "POST" and request.path not in self._posts
        ):
            return self._route(request)  # 404 or 405, whatever the body may hold
        return None if gate is None else gate(request)

    def _answer(self, request: Request) -> Response:
        try:
            return self._route(request)
        except Exception as err:  # whatever a page does wrong, the others are served
            fault = request.method, request.path, type(err).__name__
            log.log(
                logging.DEBUG if fault in self._faults else logging.ERROR,
                "%s %s failed (logged once)",
                request.method,
                request.path,
                exc_info=True,
            )
            self._faults.add(fault)  # of an existing page: as few as pages, however often it is requested
            return text(500, "internal error; see the log")

    def _route(self, request: Request) -> Response:
        table = self._posts if request.method == "POST" else self._gets
        if request.method in ("GET", "HEAD", "POST") and request.path in table:
            return table[request.path](request)
        if request.path not in self._gets and request.path not in self._posts:
            paths = sorted({*self._gets, *self._posts})
            return text(404, "not found; available paths: " + " ".join(paths))
        allowed = [*(("GET", "HEAD") if request.path in self._gets else ())]
        allowed += ["POST"] if request.path in self._posts else []
        return text(405, f"method not allowed; this path accepts {', '.join(allowed)}", {"Allow": ", ".join(allowed)})


def _healthy(_: Request) -> Response:
    """200 while the process is serving."""
    return text(200, "healthy")


def _readiness(ready: Callable[[], str | None]) -> Route:
    def route(_: Request) -> Response:
        """200 once there is something to scrape; otherwise 503 and the reason in one sentence."""
        reason = ready()
        return text(200, "ready") if reason is None else text(503, f"not ready: {reason}")

    return route


def _listen(address: tuple[str, int]) -> socket.socket:
    host, port = address
    every = host == "" and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if every or ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG, dualstack_ipv6=every)
    except OSError as err:
        raise OSError(err.errno, f"cannot listen on {host or '*'}:{port}: {err.strerror or err}") from None
    listener.settimeout(0)
    return listener
