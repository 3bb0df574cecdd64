"""More simultaneous requests than places: clients that have waited too long are told to retry."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator

import pytest
from tests.waiting import wait_for

from epochcost.serve import Request, Response, Server, overload, text
from epochcost.serve.connection import Limits

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how long data has been waiting")
REQUEST = b"GET /v1/price?a=b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client, and its connection at the server."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        connection, _ = listener.accept()
        with client, connection:
            yield client, connection


def test_a_fresh_request_is_not_too_late_and_an_old_one_is(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, connection = pair
    client.sendall(REQUEST)
    monkeypatch.setattr(overload, "WAITED_SECONDS", 3600.0)
    assert not overload.is_too_late(connection)
    monkeypatch.setattr(overload, "WAITED_SECONDS", 0.05)
    wait_for(lambda: overload.is_too_late(connection))


def test_the_request_of_a_closed_client_is_too_late(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overload, "WAITED_SECONDS", 3600.0)
    client, connection = pair
    client.sendall(REQUEST)
    client.close()
    wait_for(lambda: overload.is_too_late(connection))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (REQUEST, True),
        (b"GET /metrics HTTP/1.1\r\n", False),
        (b"GET /v1/prices HTTP/1.1\r\n", False),
        (b"POST /v1/price HTTP/1.1\r\n", False),
        (b"\x16\x03\x01\xff\xfe", False),
        (b"GET", False),
        (b"\xff" * 5000, False),
    ],
)
def test_the_requested_path_is_peeked_and_stays_in_the_buffer(
    pair: tuple[socket.socket, socket.socket], data: bytes, expected: bool
) -> None:
    client, connection = pair
    client.sendall(data)
    wait_for(lambda: connection.recv(1, socket.MSG_PEEK))
    assert overload.asks_for(connection, {"/v1/price"}) is expected
    assert connection.recv(3) == data[:3]


def test_an_empty_buffer_has_no_requested_path(pair: tuple[socket.socket, socket.socket]) -> None:
    assert not overload.asks_for(pair[1], {"/v1/price"})


def test_a_refusal_is_sent_in_full_and_closes_the_connection(pair: tuple[socket.socket, socket.socket]) -> None:
    client, connection = pair
    client.sendall(REQUEST)
    wait_for(lambda: connection.recv(1, socket.MSG_PEEK))
    overload.refuse(connection)
    received = b""
    while piece := client.recv(4096):
        received += piece
    assert received.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: 5\r\n" in received


def test_while_all_places_are_taken_price_requests_are_refused_and_a_scrape_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(overload, "WAITED_SECONDS", 0.0)
    entered, over = threading.Event(), threading.Event()

    def slow(_: Request) -> Response:
        entered.set()
        over.wait(30)
        return text(200, "slow")

    routes = {"/slow": slow, "/v1/price": lambda _: text(200, "price"), "/metrics": lambda _: text(200, "scraped")}
    limits = Limits(connections=1, reserved=0, shed_paths=("/v1/price",))
    with Server(("127.0.0.1", 0), routes, limits=limits) as server:
        address = ("127.0.0.1", server.port)
        first = socket.create_connection(address)
        first.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert entered.wait(30)
        with socket.create_connection(address) as refused_client:
            refused_client.sendall(REQUEST)
            assert refused_client.recv(4096).startswith(b"HTTP/1.1 503 ")
        over.set()
        wait_for(lambda: first.recv(4096))
        first.close()
        wait_for(lambda: _first_bytes(server, b"/metrics").startswith(b"HTTP/1.1 200"))
        assert _first_bytes(server, b"/v1/price").startswith(b"HTTP/1.1 200"), "there is a place again"


def _first_bytes(server: Server, path: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return sock.recv(4096)
