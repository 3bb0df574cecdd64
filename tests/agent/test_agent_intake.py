"""Events over HTTP: processed like files, bounded, rejected with a reason, and never blocking the training."""

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
from tests.agent.driven_agent import T0, DrivenAgent, SimulatedMachine
from tests.serve import certificates
from tests.waiting import wait_for

from epochcost.progress.http_ingest import Intake, IntakeError

NDJSON = "application/x-ndjson"


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Callable[..., DrivenAgent]]:
    agents: list[DrivenAgent] = []

    def make(**flags: str) -> DrivenAgent:
        agents.append(DrivenAgent(SimulatedMachine(tmp_path), price__usd_per_hour="3.6", **flags))
        agents[-1].ask_price()
        agents[-1].run(1)
        return agents[-1]

    yield make
    for one in agents:
        one.close()


def line(kind: str, t: float, run: str = "far", **fields: Any) -> bytes:
    return json.dumps({"v": 1, "ev": kind, "ts": T0 + t, "run": run, **fields}).encode() + b"\n"


def post(it: DrivenAgent, body: bytes, path: str = "/v1/events?writer=w", **headers: str) -> tuple[int, str]:
    it.scrape()  # serves from now on
    connection = http.client.HTTPConnection("127.0.0.1", it.app.server.port, timeout=10)
    all_headers = {"Content-Type": NDJSON} | {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("POST", path, body, all_headers)
    response = connection.getresponse()
    status, text = response.status, response.read().decode()
    connection.close()
    return status, text


def test_a_run_reported_over_http_has_its_exact_cost_and_gets_it_back(agent: Callable[..., DrivenAgent]) -> None:
    it = agent()
    assert post(it, line("start", 1) + line("phase", 1, phase="train", epoch=0))[0] == 200
    it.run(10)
    assert post(it, line("epoch_end", 11, epoch=1))[0] == 200
    it.run(1)
    assert it.value("run_last_epoch_cost_usd", run="far") == pytest.approx(0.010, abs=1e-12)
    response = json.loads(post(it, line("progress", 12, epoch=1.1))[1])
    assert response["accepted"] == 1
    assert response["costs"]["far"]["cost_per_epoch_usd"] == pytest.approx(0.010)


def test_a_restart_of_the_agent_right_after_a_response_loses_nothing(agent: Callable[..., DrivenAgent]) -> None:
    it = agent()
    it.save()
    assert post(it, line("start", 1))[0] == 200
    it.kill()
    it = agent()
    assert [run.run for run in it.app.snapshot.runs] == ["far"]  # type: ignore[union-attr]


def test_machine_fields_of_a_remote_line_are_ignored(agent: Callable[..., DrivenAgent]) -> None:
    it = agent()
    post(it, line("start", 1, lock=True, pid=1, pidns=Path("/proc/self/ns/pid").stat().st_ino))
    it.run(5)
    assert it.app.snapshot.runs[0].state.value == "startup"  # type: ignore[union-attr]  # and not lost


def test_bad_lines_are_named_and_counted_and_good_ones_accepted(agent: Callable[..., DrivenAgent]) -> None:
    it = agent()
    status, text = post(it, b"{nonsense\n" + line("start", 1) + line("progress", 1, epoch=-1))
    assert status == 200
    result = json.loads(text)
    assert (result["accepted"], result["rejected"]) == (1, 2)
    assert [reason["line"] for reason in result["reasons"]] == [1, 3]
    assert "epoch" in result["reasons"][1]["reason"]
    it.run(1)
    assert it.value("progress_events_total", result="malformed") == 2
    assert post(it, b"{nonsense\n")[0] == 400


@pytest.mark.parametrize(
    ("path", "content_type", "status"),
    [
        ("/v1/events?writer=../../etc/x", NDJSON, 400),
        ("/v1/events?writer=" + "x" * 300, NDJSON, 400),
        ("/v1/events?writer=w", "text/plain", 415),  # what any web page may send
        ("/v1/events?writer=w", "", 415),
    ],
)
def test_an_invalid_request_is_rejected_and_leaves_no_file(
    agent: Callable[..., DrivenAgent], path: str, content_type: str, status: int
) -> None:
    it = agent()
    assert post(it, line("start", 1), path, Content_Type=content_type)[0] == status
    assert not list(it.machine.root.rglob("http-*"))


def test_a_configured_token_is_required_and_never_repeated(
    agent: Callable[..., DrivenAgent], tmp_path: Path, caplog: pytest.LogCaptureFixture
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


def test_an_agent_open_to_the_network_accepts_nothing_without_authentication(agent: Callable[..., DrivenAgent]) -> None:
    it = agent(web__listen_address="0.0.0.0:0")
    status, text = post(it, line("start", 1))
    assert status == 403
    assert "--intake.token-file" in text


@pytest.mark.parametrize(
    ("admits", "status"),
    [("", 403), ("basic_auth_users:\n  ann: HASH\n", 200)],
    ids=["TLS alone", "TLS and a password"],
)
def test_tls_alone_does_not_authenticate_a_sender(
    agent: Callable[..., DrivenAgent], tmp_path: Path, admits: str, status: int
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
    headers = {"Content-Type": NDJSON, "Authorization": "Basic " + base64.b64encode(b"ann:sesame").decode()}
    connection.request("POST", "/v1/events?writer=w", line("start", 1), headers)
    response = connection.getresponse()
    assert (response.status, "client certificates" in response.read().decode()) == (status, status == 403)
    connection.close()


def test_a_token_grants_the_ingest_route_alone_and_a_password_grants_all_routes(
    agent: Callable[..., DrivenAgent], tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("open sesame")
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    (tmp_path / "web.config.yml").write_text(f"basic_auth_users:\n  ann: {hashed}\n")
    it = agent(intake__token_file=str(tmp_path / "token"), web__config__file=str(tmp_path / "web.config.yml"))
    it.app.server.start()

    def post_as(method: str, path: str, authorization: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", it.app.server.port, timeout=10)
        body = line("start", 1) if method == "POST" else None
        connection.request(method, path, body, {"Content-Type": NDJSON, "Authorization": authorization})
        status = connection.getresponse().status
        connection.close()
        return status

    token, password = "Bearer open sesame", "Basic " + base64.b64encode(b"ann:secret").decode()
    wrong = "Basic " + base64.b64encode(b"ann:wrong").decode()
    events = "/v1/events?writer=w"
    assert [post_as("POST", events, by) for by in (token, password, wrong, "Bearer wrong", "Bearer ")] == [
        200, 200, 401, 401, 401,
    ]  # fmt: skip
    assert [post_as("GET", "/metrics", by) for by in (token, password, wrong)] == [401, 200, 401]
    assert post_as("POST", "/metrics", token) == 401


def test_too_much_is_rejected_now_and_accepted_later(tmp_path: Path) -> None:
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


def test_a_new_writer_replaces_one_that_has_been_quiet_for_long(tmp_path: Path) -> None:
    for i in range(2000):
        (tmp_path / f"http-{i}.jsonl").touch()
    quiet = tmp_path / "http-7.jsonl"
    os.utime(quiet, (time.time() - 7200,) * 2)
    intake = Intake(tmp_path, time.time, time.monotonic)
    assert intake.take("new", line("start", 1)).accepted == 1
    assert not quiet.exists()
    with pytest.raises(IntakeError, match="more than 2000 writers"):
        intake.take("another", line("start", 1))


@pytest.mark.parametrize("obstacle", ["directory", "sparse", "file of somebody else"])
def test_nothing_in_the_events_directory_prevents_starting_or_accepting_events(
    agent: Callable[..., DrivenAgent], tmp_path: Path, obstacle: str
) -> None:
    events = SimulatedMachine(tmp_path).events
    events.chmod(0o1777)
    for name in ("http-x.jsonl", "http-w.jsonl", "state"):
        path = events / name
        if obstacle == "directory":
            path.mkdir(mode=0o777)
        else:
            with path.open("wb") as file:
                file.truncate(600 << 20 if obstacle == "sparse" else 0)
            path.chmod(0o666)
        os.utime(path, (time.time() - 10 * 86400,) * 2)
    it = agent()
    assert post(it, line("start", 1))[0] == 200
    it.run(1)
    assert [run.run for run in it.app.snapshot.runs] == ["far"]  # type: ignore[union-attr]
    assert obstacle == "directory" or (events / "http-w.jsonl").stat().st_size in (0, 600 << 20), (
        "nothing is added to it"
    )


def test_an_obstacle_in_place_of_a_file_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "http-a.jsonl").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "http-b.jsonl")
    intake = Intake(tmp_path, time.time, time.monotonic)
    for writer in ("a", "b"):
        with pytest.raises(IntakeError, match="cannot keep events"):
            intake.take(writer, line("start", 1))
    assert not (tmp_path / "elsewhere").exists()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.text(max_size=30))
def test_any_bytes_and_any_name_are_at_worst_rejected(
    tmp_path_factory: pytest.TempPathFactory, body: bytes, writer: str
) -> None:
    intake = Intake(tmp_path_factory.getbasetemp(), time.time, time.monotonic)
    try:
        result = intake.take(writer, body)
    except IntakeError as refusal:
        status = refusal.status
    else:
        status = 200
        assert result.accepted + result.rejected <= body.count(b"\n") + 1
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
    from tests.agent.agent_process import AgentProcess

    it = AgentProcess(tmp_path, "--gpus.source=none", "--price.usd-per-hour=36").up()
    try:
        completed = train(f"http://127.0.0.1:{it.port}", EPOCHCOST_DIR=str(tmp_path / "unused"))
        assert (completed.returncode, completed.stdout, completed.stderr) == (0, "done True\n", "")
        (run,) = wait_for(lambda: [r for r in it.live()["runs"] if r["state"] == "finished"], what="the run's end")
        assert (run["run"], run["epoch"], run["epochs_planned"]) == ("net-1", 3, 3)
        assert run["cost_usd"] == pytest.approx((run["ended_ts"] - run["started_ts"]) * 0.01, rel=1e-6)
        assert not (tmp_path / "unused").exists()
    finally:
        it.end()


def test_an_agent_that_is_down_hangs_or_rejects_does_not_affect_the_training() -> None:
    hung = socket.create_server(("127.0.0.1", 0))  # accepts by its backlog and never responds
    refusing = Refusing()
    try:
        for url in (
            f"http://127.0.0.1:{hung.getsockname()[1]}",
            "http://127.0.0.1:9",
            refusing.url,
            "http://[nonsense",
        ):
            started_at = time.monotonic()
            completed = train(url)
            assert completed.returncode == 0
            assert completed.stdout == "done True\n"
            assert len(completed.stderr.splitlines()) <= 1
            assert time.monotonic() - started_at < 15
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
    completed = threading.Event()

    def fill() -> None:
        for i in range(5 * MAX_LINES):
            writer.put(b"%d\n" % i)
        completed.set()

    threading.Thread(target=fill, daemon=True).start()
    assert completed.wait(10)
    assert len(writer._lines) == MAX_LINES
    writer.mute()
    hung.close()


@pytest.mark.parametrize("off", [7200.0, -7200.0, 0.0])
@pytest.mark.parametrize("mono", [True, False])
def test_events_of_a_machine_with_a_wrong_clock_are_charged_at_their_true_time(
    agent: Callable[..., DrivenAgent], off: float, mono: bool
) -> None:
    it = agent()

    def report(kind: str, **fields: Any) -> None:
        t = it.machine.wall - T0
        more = {"mono": 77.0 + t} if mono else {}
        body = line(kind, t + off, **more, **fields)  # type: ignore[arg-type]
        assert post(it, body, f"/v1/events?writer=w&now={it.machine.wall + off!r}")[0] == 200
        it.app.sampling_loop.tick()

    it.run(9)
    report("start")
    report("phase", phase="train", epoch=0)
    it.run(20)
    report("epoch_end", epoch=1)
    it.run(1)
    report("end", status="finished")
    assert it.value("run_last_epoch_seconds", run="far") == pytest.approx(20, abs=1e-6)
    assert it.value("run_cost_usd_total", run="far") == pytest.approx(0.021, abs=1e-9)


def test_without_its_own_time_the_date_of_the_request_gives_the_senders_clock(
    agent: Callable[..., DrivenAgent],
) -> None:
    it = agent()
    it.run(9)
    now = it.machine.wall - T0
    date = formatdate(T0 + now - 7200, usegmt=True)
    assert post(it, line("start", now - 7200), Date=date)[0] == 200
    it.run(10)
    assert it.value("run_cost_usd_total", run="far") == pytest.approx(
        0.010, abs=0.0006
    )  # a date has a resolution of seconds


@pytest.mark.parametrize("now", ["", "x", "nan", "inf", "-1", "1e400", "17000000000000", "1&now=2"])
def test_an_invalid_clock_of_the_sender_is_ignored(agent: Callable[..., DrivenAgent], now: str) -> None:
    it = agent()
    it.run(4)
    assert post(it, line("start", 5), f"/v1/events?writer=w&now={now}", Date="yesterday")[0] == 200
    it.run(10)
    assert it.value("run_cost_usd_total", run="far") == pytest.approx(0.010, abs=1e-9)
