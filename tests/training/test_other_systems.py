"""Systems without what POSIX has: the library imports, trains, and stays silent; events may go over HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.training.programs import TRAINED, TRAINING, events, events_by_file, train

# What Windows lacks of what this library, or the standard library below it, might use.
WINDOWS = """
import os, signal, sys
sys.modules["fcntl"] = sys.modules["resource"] = sys.modules["pwd"] = None
for name in ("getuid", "geteuid", "fork", "register_at_fork", "uname", "O_NONBLOCK", "O_NOFOLLOW", "O_CLOEXEC",
             "mkfifo", "getpgid", "killpg", "sched_getaffinity", "waitid", "pidfd_open"):
    if hasattr(os, name): delattr(os, name)
for name in ("SIGKILL", "SIGHUP", "SIGUSR1", "SIGSTOP", "pthread_sigmask", "sigwait", "valid_signals"):
    if hasattr(signal, name): delattr(signal, name)
"""
NO_SYSTEM_DIRECTORY = """
from pathlib import Path
import epochcost.training.directory as directory
directory.events_dir.__defaults__ = (Path("/nowhere/epochcost"),)
"""
MACOS = """
import os, sys
for name in ("sched_getaffinity", "pidfd_open", "O_PATH"):
    if hasattr(os, name): delattr(os, name)
"""


@pytest.mark.parametrize("system", [WINDOWS, MACOS], ids=["Windows", "macOS"])
def test_a_training_is_the_same_and_silent(tmp_path: Path, system: str):
    outcome = train(system + TRAINING, tmp_path)
    assert (outcome.code, outcome.out, outcome.err) == (7, TRAINED, "")
    assert events(tmp_path)[-1]["status"] == "finished"


ASKING = """
import logging, pathlib, sys, epochcost
logging.basicConfig(level=logging.WARNING)
pathlib.Path(sys.argv[1], "r.cost.json").write_text('{"v":1,"run":"r","cost_usd":2.5,"projected_cost_usd":9}')
with epochcost.run("sum", id="r", epochs=2, budget_usd=2) as run:
    for epoch in run.epochs():
        for batch in run.batches([1.0, 2.0]):
            run.log(loss=batch)
            said = run.cost_usd, run.projected_cost_usd, run.over_budget, run.preemption_notice, run.should_stop
    run.load_state_dict(run.state_dict())
print(said, repr(run))
"""


@pytest.mark.parametrize("system", [WINDOWS, MACOS, ""], ids=["Windows", "macOS", "here"])
def test_the_whole_api_works(tmp_path: Path, system: str):
    outcome = train(system + ASKING, tmp_path, str(tmp_path))
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == "(2.5, 9.0, True, None, '') <epochcost run r: epoch 2, $2.50>\n"
    assert events(tmp_path)[-1]["metrics"] == {"loss": 2.0}


@pytest.mark.parametrize("more", [{}, {"SLURM_JOB_ID": "7"}, {"TMPDIR": "/nowhere"}], ids=["plain", "job", "no place"])
def test_without_a_configured_directory_it_is_silent_too(tmp_path: Path, more: dict[str, str]):
    directories = {"TMPDIR": str(tmp_path), "XDG_RUNTIME_DIR": "", **more}
    outcome = train(WINDOWS + NO_SYSTEM_DIRECTORY + TRAINING, None, **directories)  # type: ignore[arg-type]
    assert (outcome.code, outcome.out) == (7, TRAINED)
    assert len(outcome.warnings) == ("TMPDIR" in more)


def test_without_the_signal_module_a_run_loses_only_its_end_event(tmp_path: Path):
    outcome = train("import signal, sys\nsys.modules['_signal'] = None\n" + TRAINING, tmp_path)
    assert (outcome.code, outcome.out, outcome.err) == (7, TRAINED, "")


@pytest.fixture
def agent() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Takes events over HTTP, as an agent does."""
    events_received: list[dict[str, Any]] = []

    class Intake(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            events_received.extend(json.loads(line) for line in body.splitlines())
            response = json.dumps({"v": 1, "accepted": len(events_received), "rejected": 0, "costs": {}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(response)))
            self.end_headers()
            self.wfile.write(response)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Intake)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", events_received
    server.shutdown()
    thread.join()
    server.server_close()


def test_events_over_http_arrive(tmp_path: Path, agent: tuple[str, list[dict[str, Any]]]):
    url, events_received = agent
    outcome = train(WINDOWS + TRAINING, tmp_path, EPOCHCOST_URL=url)
    assert (outcome.code, outcome.out, outcome.err) == (7, TRAINED, "")
    assert [line["ev"] for line in events_received][-1] == "end"
    assert events_by_file(tmp_path) == {}
