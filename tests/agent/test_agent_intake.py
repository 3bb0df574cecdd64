"""Events over HTTP: the same path as files, bounded, refused with a reason, and never in the training's way."""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.agent.driven import T0, Driven, World
from tests.serve import certificates
from tests.waiting import wait_for

from epochcost.progress.http_ingest import Intake, IntakeError

NDJSON = "application/x-ndjson"


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Callable[..., Driven]]:
    made: list[Driven] = []

    def make(**flags: str) -> Driven:
        made.append(Driven(World(tmp_path), price__usd_per_hour="3.6", **flags))
        made[-1].ask_price()
        made[-1].run(1)
        return made[-1]

    yield make
    for one in made:
        one.close()


def line(kind: str, t: float, run: str = "far", **fields: Any) -> bytes:
    return json.dumps({"v": 1, "ev": kind, "ts": T0 + t, "run": run, **fields}).encode() + b"\n"


def post(it: Driven, body: bytes, path: str = "/v1/events?writer=w", **headers: str) -> tuple[int, str]:
    it.scrape()  # serves from now on
    connection = http.client.HTTPConnection("127.0.0.1", it.app.server.port, timeout=10)
    sent = {"Content-Type": NDJSON} | {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("POST", path, body, sent)
    answer = connection.getresponse()
    status, text = answer.status, answer.read().decode()
    connection.close()
    return status, text


def test_a_run_reported_over_http_costs_what_it_should_and_is_told_so(agent: Callable[..., Driven]) -> None:
    it = agent()
    assert post(it, line("start", 1) + line("phase", 1, phase="train", epoch=0))[0] == 200
    it.run(10)
    assert post(it, line("epoch_end", 11, epoch=1))[0] == 200
    it.run(1)
    assert it.value("run_last_epoch_cost_usd", run="far") == pytest.approx(0.010, abs=1e-12)
    response = json.loads(post(it, line("progress", 12, epoch=1.1))[1])
    assert response["accepted"] == 1
    assert response["costs"]["far"]["cost_per_epoch_usd"] == pytest.approx(0.010)


def test_a_restart_of_the_agent_right_after_an_answer_loses_nothing(agent: Callable[..., Driven]) -> None:
    it = agent()
    it.save()
    assert post(it, line("start", 1))[0] == 200
    it.kill()
    it = agent()
    assert [run.run for run in it.app.snapshot.runs] == ["far"]  # type: ignore[union-attr]


def test_what_a_line_says_of_its_own_machine_means_nothing_here(agent: Callable[..., Driven]) -> None:
    it = agent()
    post(it, line("start", 1, lock=True, pid=1, pidns=Path("/proc/self/ns/pid").stat().st_ino))
    it.run(5)
    assert it.app.snapshot.runs[0].state.value == "startup"  # type: ignore[union-attr]  # and not lost


def test_bad_lines_are_named_and_counted_and_the_good_ones_taken(agent: Callable[..., Driven]) -> None:
    it = agent()
    status, text = post(it, b"{nonsense\n" + line("start", 1) + line("progress", 1, epoch=-1))
    assert status == 200
    answer = json.loads(text)
    assert (answer["accepted"], answer["rejected"]) == (1, 2)
    assert [reason["line"] for reason in answer["reasons"]] == [1, 3]
    assert "epoch" in answer["reasons"][1]["reason"]
    it.run(1)
    assert it.value("progress_events_total", result="malformed") == 2
    assert post(it, b"{nonsense\n")[0] == 400


@pytest.mark.parametrize(
    ("path", "content_type", "status"),
    [
        ("/v1/events?writer=../../etc/x", NDJSON, 400),
        ("/v1/events?writer=" + "x" * 300, NDJSON, 400),
        ("/v1/events?writer=w", "text/plain", 415),  # what a web page of anybody may send
        ("/v1/events?writer=w", "", 415),
    ],
)
def test_a_wrong_request_is_refused_and_leaves_no_file(
    agent: Callable[..., Driven], path: str, content_type: str, status: int
) -> None:
    it = agent()
    assert post(it, line("start", 1), path, Content_Type=content_type)[0] == status
    assert not list(it.world.root.rglob("http-*"))


def test_a_token_is_wanted_where_one_is_configured_and_never_repeated(
    agent: Callable[..., Driven], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    token = tmp_path / "token"
    token.write_text("open sesame\n")
    it = agent(intake__token_file=str(token))
    assert post(it, line("start", 1))[0] == 401
    status, text = post(it, line("start", 1), Authorization="Bearer wrong")
    assert status == 401
    assert "sesame" not in text + caplog.text
    assert post(it, line("start", 1), Authorization="Bearer open sesame")[0] == 200
    token.unlink()
    assert post(it, line("start", 1), Authorization="Bearer open sesame")[0] == 401


def test_an_agent_open_to_the_network_takes_nothing_from_strangers(agent: Callable[..., Driven]) -> None:
    it = agent(web__listen_address="0.0.0.0:0")
    status, text = post(it, line("start", 1))
    assert status == 403
    assert "--intake.token-file" in text


@pytest.mark.parametrize(
    ("admits", "status"),
    [("", 403), ("basic_auth_users:\n  ann: HASH\n", 200)],
    ids=["TLS alone", "TLS and a password"],
)
def test_tls_alone_says_nothing_of_who_sends(
    agent: Callable[..., Driven], tmp_path: Path, admits: str, status: int
) -> None:
    pair = certificates.make(tmp_path, "server")
    hashed = bcrypt.hashpw(b"sesame", bcrypt.gensalt(4)).decode()
    config = tmp_path / "web.config.yml"
    tls = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"
    config.write_text(tls + admits.replace("HASH", hashed))
    it = agent(web__listen_address="0.0.0.0:0", web__config__file=str(config))
    it.app.server.start()
    trust = ssl.create_default_context(cafile=str(pair.cert))
    connection = http.client.HTTPSConnection("127.0.0.1", it.app.server.port, timeout=10, context=trust)
    sent = {"Content-Type": NDJSON, "Authorization": "Basic " + base64.b64encode(b"ann:sesame").decode()}
    connection.request("POST", "/v1/events?writer=w", line("start", 1), sent)
    answer = connection.getresponse()
    assert (answer.status, "client certificates" in answer.read().decode()) == (status, status == 403)
    connection.close()


def test_a_token_opens_the_intake_alone_and_a_password_opens_all_where_both_are_asked_for(
    agent: Callable[..., Driven], tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("open sesame")
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    (tmp_path / "web.config.yml").write_text(f"basic_auth_users:\n  ann: {hashed}\n")
    it = agent(intake__token_file=str(tmp_path / "token"), web__config__file=str(tmp_path / "web.config.yml"))
    it.app.server.start()

    def ask(method: str, path: str, authorization: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", it.app.server.port, timeout=10)
        body = line("start", 1) if method == "POST" else None
        connection.request(method, path, body, {"Content-Type": NDJSON, "Authorization": authorization})
        status = connection.getresponse().status
        connection.close()
        return status

    token, password = "Bearer open sesame", "Basic " + base64.b64encode(b"ann:secret").decode()
    wrong = "Basic " + base64.b64encode(b"ann:wrong").decode()
    events = "/v1/events?writer=w"
    assert [ask("POST", events, by) for by in (token, password, wrong, "Bearer wrong", "Bearer ")] == [
        200, 200, 401, 401, 401,
    ]  # fmt: skip
    assert [ask("GET", "/metrics", by) for by in (token, password, wrong)] == [401, 200, 401]
    assert ask("POST", "/metrics", token) == 401


def test_too_much_is_refused_for_now_and_taken_later(tmp_path: Path) -> None:
    now = [0.0]
    intake = Intake(tmp_path, lambda: T0, lambda: now[0])
    flood = line("progress", 1, epoch=1) * 15_000
    assert intake.take("a", flood).accepted == 15_000
    with pytest.raises(IntakeError, match="2000 a second") as caught:
        intake.take("a", flood)
    assert caught.value.status == 429
    now[0] += 10
    assert intake.take("a", flood).accepted == 15_000


def test_writers_and_bytes_are_bounded_over_restarts(tmp_path: Path) -> None:
    (tmp_path / "http-big.jsonl").write_bytes(b"x" * (64 * 1024 * 1024 - 10))
    for i in range(1999):
        (tmp_path / f"http-{i}.jsonl").touch()
    old = tmp_path / "http-old.jsonl"
    old.touch()
    os.utime(old, (time.time() - 9 * 86400,) * 2)
    intake = Intake(tmp_path, time.time, time.monotonic)
    for writer in ("big", "one-more"):
        with pytest.raises(IntakeError) as caught:
            intake.take(writer, line("start", 1))
        assert caught.value.status == 507
    assert not old.exists()


def test_a_new_writer_takes_the_place_of_one_that_has_been_quiet_for_long(tmp_path: Path) -> None:
    for i in range(2000):
        (tmp_path / f"http-{i}.jsonl").touch()
    quiet = tmp_path / "http-7.jsonl"
    os.utime(quiet, (time.time() - 7200,) * 2)
    intake = Intake(tmp_path, time.time, time.monotonic)
    assert intake.take("new", line("start", 1)).accepted == 1
    assert not quiet.exists()
    with pytest.raises(IntakeError, match="more than 2000 writers"):
        intake.take("another", line("start", 1))


@pytest.mark.parametrize("thing", ["directory", "sparse", "file of somebody else"])
def test_nothing_among_the_events_keeps_the_agent_from_starting_or_from_taking_events(
    agent: Callable[..., Driven], tmp_path: Path, thing: str
) -> None:
    events = World(tmp_path).events
    events.chmod(0o1777)
    for name in ("http-x.jsonl", "http-w.jsonl", "state"):
        place = events / name
        if thing == "directory":
            place.mkdir(mode=0o777)
        else:
            with place.open("wb") as file:
                file.truncate(600 << 20 if thing == "sparse" else 0)
            place.chmod(0o666)
        os.utime(place, (time.time() - 10 * 86400,) * 2)
    it = agent()
    assert post(it, line("start", 1))[0] == 200
    it.run(1)
    assert [run.run for run in it.app.snapshot.runs] == ["far"]  # type: ignore[union-attr]
    assert thing == "directory" or (events / "http-w.jsonl").stat().st_size in (0, 600 << 20), "nothing is added to it"


def test_a_thing_in_the_place_of_a_file_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "http-a.jsonl").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "http-b.jsonl")
    intake = Intake(tmp_path, time.time, time.monotonic)
    for writer in ("a", "b"):
        with pytest.raises(IntakeError, match="cannot keep events"):
            intake.take(writer, line("start", 1))
    assert not (tmp_path / "elsewhere").exists()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.text(max_size=30))
def test_no_bytes_and_no_name_make_it_fail_otherwise_than_by_saying_no(
    tmp_path_factory: pytest.TempPathFactory, body: bytes, writer: str
) -> None:
    intake = Intake(tmp_path_factory.getbasetemp(), time.time, time.monotonic)
    try:
        taken = intake.take(writer, body)
    except IntakeError as refusal:
        status = refusal.status
    else:
        status = 200
        assert taken.accepted + taken.rejected <= body.count(b"\n") + 1
    assert status in (200, 400, 429, 507)


# -- the training's side, in processes of their own --------------------------------------------------------------------

TRAINING = """
import epochcost, sys
with epochcost.run("net", epochs=3, id="net-1") as run:
    for epoch in run.epochs():
        for batch in run.batches(range(50)):
            pass
    print("done", run.cost_usd is None or run.cost_usd >= 0)
"""


def train(url: str, **env: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "EPOCHCOST_URL": url, **env}
    return subprocess.run(
        [sys.executable, "-c", TRAINING], capture_output=True, text=True, timeout=60, env=environ, check=False
    )


def test_a_training_with_only_a_url_is_metered(tmp_path: Path) -> None:
    from tests.agent.test_agent_process import AgentProcess

    it = AgentProcess(tmp_path, "--gpus.source=none", "--price.usd-per-hour=36").up()
    try:
        done = train(f"http://127.0.0.1:{it.port}", EPOCHCOST_DIR=str(tmp_path / "unused"))
        assert (done.returncode, done.stdout, done.stderr) == (0, "done True\n", "")
        (run,) = wait_for(lambda: [r for r in it.live()["runs"] if r["state"] == "finished"], what="the run's end")
        assert (run["run"], run["epoch"], run["epochs_planned"]) == ("net-1", 3, 3)
        assert run["cost_usd"] == pytest.approx((run["ended_ts"] - run["started_ts"]) * 0.01, rel=1e-6)
        assert not (tmp_path / "unused").exists()
    finally:
        it.end()


def test_an_agent_that_is_away_hangs_or_refuses_changes_nothing_in_the_training() -> None:
    hung = socket.create_server(("127.0.0.1", 0))  # accepts by its backlog and never answers
    refusing = Refusing()
    try:
        for url in (
            f"http://127.0.0.1:{hung.getsockname()[1]}",
            "http://127.0.0.1:9",
            refusing.url,
            "http://[nonsense",
        ):
            began = time.monotonic()
            done = train(url)
            assert done.returncode == 0
            assert done.stdout == "done True\n"
            assert len(done.stderr.splitlines()) <= 1
            assert time.monotonic() - began < 15
    finally:
        hung.close()
        refusing.stop()


class Refusing:
    """Answers 403 to everything."""

    def __init__(self) -> None:
        from epochcost.serve import PostRoutes, Server, text

        self._server = Server(("127.0.0.1", 0), {}, posts=PostRoutes({"/v1/events": lambda _: text(403, "no")}))
        self._server.start()
        self.url = self._server.url

    def stop(self) -> None:
        self._server.stop()


def test_a_loop_never_waits_for_the_sender() -> None:
    from epochcost.training.remote import MAX_LINES, RemoteWriter

    hung = socket.create_server(("127.0.0.1", 0))
    writer = RemoteWriter(f"http://127.0.0.1:{hung.getsockname()[1]}", "", "r")
    assert writer.attach()
    done = threading.Event()

    def fill() -> None:
        for i in range(5 * MAX_LINES):
            writer.put(b"%d\n" % i)
        done.set()

    threading.Thread(target=fill, daemon=True).start()
    assert done.wait(10)
    assert len(writer._lines) == MAX_LINES
    writer.mute()
    hung.close()


@pytest.mark.parametrize("off", [7200.0, -7200.0, 0.0])
@pytest.mark.parametrize("mono", [True, False])
def test_what_a_machine_with_a_wrong_clock_reports_is_charged_from_when_it_was(
    agent: Callable[..., Driven], off: float, mono: bool
) -> None:
    it = agent()

    def tell(kind: str, **fields: Any) -> None:
        t = it.world.wall - T0
        more = {"mono": 77.0 + t} if mono else {}
        body = line(kind, t + off, **more, **fields)  # type: ignore[arg-type]
        assert post(it, body, f"/v1/events?writer=w&now={it.world.wall + off!r}")[0] == 200
        it.app.sampling_loop.tick()

    it.run(9)
    tell("start")
    tell("phase", phase="train", epoch=0)
    it.run(20)
    tell("epoch_end", epoch=1)
    it.run(1)
    tell("end", status="finished")
    assert it.value("run_last_epoch_seconds", run="far") == pytest.approx(20, abs=1e-6)
    assert it.value("run_cost_usd_total", run="far") == pytest.approx(0.021, abs=1e-9)


def test_without_a_time_of_its_own_the_date_of_the_request_tells_the_senders_clock(
    agent: Callable[..., Driven],
) -> None:
    it = agent()
    it.run(9)
    now = it.world.wall - T0
    date = formatdate(T0 + now - 7200, usegmt=True)
    assert post(it, line("start", now - 7200), Date=date)[0] == 200
    it.run(10)
    assert it.value("run_cost_usd_total", run="far") == pytest.approx(0.010, abs=0.0006)  # a date has whole seconds


@pytest.mark.parametrize("now", ["", "x", "nan", "inf", "-1", "1e400", "17000000000000", "1&now=2"])
def test_a_senders_clock_that_is_none_changes_nothing(agent: Callable[..., Driven], now: str) -> None:
    it = agent()
    it.run(4)
    assert post(it, line("start", 5), f"/v1/events?writer=w&now={now}", Date="yesterday")[0] == 200
    it.run(10)
    assert it.value("run_cost_usd_total", run="far") == pytest.approx(0.010, abs=1e-9)
