"""Requests to third-party servers: a real socket server that misbehaves in every known way."""

from __future__ import annotations

import socket
import ssl
import statistics
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.http_client.hostile_server import BEHAVIOURS, Hostile, hostile, responds, trickles
from tests.serve import certificates

from epochcost.http_client import (
    Bounds,
    BrokenOffError,
    ConnectError,
    DeadlineError,
    ExchangeError,
    InvalidRequestError,
    Request,
    TooLongError,
    ask,
    client_tls,
    host_of,
    open_stream,
    place_of,
)
from epochcost.http_client.dial import why

SECRET = "tr0ub4dor"
FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: one\r\n\r\nok"
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "all_proxy", "ALL_PROXY")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)


def bounds(seconds: float = 5.0, max_bytes: int = 100_000) -> Bounds:
    return Bounds.within(seconds, max_bytes)


def test_a_response_has_its_status_headers_and_body():
    with hostile(responds(FINE)) as server:
        response = ask(Request(f"{server.url}/a%2Fb?q=1&r=ä", headers={"X-B": "two"}), bounds())
    assert (response.status, response.body, response.headers["x-a"]) == (200, b"ok", "one")
    (head,) = server.heads
    assert head.startswith(b"GET /a%2Fb?q=1&r=%C3%A4 HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{server.port}\r\n".encode() in head
    assert b"X-B: two\r\n" in head


def test_any_status_is_a_response():
    with hostile(responds(b"HTTP/1.0 503 Busy\r\n\r\nlater")) as server:
        assert (ask(Request(server.url), bounds()).status, ask(Request(server.url), bounds()).body) == (503, b"later")


def test_a_body_is_sent_completely_and_an_interim_response_is_skipped():
    def behave(sock: socket.socket, _: threading.Event) -> None:
        sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" + FINE)

    with hostile(behave) as server:
        assert ask(Request(server.url, "POST", body=b"x" * 1000), bounds()).body == b"ok"
    assert b"Content-Length: 1000\r\n" in server.heads[0]
    assert server.heads[0].endswith(b"x" * 1000)


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_any_misbehaviour_ends_in_time_with_an_error_of_one_printable_line(name: str):
    with hostile(BEHAVIOURS[name]) as server:
        started_at, cpu = time.monotonic(), time.thread_time()
        with pytest.raises(ExchangeError) as caught:
            ask(Request(server.url), bounds(0.5))
        assert time.monotonic() - started_at < 5.0
        assert time.thread_time() - cpu < 1.0
    text = str(caught.value)
    assert text
    assert text.isprintable()
    assert len(text) <= 200


@pytest.mark.parametrize(
    "name", ["headers that trickle", "body that trickles", "100 Continue now and then", "never responds"]
)
def test_a_response_that_trickles_past_the_deadline_times_out(name: str):
    with hostile(BEHAVIOURS[name]) as server, pytest.raises(DeadlineError):
        ask(Request(server.url), bounds(0.3))


def test_a_response_that_is_too_long_takes_no_memory_and_is_reported():
    behave = responds(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n" + b"x" * 100_000)
    with hostile(behave) as server:
        tracemalloc.start()
        try:
            with pytest.raises(TooLongError, match="longer than 100000 bytes"):
                ask(Request(server.url), bounds())
            assert tracemalloc.get_traced_memory()[1] < 2_000_000
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(("length", "fits"), [(100_000, True), (100_001, False)])
@pytest.mark.parametrize("chunk", [0, 1, 7, 65536])
def test_the_bound_of_a_body_is_exact_whatever_its_framing(length: int, fits: bool, chunk: int):
    if chunk:
        pieces = [b"x" * min(chunk, length - at) for at in range(0, length, chunk)]
        body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    else:
        head, body = b"HTTP/1.1 200 OK\r\n\r\n", b"x" * length
    with hostile(responds(head + body)) as server:
        if fits:
            assert len(ask(Request(server.url), bounds()).body) == length
        else:
            with pytest.raises(TooLongError, match="longer than 100000 bytes"):
                ask(Request(server.url), bounds())


def test_a_long_response_is_read_in_pieces_and_the_connection_ends_with_the_block():
    body = b"y" * 1_000_000
    with hostile(responds(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + body)) as server:
        with open_stream(Request(server.url), bounds(max_bytes=2_000_000)) as stream:
            assert stream.status == 200
            assert b"".join(stream.pieces()) == body
        with open_stream(Request(server.url), bounds(max_bytes=2_000_000)) as stream:
            next(stream.pieces())
    assert len(server.heads) == 2


def test_a_truncated_response_reports_how_much_was_missing():
    with hostile(BEHAVIOURS["cut in the body"]) as server, pytest.raises(BrokenOffError, match="after 1 of 50 bytes"):
        ask(Request(server.url), bounds())


def test_a_closed_port_is_distinguished_from_a_failing_server():
    with hostile(responds(FINE)) as server:
        pass
    with pytest.raises(ConnectError, match="refused") as caught:
        ask(Request(server.url), bounds())
    assert caught.value.refused


def test_an_unknown_name_is_an_error_in_time():
    with pytest.raises((ConnectError, DeadlineError)):
        ask(Request("http://no-such-host.invalid/"), bounds(2.0))


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "data:text/plain,x",
        "gopher://127.0.0.1/",
        "127.0.0.1/x",
        "http://",
        "http://:80/",
        "http://a b/",
        "http://a/x y",
        "http://a\r\nX: y/",
        "http://a/\r\nX: y",
        "http://a:99999/",
        "http://a:0/",
        "http://[::1/",
        "http://a\x00b/",
        "http://" + "a" * 300 + "ä/",
        f"http://ann:{SECRET}@127.0.0.1/",
        f"https://{SECRET}@127.0.0.1/",
    ],
)
def test_an_invalid_url_is_rejected_and_not_repeated(url: str):
    with pytest.raises(InvalidRequestError) as caught:
        ask(Request(url), bounds())
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "header", [("X\r\nY", "z"), ("X", f"{SECRET}\r\nY: z"), ("X", f"{SECRET}\x00"), ("Ä", "z"), ("X", "€")]
)
def test_nothing_can_be_injected_into_a_request(header: tuple[str, str]):
    with hostile(responds(FINE)) as server:
        with pytest.raises(InvalidRequestError, match="cannot be sent") as caught:
            ask(Request(server.url, headers=dict([header])), bounds())
        assert SECRET not in str(caught.value)
        with pytest.raises(InvalidRequestError):
            ask(Request(server.url, headers={"content-LENGTH": "7"}), bounds())
        with pytest.raises(InvalidRequestError):
            ask(Request(server.url, "GET / HTTP/1.1\r\nX:"), bounds())
    assert server.heads == []


def redirecting(location: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_only_if_allowed_and_only_to_the_same_host(status: int):
    def behave(sock: socket.socket, _: threading.Event) -> None:
        sock.sendall(redirecting("/there", status) if server.heads[-1].startswith(b"GET /here ") else FINE)

    with hostile(behave) as server, hostile(responds(FINE)) as elsewhere:
        here = f"{server.url}/here"
        assert ask(Request(here), bounds()).status == status
        assert ask(Request(here, same_host_redirects=1), bounds()).body == b"ok"
        assert ask(Request(here, "POST", same_host_redirects=1, body=b"x"), bounds()).status == 200
        with hostile(responds(redirecting(f"{elsewhere.url}/x", status))) as leads_away:
            away = Request(leads_away.url, headers={"Authorization": SECRET}, same_host_redirects=5)
            assert ask(away, bounds()).status == status
        assert elsewhere.heads == [], "the secret did not go there"


@pytest.mark.parametrize(
    "location",
    [
        "",
        "file:///etc/passwd",
        "//127.0.0.1:1/",
        "http://[::1",
        "https://{}",
        "http://localhost:{}/",
        "gopher://{}/",
        "\x01",
    ],
)
def test_a_redirect_to_another_host_is_returned_and_not_followed(location: str):
    with hostile(lambda sock, _: sock.sendall(redirecting(location.replace("{}", str(server.port))))) as server:
        assert ask(Request(server.url, same_host_redirects=3), bounds()).status == 302
    assert len(server.heads) == 1


def test_a_redirect_loop_ends():
    with hostile(responds(redirecting("/again"))) as server:
        assert ask(Request(server.url, same_host_redirects=3), bounds()).status == 302
    assert len(server.heads) == 4


def test_all_redirects_together_have_one_deadline():
    def behave(sock: socket.socket, over: threading.Event) -> None:
        over.wait(0.1)
        sock.sendall(redirecting("/again"))

    with hostile(behave) as server, pytest.raises(DeadlineError):
        ask(Request(server.url, same_host_redirects=1000), bounds(0.4))
    assert len(server.heads) <= 5


@pytest.mark.parametrize("credentials", ["", f"ann:{SECRET}@"])
def test_the_proxy_of_the_environment_is_used_for_http_and_no_proxy_is_honoured(
    monkeypatch: pytest.MonkeyPatch, credentials: str
):
    with hostile(responds(FINE)) as proxy, hostile(responds(FINE)) as direct:
        monkeypatch.setenv("http_proxy", f"http://{credentials}127.0.0.1:{proxy.port}")
        assert ask(Request("http://far.example/x?y"), bounds()).body == b"ok"
        assert proxy.heads[0].startswith(b"GET http://far.example/x?y HTTP/1.1\r\nHost: far.example\r\n")
        assert (b"Proxy-Authorization: Basic " in proxy.heads[0]) == bool(credentials)
        assert ask(Request(direct.url, by_proxy=False), bounds()).body == b"ok"
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert ask(Request(direct.url), bounds()).body == b"ok"
        assert len(proxy.heads) == 1


@pytest.mark.parametrize(
    ("response", "says_so"),
    [
        (b"HTTP/1.1 407 Who are you\r\n\r\n", "refuses to connect: '407'"),
        (b"x" * 9000, "the proxy did not respond with HTTP"),
        (b"", "did not respond with HTTP"),
    ],
)
def test_a_proxy_that_refuses_a_tunnel_is_reported(monkeypatch: pytest.MonkeyPatch, response: bytes, says_so: str):
    with hostile(responds(response)) as proxy:
        monkeypatch.setenv("https_proxy", f"http://ann:{SECRET}@127.0.0.1:{proxy.port}")
        with pytest.raises(ExchangeError, match=says_so) as caught:
            ask(Request("https://far.example/"), bounds())
    assert SECRET not in str(caught.value)
    assert proxy.heads[0].startswith(b"CONNECT far.example:443 HTTP/1.1\r\n")


def test_an_unsupported_kind_of_proxy_is_rejected_and_not_repeated(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("http_proxy", f"socks5://ann:{SECRET}@127.0.0.1:1")
    with pytest.raises(InvalidRequestError, match="http_proxy does not name an HTTP proxy") as caught:
        ask(Request("http://far.example/"), bounds())
    assert SECRET not in str(caught.value)


class Secured:
    """A well-behaved TLS server with a test certificate."""

    def __init__(self, folder: Path, name: str, response: bytes = FINE) -> None:
        self.pair = certificates.make(folder, name)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pair.cert, self.pair.key)
        self._context, self._response = context, response
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            try:
                with self._context.wrap_socket(sock, server_side=True) as secured:
                    secured.recv(65536)
                    secured.sendall(self._response)
            except OSError:
                sock.close()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


def test_a_certificate_is_verified_by_the_given_authority_and_a_changed_file_is_read_again(tmp_path: Path):
    server = Secured(tmp_path, "ours")
    others = certificates.make(tmp_path, "others")
    trusted = tmp_path / "trusted.pem"
    try:
        trusted.write_bytes(others.cert.read_bytes())
        with pytest.raises(ConnectError, match="certificate is not trusted") as caught:
            ask(Request(server.url), bounds(), client_tls(str(trusted)))
        assert caught.value.tls == "CERTIFICATE_VERIFY_FAILED"
        with pytest.raises(ConnectError, match="certificate is not trusted"):
            ask(Request(server.url), bounds())
        trusted.write_bytes(server.pair.cert.read_bytes() + b"\n")
        assert ask(Request(server.url), bounds(), client_tls(str(trusted))).body == b"ok"
        assert client_tls(str(trusted)) is client_tls(str(trusted)), "it is made once"
    finally:
        server.stop()


@pytest.mark.parametrize("beginning", [b"\x16", b"\x16\x03\x03\x40\x00", b"HTTP/1.1 400 Bad\r\n\r\n"])
def test_a_trickling_handshake_ends_with_the_deadline(beginning: bytes):
    with hostile(trickles(beginning, b"\x00", 0.05)) as server:
        started_at = time.monotonic()
        with pytest.raises(ExchangeError):
            ask(Request(server.url.replace("http:", "https:")), bounds(0.5))
        assert time.monotonic() - started_at < 5.0


def test_an_unresponsive_address_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch):
    full = socket.create_server(("127.0.0.1", 0), backlog=0)
    filling = [socket.socket() for _ in range(3)]
    for sock in filling:
        sock.setblocking(False)
        sock.connect_ex(full.getsockname())
    with hostile(responds(FINE)) as server:
        addresses = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", full.getsockname()),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port)),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_named: addresses)
        assert ask(Request("http://twice.example/"), bounds(1.0)).body == b"ok"
    for sock in (*filling, full):
        sock.close()


def test_hanging_resolver_calls_are_abandoned_and_bounded(monkeypatch: pytest.MonkeyPatch):
    release = threading.Event()

    def stuck(*_args: object, **_named: Any) -> list[Any]:
        release.wait(20)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", stuck)
    before = threading.active_count()
    waits = []
    try:
        for _ in range(20):
            started_at = time.monotonic()
            with pytest.raises(DeadlineError):
                ask(Request("http://slow.example/"), bounds(0.02))
            waits.append(time.monotonic() - started_at)
        assert statistics.median(waits) < 1.0, "one call may be slow on a busy machine, half of them not"
        assert threading.active_count() - before <= 16
    finally:
        release.set()


@given(st.binary(max_size=400))
@settings(max_examples=60, deadline=None)
def test_any_bytes_of_a_server_raise_only_our_own_errors(raw: bytes):
    with hostile(responds(b"HTTP/1.1 200" + raw)) as server:
        fuzzed(server)
    with hostile(responds(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + raw)) as server:
        fuzzed(server)


def fuzzed(server: Hostile) -> None:
    try:
        response = ask(Request(server.url), bounds(2.0))
    except ExchangeError as err:
        assert str(err).isprintable()  # noqa: PT017 - that it is one line is all that is asked
    else:
        assert 100 <= response.status <= 999


@pytest.mark.parametrize(
    ("url", "host", "shown_address"),
    [
        (f"http://ann:{SECRET}@prices:80/a?key={SECRET}", "prices:80", "prices:80/a"),
        ("http://[::1/x", "", ""),
        ("no url", "", "no url"),
    ],
)
def test_a_displayed_address_contains_no_secret(url: str, host: str, shown_address: str):
    assert (host_of(url), place_of(url)) == (host, shown_address)


def test_a_name_without_an_address_gets_a_readable_error() -> None:
    assert why(socket.gaierror(-3, "Temporary failure in name resolution")) == (
        "its name does not resolve: Temporary failure in name resolution"
    )
    assert why(OSError(113, "No route to host")) == "OSError: No route to host"
