from __future__ import annotations

import gzip
import json
import logging
import socket
import threading
import warnings
from collections.abc import Iterator

import pytest
from tests.serve.raw_client import connected
from tests.waiting import wait_for

from epochcost.serve import PostRoutes, Request, Response, Server, json_response, text
from epochcost.serve.connection import Connection, Limits, Service
from epochcost.serve.policy import Policy


def echo(request: Request) -> Response:
    query = {name: list(values) for name, values in request.query.items()}
    return json_response(
        200, {"path": request.path, "query": query, "body": request.body.decode(), "m": request.method}
    )


def failing(_: Request) -> Response:
    raise RuntimeError("the secret detail")


def big(_: Request) -> Response:
    return text(200, "x" * 5000)


@pytest.fixture
def server() -> Iterator[Server]:
    reasons = ["no sample yet"]
    routes = {
        "/echo": echo,
        "/broken": failing,
        "/big": big,
        "/bad-header": lambda _: Response(200, b"", "text/plain", {"X": "a\r\nSet-Cookie: b"}),
        "/become-ready": lambda _: text(200, reasons.pop()),
    }
    ready = lambda: reasons[0] if reasons else None  # noqa: E731
    with Server(("127.0.0.1", 0), routes, ready=ready, posts=PostRoutes({"/events": echo})) as running:
        yield running


def test_a_route_gets_the_decoded_path_and_query(server):
    with connected(server) as client:
        response = client.request("/echo?a=1&a=2&b=%C3%A9&c=")
    assert response.status == 200
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    assert json.loads(response.body)["query"] == {"a": ["1", "2"], "b": ["é"], "c": [""]}


def test_one_connection_serves_many_requests_even_sent_at_once(server):
    with connected(server) as client:
        client.send(b"GET /echo?n=1 HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
        bodies = [client.read().body for _ in range(20)]
        assert len(set(bodies)) == 1
        assert client.request("/-/healthy").headers["connection"] == "keep-alive"


@pytest.mark.parametrize(
    "request_bytes",
    [b"GET /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b"GET /echo HTTP/1.0\r\n\r\n"],
)
def test_a_connection_is_closed_when_the_client_requests_it(server, request_bytes):
    with connected(server) as client:
        client.send(request_bytes)
        assert client.read().headers["connection"] == "close"
        assert client.is_closed()


def test_healthy_at_once_and_ready_only_without_a_reason_against_it(server):
    with connected(server) as client:
        assert client.request("/-/healthy").status == 200
        unready = client.request("/-/ready")
        assert (unready.status, unready.body) == (503, b"not ready: no sample yet\n")
        client.request("/become-ready")
        assert client.request("/-/ready").status == 200


def test_the_response_to_an_unknown_path_lists_the_existing_paths(server):
    with connected(server) as client:
        response = client.request("/wp-admin")
    assert response.status == 404
    assert b"/-/healthy" in response.body
    assert b"/events" in response.body
    assert b"wp-admin" not in response.body


def test_head_has_the_headers_of_get_and_no_body(server):
    with connected(server) as client:
        get, head = client.request("/big"), client.request("/big", method="HEAD")
        assert head.headers["content-length"] == get.headers["content-length"] == "5001"
        assert client.request("/-/healthy").status == 200  # no part of a body is in between


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("POST", "/echo", "GET, HEAD"), ("GET", "/events", "POST"), ("DELETE", "/echo", "GET, HEAD")],
)
def test_the_response_to_a_wrong_method_lists_the_allowed_ones(server, method, path, allowed):
    with connected(server) as client:
        response = client.request(path, method=method)
    assert (response.status, response.headers["allow"]) == (405, allowed)


def test_a_post_route_gets_the_body(server):
    with connected(server) as client:
        response = client.request("/events", method="POST", body=b'{"v":1}')
    assert json.loads(response.body) == {"path": "/events", "query": {}, "body": '{"v":1}', "m": "POST"}


def test_a_client_that_expects_100_continue_gets_it_before_the_response(server):
    with connected(server) as client:
        client.send(b"POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert client.read().status == 100
        client.send(b"hi")
        assert client.read().status == 200


def test_a_page_that_fails_repeatedly_does_not_fill_the_log(server, caplog):
    with caplog.at_level(logging.INFO, "epochcost.serve"), connected(server) as client:
        for _ in range(3):
            assert client.request("/broken").status == 500
            assert client.request("/broken?x=1").status == 500
    assert len(caplog.records) == 1


def test_gzip_only_when_requested_and_worth_it(server):
    with connected(server) as client:
        packed = client.request("/big", extra="Accept-Encoding: br, gzip\r\n")
        assert packed.headers["content-encoding"] == "gzip"
        assert packed.headers["vary"] == "Accept-Encoding"
        assert gzip.decompress(packed.body) == client.request("/big").body
        assert "content-encoding" not in client.request("/big", extra="Accept-Encoding: gzip;q=0\r\n").headers
        assert "content-encoding" not in client.request("/-/healthy", extra="Accept-Encoding: gzip\r\n").headers


@pytest.mark.parametrize("path", ["/broken", "/bad-header"])
def test_a_route_that_fails_is_logged_once_and_the_server_continues(server, caplog, path):
    with caplog.at_level(logging.ERROR, "epochcost.serve"), connected(server) as client:
        response = client.request(path)
        assert (response.status, response.body) == (500, b"internal error; see the log\n")
        assert client.request("/-/healthy").status == 200
    assert len(caplog.records) == 1
    assert caplog.records[0].exc_info


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"\x00\xff\xfe\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"get / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET echo HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET http://[/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nA: \x01\r\n\r\n", 400),
        (b"GET /?" + b"a&" * 200 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + b"b" * 70000, 431),
        (b"POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST /events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
        (b"POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\nxx", 413),
    ],
)
def test_a_bad_request_is_refused_its_connection_closed_and_others_are_served(server, data, status):
    with connected(server) as client, connected(server) as other:
        client.send(data)
        assert client.read().status == status
        assert client.is_closed()
        assert other.request("/-/healthy").status == 200


def test_nothing_of_the_request_is_echoed_in_an_error(server):
    with connected(server) as client:
        client.send(b"GET /<script>alert(1)</script> HTTP/1.1\r\nHost: evil<b>\r\nX-Evil: <i>\r\n\r\n")
        response = client.read()
    assert b"<" not in response.body
    assert response.headers["x-content-type-options"] == "nosniff"


class CountingSocket(socket.socket):
    """Counts what is written and how often."""

    writes = 0

    def send(self, *args):
        self.writes += 1
        return super().send(*args)

    def sendall(self, *args):
        self.writes += 1
        return super().sendall(*args)


@pytest.mark.parametrize("path", ["/-/healthy", "/big"])
def test_headers_and_body_are_sent_in_one_write(path):
    server_side, client_side = socket.socketpair()
    counting = CountingSocket(server_side.family, server_side.type, server_side.proto, fileno=server_side.detach())
    body = text(200, "x" * (5000 if path == "/big" else 5))
    connection = Connection(counting, Service(lambda _: None, lambda _: body, Policy), Limits(), threading.Event())
    with client_side:
        client_side.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * 3)
        client_side.shutdown(socket.SHUT_WR)
        connection.run()
    assert counting.writes == 3


def test_stopping_closes_idle_connections_and_lets_a_running_request_finish():
    entered, go_on = threading.Event(), threading.Event()
    threads_before = set(threading.enumerate())  # threads of other tests' servers may still be ending

    def slow(_: Request) -> Response:
        entered.set()
        go_on.wait(10)
        return text(200, "done")

    server = Server(("127.0.0.1", 0), {"/slow": slow})
    server.start()
    with connected(server) as idle, connected(server) as busy:
        idle.request("/-/healthy")
        busy.send(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        entered.wait(10)
        stopper = threading.Thread(target=server.stop)
        stopper.start()
        assert idle.is_closed()
        go_on.set()
        response = busy.read()
        stopper.join(10)
    assert (response.status, response.headers["connection"]) == (200, "close")
    assert not [t for t in threading.enumerate() if t.name.startswith("http-") and t not in threads_before]


def test_a_stopped_server_leaves_its_port_free_and_no_socket_open():
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        first = Server(("127.0.0.1", 0), {})
        first.start()
        port = first.port
        first.stop()
        first.stop()  # stopping twice is harmless
        with Server(("127.0.0.1", port), {}) as second, connected(second) as client:
            assert client.request("/-/healthy").status == 200


def test_a_taken_port_is_named():
    with (
        Server(("127.0.0.1", 0), {}) as first,
        pytest.raises(OSError, match=f"127.0.0.1:{first.port}: Address already"),
    ):
        Server(("127.0.0.1", first.port), {}).start()


def test_the_url_can_be_opened_by_a_local_browser():
    assert Server(("", 1234), {}).url == "http://127.0.0.1:1234"
    assert Server(("::1", 1234), {}).url == "http://[::1]:1234"


def test_a_hundred_clients_at_once_are_all_served(server):
    statuses: list[int] = []
    start = threading.Barrier(100)

    def client() -> None:
        start.wait(20)
        with connected(server, 30) as one:
            statuses.append(one.request("/big").status)

    threads = [threading.Thread(target=client) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert statuses == [200] * 100


def is_served(server: Server) -> bool:
    try:
        with connected(server) as client:
            return client.request("/-/healthy").status == 200
    except ConnectionError:  # refused as long as all places are taken
        return False


@pytest.mark.parametrize("held_open_with", [b"", b"GET / HTTP/1.1\r\nHost"], ids=["silence", "half a request"])
def test_clients_that_only_hold_connections_open_make_room_for_others(held_open_with):
    limits = Limits(connections=4, reserved=0, request_seconds=60, idle_seconds=60)
    with Server(("127.0.0.1", 0), {}, limits=limits) as server:
        holders = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(4)]
        for holder in holders:
            holder.sendall(held_open_with)

        assert wait_for(lambda: is_served(server), 10, "a response")
        for holder in holders:
            holder.close()


def test_when_every_place_is_busy_a_new_client_is_turned_away_and_served_later():
    go_on = threading.Event()
    slow = lambda _: text(200, str(go_on.wait(20)))  # noqa: E731
    with Server(("127.0.0.1", 0), {"/slow": slow}, limits=Limits(connections=1, reserved=0)) as server:
        with connected(server) as busy:
            busy.send(b"GET /slow HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            with connected(server) as late:
                assert late.is_closed()
            go_on.set()
            assert busy.read().status == 200
        with connected(server) as client:
            assert client.request("/-/healthy").status == 200


def test_a_trickling_request_is_ended_with_408():
    with Server(("127.0.0.1", 0), {}, limits=Limits(request_seconds=0.3)) as server, connected(server) as client:
        client.send(b"GET / HT")
        assert client.read().status == 408
        assert client.is_closed()


def test_a_trickling_body_is_ended_with_408():
    limits = Limits(request_seconds=0.3)
    with (
        Server(("127.0.0.1", 0), {}, posts=PostRoutes({"/e": echo}), limits=limits) as server,
        connected(server) as client,
    ):
        client.send(b"POST /e HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nab")
        assert client.read().status == 408


@pytest.mark.parametrize(("path", "status"), [("/e", 403), ("/nowhere", 404), ("/-/healthy", 405)])
def test_a_body_that_no_route_accepts_is_not_awaited(path, status):
    routes = {"/e": lambda _: text(403, "closed")}
    with (
        Server(
            ("127.0.0.1", 0), {}, posts=PostRoutes({"/e": echo}, routes), limits=Limits(request_seconds=0.5)
        ) as server,
        connected(server) as client,
    ):
        client.send(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n".encode())
        assert client.read().status == status
        assert client.is_closed(), "or the body would be read as the next request"


def test_a_rejected_request_without_a_body_may_be_followed_by_another():
    routes = {"/e": lambda _: text(403, "closed")}
    with (
        Server(("127.0.0.1", 0), {}, posts=PostRoutes({"/e": echo}, routes)) as server,
        connected(server) as client,
    ):
        assert client.request("/e", "POST").status == 403
        assert client.request("/-/healthy").status == 200


def test_a_connection_without_requests_is_closed_silently():
    with Server(("127.0.0.1", 0), {}, limits=Limits(idle_seconds=0.3)) as server, connected(server) as client:
        assert client.request("/-/healthy").status == 200
        assert client.is_closed()


def test_a_client_that_never_reads_is_dropped():
    huge = Response(200, b"x" * 50_000_000, "text/plain")
    with (
        Server(
            ("127.0.0.1", 0), {"/huge": lambda _: huge}, limits=Limits(connections=1, reserved=0, send_seconds=0.5)
        ) as server,
        connected(server) as deaf,
    ):
        deaf.send(b"GET /huge HTTP/1.1\r\nHost: localhost\r\n\r\n")

        assert wait_for(lambda: is_served(server), 10, "a response")


def test_a_lone_surrogate_is_escaped_in_json_and_a_question_mark_in_text():
    assert json.loads(json_response(200, {"a": "x\ud800é"}).body) == {"a": "x\ud800é"}
    assert text(400, "no \udfff here").body == b"no ? here\n"
