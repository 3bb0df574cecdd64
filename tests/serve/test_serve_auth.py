from __future__ import annotations

import base64
import logging
import time
from pathlib import Path

import bcrypt
import pytest
from tests.serve.raw_client import connected
from tests.waiting import wait_for

from epochcost.serve import PostRoutes, Request, Response, Server, text
from epochcost.serve.connection import Limits
from epochcost.serve.credentials import Credentials, Verdict
from epochcost.serve.web_config import WebConfig

PASSWORD = "correct horse: battery"

HERE = "127.0.0.1"


def hashed(password: str, rounds: int = 4) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds)).decode()


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "web.config.yml"
    # $2y$ is what htpasswd writes.
    file.write_text(f"basic_auth_users:\n  alice: {hashed(PASSWORD).replace('$2b$', '$2y$')}\n  bob: {hashed('b')}\n")
    return file


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (basic("alice", PASSWORD), 200),
        (basic("bob", "b"), 200),
        (basic("alice", "b"), 401),
        (basic("mallory", PASSWORD), 401),
        (basic("", ""), 401),
        ("", 401),
        ("Basic", 401),
        ("Basic ====", 401),
        ("Basic " + base64.b64encode(b"no colon").decode(), 401),
        ("Basic " + base64.b64encode(b"\xff:x").decode(), 401),
        ("Basic " + base64.b64encode(b"alice:\0").decode(), 401),
        ("Basic " + "A" * 8000, 401),
        ("Bearer " + base64.b64encode(f"alice:{PASSWORD}".encode()).decode(), 401),
    ],
)
def test_only_a_known_user_with_the_right_password_can_open_any_path(config, authorization, status):
    with Server(("127.0.0.1", 0), {}, str(config)) as server, connected(server) as client:
        extra = f"Authorization: {authorization}\r\n" if authorization else ""
        for path in ("/-/healthy", "/-/healthy"):  # the second time from memory
            response = client.request(path, extra=extra)
            assert response.status == status
        if status == 401:
            assert response.headers["www-authenticate"] == 'Basic realm="epochcost"'
            assert b"healthy" not in client.request("/none", extra=extra).body


def test_a_right_password_costs_bcrypt_once_and_a_wrong_or_unknown_one_every_time():
    users = {"alice": hashed("a", rounds=10).encode()}
    credentials = Credentials()

    def seconds(user: str, password: str) -> float:
        started_at = time.thread_time()  # of this thread's own work: a busy machine changes nothing
        credentials.verify(users, basic(user, password))
        return time.thread_time() - started_at

    first = seconds("alice", "a")
    assert min(seconds("alice", "a") for _ in range(5)) < first / 10
    for user in ("alice", "mallory"):
        assert min(seconds(user, f"guess {n}") for n in range(2)) > first / 5
        assert seconds(user, "guess 1") < first / 10, "the same wrong one again costs nothing"


def test_a_password_longer_than_bcrypt_reads_is_cut_as_htpasswd_does():
    users = {"alice": hashed("x" * 72).encode()}
    assert Credentials().verify(users, basic("alice", "x" * 100)) is Verdict.RIGHT
    assert Credentials().verify(users, basic("alice", "x" * 71)) is Verdict.WRONG


def test_a_cached_password_is_rejected_once_the_file_has_another(config, caplog):
    with (
        caplog.at_level(logging.INFO, "epochcost.serve"),
        Server(("127.0.0.1", 0), {}, str(config)) as server,
        connected(server) as client,
    ):
        extra = f"Authorization: {basic('alice', PASSWORD)}\r\n"
        assert client.request("/-/healthy", extra=extra).status == 200
        config.write_text(f"basic_auth_users:\n  alice: {hashed('new')}\n# changed\n")
        assert wait_for(lambda: client.request("/-/healthy", extra=extra).status == 401, what="a refusal")
        assert client.request("/-/healthy", extra=f"Authorization: {basic('alice', 'new')}\r\n").status == 200
    assert "$2" not in caplog.text
    assert "new" not in caplog.text.replace("web", "")


def test_a_file_emptied_later_grants_no_access(config):
    with Server(("127.0.0.1", 0), {}, str(config)) as server, connected(server) as client:
        config.write_text("")
        assert client.request("/-/healthy").status == 401


@pytest.mark.parametrize("half", ["", "# users\n", "http_server_config: {}\n"])
def test_a_file_read_while_being_written_grants_no_access_then_or_later(config, half):
    complete = config.read_text()
    web = WebConfig(str(config))
    config.write_text(half)
    assert web.refusal("", HERE)  # read now, as by a connection between two writes
    config.write_text(half + "basic_auth_users: {alice: hunter2}")
    assert web.refusal("", HERE)
    config.write_text(half + complete)
    assert web.refusal(basic("bob", "b"), HERE) is None
    assert web.refusal("", HERE)


def test_a_file_without_users_applies_once_it_has_been_unchanged_for_a_while(config):
    web = WebConfig(str(config))
    config.write_text("http_server_config: {}\n")
    assert web.refusal("", HERE)
    wait_for(lambda: web.refusal("", HERE) is None, what="an open door")


def test_a_file_broken_later_keeps_the_old_users_and_logs_one_error(config, caplog):
    with Server(("127.0.0.1", 0), {}, str(config)) as server, connected(server) as client:
        assert client.request("/-/healthy").status == 401  # the connection is accepted: the file is not read meanwhile
        config.write_text("basic_auth_users: {alice: hunter2}")
        for _ in range(5):
            assert client.request("/-/healthy").status == 401
        assert client.request("/-/healthy", extra=f"Authorization: {basic('bob', 'b')}\r\n").status == 200
        config.unlink()
        assert client.request("/-/healthy").status == 401
    assert len([r for r in caplog.records if "alice: is not a bcrypt hash" in r.getMessage()]) == 1
    assert "hunter2" not in caplog.text


def test_no_log_and_no_response_contains_a_password_or_a_hash(config, caplog):
    with (
        caplog.at_level(logging.DEBUG),
        Server(("127.0.0.1", 0), {}, str(config)) as server,
        connected(server) as client,
    ):
        response = client.request("/-/healthy", extra=f"Authorization: {basic('alice', 'wrong-secret')}\r\n")
    assert b"wrong-secret" not in response.body
    assert "wrong-secret" not in caplog.text
    assert "$2" not in caplog.text


def test_the_body_of_an_unauthenticated_request_is_not_awaited(config):
    limits = Limits(request_seconds=0.5)
    with (
        Server(("127.0.0.1", 0), {}, str(config), posts=PostRoutes({"/e": healthy}), limits=limits) as server,
        connected(server) as client,
    ):
        client.send(b"POST /e HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
        assert client.read().status == 401
        assert client.is_closed()


def healthy(_: Request) -> Response:
    return text(200, "taken")
