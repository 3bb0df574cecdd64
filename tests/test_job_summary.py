"""`epochcost job`: its lines, and responses that are not an agent's."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from epochcost.cli import main
from epochcost.job_summary import lines_of

RUN: dict[str, Any] = {
    "run": "77.0", "launcher_job": "77", "state": "finished", "epochs_useful": 3.0, "mean_epoch_cost_usd": 0.41,
    "cost_usd": 1.25, "machine_cost_usd": 1.25, "scope": "run",
    "states": {"useful": {"seconds": 90.0}, "startup": {"seconds": 10.0}},
}  # fmt: skip


@contextmanager
def serving(body: bytes, status: int = 200) -> Iterator[str]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_one_run_is_one_line() -> None:
    assert lines_of("77", [RUN]) == [
        "epochcost: job 77: run 77.0, finished, 3 epochs, $0.41 an epoch, $1.25, useful 90% startup 10%"
    ]


def test_a_part_is_labelled_a_part_and_unknown_values_are_left_out() -> None:
    part = {**RUN, "scope": "machine", "mean_epoch_cost_usd": None}
    unknown = {**RUN, "cost_usd": None, "machine_cost_usd": None, "states": {}}
    first, second, third = lines_of("77", [part, unknown])
    assert first == "epochcost: job 77: 2 runs, dollars not known"
    assert "$1.25 on this machine" in second
    assert "an epoch" not in second
    assert third == "  run 77.0, finished, 3 epochs, $0.41 an epoch"


@pytest.mark.parametrize("states", [None, [], "x", {"useful": None}, {"useful": {"seconds": "9"}}, {"useful": {}}])
def test_states_of_another_form_are_left_out(states: object) -> None:
    assert lines_of("77", [{**RUN, "states": states}])[0].endswith("$1.25")


def test_a_name_cannot_move_the_cursor() -> None:
    assert "\x1b" not in lines_of("77", [{**RUN, "run": "a\x1b[2J"}])[0]


def test_the_job_is_the_launchers_where_none_is_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    with serving(json.dumps({"runs": [RUN, {**RUN, "launcher_job": "78"}]}).encode()) as url:
        assert main(["job", f"--agent.url={url}"]) == 0
    assert capsys.readouterr().out.startswith("epochcost: job 77: run 77.0")


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{}", 200, "not a response of an agent"),
        (b"[]", 200, "not a response of an agent"),
        (b'{"runs": [1]}', 200, "not a response of an agent"),
        (b"\xff", 200, "not a response of an agent"),
        (b'{"runs": []}', 200, "no run of job 77"),
        (b"", 401, "HTTP 401"),
    ],
)
def test_an_invalid_response_is_one_line(
    body: bytes, status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(body, status) as url:
        assert main(["job", "77", f"--agent.url={url}"]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_missing_agent_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["job", "77", "--agent.url=http://127.0.0.1:9"]) == 1
    assert "127.0.0.1:9" in capsys.readouterr().err
