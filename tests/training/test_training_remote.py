"""A training run that reports over the network to a hostile server: the training is not affected."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.http_client.hostile_server import BEHAVIOURS, Behaviour, floods, hostile, responds
from tests.waiting import wait_for

from epochcost.training import remote
from epochcost.training.bounded_post import MAX_BODY_BYTES, MAX_HEAD_BYTES, NotAnAgentError, Request, post
from epochcost.training.remote import RemoteWriter

TRAINING = """
import epochcost, threading, time
with epochcost.run("net", epochs=3, id="net-1") as run:
    for epoch in run.epochs():
        began = time.monotonic()
        while time.monotonic() - began < 0.7:
            pass
cpu = sum(t for t in [time.process_time()])
print("done", round(cpu, 2))
"""
GOOD = b'{"v":1,"accepted":1,"costs":{"r":{"v":1,"cost_usd":2.5}}}'
COMES_BACK = ["never responds", "nothing", "cut in the body", "body that trickles"]
"""Network failures that may pass: a retry may succeed."""


@pytest.fixture(autouse=True)
def _nothing_warned_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("epochcost.training.warning._warned", set())


def response_bytes(body: bytes, status: int = 200, *headers: bytes) -> bytes:
    head = [b"HTTP/1.1 %d x" % status, *(headers or [b"Content-Length: %d" % len(body)])]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def response_of(behave: Behaviour, seconds: float = 0.5) -> tuple[int, bytes]:
    with hostile(behave) as server:
        return post(urlsplit(server.url), Request("/v1/events", {}, b"x"), seconds, ssl.create_default_context)


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_any_misbehaviour_ends_in_time_at_little_cost_and_mostly_for_good(name: str):
    started_at, cpu = time.monotonic(), time.thread_time()
    with pytest.raises((OSError, NotAnAgentError)) as caught:
        response_of(BEHAVIOURS[name])
    assert time.monotonic() - started_at < 5.0
    assert time.thread_time() - cpu < 0.3
    may_come_back = name in COMES_BACK or "chunk" in name or "body without an end" in name or "trailers" in name
    assert may_come_back or isinstance(caught.value, NotAnAgentError)


@pytest.mark.parametrize(
    "raw",
    [
        response_bytes(GOOD),
        response_bytes(GOOD, 200, b"Connection: close"),
        response_bytes(b"%x\r\n%s\r\n0\r\n\r\n" % (len(GOOD), GOOD), 200, b"Transfer-Encoding: chunked"),
        response_bytes(
            b"3;x=y\r\n%s\r\n%x\r\n%s\r\n0\r\n" % (GOOD[:3], len(GOOD) - 3, GOOD[3:]),
            200,
            b"transfer-ENCODING: chunked",
        ),
    ],
)
def test_an_agents_response_is_parsed_in_any_framing_of_a_proxy(raw: bytes):
    assert response_of(responds(raw)) == (200, GOOD)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\n" + response_bytes(GOOD), "not HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * MAX_HEAD_BYTES + b"\r\n", "head"),
        (response_bytes(b"", 200, b"Content-Length: %d" % (MAX_BODY_BYTES + 1)), "longer than"),
        (response_bytes(b"x" * (MAX_BODY_BYTES + 1), 200, b"X: y"), "longer than"),
    ],
)
def test_a_response_that_is_not_an_agents_is_reported(raw: bytes, why: str):
    with pytest.raises(NotAnAgentError, match=why):
        response_of(responds(raw))


@given(st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_no_bytes_raise_anything_else(raw: bytes):
    for behave in (responds(raw), responds(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + raw)):
        try:
            status, body = response_of(behave)
        except (OSError, NotAnAgentError):
            continue
        assert 200 <= status < 600
        assert len(body) <= len(raw)


def writer(url: str) -> RemoteWriter:
    it = RemoteWriter(url, "", "r")
    assert it.attach()
    assert it.put(b"{}\n")
    it._wake.set()
    return it


@pytest.mark.parametrize("name", ["100 Continue for ever", "headers that trickle", "no HTTP", "headers for ever"])
def test_after_exceeding_one_limit_the_server_gets_no_more_requests(name: str, monkeypatch: pytest.MonkeyPatch, caplog):
    monkeypatch.setattr(remote, "TIMEOUT_SECONDS", 0.3)
    with hostile(BEHAVIOURS[name]) as server:
        it = writer(server.url)
        wait_for(lambda: it.dead and not it._thread.is_alive(), 20.0, "the end of the writer")
        assert len(server.heads) == 1
    assert "not an epochcost agent" in caplog.text
    assert not it.put(b"{}\n")


@pytest.mark.parametrize("body", [b"[]", b"<html>", b"[" * 60_000, b"\xff"])
def test_a_response_that_is_not_json_ends_reporting_and_not_the_thread(body: bytes):
    with hostile(responds(response_bytes(body))) as server:
        it = writer(server.url)
        wait_for(lambda: it.dead and not it._thread.is_alive(), 20.0, "the end of the writer")


def test_an_error_text_of_the_server_cannot_control_the_terminal(monkeypatch: pytest.MonkeyPatch, caplog):
    monkeypatch.setattr(remote, "SEND_SECONDS", 0.01)
    with hostile(responds(response_bytes(b"\x1b[2J\nno", 403))) as server:
        it = writer(server.url)
        wait_for(lambda: it.dead, 20.0, "the end of the writer")
    assert "responded 403" in caplog.text
    assert "\x1b" not in caplog.text


def test_an_agent_that_returns_is_used_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(remote, "SEND_SECONDS", 0.01)
    responses = [b"", b"", response_bytes(b"busy", 503), response_bytes(GOOD)]

    def behave(sock: socket.socket, _: threading.Event) -> None:
        sock.sendall(responses[min(len(server.heads), len(responses)) - 1])

    with hostile(behave) as server:
        it = writer(server.url)
        wait_for(lambda: it.answer[0], 20.0, "an answer")
        assert it.answer[0] == json.loads(GOOD)
        it.mute()


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "file:///etc/passwd", "http:///x", "http://a\r\nb/"])
def test_only_http_urls_are_accepted(url: str):
    with pytest.raises((NotAnAgentError, OSError)):
        post(urlsplit(url), Request("/v1/events", {}, b""), 1.0, ssl.create_default_context)


def test_a_loop_is_not_slowed_by_an_endless_response():
    def seconds(url: str) -> float:
        env = {**os.environ, "EPOCHCOST_URL": url}
        completed = subprocess.run(
            [sys.executable, "-c", TRAINING], env=env, capture_output=True, text=True, timeout=60, check=True
        )
        assert completed.stdout.startswith("done ")
        return float(completed.stdout.split()[1])

    pairs = []
    for _ in range(3):  # whatever else the machine does slows one of the two, and not each time the same
        with hostile(floods(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 50)) as server:
            attacked = seconds(server.url)
        pairs.append((attacked, seconds("http://127.0.0.1:9")))
        if attacked < 1.3 * pairs[-1][1] + 0.2:
            return
    pytest.fail(f"seconds under attack and alone: {pairs}")
