"""A local HTTP server with scripted replies, for sources that request JSON. All its data is simulated.

The last reply of a path repeats forever::

    with JsonServer() as server:
        server.on("/sizes", Reply(status=429, headers={"Retry-After": "1"}), Reply({"sizes": []}))
        api.get(f"{server.url}/sizes")
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class Reply:
    """A reply: ``body`` as JSON, or unchanged if it is bytes."""

    body: object = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    truncated: bool = False
    """Promise a longer body and close the connection."""
    hold: threading.Event | None = None
    """Wait until it is set, 30 s at most."""

    @property
    def raw(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass(frozen=True)
class ReceivedRequest:
    """A request as it arrived."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Any
    headers: Mapping[str, str]


Script = Callable[[ReceivedRequest], Reply]


class JsonServer:
    """Replies by path; ``requests`` holds all requests in order."""

    def __init__(self) -> None:
        self.requests: list[ReceivedRequest] = []
        self._scripts: dict[str, list[Reply] | Script] = {}
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = False
        self._http.block_on_close = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.host = f"127.0.0.1:{self._http.server_port}"
        self.url = f"http://{self.host}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def on(self, path: str, *replies: Reply) -> None:
        """Reply to ``path`` with these from now on, one after another."""
        self._scripts[path] = list(replies)

    def script(self, path: str, script: Script) -> None:
        """Reply to ``path`` with the result of ``script`` from now on."""
        self._scripts[path] = script

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def reply_to(self, request: ReceivedRequest) -> Reply:
        self.requests.append(request)
        script = self._scripts.get(request.path)
        if script is None:
            return Reply({"error": "no such path"}, 404)
        if callable(script):
            return script(request)
        with self._lock:
            return script.pop(0) if len(script) > 1 else script[0]


def _handler(server: JsonServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._reply(None)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = self.headers["Content-Type"] == "application/x-www-form-urlencoded"
            self._reply(dict(parse_qsl(body)) if form else json.loads(body))

        def _reply(self, body: object) -> None:
            url = urlsplit(self.path)
            request = ReceivedRequest(self.command, url.path, dict(parse_qsl(url.query)), body, dict(self.headers))
            reply = server.reply_to(request)
            if reply.hold is not None:
                reply.hold.wait(30)
            length = len(reply.raw) + (100 if reply.truncated else 0)
            headers = {"Content-Type": "application/json", "Content-Length": str(length), **reply.headers}
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            try:
                self.wfile.write(f"HTTP/1.0 {reply.status} x\r\n{lines}\r\n".encode() + reply.raw)
            except (BrokenPipeError, ConnectionResetError):
                return  # the client did not wait, which is what such a test is about

        def log_message(self, *_: object) -> None:
            return

    return Handler
