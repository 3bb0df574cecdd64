"""The agent's request to the poller, against a server with scripted responses."""

from __future__ import annotations

import base64
import json
import math
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from epochcost.model import Node, PriceStep, PurchaseOption
from epochcost.prices.configured import ConfiguredPrice
from epochcost.prices.remote import PollerAccess, PriceSourceError, RemotePrice

NODE = Node("n1", "aws", "us-east-1", "us-east-1a", "p2.xlarge", PurchaseOption.SPOT)
GOOD = {
    "v": 1,
    "provider": "aws",
    "region": "us-east-1",
    "zone": "us-east-1a",
    "instance_type": "p2.xlarge",
    "purchase_option": "spot",
    "source": "aws_spot",
    "fetched_ts": 1000.0,
    "usd_per_hour": 0.3,
    "steps": [{"ts": None, "usd_per_hour": 0.28}, {"ts": 900.0, "usd_per_hour": 0.3}],
    "on_demand_usd_per_hour": 0.9,
}


class Poller:
    """Responds to every GET with ``status`` and ``body``, after calling ``before``."""

    def __init__(self) -> None:
        self.status = 200
        self.body = json.dumps(GOOD).encode()
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.write: Callable[[BaseHTTPRequestHandler], None] | None = None
        poller = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                poller.requests.append((self.path, dict(self.headers)))
                if poller.write is not None:
                    poller.write(self)
                    return
                self.send_response(poller.status)
                self.send_header("Content-Length", str(len(poller.body)))
                self.end_headers()
                self.wfile.write(poller.body)

            def log_message(self, *_: object) -> None:
                return

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def poller() -> Iterator[Poller]:
    server = Poller()
    yield server
    server.stop()


def test_a_price_comes_with_its_history_and_the_on_demand_price(poller: Poller) -> None:
    quote = RemotePrice(poller.url + "/", NODE).fetch(2000.0)
    assert quote.price.steps == (PriceStep(-math.inf, 0.28), PriceStep(900.0, 0.3))
    assert (quote.price.source, quote.price.fetched_ts) == ("aws_spot", 1000.0)
    assert quote.on_demand_usd_per_hour == 0.9
    assert poller.requests[0][0] == (
        "/v1/price?provider=aws&region=us-east-1&zone=us-east-1a&instance_type=p2.xlarge&purchase_option=spot"
    )


def test_an_unknown_on_demand_price_is_absent(poller: Poller) -> None:
    poller.body = json.dumps({**GOOD, "on_demand_usd_per_hour": None}).encode()
    assert RemotePrice(poller.url, NODE).fetch(0.0).on_demand_usd_per_hour is None


def test_basic_auth_comes_from_a_file_that_may_change(poller: Poller, tmp_path: Path) -> None:
    path = tmp_path / "password"
    remote = RemotePrice(poller.url, NODE, PollerAccess(str(path)))
    for secret in ("user:one", "user:two"):
        path.write_text(secret + "\n")
        remote.fetch(0.0)
        assert poller.requests[-1][1]["Authorization"] == "Basic " + base64.b64encode(secret.encode()).decode()


def error_of(poller: Poller, **arguments: str) -> str:
    with pytest.raises(PriceSourceError) as caught:
        RemotePrice(poller.url, NODE, PollerAccess(timeout=1.0, **arguments)).fetch(0.0)
    assert "127.0.0.1" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("status", [400, 401, 404, 500, 503])
def test_an_error_response_of_the_poller_is_repeated_with_host_and_status(poller: Poller, status: int) -> None:
    poller.status, poller.body = status, b'{"error":"no spot price is known","pending":true}'
    assert error_of(poller).endswith(f"HTTP {status}: no spot price is known")


def test_an_error_response_that_is_not_json_is_handled(poller: Poller) -> None:
    poller.status, poller.body = 502, b"<html>bad gateway"
    assert "HTTP 502" in error_of(poller)


def test_no_password_is_ever_repeated(poller: Poller, tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("user:hunter2")
    poller.status, poller.body = 401, b"Unauthorized"
    assert "hunter2" not in error_of(poller, password_file=str(path))
    path.write_text("hunter2")  # without a user
    message = error_of(poller, password_file=str(path))
    assert "must hold user:password" in message
    assert "hunter2" not in message
    path.unlink()
    assert "No such file" in error_of(poller, password_file=str(path))


def changed_body(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'{"v":1',
        b"\xff\xfe",
        b"[" * 100_000,
        changed_body(v=2),
        changed_body(steps=[]),
        changed_body(steps=[{"ts": None, "usd_per_hour": 0}]),
        changed_body(steps=[{"ts": None, "usd_per_hour": -1}]),
        changed_body(steps=[{"ts": None, "usd_per_hour": True}]),
        changed_body(steps=[{"ts": None, "usd_per_hour": "0.3"}]),
        changed_body(steps=[{"ts": 2, "usd_per_hour": 1}, {"ts": 1, "usd_per_hour": 1}]),
        changed_body(steps=[{"ts": float("nan"), "usd_per_hour": 1}]),
        changed_body(steps=[{"ts": None, "usd_per_hour": float("nan")}]),
        changed_body(steps=[{"ts": None, "usd_per_hour": float("inf")}]),
        changed_body(steps=[{"ts": None, "usd_per_hour": 10**400}]),
        changed_body(steps=7),
        changed_body(on_demand_usd_per_hour=float("nan")),
        changed_body(on_demand_usd_per_hour=-1),
        changed_body(fetched_ts=None),
        changed_body(source=None),
        changed_body(purchase_option="on_demand"),
        changed_body(instance_type="p3.2xlarge"),
        changed_body(source="aws\n2026-11-28 ERROR all is lost"),
        changed_body(region="\u202ee-tsae-su"),
        changed_body(zone="z" * 500),
        changed_body(poller="a\x1b[2J"),
        changed_body(poller="p" * 500),
        changed_body(poller=7),
    ],
)
def test_a_malformed_response_is_rejected(poller: Poller, body: bytes) -> None:
    poller.body = body
    assert "its response is not a price" in error_of(poller)


def test_a_huge_response_is_rejected(poller: Poller) -> None:
    poller.body = changed_body(filler="x" * 1_100_000)
    assert "longer than 1048576 bytes" in error_of(poller)


def test_a_trickling_response_times_out(poller: Poller) -> None:
    stop = threading.Event()

    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n")
        while not stop.wait(0.05):
            try:
                handler.wfile.write(b" ")
                handler.wfile.flush()
            except OSError:
                return

    poller.write = trickle
    try:
        assert "no complete response in time" in error_of(poller)
    finally:
        stop.set()


def test_a_truncated_response_of_the_poller_is_an_error(poller: Poller) -> None:
    def truncate(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: 5000\r\n\r\n{")

    poller.write = truncate
    assert "127.0.0.1" in error_of(poller)


def test_an_unreachable_poller_is_named() -> None:
    with pytest.raises(PriceSourceError, match=r"price poller 127\.0\.0\.1:9: request failed: .*refused"):
        RemotePrice("http://127.0.0.1:9", NODE).fetch(0.0)


def test_a_password_in_the_url_is_not_repeated_by_the_network_library() -> None:
    with pytest.raises(PriceSourceError, match="price poller prices: request failed") as caught:
        RemotePrice("http://ann:tr0ub4dor@prices", NODE).fetch(0.0)
    assert "tr0ub4dor" not in str(caught.value)


def test_a_node_with_an_unknown_purchase_option_causes_no_request(poller: Poller) -> None:
    node = Node("n1", "aws", "us-east-1", "us-east-1a", "p2.xlarge")
    with pytest.raises(PriceSourceError, match=r"set --node\.purchase-option"):
        RemotePrice(poller.url, node).fetch(0.0)
    assert poller.requests == []


def test_a_configured_price_holds_as_far_back_as_matters() -> None:
    quote = ConfiguredPrice(NODE, 0.42).fetch(5.0)
    assert quote.price.steps == (PriceStep(-math.inf, 0.42),)
    assert (quote.price.source, quote.price.fetched_ts) == ("configured", 5.0)
    assert quote.price.key.purchase_option is PurchaseOption.SPOT
    assert ConfiguredPrice(Node("n"), 1.0).fetch(0.0).price.key.purchase_option is PurchaseOption.OWNED


def test_the_agent_side_loads_no_cloud_sdk() -> None:
    heavy = ("boto", "google", "yaml", "apscheduler", "prometheus")
    code = (
        "import sys, epochcost.prices.remote, epochcost.prices.configured;"
        f"print([name for name in sys.modules if name.startswith({heavy})])"
    )
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert completed.stdout.strip() == "[]"
