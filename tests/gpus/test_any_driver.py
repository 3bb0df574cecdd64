"""Properties of the agent with any NVIDIA driver: the tests' own, and the real one where this machine has it.

    pytest tests/gpus/test_any_driver.py -k real

A process has one driver library for good, so each of these is tested in processes of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from scripts import record_gpus
from tests.agent.agent_process import AgentProcess
from tests.fake_nvml import FakeDriver, build_cuda
from tests.waiting import wait_for

READ = """
import json, logging, sys, time
from epochcost.gpus.nvml.nvml_source import NvmlSource
from epochcost.gpus.replay import recorded
lines = []
class Lines(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())
logging.getLogger("epochcost").addHandler(Lines())
source, readings, took = NvmlSource(), [], []
for beat in range(int(sys.argv[1])):
    if beat:
        time.sleep(1.0)
    began = time.monotonic()
    readings.append(json.loads(recorded(source.read(began))))
    took.append(time.monotonic() - began)
source.close()
print(json.dumps({"readings": readings, "took": took, "lines": lines}))
"""
ALWAYS = {"index", "uuid", "model", "memory_used_bytes", "memory_total_bytes"}
"""What every GPU and slice of any kind tells."""


@pytest.fixture(scope="module", params=["simulated", "real"])
def env(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that loads this driver."""
    if request.param == "real":
        if not Path("/proc/driver/nvidia/version").exists():
            pytest.skip("this machine has no NVIDIA driver")
        return {}
    library = request.getfixturevalue("fake_library")  # a machine with a real one may lack a C compiler
    driver = FakeDriver(library, tmp_path_factory.mktemp("any") / "nvml.control", gpus=2)
    driver.gpu("*", gpm=1, gpm_sm=20, util=30, memory_used=1 << 30)
    build_cuda(library)
    return driver.env()


def in_child(arguments: list[str], env: dict[str, str]) -> str:
    path = os.pathsep.join(entry for entry in sys.path if entry)
    completed = subprocess.run(
        [sys.executable, *arguments],
        cwd=record_gpus.ROOT,
        env={**os.environ, "PYTHONPATH": path, **env},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


@pytest.fixture(scope="module")
def read(env: dict[str, str]) -> dict[str, Any]:
    return json.loads(in_child(["-c", READ, "3"], env))


def test_repeated_readings_have_the_same_gpus(read: dict[str, Any]):
    names = [[gpu["uuid"] for gpu in reading["gpus"]] for reading in read["readings"]]
    assert names[0]
    assert names == [names[0]] * 3
    assert len(set(names[0])) == len(names[0])
    for reading in read["readings"]:
        assert reading["driver_version"]
        for gpu in reading["gpus"]:
            assert gpu["readable"]
            assert set(gpu) >= ALWAYS


def test_no_result_is_rejected_as_nonsense(read: dict[str, Any]):
    assert not [line for line in read["lines"] if "left out" in line or "cannot be read" in line]


def test_counters_never_go_back(read: dict[str, Any]):
    first, *_, last = (reading["gpus"] for reading in read["readings"])
    for before, after in zip(first, last, strict=True):
        assert after.get("energy_joules", 0) >= before.get("energy_joules", 0)
        for counts in ("throttle_seconds", "ecc_errors", "xid_errors"):
            for name, count in before.get(counts, {}).items():
                assert after[counts][name] >= count


def test_a_gpu_at_rest_under_load_and_filled_is_recorded_as_such(env: dict[str, str], tmp_path: Path):
    in_child(["-m", "scripts.record_gpus", str(tmp_path / "out"), "--seconds", "2"], env)
    recordings = {p: json.loads(next((tmp_path / "out").glob(f"*-{p}.json")).read_text()) for p in record_gpus.PHASES}
    assert {recording["simulated"] for recording in recordings.values()} == {bool(env)}
    (lines,) = (tmp_path / "out").glob("*.jsonl")
    gpus = [json.loads(line)["gpus"][0] for line in lines.read_text().splitlines()]
    assert len(gpus) == 6
    idle, load, filled = gpus[1], gpus[3], gpus[5]
    assert load["utilization_ratio"] > 0.5
    assert filled["memory_used_bytes"] > 0.5 * filled["memory_total_bytes"] > idle["memory_used_bytes"]


@pytest.fixture
def agent(tmp_path: Path, env: dict[str, str]) -> Iterator[Callable[[], AgentProcess]]:
    agents: list[AgentProcess] = []

    def start() -> AgentProcess:
        flags = ("--node.metadata=off", "--price.usd-per-hour=36", "--gpus.source=nvml")
        agents.append(AgentProcess(tmp_path, *flags, env=env))
        return agents[-1]

    yield start
    for one in agents:
        one.end(signal.SIGKILL)


def test_the_agent_shows_every_gpu_and_its_states_sum_to_the_cost(agent: Callable[[], AgentProcess]):
    it = agent().up()

    def seconds() -> dict[str, dict[str, float]]:
        by_state: dict[str, dict[str, float]] = {}
        for family in text_string_to_metric_families(it.get("/metrics")[1]):
            for sample in family.samples:
                key = sample.labels.get("uuid", "") or sample.labels.get("state", "")
                by_state.setdefault(sample.name.removeprefix("epochcost_"), {})[key] = sample.value
        priced = "node_cost_usd_total" in by_state
        return by_state if priced and sum(by_state.get("node_seconds_total", {}).values()) >= 3 else {}

    by_state = wait_for(seconds, seconds=60, what="three seconds of states and their dollars")
    assert by_state["gpu_readable"]
    assert set(by_state["gpu_readable"].values()) == {1.0}
    assert set(by_state["gpu_memory_used_bytes"]) == set(by_state["gpu_readable"])
    accounted = sum(by_state["node_seconds_total"].values())
    assert sum(by_state["node_cost_usd_total"].values()) == pytest.approx(accounted * 36 / 3600, rel=1e-9)
