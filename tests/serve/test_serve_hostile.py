"""Hostile clients over real sockets, each more numerous than the places, during scrapes."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import bcrypt
import pytest
from tests.serve import certificates
from tests.serve.raw_client import connected
from tests.waiting import wait_for

from epochcost.serve import PostRoutes, Server, text
from epochcost.serve.addressed import is_ours, own_names
from epochcost.serve.connection import Limits
from epochcost.serve.credentials import Credentials, Turns, Verdict
from epochcost.serve.places import Places, party_of

Attack = Callable[[socket.socket, threading.Event], None]
PAGE = "x" * 200_000


def trickles_a_body(sock: socket.socket, over: threading.Event) -> None:
    sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
    while not over.wait(0.2):
        sock.sendall(b"a")


def stalls_a_body(sock: socket.socket, over: threading.Event) -> None:
    sock.sendall(b"POST /e HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\na")
    over.wait(20)


def dribbles_a_head(sock: socket.socket, over: threading.Event) -> None:
    sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ")
    while not over.wait(0.2):
        sock.sendall(b"a")


def requests_and_never_reads(sock: socket.socket, over: threading.Event) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    sock.settimeout(1.0)
    with contextlib.suppress(TimeoutError):
        for _ in range(1000):
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50)
    over.wait(20)


def sends_nothing(sock: socket.socket, over: threading.Event) -> None:
    over.wait(20)


def begins_a_handshake(sock: socket.socket, over: threading.Event) -> None:
    sock.sendall(b"\x16")
    over.wait(20)


@contextlib.contextmanager
def attacked(server: Server, attack: Attack, attackers: int = 80) -> Iterator[None]:
    """Eighty attackers, each of which reconnects as soon as it is disconnected."""
    over, at_work = threading.Event(), threading.Semaphore(0)

    def work() -> None:
        while not over.is_set():
            try:
                with socket.create_connection(("127.0.0.1", server.port), timeout=5) as sock:
                    at_work.release()
                    attack(sock, over)
            except OSError:
                over.wait(0.05)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(attackers)]
    for thread in threads:
        thread.start()
    for _ in range(attackers):
        assert at_work.acquire(timeout=20)
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def scrapes(server: Server, count: int = 6, **tls: ssl.SSLContext) -> list[int]:
    """The statuses of some scrapes, each on a connection of its own, each within two seconds."""
    statuses = []
    for _ in range(count):
        with socket.create_connection(("127.0.0.1", server.port), timeout=2.0) as plain:
            sock = tls["tls"].wrap_socket(plain, server_hostname="127.0.0.1") if tls else plain
            with sock:
                sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                response = b""
                while piece := sock.recv(65536):
                    response += piece
        statuses.append(int(response.split(b" ", 2)[1]))
    return statuses


@pytest.mark.parametrize(
    "attack", [trickles_a_body, stalls_a_body, dribbles_a_head, requests_and_never_reads, sends_nothing]
)
def test_eighty_clients_that_keep_their_places_do_not_block_a_scrape(attack: Attack):
    routes = {"/": lambda _: text(200, PAGE), "/metrics": lambda _: text(200, "m 1")}
    with (
        Server(("127.0.0.1", 0), routes, posts=PostRoutes({"/e": lambda _: text(200, "")})) as server,
        attacked(server, attack),
    ):
        assert scrapes(server) == [200] * 6


def test_eighty_half_handshakes_do_not_block_a_scrape(tmp_path: Path):
    pair = certificates.make(tmp_path, "server")
    config = tmp_path / "web.config.yml"
    config.write_text(f"tls_server_config:\n  cert_file: {pair.cert.name}\n  key_file: {pair.key.name}\n")
    trust = ssl.create_default_context(cafile=str(pair.cert))
    with (
        Server(("127.0.0.1", 0), {"/metrics": lambda _: text(200, "m 1")}, str(config)) as server,
        attacked(server, begins_a_handshake),
    ):
        assert scrapes(server, tls=trust) == [200] * 6


def test_password_guesses_do_not_block_a_client_with_the_password(tmp_path: Path):
    config = tmp_path / "web.config.yml"
    config.write_text(f"basic_auth_users:\n  prometheus: {bcrypt.hashpw(b'right', bcrypt.gensalt(10)).decode()}\n")
    right = base64.b64encode(b"prometheus:right").decode()

    def guesses(sock: socket.socket, over: threading.Event) -> None:
        wrong = base64.b64encode(b"prometheus:wrong").decode()
        sock.sendall(f"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {wrong}\r\n\r\n".encode())
        sock.recv(4096)
        over.wait(0.05)

    with Server(("127.0.0.1", 0), {"/metrics": lambda _: text(200, "m 1")}, str(config)) as server:
        with connected(server) as client:
            assert client.request("/metrics", extra=f"Authorization: Basic {right}\r\n").status == 200
        with attacked(server, guesses):
            for _ in range(6):
                started_at = time.monotonic()
                with connected(server) as client:
                    assert client.request("/metrics", extra=f"Authorization: Basic {right}\r\n").status == 200
                assert time.monotonic() - started_at < 2.0


def test_a_repeated_password_takes_precedence_over_new_guesses():
    turns = Turns(waiting_of_one=1)
    assert turns.wait("here")
    order: list[str] = []

    def log_in(name: str, *, again: bool) -> None:
        assert turns.wait("here", again=again)
        order.append(name)
        turns.done()

    threads = [
        threading.Thread(target=log_in, args=("guess",), kwargs={"again": False}),
        threading.Thread(target=log_in, args=("scraper",), kwargs={"again": True}),
    ]
    for waiting, thread in enumerate(threads, start=1):
        thread.start()
        wait_for(lambda n=waiting: len(turns._waiting) == n, what="the thread in the queue")  # type: ignore[misc]
    turns.done()
    for thread in threads:
        thread.join()
    assert order == ["scraper", "guess"]


def test_a_new_scraper_is_served_during_a_flood_of_guesses(tmp_path: Path):
    config = tmp_path / "web.config.yml"
    config.write_text(f"basic_auth_users:\n  prometheus: {bcrypt.hashpw(b'right', bcrypt.gensalt(10)).decode()}\n")
    right = base64.b64encode(b"prometheus:right").decode()

    def guesses(sock: socket.socket, over: threading.Event) -> None:
        wrong = base64.b64encode(f"prometheus:{time.monotonic()}".encode()).decode()
        sock.sendall(f"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {wrong}\r\n\r\n".encode())
        sock.recv(4096)
        over.wait(0.02)

    with (
        Server(("127.0.0.1", 0), {"/metrics": lambda _: text(200, "m 1")}, str(config)) as server,
        attacked(server, guesses),
    ):
        statuses = []
        for _ in range(8):
            with connected(server) as client:
                statuses.append(client.request("/metrics", extra=f"Authorization: Basic {right}\r\n").status)
        assert set(statuses) <= {200, 429}
        assert statuses[2:] == [200] * 6, "put off once or twice, and then known"


def test_few_guesses_of_one_address_wait_and_another_address_has_the_next_turn():
    turns = Turns(waiting_of_one=2)
    assert turns.wait("mallory")
    order: list[str] = []

    def guess(party: str) -> None:
        if turns.wait(party):
            order.append(party)
            turns.done()

    threads = []
    for party, waiting in (("mallory", 1), ("mallory", 2), ("ann", 3)):
        threads.append(threading.Thread(target=guess, args=(party,)))
        threads[-1].start()
        wait_for(lambda n=waiting: sum(map(len, turns._waiting.values())) == n, what="the thread in the queue")  # type: ignore[misc]
    assert not turns.wait("mallory"), "a third one is turned away at once"
    turns.done()
    for thread in threads:
        thread.join()
    assert order == ["mallory", "ann", "mallory"]


def test_the_time_of_a_rejection_does_not_reveal_user_names():
    users = {"cheap": bcrypt.hashpw(b"a", bcrypt.gensalt(6)), "dear": bcrypt.hashpw(b"b", bcrypt.gensalt(10))}
    credentials = Credentials()

    def seconds(name: str) -> float:
        best = []
        for n in range(3):  # each another password: a repeated one is cached
            header = "Basic " + base64.b64encode(f"{name}:wrong{n}".encode()).decode()
            started_at = time.thread_time()
            assert credentials.verify(users, header) is Verdict.WRONG
            best.append(time.thread_time() - started_at)
        return min(best)

    times = [seconds(name) for name in ("cheap", "dear", "nobody")]
    assert max(times) < 2 * min(times), "16 times as much without care"


# -- places ------------------------------------------------------------------------------------------------------------


class HeldPlace:
    def __init__(self, places: Places, since: float | None) -> None:
        self.since, self.evicted, self._places = since, False, places

    def cut(self) -> None:
        self.evicted = True
        self._places.give_back(self)


def test_the_places_of_one_address_are_bounded_and_it_evicts_its_own():
    places = Places(8, reserved=0)
    other = HeldPlace(places, 0.0)
    assert places.take(other, "10.0.0.1")
    own_places = [HeldPlace(places, 10.0 + n) for n in range(3)]
    assert all(places.take(one, "10.0.0.2") for one in own_places)
    assert [one.evicted for one in own_places] == [True, False, False]
    assert not other.evicted, "though it has been there for longer"


def test_loopback_and_authenticated_addresses_find_a_place_when_busy_clients_have_all():
    places = Places(4, reserved=2)
    assert all(places.take(HeldPlace(places, None), f"10.0.0.{n}") for n in range(4))
    assert not places.take(HeldPlace(places, None), "10.0.0.9")
    assert places.take(HeldPlace(places, None), "127.0.0.1")
    places.proved("10.0.0.9")
    assert places.take(HeldPlace(places, None), "10.0.0.9")


def test_loopback_clients_leave_places_to_other_addresses():
    places = Places(8, reserved=2)
    assert [places.take(HeldPlace(places, None), f"127.0.0.{n}") for n in range(7)] == [True] * 6 + [False]
    assert all(places.take(HeldPlace(places, None), "10.0.0.1") for _ in range(2))


@pytest.mark.parametrize(
    ("address", "party"),
    [
        ("127.0.0.1", ""), ("::1", ""), ("::ffff:127.0.0.1", ""), ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"), ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"), ("fe80::1%eth0", "fe80::/64"),
    ],
)  # fmt: skip
def test_an_ipv6_network_is_one_party(address: str, party: str):
    assert party_of(address) == party


# -- requests not meant for this server -------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(
        ("127.0.0.1", 0), {"/p": lambda _: text(200, "p")}, posts=PostRoutes({"/e": lambda _: text(200, "")})
    ) as it:
        yield it


@pytest.mark.parametrize("host", ["127.0.0.1:{}", "localhost:{}", "localhost", "[::1]:{}", "10.1.2.3", "LocalHost.:{}"])
def test_on_loopback_addresses_and_own_names_are_accepted(server: Server, host: str):
    with connected(server) as client:
        client.send(f"GET /p HTTP/1.1\r\nHost: {host.format(server.port)}\r\n\r\n".encode())
        assert client.read().status == 200
    assert all(map(is_ours, own_names()))


@pytest.mark.parametrize("method", ["GET /p", "POST /e"])
@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "[evil]", "a b", "127.0.0.1@evil", ""],
)
def test_a_foreign_name_that_resolves_to_loopback_is_refused(server: Server, method: str, host: str):
    with connected(server) as client:
        client.send(f"{method} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n".encode())
        assert client.read().status == (421 if host else 200)


@pytest.mark.parametrize(
    ("target", "status"), [("http://localhost/p", 200), ("http://evil.example/p", 421), ("http://a@localhost/p", 421)]
)
def test_the_host_of_an_absolute_url_counts(server: Server, target: str, status: int):
    with connected(server) as client:
        client.send(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert client.read().status == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost", 200), ("https://localhost", 200), ("http://evil.example", 403), ("null", 403),
        ("http://localhost:1", 403), ("http://[::1", 403), ("file://", 403),
    ],
)  # fmt: skip
def test_a_page_of_another_site_may_not_send_requests(server: Server, origin: str, status: int):
    with connected(server) as client:
        assert client.request("/p", extra=f"Origin: {origin}\r\n").status == status
        if status == 200:
            assert client.request("/e", "POST", f"Origin: {origin}\r\n", b"x").status == 200


def test_names_of_this_machine_come_from_its_hosts_file_and_not_from_dns(tmp_path: Path):
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost me.example # x\n10.0.0.1 other.example\nnonsense\n::1 six.example\n\n")
    own_names.cache_clear()
    try:
        assert {"me.example", "six.example"} <= own_names(hosts)
        assert "other.example" not in own_names(hosts)
        assert own_names(tmp_path / "none")
    finally:
        own_names.cache_clear()


@pytest.mark.parametrize(
    "doubled",
    [
        "Host: localhost",
        "Content-Length: 0",
        "Authorization: Basic YTpi",
        "Origin: http://localhost",
        "Content-Type: a/b",
    ],
)
def test_a_header_that_must_be_unique_is_refused_twice(server: Server, doubled: str):
    other = "" if doubled.startswith("Host") else "Host: localhost\r\n"
    with connected(server) as client:
        client.send(f"GET /p HTTP/1.1\r\n{other}{doubled}\r\n{doubled}\r\n\r\n".encode())
        assert client.read().status == 400
        assert client.is_closed()


@pytest.mark.parametrize(
    ("connection", "stays"),
    [("x-close-not", True), ("close", False), ("keep-alive, Close", False), ("closed", True), ("", True)],
)
def test_only_the_token_close_closes(server: Server, connection: str, stays: bool):
    with connected(server) as client:
        response = client.request("/p", extra=f"Connection: {connection}\r\n")
        assert response.headers["connection"] == ("keep-alive" if stays else "close")
        if stays:
            assert client.request("/p").status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_get_has_no_body(server: Server, method: str):
    with connected(server) as client:
        client.send(f"{method} /p HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n".encode())
        assert client.read().status == 400
        assert client.is_closed()


def test_a_client_that_reads_too_slowly_is_dropped_before_the_full_time():
    limits = Limits(send_seconds=60.0)
    huge = text(200, "x" * 20_000_000)
    with Server(("127.0.0.1", 0), {"/huge": lambda _: huge}, limits=limits) as server:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.settimeout(20.0)
        sock.connect(("127.0.0.1", server.port))
        with sock:
            sock.sendall(b"GET /huge HTTP/1.1\r\nHost: localhost\r\n\r\n")
            started_at = time.monotonic()
            wait_for(lambda: not server._open, 30.0, "the end of the connection")
            assert time.monotonic() - started_at < 20.0
