"""What serving ``/metrics`` takes by our HTTP server and by those of five libraries, and what slow clients do to each.

    python benchmarks/http_servers.py [--scrapes 2000]

Each server runs alone in a process of its own and answers with one text of 346 samples, made once; a library that is
not installed is left out (``pip install cheroot waitress uvicorn h11``). Memory is what the process has more than an
interpreter that has imported nothing but prometheus_client. CPU is that of the server's process by scrapes over one
keep-alive connection. Then 64 clients send one byte of a request every half second for 15 s: how many of them the
server has ended by then, and whether a scrape from another connection is answered meanwhile. Last, one request as
Prometheus sends it is parsed by our parser and by h11.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import importlib
import importlib.util
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "exporter")]
os.environ["PYTHONPATH"] = str(ROOT / "exporter")

BODY = b"".join(
    b'epochcost_gpu_utilization_ratio{epochcost_machine="node-1a2b3c4d",gpu="%d",uuid="GPU-%032d"} 0.5\n' % (i, i)
    for i in range(346)
)
TYPE = "text/plain; version=0.0.4; charset=utf-8"
SLOW_CLIENTS, SLOW_SECONDS = 64, 15.0
TICK = os.sysconf("SC_CLK_TCK")
REQUEST = (
    b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:9835\r\nUser-Agent: Prometheus/3.5.0\r\n"
    b"Accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.2\r\n"
    b"Accept-Encoding: gzip\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n"
)


def _wsgi(_: object, start_response: Callable[..., object]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", TYPE), ("Content-Length", str(len(BODY)))])
    return [BODY]


def ours(port: int) -> None:
    from epochcost.serve.messages import Response
    from epochcost.serve.server import Server

    Server(("127.0.0.1", port), {"/metrics": lambda _: Response(200, BODY, TYPE)}).start()
    time.sleep(3600)


def cheroot(port: int) -> None:
    from cheroot import wsgi

    wsgi.Server(("127.0.0.1", port), _wsgi, numthreads=4, timeout=10).start()


def waitress(port: int) -> None:
    from waitress import serve

    serve(_wsgi, host="127.0.0.1", port=port, threads=4, channel_timeout=10, cleanup_interval=5, _quiet=True)


def uvicorn(port: int) -> None:
    import uvicorn as server

    async def app(scope: dict[str, object], _: object, send: Callable[..., Awaitable[None]]) -> None:
        if scope["type"] == "http":
            headers = [(b"content-type", TYPE.encode()), (b"content-length", str(len(BODY)).encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": BODY})

    server.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False, http="h11", lifespan="off")


def stdlib(port: int) -> None:
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", TYPE)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY)

        def log_message(self, *_: object) -> None:
            pass

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def prometheus_client(port: int) -> None:
    from prometheus_client import CollectorRegistry, Gauge, start_http_server

    registry = CollectorRegistry()
    gauge = Gauge("epochcost_gpu_utilization_ratio", "Of 346 GPUs.", ("machine", "gpu", "uuid"), registry=registry)
    for i in range(346):
        gauge.labels("node-1a2b3c4d", str(i), f"GPU-{i:032d}").set(0.5)
    start_http_server(port, addr="127.0.0.1", registry=registry)
    time.sleep(3600)


SERVERS: dict[str, tuple[Callable[[int], None], str]] = {
    "epochcost.serve": (ours, "epochcost"),
    "stdlib ThreadingHTTPServer": (stdlib, "http"),
    "prometheus_client (and its writer)": (prometheus_client, "prometheus_client"),
    "cheroot": (cheroot, "cheroot"),
    "waitress": (waitress, "waitress"),
    "uvicorn with h11": (uvicorn, "uvicorn"),
}


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def _rss_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _connected(port: int) -> http.client.HTTPConnection:
    deadline = time.monotonic() + 20
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with contextlib.suppress(ConnectionRefusedError):
            connection.connect()
            return connection
        if time.monotonic() > deadline:
            raise TimeoutError("the server did not start within 20 s")
        time.sleep(0.05)


def _scrape(connection: http.client.HTTPConnection) -> int:
    connection.request("GET", "/metrics")
    response = connection.getresponse()
    size = len(response.read())
    assert response.status == 200, response.status
    assert size > len(BODY) // 2, f"only {size} bytes were served"
    return size


def _sent(client: socket.socket, letter: bytes) -> bool:
    try:
        return client.send(letter) == 1
    except OSError:
        return False


def _is_ended(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return not client.recv(65536)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _slow(port: int) -> tuple[int, str]:
    """How many of the slow clients were ended, and how a scrape went meanwhile."""
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(SLOW_CLIENTS)]
    text, ended, end = iter((REQUEST * 100).decode()), set(), time.monotonic() + SLOW_SECONDS
    while time.monotonic() < end:
        letter = next(text).encode()
        for client in clients:
            if not _sent(client, letter):
                ended.add(client)
        time.sleep(0.5)
    ended.update(client for client in clients if _is_ended(client))
    began = time.monotonic()
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        _scrape(connection)
        meanwhile = f"{(time.monotonic() - began) * 1e3:.1f} ms"
        connection.close()
    except (OSError, http.client.HTTPException) as err:
        meanwhile = f"none ({type(err).__name__})"
    for client in clients:
        client.close()
    return len(ended), meanwhile


def measure(name: str, scrapes: int, base_mib: float) -> str:
    """One row of the table."""
    port = _free_port()
    with subprocess.Popen([sys.executable, __file__, "--serve", name, str(port)]) as server:
        try:
            connection = _connected(port)
            for _ in range(20):
                _scrape(connection)
            before = _cpu_seconds(server.pid)
            for _ in range(scrapes):
                _scrape(connection)
            cpu_us = (_cpu_seconds(server.pid) - before) / scrapes * 1e6
            mib = _rss_mib(server.pid) - base_mib
            connection.close()
            ended, meanwhile = _slow(port)
        finally:
            server.kill()
    return f"{name:36}{mib:9.1f}{cpu_us:14.0f}{f'{ended} of {SLOW_CLIENTS}':>14}{meanwhile:>24}"


def _base_mib() -> float:
    code = "import prometheus_client, sys; sys.stdout.write('x'); sys.stdout.flush(); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as bare:
        assert bare.stdout is not None
        bare.stdout.read(1)
        return _rss_mib(bare.pid)


def parsers(times: int = 20_000) -> list[str]:
    """Microseconds a request of Prometheus."""
    from epochcost.serve.messages import parse_head

    rows = []
    began = time.process_time()
    for _ in range(times):
        parse_head(REQUEST.rstrip())
    rows.append(f"parse a request: ours {(time.process_time() - began) / times * 1e6:.1f} us")
    if importlib.util.find_spec("h11"):
        import h11

        began = time.process_time()
        for _ in range(times):
            connection = h11.Connection(h11.SERVER)
            connection.receive_data(REQUEST + b"\r\n")
            connection.next_event()
        rows.append(f"parse a request: h11 {(time.process_time() - began) / times * 1e6:.1f} us")
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scrapes", type=int, default=2000)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        importlib.import_module("prometheus_client")  # part of every server's base
        SERVERS[options.serve[0]][0](int(options.serve[1]))
        return 0
    print(f"Python {platform.python_version()}, {os.cpu_count()} CPUs, {len(BODY)} bytes a scrape")
    print(f"{'':36}{'MiB more':>9}{'CPU us/scrape':>14}{'slow ended':>14}{'a scrape meanwhile':>24}")
    base = _base_mib()
    for name, (_, module) in SERVERS.items():
        if importlib.util.find_spec(module):
            print(measure(name, options.scrapes, base), flush=True)
    print("\n".join(parsers()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
