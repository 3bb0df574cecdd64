"""A store whose responses a test sets, behind a real HTTP server."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import BinaryIO
from urllib.parse import parse_qs

NOTHING = {"status": "success", "data": {"resultType": "matrix", "result": []}}


class Scripted:
    """Responds with what the test set, and records the requests."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.status, self.body, self.headers = 200, json.dumps(NOTHING).encode(), {}
        self.requests: list[tuple[dict[str, str], dict[str, list[str]]]] = []
        self.most_points, self.pace_seconds = 0, 0.0
        me = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                me.requests.append((dict(self.headers), form))
                status, body = me.respond(form)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **me.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.close_connection = True
                with contextlib.suppress(OSError):  # the client has disconnected
                    me.write(self.wfile, body)  # type: ignore[arg-type]

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
                """Print nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def respond(self, form: dict[str, list[str]]) -> tuple[int, bytes]:
        start, end, step = (float(form[name][0]) for name in ("start", "end", "step"))
        if self.most_points and (end - start) / step > self.most_points:
            document = {
                "status": "error",
                "errorType": "execution",
                "error": "query processing would load too many samples",
            }
            return 422, json.dumps(document).encode()
        return self.status, self.body

    def write(self, out: BinaryIO, body: bytes) -> None:
        if not self.pace_seconds:
            out.write(body)
            return
        for at in range(len(body)):
            out.write(body[at : at + 1])
            time.sleep(self.pace_seconds)

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
