"""Local servers that speak each cloud's documented metadata protocol, and others that do everything wrong."""

from __future__ import annotations

import json
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Reply:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]


class Cloud(ABC):
    """A metadata server whose responses come from `reply`; every request is recorded."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.url = ""
        self.date: str | None = None
        """What its answers say that the time is; None if they do not say."""

    @abstractmethod
    def reply(self, request: Request) -> Reply:
        """The response to a request."""

    @contextmanager
    def serving(self) -> Iterator[str]:
        cloud = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.command, parts.path, parse_qs(parts.query), headers)
                cloud.requests.append(request)
                reply = cloud.reply(request)
                self.send_response_only(reply.status)
                if cloud.date is not None:
                    self.send_header("Date", cloud.date)
                for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.body)

            do_PUT = do_GET  # noqa: N815 - the name that the base class looks for

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
                """Print nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self.url
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class Aws(Cloud):
    """IMDSv2: a token by PUT with a time to live, and everything else with that token only."""

    def __init__(self, life_cycle: str = "spot", **document: Any) -> None:
        super().__init__()
        self.document: dict[str, Any] = {
            "accountId": "123456789012",
            "architecture": "x86_64",
            "availabilityZone": "us-east-1b",
            "instanceId": "i-0123456789abcdef0",
            "instanceType": "p4d.24xlarge",
            "region": "us-east-1",
            "version": "2017-09-30",
            **document,
        }
        self.life_cycle = life_cycle
        self.action: dict[str, str] | None = None
        self.rebalance: dict[str, str] | None = None
        self.tags: dict[str, str] = {}
        self.tokens: set[str] = set()
        self.failing: dict[str, int] = {}
        """Status by the end of a path."""

    def forget_tokens(self) -> None:
        self.tokens.clear()

    def reply(self, request: Request) -> Reply:
        if request.path == "/latest/api/token":
            return self._token(request)
        if request.headers.get("x-aws-ec2-metadata-token") not in self.tokens:
            return Reply(401)
        if status := next((code for end, code in self.failing.items() if request.path.endswith(end)), 0):
            return Reply(status)
        content = {
            "/latest/dynamic/instance-identity/document": self.document,
            "/latest/meta-data/instance-life-cycle": self.life_cycle,
            "/latest/meta-data/spot/instance-action": self.action,
            "/latest/meta-data/events/recommendations/rebalance": self.rebalance,
            **{f"/latest/meta-data/tags/instance/{name}": value for name, value in self.tags.items()},
        }.get(request.path)
        if content is None:
            return Reply(404, b"<html><head><title>404 - Not Found</title></head></html>")
        return Reply(200, content.encode() if isinstance(content, str) else json.dumps(content).encode())

    def _token(self, request: Request) -> Reply:
        seconds = request.headers.get("x-aws-ec2-metadata-token-ttl-seconds", "")
        if request.method != "PUT":
            return Reply(405)
        if not seconds.isdecimal() or not 1 <= int(seconds) <= 21600:
            return Reply(400)
        token = f"TOKEN{len(self.requests)}=="
        self.tokens.add(token)
        return Reply(200, token.encode())


class Gcp(Cloud):
    """Accepts only requests with ``Metadata-Flavor: Google``, and sends the same header in its responses."""

    def __init__(self, **texts: str) -> None:
        super().__init__()
        self.flavor: str | None = "Google"
        self.scheduling: dict[str, str] = {"automaticRestart": "FALSE", "preemptible": "TRUE"}
        self.texts = {
            "zone": "projects/123456/zones/us-central1-a",
            "machine-type": "projects/123456/machineTypes/a3-highgpu-8g",
            "preempted": "FALSE",
            **texts,
        }

    def reply(self, request: Request) -> Reply:
        headers = {} if self.flavor is None else {"Metadata-Flavor": self.flavor}
        if request.headers.get("metadata-flavor") != "Google":
            return Reply(403, b"Missing Metadata-Flavor:Google header.", headers)
        name = request.path.removeprefix("/computeMetadata/v1/instance/")
        if name == "scheduling/" and request.query.get("recursive") == ["true"]:
            return Reply(200, json.dumps(self.scheduling).encode(), {**headers, "Content-Type": "application/json"})
        if name in self.texts:
            return Reply(200, self.texts[name].encode(), {**headers, "Content-Type": "application/text"})
        return Reply(404, b"", headers)


class Azure(Cloud):
    """Requires ``Metadata: true``, a known API version, and no forwarding header."""

    def __init__(self, **compute: Any) -> None:
        super().__init__()
        self.compute: dict[str, Any] = {
            "azEnvironment": "AzurePublicCloud",
            "location": "eastus",
            "name": "train_3",
            "priority": "Spot",
            "vmSize": "Standard_ND96isr_H100_v5",
            "zone": "1",
            **compute,
        }
        self.events: list[dict[str, Any]] = []

    def reply(self, request: Request) -> Reply:
        versions = {"/metadata/instance/compute": "2020-09-01", "/metadata/scheduledevents": "2020-07-01"}
        if request.headers.get("metadata") != "true" or "x-forwarded-for" in request.headers:
            return Reply(400, b'{"error":"Bad request. Required metadata header not specified"}')
        if request.path not in versions:
            return Reply(404)
        if request.query.get("api-version") != [versions[request.path]]:
            return Reply(400, b'{"error":"Bad request. api-version was not specified in the request"}')
        document: object = self.compute
        if request.path.endswith("scheduledevents"):
            document = {"DocumentIncarnation": 1, "Events": self.events}
        return Reply(200, json.dumps(document).encode(), {"Content-Type": "application/json; charset=utf-8"})


class ApiServer(Cloud):
    """The part of a Kubernetes API server that serves nodes to a bearer of ``token``."""

    def __init__(self, token: str = "sesame", **labels: str) -> None:
        super().__init__()
        self.token = token
        self.provider_id = "aws:///us-east-1b/i-0123456789abcdef0"
        self.labels = labels

    def reply(self, request: Request) -> Reply:
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return Reply(403, b'{"kind":"Status","reason":"Forbidden","code":403}')
        if request.path != "/api/v1/nodes/gpu-7":
            return Reply(404, b'{"kind":"Status","reason":"NotFound","code":404}')
        node = {
            "kind": "Node",
            "metadata": {"name": "gpu-7", "labels": self.labels},
            "spec": {"providerID": self.provider_id},
        }
        return Reply(200, json.dumps(node).encode(), {"Content-Type": "application/json"})


class FixedReply(Cloud):
    """Has one response to everything."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self.one = reply

    def reply(self, request: Request) -> Reply:
        return self.one


@contextmanager
def raw(behave: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """A server below HTTP: ``behave`` gets each connection, and an event that is set when it must end."""
    completed = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                behave(connection, completed)
            except OSError:
                return  # the client hung up, as it should

    def accept() -> None:
        while not completed.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=serve, args=(connection,), daemon=True))
            threads[-1].start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        completed.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join()
        for thread in threads:
            thread.join()


def never_responds(connection: socket.socket, completed: threading.Event) -> None:
    """Reads the request and never responds."""
    connection.recv(65536)
    completed.wait(30)


def trickles(connection: socket.socket, completed: threading.Event) -> None:
    """One byte of an endless header at a time: each read succeeds, the response never ends."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while not completed.wait(0.05):
        connection.sendall(b"x")


def floods(connection: socket.socket, completed: threading.Event) -> None:
    """Ten megabytes and no length."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nMetadata-Flavor: Google\r\n\r\n")
    for _ in range(160):
        if completed.is_set():
            return
        connection.sendall(b"a" * 65536)


def sends_nonsense(connection: socket.socket, completed: threading.Event) -> None:
    """Sends something that is not HTTP."""
    connection.recv(65536)
    connection.sendall(b"\x00\xff\xfe SSH-2.0-OpenSSH\r\n" * 20)


def hangs_up(connection: socket.socket, completed: threading.Event) -> None:
    """Closes after half a response."""
    connection.recv(65536)
    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"region":"us-')
