"""A local HTTP server that gives scripted answers, for sources that ask for JSON. All it serves is simulated.

The last answer of a path is given for ever::

    with JsonServer() as server:
        server.on("/sizes", Answer(status=429, headers={"Retry-After": "1"}), Answer({"sizes": []}))
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
class Answer:
    """What is answered: ``body`` as JSON, or as it stands where it is bytes."""

    body: object = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    """Promise a longer body and close the connection."""
    hold: threading.Event | None = None
    """Wait until it is set, 30 s at most."""

    @property
    def raw(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass(frozen=True)
class Question:
    """What was asked, as it arrived."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Any
    headers: Mapping[str, str]


Script = Callable[[Question], Answer]


class JsonServer:
    """Answers by path; ``questions`` holds all that was asked, in order."""

    def __init__(self) -> None:
        self.questions: list[Question] = []
        self._scripts: dict[str, list[Answer] | Script] = {}
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

    def on(self, path: str, *answers: Answer) -> None:
        """From now on answer ``path`` with these, one after another."""
        self._scripts[path] = list(answers)

    def ask(self, path: str, script: Script) -> None:
        """From now on answer ``path`` with what ``script`` makes of the question."""
        self._scripts[path] = script

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def answer(self, question: Question) -> Answer:
        self.questions.append(question)
        script = self._scripts.get(question.path)
        if script is None:
            return Answer({"error": "no such path"}, 404)
        if callable(script):
            return script(question)
        with self._lock:
            return script.pop(0) if len(script) > 1 else script[0]


def _handler(server: JsonServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = self.headers["Content-Type"] == "application/x-www-form-urlencoded"
            self._answer(dict(parse_qsl(body)) if form else json.loads(body))

        def _answer(self, body: object) -> None:
            url = urlsplit(self.path)
            question = Question(self.command, url.path, dict(parse_qsl(url.query)), body, dict(self.headers))
            answer = server.answer(question)
            if answer.hold is not None:
                answer.hold.wait(30)
            length = len(answer.raw) + (100 if answer.cut else 0)
            headers = {"Content-Type": "application/json", "Content-Length": str(length), **answer.headers}
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            try:
                self.wfile.write(f"HTTP/1.0 {answer.status} x\r\n{lines}\r\n".encode() + answer.raw)
            except (BrokenPipeError, ConnectionResetError):
                return  # the client did not wait, which is what such a test is about

        def log_message(self, *_: object) -> None:
            return

    return Handler
