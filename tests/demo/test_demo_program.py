"""``epochcost demo`` as a program: what it starts, prints, serves, and leaves behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.waiting import wait_for

from epochcost.demo.fleet import FLEET

pytestmark = pytest.mark.stack
COMMAND = [sys.executable, "-m", "epochcost", "demo"]


def get(url: str):
    with urllib.request.urlopen(url, timeout=10) as response:
        return json.load(response)


def rejected(*flags: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
    completed = subprocess.run(
        [*COMMAND, *flags], capture_output=True, text=True, env=environment, timeout=60, check=False
    )
    assert completed.stdout == ""
    return completed.returncode, completed.stderr


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[str], dict[str, str], Path]]:
    """A demo of half an hour, its URLs by name, and the parent of its directory."""
    home = tmp_path_factory.mktemp("home")
    flags = [f"--{name}.listen-address=127.0.0.1:0" for name in ("web", "prometheus", "alertmanager")]
    with (home / "out").open("w") as out, (home / "err").open("w") as err:
        process = subprocess.Popen(
            [*COMMAND, "--hours=0.5", *flags],
            stdout=out,
            stderr=err,
            env={**os.environ, "TMPDIR": str(home), "http_proxy": "http://127.0.0.1:1"},  # not for what is its own
            text=True,
        )
    try:
        message = wait_for(
            lambda: process.poll() is not None or ("Ctrl-C" in (text := (home / "out").read_text()) and text),
            120,
            "the demo being up",
        )
        assert message is not True, (home / "err").read_text()
        urls = dict(re.findall(r"^  (\w[\w ]*?)  +(http\S+?)(?:/|/alerts)?$", message, re.MULTILINE))  # type: ignore[call-overload]
        yield process, urls, home
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(30)


def test_everything_in_it_is_labelled_simulated(demo):
    _, urls, home = demo
    assert "simulated" in (home / "out").read_text().partition("live pages")[0]
    matchers = urllib.parse.quote('{__name__=~"epochcost_.+",cluster!~"simulated.*"}')
    assert get(f"{urls['Prometheus']}/api/v1/series?match[]={matchers}")["data"] == []
    live = get(f"{urls['live pages']}/sim-h100-01/v1/live")
    assert live["simulated"] is True
    assert all(machine.name.startswith("sim-") for machine in FLEET.machines)


def test_it_continues_live_after_its_history(demo):
    _, urls, _ = demo
    prometheus = urls["Prometheus"]

    def targets() -> list[str]:
        active = get(f"{prometheus}/api/v1/targets")["data"]["activeTargets"]
        return [t["health"] for t in active] if all(t["health"] != "unknown" for t in active) else []

    assert set(wait_for(targets, 40, "a scrape of every target")) == {"up"}
    query = "count(epochcost_node_info) == count(count_over_time(epochcost_node_info[25m]) > 20)"
    wait_for(lambda: get(f"{prometheus}/api/v1/query?query={query.replace(' ', '+')}")["data"]["result"], 40, "history")


def test_an_alert_whose_wait_is_over_in_the_history_fires_at_once_and_is_notified(demo):
    _, urls, _ = demo

    def notified() -> list[str]:
        alerts = get(f"{urls['Alertmanager']}/api/v2/alerts")
        return [a["labels"]["node"] for a in alerts if a["labels"]["alertname"] == "EpochcostPriceUnknown"]

    assert wait_for(notified, 60, "an alert in the Alertmanager") == ["sim-azure-03"]


def test_ctrl_c_ends_all_of_it_and_leaves_nothing(demo):
    process, urls, home = demo
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True).stdout
    assert len(children.split()) == 2, "Prometheus and Alertmanager"
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    for pid in children.split():
        assert not Path(f"/proc/{pid}").exists()
    assert sorted(path.name for path in home.iterdir()) == ["err", "out"]
    assert "Traceback" not in (home / "err").read_text()
    for url in urls.values():
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) != 0


@pytest.mark.parametrize(
    ("flags", "status", "reason"),
    [
        (["--hours=0.1"], 2, "--hours: '0.1'"),
        (["--hours=nan"], 2, "--hours: 'nan'"),
        (["--prometheus.listen-address=here"], 2, "--prometheus.listen-address: 'here'"),
        (["--prometheus.config-dir=/nowhere"], 1, "no prometheus.yml and rules/ in /nowhere"),
    ],
)
def test_a_wrong_flag_is_named(flags, status, reason):
    code, message = rejected(*flags)
    assert code == status
    assert reason in message


def test_a_directory_that_is_not_empty_is_not_touched(tmp_path):
    (tmp_path / "mine").write_text("precious")
    code, message = rejected(f"--data.dir={tmp_path}")
    assert (code, (tmp_path / "mine").read_text()) == (1, "precious")
    assert "is not empty" in message


def test_a_directory_that_cannot_be_one_is_named_with_its_flag(tmp_path):
    (tmp_path / "file").write_text("")
    assert rejected(f"--data.dir={tmp_path / 'file'}/x") == (
        1,
        f"epochcost demo: --data.dir: {tmp_path / 'file'}/x cannot be used: Not a directory\n",
    )


def test_without_prometheus_it_names_what_to_install(tmp_path):
    code, message = rejected(environment={**os.environ, "PATH": str(tmp_path)})
    assert code == 1
    assert "prometheus is not installed" in message
    assert "apt-get install prometheus" in message
