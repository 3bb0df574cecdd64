"""JSON over HTTP: attempts, limits, keys and errors, against a real local server."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path

import pytest
from tests.prices.json_server import JsonServer, Reply

from epochcost.prices.http_json import HttpError, JsonApi
from epochcost.prices.price_source import PriceSourceError

GOOD = Reply({"good": True})
KEY = "key-of-the-test-0123456789"


class Waits:
    """Replaces sleeping, and records the durations."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def api(waits: Waits) -> JsonApi:
    return JsonApi("src", sleep=waits)


def error_of(api: JsonApi, url: str) -> str:
    with pytest.raises(HttpError) as caught:
        api.get(url)
    return str(caught.value)


# --- attempts ---


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_transient_failure_is_retried(server: JsonServer, api: JsonApi, waits: Waits, status: int) -> None:
    server.on("/x", Reply({}, status), Reply({}, status), GOOD)
    assert api.get(f"{server.url}/x") == {"good": True}
    first, second = waits.seconds
    assert 1 <= first <= 1.25
    assert 2 <= second <= 2.5


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_permanent_failure_is_not_retried(server: JsonServer, api: JsonApi, status: int) -> None:
    server.on("/x", Reply({"error": "no"}, status), GOOD)
    assert error_of(api, f"{server.url}/x") == f'src: GET {server.host}/x: HTTP {status}: {{"error": "no"}}'
    assert len(server.requests) == 1


def test_after_the_last_attempt_the_error_names_host_path_status_and_attempts(server: JsonServer, api: JsonApi) -> None:
    server.on("/a/b", Reply(b"<html>\n  down  \n</html>", 503))
    message = error_of(api, f"{server.url}/a/b?secret=1")
    assert message == f"src: GET {server.host}/a/b: HTTP 503: <html> down </html> (4 attempts)"
    assert len(server.requests) == 4


def test_retry_after_in_seconds_is_honoured(server: JsonServer, api: JsonApi, waits: Waits) -> None:
    server.on("/x", Reply({}, 429, {"Retry-After": "7"}), GOOD)
    api.get(f"{server.url}/x")
    assert waits.seconds == [7.0]


def test_retry_after_as_a_date_is_honoured(server: JsonServer, api: JsonApi, waits: Waits) -> None:
    when = datetime.now(timezone.utc) + timedelta(seconds=20)
    server.on("/x", Reply({}, 503, {"Retry-After": format_datetime(when, usegmt=True)}), GOOD)
    api.get(f"{server.url}/x")
    assert 15 < waits.seconds[0] <= 20


def test_a_wait_longer_than_the_time_it_has_is_left_to_the_schedule(
    server: JsonServer, api: JsonApi, waits: Waits
) -> None:
    server.on("/x", Reply({}, 429, {"Retry-After": "3600"}), GOOD)
    assert error_of(api, f"{server.url}/x") == f"src: GET {server.host}/x: HTTP 429; to be retried after 3600 s: {{}}"
    assert waits.seconds == []


def test_a_truncated_response_is_retried(server: JsonServer, api: JsonApi) -> None:
    server.on("/x", Reply({"good": True}, truncated=True), GOOD)
    assert api.get(f"{server.url}/x") == {"good": True}


def test_a_response_truncated_every_time_is_an_error_even_if_it_is_valid_json(server: JsonServer, api: JsonApi) -> None:
    server.on("/x", Reply({"good": True}, truncated=True))
    assert error_of(api, f"{server.url}/x").endswith("/x: the response was cut off after 14 of 114 bytes (4 attempts)")


def test_a_silent_server_times_out(server: JsonServer, waits: Waits) -> None:
    silent = threading.Event()
    server.on("/x", Reply({}, hold=silent))
    api = JsonApi("src", attempt_seconds=0.2, attempts=2, sleep=waits)
    started_at = time.monotonic()
    message = error_of(api, f"{server.url}/x")
    silent.set()
    assert "no complete response in time" in message
    assert message.endswith("(2 attempts)")
    assert time.monotonic() - started_at < 5


def test_an_unreachable_server_is_an_error_that_names_it(api: JsonApi) -> None:
    with JsonServer() as stopped_server:
        pass
    assert error_of(api, f"{stopped_server.url}/x").startswith(
        f"src: GET {stopped_server.host}/x: request failed, the host cannot be asked: "
    )


# --- responses ---


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "the response is not JSON"),
        (b"<html>maintenance</html>", "the response is not JSON"),
        (b'{"price": NaN}', "NaN is not a number"),
        (b'{"price": 1e', "the response is not JSON"),
        (b"\xff\xfe", "the response is not JSON"),
        (b"[" * 100_000, "RecursionError"),
        (b"[]", "the response has no JSON object but a list"),
        (b"null", "the response has no JSON object but a NoneType"),
    ],
)
def test_a_response_that_is_not_a_json_object_is_an_error(
    server: JsonServer, api: JsonApi, raw: bytes, message: str
) -> None:
    server.on("/x", Reply(raw))
    assert message in error_of(api, f"{server.url}/x")


def test_a_response_that_is_too_long_is_not_read_to_its_end(server: JsonServer, waits: Waits) -> None:
    server.on("/x", Reply({"a": "b" * 200_000}))
    api = JsonApi("src", max_bytes=100_000, attempts=1, sleep=waits)
    assert error_of(api, f"{server.url}/x").endswith("the response is longer than 100000 bytes")


# --- redirects and pages ---


def test_a_redirect_within_the_host_is_followed(server: JsonServer, api: JsonApi) -> None:
    server.on("/old", Reply(None, 301, {"Location": "/new"}))
    server.on("/new", GOOD)
    assert api.get(f"{server.url}/old") == {"good": True}


def test_a_redirect_to_another_host_is_not_followed_and_leaks_no_key(
    server: JsonServer, waits: Waits, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text(KEY)
    with JsonServer() as other:
        other.on("/x", GOOD)
        server.on("/x", Reply(None, 302, {"Location": f"{other.url}/x"}))
        message = error_of(JsonApi("src", str(tmp_path / "key"), sleep=waits), f"{server.url}/x")
        assert message == f"src: GET {server.host}/x: HTTP 302 to {other.host}: not followed"
        assert other.requests == []


def test_only_the_query_of_a_next_page_link_is_used(server: JsonServer, api: JsonApi) -> None:
    server.on(
        "/x", Reply({"next": "https://elsewhere.example:443/y?$filter=a%20eq%20'b'&$skip=100"}), Reply({"next": None})
    )
    pages = list(api.pages(f"{server.url}/x", {"$filter": "a eq 'b'"}, lambda page: page["next"]))
    assert len(pages) == 2
    assert [request.query for request in server.requests] == [
        {"$filter": "a eq 'b'"},
        {"$filter": "a eq 'b'", "$skip": "100"},
    ]


@pytest.mark.parametrize("link", ["?page=2", 7, {"href": "?page=2"}])
def test_a_pagination_loop_or_a_dead_link_is_an_error(server: JsonServer, api: JsonApi, link: object) -> None:
    server.on("/x", Reply({"next": link}))
    with pytest.raises(HttpError, match=r"/x: invalid next-page link"):
        list(api.pages(f"{server.url}/x", {}, lambda page: page["next"]))


def test_endless_pages_are_an_error(server: JsonServer, api: JsonApi) -> None:
    server.script("/x", lambda request: Reply({"next": f"?page={int(request.query.get('page', '0')) + 1}"}))
    with pytest.raises(HttpError, match="more than 200 pages"):
        list(api.pages(f"{server.url}/x", {}, lambda page: page["next"]))


# --- keys ---


def test_the_key_is_read_again_for_every_request(server: JsonServer, waits: Waits, tmp_path: Path) -> None:
    path = tmp_path / "key"
    api = JsonApi("src", str(path), sleep=waits)
    server.on("/x", GOOD)
    for key in ("old-key", "new-key"):
        path.write_text(f"{key}\n")
        api.get(f"{server.url}/x")
    assert [request.headers["Authorization"] for request in server.requests] == ["Bearer old-key", "Bearer new-key"]


def test_without_a_key_file_no_key_is_sent(server: JsonServer, api: JsonApi) -> None:
    server.on("/x", GOOD)
    api.get(f"{server.url}/x")
    assert "Authorization" not in server.requests[0].headers


def test_a_response_that_repeats_the_key_does_not_put_it_into_the_error(
    server: JsonServer, waits: Waits, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text(KEY)
    server.on("/x", Reply({"error": f"API key {KEY} has expired"}, 401))
    message = error_of(JsonApi("src", str(tmp_path / "key"), sleep=waits), f"{server.url}/x")
    assert message == f'src: GET {server.host}/x: HTTP 401: {{"error": "API key (secret) has expired"}}'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must hold one API key and nothing else"),
        (b"one two", "must hold one API key and nothing else"),
        (b"one\r\nX-Other: header", "must hold one API key and nothing else"),
        (b"sch\xc3\xb6n", "is not ASCII text"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_key_file_without_a_key_is_named_without_its_content(
    server: JsonServer, tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PriceSourceError) as caught:
        JsonApi("src", str(path)).get(f"{server.url}/x")
    assert str(caught.value) == f"src: {path}: {message}"
    assert server.requests == []


@pytest.mark.parametrize("user", ["user:s3 cret", "user:s3cret"])
def test_a_password_in_the_url_is_never_repeated(api: JsonApi, user: str) -> None:
    message = error_of(api, f"http://{user}@127.0.0.1:1/x")
    assert message.startswith("src: GET 127.0.0.1:1/x: ")
    assert "s3" not in message


@pytest.mark.parametrize("body", [b"<html>sign in</html>", b"", b"[]", b'{"a": nan}', b"{" + b" " * 4096], ids=str)
def test_a_nonsensical_or_too_long_response_is_not_retried(server: JsonServer, waits: Waits, body: bytes) -> None:
    server.on("/x", Reply(body))
    api = JsonApi("src", attempts=4, sleep=waits, max_bytes=2048)
    with pytest.raises(HttpError):
        api.get(f"{server.url}/x")
    assert len(server.requests) == 1


@pytest.mark.parametrize("body", [b'{"a": [1, 2', b'{"a": "b', b"{"])
def test_an_interrupted_response_is_retried(server: JsonServer, waits: Waits, body: bytes) -> None:
    server.on("/x", Reply(body), Reply({"a": 1}))
    assert JsonApi("src", attempts=4, sleep=waits).get(f"{server.url}/x") == {"a": 1}
