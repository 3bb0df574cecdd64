"""A real HTTP server whose results of instant queries a test sets: a store that can also be wrong, slow or shut."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import parse_qs

Stored = tuple[dict[str, str], float]


class PromqlServer:
    """``costs`` are the results of the sum over states, ``figures`` of everything else.

    Attributes:
        status, body, headers: sent instead of figures, where the test sets a body.
        hang_seconds: waited before a response.
        requests: headers and query of every request.
    """

    def __init__(self) -> None:
        self.costs: list[Stored] = []
        self.figures: list[Stored] = []
        self.status, self.body, self.headers = 200, b"", {"Content-Type": "application/json"}
        self.hang_seconds = 0.0
        self.requests: list[tuple[dict[str, str], str]] = []
        self._stopping = threading.Event()
        me = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                query = form["query"][0]
                me.requests.append((dict(self.headers), query))
                me._stopping.wait(me.hang_seconds)
                body = me.body or me._result(me.costs if query.startswith("sum") else me.figures)
                with contextlib.suppress(OSError):  # the client has disconnected
                    self.send_response(me.status)
                    for name, value in {"Content-Length": str(len(body)), **me.headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
                """Stay silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @staticmethod
    def _result(series: list[Stored]) -> bytes:
        vector = [{"metric": labels, "value": [time.time(), str(value)]} for labels, value in series]
        return json.dumps({"status": "success", "data": {"resultType": "vector", "result": vector}}).encode()

    def __enter__(self) -> PromqlServer:  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
