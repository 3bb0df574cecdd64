"""A separate process loads the driver as the agent does: by the loader's search path, once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests import fake_nvml
from tests.fake_nvml import SONAME, BuildError, FakeDriver, build

READ = """
import dataclasses, json, sys
from epochcost.gpus import choose_source
try:
    chosen = choose_source(sys.argv[1])
except Exception as err:
    print(json.dumps({"error": type(err).__name__, "text": str(err)}))
else:
    reading = chosen.source.read(1.0) if chosen.source and not chosen.error else None
    gpus = [dataclasses.asdict(gpu) for gpu in reading.gpus] if reading else []
    print(json.dumps({"reason": chosen.reason, "gpus": gpus, "found": chosen.source is not None}))
"""


def read_in_child(name: str, env: dict[str, str]) -> dict:
    command = [sys.executable, "-c", READ, name]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    child = {**os.environ, "PYTHONPATH": path, **env}
    completed = subprocess.run(command, env=child, capture_output=True, text=True, timeout=30, check=True)
    return json.loads(completed.stdout)


@pytest.fixture
def no_library(tmp_path: Path) -> dict[str, str]:
    """A file that is not a library: found first even on a machine with a real driver."""
    (tmp_path / SONAME).write_text("not a shared object")
    return {"LD_LIBRARY_PATH": str(tmp_path)}


def test_the_environment_of_the_fake_driver_is_all_that_a_child_needs(fake_library: Path, tmp_path: Path):
    driver = FakeDriver(fake_library, tmp_path / "control", gpus=8)
    driver.gpu(7, util=99)
    result = read_in_child("auto", driver.env())
    assert [gpu["utilization_ratio"] for gpu in result["gpus"]] == [0.0] * 7 + [0.99]


def test_without_a_driver_library_auto_is_a_node_without_gpus(no_library: dict[str, str]):
    result = read_in_child("auto", no_library)
    assert not result["found"]
    assert "libnvidia-ml.so.1 cannot be loaded here: nvmlInit: NVML Shared Library Not Found" in result["reason"]


def test_without_a_driver_library_nvml_by_name_is_an_error(no_library: dict[str, str]):
    result = read_in_child("nvml", no_library)
    assert result["error"] == "NoDriverError"
    assert "libnvidia-ml.so.1 cannot be loaded here" in result["text"]


def test_without_a_control_file_the_fake_driver_is_not_loaded(fake_library: Path, tmp_path: Path):
    result = read_in_child("auto", {"LD_LIBRARY_PATH": str(fake_library.parent), "FAKE_NVML_CONTROL": str(tmp_path)})
    assert not result["found"]


def test_a_library_without_newer_functions_provides_the_others(tmp_path: Path):
    lacks = ("nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetTemperatureV", "nvmlDeviceGetTotalEnergyConsumption")
    driver = FakeDriver(build(tmp_path / "old", without=lacks), tmp_path / "control", gpus=1)
    driver.gpu(0, memory_used=1000, memory_reserved=24, temperature=55)
    gpu = read_in_child("nvml", driver.env())["gpus"][0]
    assert (gpu["memory_used_bytes"], gpu["temperature_celsius"], gpu["energy_joules"]) == (1024, 55.0, 100.0)
    assert gpu["readable"]


def test_a_driver_older_than_mig_gpm_and_events_provides_the_others(tmp_path: Path):
    lacks = (
        "nvmlDeviceGetMigMode", "nvmlDeviceGetCurrentClocksEventReasons", "nvmlGpmQueryDeviceSupport",
        "nvmlGpmSampleGet",
        "nvmlEventSetCreate", "nvmlDeviceGetTotalEccErrors", "nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetTemperatureV",
    )  # fmt: skip
    driver = FakeDriver(build(tmp_path / "older", without=lacks), tmp_path / "control", gpus=1)
    driver.gpu(0, util=77, throttle=4)
    gpu = read_in_child("nvml", driver.env())["gpus"][0]
    assert (gpu["readable"], gpu["utilization_ratio"], gpu["throttle_seconds"]["power_cap"]) == (True, 0.77, 1.0)
    assert (gpu["mig"], gpu["ecc_errors"], gpu["xid_errors"], gpu["sm_active_ratio"]) == (None, None, None, None)


def test_without_pynvml_the_error_names_what_to_install(fake_library: Path, tmp_path: Path):
    driver = FakeDriver(fake_library, tmp_path / "control")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "pynvml.py").write_text("raise ImportError('no module of that name')\n")
    path = os.pathsep.join([str(tmp_path / "site"), *filter(None, sys.path)])
    code = f"import sys; sys.path[:0] = {path.split(os.pathsep)!r}\n{READ}"
    completed = subprocess.run(
        [sys.executable, "-c", code, "nvml"],
        env={**os.environ, **driver.env()},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    result = json.loads(completed.stdout)
    assert result["error"] == "NoDriverError"
    assert "pip install 'epochcost[agent]'" in result["text"]


def test_an_unreadable_control_file_is_reported(fake_library: Path, tmp_path: Path):
    driver = FakeDriver(fake_library, tmp_path / "control")
    driver.control.write_text("count 8\nnonsense\n")
    result = read_in_child("nvml", driver.env())
    assert "the nvml driver is there but fails" in result["reason"]


def test_building_without_a_compiler_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match="install gcc"):
        build(tmp_path / "library", without=("nvmlInit_v2",))


def test_a_library_is_built_once(fake_library: Path):
    before = fake_library.stat().st_mtime_ns
    assert build(fake_library.parent) == fake_library
    assert fake_library.stat().st_mtime_ns == before
    assert fake_nvml.SOURCE.is_file()
