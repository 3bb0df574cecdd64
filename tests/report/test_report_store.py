"""Error responses of stores, and authentication: through a real HTTP server that the test scripts."""

from __future__ import annotations

import json
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from tests.report.scripted_store import NOTHING, Scripted
from tests.serve import certificates

from epochcost.reports.report import make
from epochcost.reports.report_settings import ReportSettings
from epochcost.reports.span import Span
from epochcost.reports.tracks import Reader
from epochcost.settings import SettingsError
from epochcost.store.promql_client import Prometheus, TooMuchError, TooSlowError
from epochcost.store.store_access import connect
from epochcost.store.store_error import StoreError

SECRET = "tr0ub4dor"  # no real one


def ask(url: str, **changes: Any) -> list:
    return Prometheus(url, **changes).over("up", 0, 60, 15)


def complaint(url: str, **changes: Any) -> str:
    with pytest.raises(StoreError) as caught:
        ask(url, **changes)
    assert SECRET not in str(caught.value)
    return str(caught.value)


def test_an_unreachable_store_is_named():
    assert "http://127.0.0.1:1: request failed" in complaint("http://127.0.0.1:1")


def test_an_authentication_error_shows_whether_credentials_were_sent_and_never_which(scripted):
    scripted.status, scripted.body = 401, f"Unauthorized: Bearer {SECRET}".encode()
    assert "HTTP 401: no credentials were sent" in complaint(scripted.url)
    text = complaint(scripted.url, headers={"Authorization": f"Bearer {SECRET}"})
    assert "the credentials were rejected" in text


def test_a_server_that_repeats_the_secret_in_its_error_does_not_spread_it(scripted):
    scripted.status, scripted.body = 500, f"bad upstream header: Bearer {SECRET}".encode()
    text = complaint(scripted.url, headers={"Authorization": f"Bearer {SECRET}"})
    assert "HTTP 500" in text
    assert "(secret)" in text


def test_a_query_error_is_repeated_with_the_query(scripted):
    document = {"status": "error", "errorType": "bad_data", "error": 'parse error: unexpected "}"'}
    scripted.status, scripted.body = 422, json.dumps(document).encode()
    text = complaint(scripted.url)
    assert "HTTP 422: bad_data: parse error" in text
    assert "query: up" in text


VICTORIA = (
    '422: error when executing query="last_over_time(epochcost_node_seconds_total{}[300000ms])" on the time range '
    '(start=1700000000000, end=1700021750000, step=300000): cannot execute query: cannot evaluate "last_over_time('
    'epochcost_node_seconds_total[300000ms])": cannot select more than -search.maxSamplesPerQuery=3000 samples; '
    "possible solutions: to increase the -search.maxSamplesPerQuery; to reduce time range for the query"
)


def test_the_reason_at_the_end_of_a_victoria_metrics_error_is_shown(scripted):
    scripted.status = 422
    scripted.body = json.dumps({"status": "error", "errorType": "422", "error": VICTORIA}).encode()
    with pytest.raises(TooMuchError, match="reduce time range for the query") as caught:
        ask(scripted.url)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "body",
    [b"<!doctype html><title>Sign in</title>", b"", b"[]", b"[" * 100_000, b'{"status": "success"', b"\xff\xfe"],
    ids=["html", "nothing", "a list", "deep", "broken off", "no text"],
)
def test_a_response_that_is_not_prometheus_json_is_reported(scripted, body):
    scripted.body = body
    assert "is not Prometheus JSON" in complaint(scripted.url)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"status": "success"}, "contains no result"),
        ({"status": "success", "data": {"result": 3}}, "contains no result"),
        ({"status": "success", "data": {"result": [3]}}, "cannot be read"),
        ({"status": "success", "data": {"result": [{"metric": {}, "values": [[1, "x"]]}]}}, "cannot be read"),
        ({"status": "success", "data": {"result": [{"metric": {}, "values": [[1e999, "1"]]}]}}, "cannot be read"),
        ({"status": "success", "data": {"result": [{"metric": {}, "values": [[10**400, "1"]]}]}}, "cannot be read"),
        ({"status": "success", "data": {"result": [{"metric": {}, "histograms": []}]}}, "cannot be read"),
        ({"status": "error", "errorType": "internal", "error": "boom"}, "internal: boom"),
    ],
)
def test_json_of_another_shape_is_rejected(scripted, document, message):
    scripted.body = json.dumps(document).encode()
    assert message in complaint(scripted.url)


def test_an_unknown_path_hints_at_the_prefix(scripted):
    scripted.status, scripted.body = 404, b"404 page not found"
    assert "does the URL lack a path prefix" in complaint(scripted.url)


def test_a_redirect_is_not_followed_since_it_would_leak_the_secret(scripted):
    scripted.status, scripted.headers = 302, {"Location": f"http://user:{SECRET}@elsewhere.example/login"}
    text = complaint(scripted.url, headers={"Authorization": f"Bearer {SECRET}"})
    assert "HTTP 302 to elsewhere.example: not followed" in text
    assert len(scripted.requests) == 1


def test_an_endless_response_is_cut_and_a_smaller_range_requested(scripted):
    scripted.body = b" " * 5000
    with pytest.raises(TooMuchError, match="longer than 1000 bytes"):
        ask(scripted.url, max_bytes=1000)


def test_a_truncated_response_is_reported(scripted):
    scripted.headers = {"Content-Length": "5000", "Connection": "close"}
    assert f"cut off after {len(scripted.body)} of 5000 bytes" in complaint(scripted.url)


def test_a_trickling_response_does_not_outlast_the_timeout(scripted):
    scripted.pace_seconds = 0.05
    started_at = time.monotonic()
    with pytest.raises(TooSlowError, match=r"no response within 0\.2 s"):
        ask(scripted.url, timeout_seconds=0.2)
    assert time.monotonic() - started_at < 0.05 * len(scripted.body), "not the whole of it was waited for"


def test_a_store_that_hangs_times_out_soon(scripted):
    scripted.pace_seconds = 0.05
    messages: list[str] = []
    store = Prometheus(scripted.url, timeout_seconds=0.2)
    reader = Reader(store, Span(0, 72_000, 240), progress=lambda metric, _done, _all: messages.append(metric))
    with pytest.raises(TooSlowError):
        reader.tracks("run_info")
    assert store.questions == 3, "smaller ones were tried, for it might have been the question"
    assert messages == ["run_info"] * 3, "and each of them was told"


def test_a_query_too_large_for_the_store_is_split(scripted):
    scripted.most_points = 30
    reader = Reader(Prometheus(scripted.url), Span(0, 72_000, 240))
    assert reader.tracks("run_info") == {}
    short_requests = [
        form for _, form in scripted.requests if (float(form["end"][0]) - float(form["start"][0])) / 300 <= 30
    ]
    covered = {
        round(float(f["start"][0]) / 300) + k
        for f in short_requests
        for k in range(round((float(f["end"][0]) - float(f["start"][0])) / 300 + 0.5))
    }
    assert covered >= set(range(241))
    assert len(scripted.requests) < 40, "it remembers how much may be asked"


def test_a_store_that_accepts_not_even_one_window_is_an_error(scripted):
    scripted.status, scripted.body = 422, b'{"status":"error","errorType":"execution","error":"too many samples"}'
    with pytest.raises(TooMuchError, match="too many samples"):
        Reader(Prometheus(scripted.url), Span(0, 3000, 10)).tracks("run_info")


def test_warnings_of_a_partial_response_are_kept(scripted):
    scripted.body = json.dumps({**NOTHING, "warnings": ["store 10.0.0.7 unreachable"], "isPartial": True}).encode()
    store = Prometheus(scripted.url)
    store.over("up", 0, 60, 15)
    assert store.warnings == {"store 10.0.0.7 unreachable", "part of the store did not respond"}


def test_basic_auth_a_token_and_a_tenant_are_sent(scripted, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}\n")
    basic = ReportSettings(
        prometheus_url=scripted.url, username="ann", password_file=str(secret), header="X-Scope-OrgID: team-1"
    )
    bearer = ReportSettings(prometheus_url=scripted.url, bearer_token_file=str(secret))
    for settings in (basic, bearer):
        connect(settings).over("up", 0, 60, 15)
    first, second = (headers for headers, _ in scripted.requests)
    assert first["Authorization"] == "Basic YW5uOnRyMHViNGRvcg=="
    assert {name.lower(): value for name, value in first.items()}["x-scope-orgid"] == "team-1"
    assert second["Authorization"] == f"Bearer {SECRET}"
    assert SECRET not in repr(connect(bearer))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"username": "ann"}, "give both"),
        ({"password_file": "x", "bearer_token_file": "y"}, "give one of them"),
        ({"bearer_token_file": "no/such"}, "no/such: cannot be read: No such file"),
        ({"ca_file": "no/such"}, "no/such: contains no readable certificates: No such file"),
        ({"cert_file": "no/such"}, "no/such: no certificate with its private key.*: No such file"),
        ({"key_file": "no/such"}, "give --prometheus.cert-file too"),
    ],
)
def test_wrong_authentication_settings_are_rejected_before_any_request(changes, message):
    with pytest.raises(StoreError, match=message):
        connect(ReportSettings(**{"prometheus_url": "http://127.0.0.1:1", **changes}))


def test_a_secret_of_two_lines_is_rejected_and_not_repeated(tmp_path):
    (tmp_path / "secret").write_text(f"{SECRET}\nmore\n")
    with pytest.raises(StoreError, match="must contain the secret on one line") as caught:
        connect(ReportSettings(prometheus_url="http://x", bearer_token_file=str(tmp_path / "secret")))
    assert SECRET not in str(caught.value)


def test_tls_is_verified_against_the_given_authority(tmp_path: Path):
    trusted, untrusted = certificates.make(tmp_path, "ours"), certificates.make(tmp_path, "others")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted.cert, trusted.key)
    server = Scripted(context)
    try:
        trusting = connect(ReportSettings(prometheus_url=server.url, ca_file=str(trusted.cert)))
        assert trusting.over("up", 0, 60, 15) == []
        for ca in (str(untrusted.cert), ""):
            with pytest.raises(StoreError, match="CERTIFICATE_VERIFY_FAILED"):
                connect(ReportSettings(prometheus_url=server.url, ca_file=ca)).over("up", 0, 60, 15)
    finally:
        server.stop()


def test_a_store_that_requires_a_client_certificate_gets_one(tmp_path: Path):
    server_pair, client_pair = certificates.make(tmp_path, "theirs"), certificates.make(tmp_path, "ours")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server_pair.cert, server_pair.key)
    context.load_verify_locations(client_pair.cert)
    context.verify_mode = ssl.CERT_REQUIRED
    server = Scripted(context)
    both = tmp_path / "both.pem"
    both.write_bytes(client_pair.cert.read_bytes() + client_pair.key.read_bytes())
    try:
        settings = {"prometheus_url": server.url, "ca_file": str(server_pair.cert)}
        for form in ({"cert_file": str(client_pair.cert), "key_file": str(client_pair.key)}, {"cert_file": str(both)}):
            assert connect(ReportSettings(**settings, **form)).over("up", 0, 60, 15) == []  # type: ignore[arg-type]
        with pytest.raises(StoreError, match=r"request failed|interrupted|was cut off|see --prometheus\.cert"):
            connect(ReportSettings(**settings)).over("up", 0, 60, 15)  # type: ignore[arg-type]
    finally:
        server.stop()


def test_an_encrypted_key_is_rejected_without_a_prompt(tmp_path: Path):
    pair, locked = certificates.make(tmp_path, "ours"), tmp_path / "locked.key"
    command = ["openssl", "pkey", "-in", str(pair.key), "-aes128", "-passout", f"pass:{SECRET}", "-out", str(locked)]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(StoreError, match=r"locked\.key: no certificate.*the key has a password"):
        connect(ReportSettings(prometheus_url="http://x", cert_file=str(pair.cert), key_file=str(locked)))


@pytest.mark.parametrize("url", [f"http://x/?token={SECRET}", f"http://x/#{SECRET}", f"http://ann:{SECRET}@x"])
def test_a_secret_in_the_url_is_rejected_and_not_repeated(url):
    with pytest.raises(SettingsError) as caught:
        connect(ReportSettings(prometheus_url=url))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("header", [f"Authorization Bearer {SECRET}", f"X Y: {SECRET}", f"X: {SECRET}\r\nY: z"])
def test_an_invalid_header_is_rejected_and_not_repeated(header):
    with pytest.raises(SettingsError, match="expected NAME: VALUE") as caught:
        connect(ReportSettings(prometheus_url="http://x", header=header))
    assert SECRET not in str(caught.value)


def test_a_node_at_the_agents_limit_of_runs_may_lack_some_and_that_is_noted(scripted):
    def respond(form: dict[str, list[str]]) -> tuple[int, bytes]:
        query, start = form["query"][0], float(form["start"][0])
        labels: list[dict[str, str]] = []
        if "node_info" in query:
            labels = [{"node": name, "instance": name} for name in ("full", "roomy")]
        if "run_info" in query:
            labels = [{"run": f"r{n}", "instance": "full" if n < 50 else "roomy"} for n in range(60)]
        result = [{"metric": one, "values": [[start, "1"]]} for one in labels]
        return 200, json.dumps({"status": "success", "data": {"result": result}}).encode()

    scripted.respond = respond
    settings = ReportSettings(prometheus_url=scripted.url)
    notes = make(connect(settings), settings, Span(0, 3000, 10), 0.0, lambda *_: None).notes
    assert any("1 node showed 50 runs or more within one window (full)" in note for note in notes)
