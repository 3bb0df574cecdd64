"""JSON over HTTP: attempts, limits, keys and errors, against a real local server."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path

import pytest
from tests.prices.json_server import Answer, JsonServer

from epochcost.prices.http_json import HttpError, JsonApi
from epochcost.prices.price_source import PriceSourceError

GOOD = Answer({"good": True})
KEY = "key-of-the-test-0123456789"


class Waits:
    """Takes the place of sleeping, and notes for how long."""

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


def refused(api: JsonApi, url: str) -> str:
    with pytest.raises(HttpError) as caught:
        api.get(url)
    return str(caught.value)


# --- attempts ---


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_failure_that_may_pass_is_asked_again(server: JsonServer, api: JsonApi, waits: Waits, status: int) -> None:
    server.on("/x", Answer({}, status), Answer({}, status), GOOD)
    assert api.get(f"{server.url}/x") == {"good": True}
    first, second = waits.seconds
    assert 1 <= first <= 1.25
    assert 2 <= second <= 2.5


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_failure_that_stays_is_not_asked_again(server: JsonServer, api: JsonApi, status: int) -> None:
    server.on("/x", Answer({"error": "no"}, status), GOOD)
    assert refused(api, f"{server.url}/x") == f'src: GET {server.host}/x: HTTP {status}: {{"error": "no"}}'
    assert len(server.questions) == 1


def test_after_the_last_attempt_the_error_names_host_path_status_and_attempts(server: JsonServer, api: JsonApi) -> None:
    server.on("/a/b", Answer(b"<html>\n  down  \n</html>", 503))
    message = refused(api, f"{server.url}/a/b?secret=1")
    assert message == f"src: GET {server.host}/a/b: HTTP 503: <html> down </html> (4 attempts)"
    assert len(server.questions) == 4


def test_it_waits_as_long_as_it_is_asked_to(server: JsonServer, api: JsonApi, waits: Waits) -> None:
    server.on("/x", Answer({}, 429, {"Retry-After": "7"}), GOOD)
    api.get(f"{server.url}/x")
    assert waits.seconds == [7.0]


def test_it_waits_until_the_date_it_is_given(server: JsonServer, api: JsonApi, waits: Waits) -> None:
    when = datetime.now(timezone.utc) + timedelta(seconds=20)
    server.on("/x", Answer({}, 503, {"Retry-After": format_datetime(when, usegmt=True)}), GOOD)
    api.get(f"{server.url}/x")
    assert 15 < waits.seconds[0] <= 20


def test_a_wait_longer_than_the_time_it_has_is_left_to_the_schedule(
    server: JsonServer, api: JsonApi, waits: Waits
) -> None:
    server.on("/x", Answer({}, 429, {"Retry-After": "3600"}), GOOD)
    assert refused(api, f"{server.url}/x") == f"src: GET {server.host}/x: HTTP 429; to be retried after 3600 s: {{}}"
    assert waits.seconds == []


def test_half_an_answer_is_asked_for_again(server: JsonServer, api: JsonApi) -> None:
    server.on("/x", Answer({"good": True}, cut=True), GOOD)
    assert api.get(f"{server.url}/x") == {"good": True}


def test_half_an_answer_every_time_is_an_error_even_where_it_is_whole_json(server: JsonServer, api: JsonApi) -> None:
    server.on("/x", Answer({"good": True}, cut=True))
    assert refused(api, f"{server.url}/x").endswith("/x: the response was cut off after 14 of 114 bytes (4 attempts)")


def test_a_server_that_says_nothing_is_left_after_the_timeout(server: JsonServer, waits: Waits) -> None:
    silent = threading.Event()
    server.on("/x", Answer({}, hold=silent))
    api = JsonApi("src", attempt_seconds=0.2, attempts=2, sleep=waits)
    began = time.monotonic()
    message = refused(api, f"{server.url}/x")
    silent.set()
    assert "no complete response in time" in message
    assert message.endswith("(2 attempts)")
    assert time.monotonic() - began < 5


def test_a_server_that_is_not_there_is_an_error_that_names_it(api: JsonApi) -> None:
    with JsonServer() as gone:
        pass
    assert refused(api, f"{gone.url}/x").startswith(
        f"src: GET {gone.host}/x: request failed, the host cannot be asked: "
    )


# --- answers ---


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
def test_an_answer_that_is_no_json_object_is_an_error(
    server: JsonServer, api: JsonApi, raw: bytes, message: str
) -> None:
    server.on("/x", Answer(raw))
    assert message in refused(api, f"{server.url}/x")


def test_an_answer_that_is_too_long_is_not_read_to_its_end(server: JsonServer, waits: Waits) -> None:
    server.on("/x", Answer({"a": "b" * 200_000}))
    api = JsonApi("src", max_bytes=100_000, attempts=1, sleep=waits)
    assert refused(api, f"{server.url}/x").endswith("the response is longer than 100000 bytes")


# --- redirects and pages ---


def test_a_redirect_within_the_host_is_followed(server: JsonServer, api: JsonApi) -> None:
    server.on("/old", Answer(None, 301, {"Location": "/new"}))
    server.on("/new", GOOD)
    assert api.get(f"{server.url}/old") == {"good": True}


def test_a_redirect_to_another_host_is_not_followed_and_takes_no_key_there(
    server: JsonServer, waits: Waits, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text(KEY)
    with JsonServer() as other:
        other.on("/x", GOOD)
        server.on("/x", Answer(None, 302, {"Location": f"{other.url}/x"}))
        message = refused(JsonApi("src", str(tmp_path / "key"), sleep=waits), f"{server.url}/x")
        assert message == f"src: GET {server.host}/x: HTTP 302 to {other.host}: not followed"
        assert other.questions == []


def test_of_a_link_to_the_next_page_only_the_query_is_used(server: JsonServer, api: JsonApi) -> None:
    server.on(
        "/x", Answer({"next": "https://elsewhere.example:443/y?$filter=a%20eq%20'b'&$skip=100"}), Answer({"next": None})
    )
    pages = list(api.pages(f"{server.url}/x", {"$filter": "a eq 'b'"}, lambda page: page["next"]))
    assert len(pages) == 2
    assert [question.query for question in server.questions] == [
        {"$filter": "a eq 'b'"},
        {"$filter": "a eq 'b'", "$skip": "100"},
    ]


@pytest.mark.parametrize("link", ["?page=2", 7, {"href": "?page=2"}])
def test_pages_that_lead_in_a_circle_or_nowhere_are_an_error(server: JsonServer, api: JsonApi, link: object) -> None:
    server.on("/x", Answer({"next": link}))
    with pytest.raises(HttpError, match=r"/x: invalid next-page link"):
        list(api.pages(f"{server.url}/x", {}, lambda page: page["next"]))


def test_pages_without_end_are_an_error(server: JsonServer, api: JsonApi) -> None:
    server.ask("/x", lambda question: Answer({"next": f"?page={int(question.query.get('page', '0')) + 1}"}))
    with pytest.raises(HttpError, match="more than 200 pages"):
        list(api.pages(f"{server.url}/x", {}, lambda page: page["next"]))


# --- keys ---


def test_the_key_is_read_anew_at_every_question(server: JsonServer, waits: Waits, tmp_path: Path) -> None:
    path = tmp_path / "key"
    api = JsonApi("src", str(path), sleep=waits)
    server.on("/x", GOOD)
    for key in ("old-key", "new-key"):
        path.write_text(f"{key}\n")
        api.get(f"{server.url}/x")
    assert [question.headers["Authorization"] for question in server.questions] == ["Bearer old-key", "Bearer new-key"]


def test_without_a_key_file_no_key_is_sent(server: JsonServer, api: JsonApi) -> None:
    server.on("/x", GOOD)
    api.get(f"{server.url}/x")
    assert "Authorization" not in server.questions[0].headers


def test_an_answer_that_repeats_the_key_does_not_bring_it_into_the_error(
    server: JsonServer, waits: Waits, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text(KEY)
    server.on("/x", Answer({"error": f"API key {KEY} has expired"}, 401))
    message = refused(JsonApi("src", str(tmp_path / "key"), sleep=waits), f"{server.url}/x")
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
def test_a_key_file_that_holds_no_key_is_named_and_its_content_is_not(
    server: JsonServer, tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PriceSourceError) as caught:
        JsonApi("src", str(path)).get(f"{server.url}/x")
    assert str(caught.value) == f"src: {path}: {message}"
    assert server.questions == []


@pytest.mark.parametrize("user", ["user:s3 cret", "user:s3cret"])
def test_a_password_in_the_url_is_never_repeated(api: JsonApi, user: str) -> None:
    message = refused(api, f"http://{user}@127.0.0.1:1/x")
    assert message.startswith("src: GET 127.0.0.1:1/x: ")
    assert "s3" not in message


@pytest.mark.parametrize("body", [b"<html>sign in</html>", b"", b"[]", b'{"a": nan}', b"{" + b" " * 4096], ids=str)
def test_an_answer_that_is_nonsense_or_too_long_is_asked_for_once(
    server: JsonServer, waits: Waits, body: bytes
) -> None:
    server.on("/x", Answer(body))
    api = JsonApi("src", attempts=4, sleep=waits, max_bytes=2048)
    with pytest.raises(HttpError):
        api.get(f"{server.url}/x")
    assert len(server.questions) == 1


@pytest.mark.parametrize("body", [b'{"a": [1, 2', b'{"a": "b', b"{"])
def test_an_answer_that_broke_off_is_asked_for_again(server: JsonServer, waits: Waits, body: bytes) -> None:
    server.on("/x", Answer(body), Answer({"a": 1}))
    assert JsonApi("src", attempts=4, sleep=waits).get(f"{server.url}/x") == {"a": 1}
