"""A driver's results are recorded by one command, and the fake driver replays them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scripts import record_gpus
from tests import fake_nvml
from tests.fake_nvml import FakeDriver, build_cuda

from epochcost.gpus.nvml.nvml_source import NvmlSource
from epochcost.gpus.replay import ReplaySource
from epochcost.model import GpuSample

GIB = 1 << 30
T = 1000.0
RECORDED = sorted(record_gpus.DIRECTORY.glob("*.json"))


def without_times(recording: dict[str, Any]) -> dict[str, Any]:
    def bare(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: bare(value) for key, value in part.items() if key not in ("us", "GetTotalEnergyConsumption")}
        return [bare(value) for value in part] if isinstance(part, list) else part

    return bare(recording)


def hopper(driver: FakeDriver) -> None:
    driver.gpu("*", gpm=1, gpm_graphics=88, gpm_sm=61, gpm_tensor=33, gpm_dram=None, util=90, memory_util=40)
    driver.gpu(1, memory_used=70 * GIB, power_mw=650_123, temperature=71, throttle=4, ecc_corrected=3)
    driver.process(1, 4711, 69 * GIB)


def consumer(driver: FakeDriver) -> None:
    driver.gpu("*", name="NVIDIA GeForce RTX 4090", ecc_corrected=None, ecc_uncorrected=None, mig=None, util=7)


def old(driver: FakeDriver) -> None:
    for call in ("GetMemoryInfo_v2", "GetTemperatureV", "GetCurrentClocksEventReasons", "GetMigMode"):
        driver.error(call, fake_nvml.FUNCTION_NOT_FOUND, gpu="*")
    driver.gpu("*", memory_used=3 * GIB, memory_reserved=GIB, energy_mj=None, throttle=0x40)


def partition(driver: FakeDriver) -> None:
    driver.gpu(0, mig=1, gpm=1)
    driver.slice(0, 0, slices=3, memory_total=40 * GIB, memory_used=GIB, gpm_graphics=50, gpm_sm=20)
    driver.slice(0, 2, slices=4, memory_total=40 * GIB, name="NVIDIA H100 80GB HBM3 MIG 4g.40gb")


def partly_lost(driver: FakeDriver) -> None:
    driver.error("GetHandleByIndex", fake_nvml.GPU_IS_LOST, gpu=1)
    driver.error("GetPowerUsage", fake_nvml.NO_PERMISSION, gpu=0)


def in_child(command: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=record_gpus.ROOT, env=env, capture_output=True, text=True, timeout=60, check=False
    )


def figures(gpus: tuple[GpuSample, ...]) -> list[GpuSample]:
    return [record_gpus.replace(gpu, energy_joules=gpu.energy_joules is not None) for gpu in gpus]  # type: ignore[attr-defined]


@pytest.mark.parametrize("hardware", [hopper, consumer, old, partition, partly_lost])
def test_a_recording_is_replayed_unchanged(driver: FakeDriver, source: NvmlSource, hardware: Any):
    driver.count(2)
    hardware(driver)
    recording = record_gpus.driver_answers("idle")
    source.read(T)
    before = source.read(T + 1)
    source.close()

    driver.play(json.loads(json.dumps(recording)))
    assert without_times(record_gpus.driver_answers("idle")) == without_times(recording)
    again = NvmlSource()
    again.read(T)
    assert figures(again.read(T + 1).gpus) == figures(before.gpus)
    again.close()


def test_a_recording_is_labelled_simulated_and_names_no_machine(driver: FakeDriver):
    driver.gpu(0, uuid="GPU-8932f937-d72c-4106-c12f-20bd9faed9f6")
    driver.process(0, 987_654, GIB)
    recording = record_gpus.driver_answers("idle")
    assert recording["simulated"] is True
    assert "8932f937" not in json.dumps(recording)
    assert "987654" not in json.dumps(recording)
    assert record_gpus.called(recording) == "simulated-8x-nvidia-h100-80gb-hbm3"
    reading = record_gpus.anonymous(NvmlSource().read(T))
    assert reading.gpus[0].uuid == "GPU-00000000-0000-0000-0000-000000000000"


@pytest.mark.parametrize("call", ["GetUtilizationRates", "GetPowerUsage", "GetTotalEccErrors", "GetMigMode"])
def test_an_error_is_recorded_with_its_code(driver: FakeDriver, call: str):
    driver.error(call, fake_nvml.NOT_SUPPORTED, gpu="*")
    calls = record_gpus.driver_answers("idle")["gpus"][0]["calls"]
    assert "value" not in calls[call]
    assert calls[call]["code"] == fake_nvml.NOT_SUPPORTED


def test_every_figure_that_the_agent_reads_is_recorded(driver: FakeDriver, source: NvmlSource):
    """New calls of the agent have to be recorded too."""
    driver.count(1)
    driver.gpu(0, gpm=1)
    source.read(T)
    source.read(T + 1)
    calls = {figure.call for figure in source._memory.slots[0]._device._all}  # type: ignore[union-attr]
    recorded = set(record_gpus.driver_answers("idle")["gpus"][0]["calls"]) | {"GpmSampleGet"}
    assert {call.removeprefix("nvmlDevice").removeprefix("nvml") for call in calls} <= recorded


def test_one_command_records_a_gpu_at_rest_under_load_and_filled(fake_library: Path, tmp_path: Path):
    driver = FakeDriver(fake_library, tmp_path / "control", gpus=2)
    build_cuda(fake_library)
    command = [sys.executable, "-m", "scripts.record_gpus", str(tmp_path / "out"), "--seconds", "1"]
    completed = in_child(command, {**os.environ, **driver.env()})
    assert completed.returncode == 0, completed.stderr
    name = "simulated-2x-nvidia-h100-80gb-hbm3"
    phases = {p: json.loads((tmp_path / "out" / f"{name}-{p}.json").read_text()) for p in record_gpus.PHASES}
    calls_by_phase = {p: recording["gpus"][0]["calls"] for p, recording in phases.items()}
    assert [calls_by_phase[p]["GetUtilizationRates"]["value"]["gpu"] for p in record_gpus.PHASES] == [0, 97, 0]
    assert [calls_by_phase[p]["GetMemoryInfo_v2"]["value"]["used"] for p in record_gpus.PHASES] == [
        0,
        GIB,
        64_000_000_000,
    ]
    source = ReplaySource.from_file(tmp_path / "out" / f"{name}.jsonl", start=0.0)
    assert source.read(3600.0).gpus[0].memory_used_bytes == 64_000_000_000


def test_without_the_expected_load_the_recording_ends_with_a_message(fake_library: Path, tmp_path: Path):
    driver = FakeDriver(fake_library, tmp_path / "control", gpus=1)
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libnvidia-ml.so.1").symlink_to(fake_library)
    (tmp_path / "lib" / "libcuda.so.1").write_text("not a shared object")
    command = [sys.executable, "-m", "scripts.record_gpus", str(tmp_path / "out"), "--phases", "load"]
    env = {**os.environ, **driver.env(), "LD_LIBRARY_PATH": str(tmp_path / "lib")}
    completed = in_child(command, env)
    assert completed.returncode == 1
    assert "the phase load does not show on GPU 0" in completed.stderr
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_recorded_gpu_is_read_as_recorded(driver: FakeDriver, source: NvmlSource, path: Path):
    recording = json.loads(path.read_text(encoding="utf-8"))
    driver.play(recording)
    source.read(T)
    gpus = {gpu.index: gpu for gpu in source.read(T + 1).gpus}
    for index, recorded_gpu in enumerate(recording["gpus"]):
        gpu, calls = gpus[str(index)], recorded_gpu["calls"]
        assert gpu.readable
        if "value" in calls["GetUtilizationRates"]:
            assert gpu.utilization_ratio == calls["GetUtilizationRates"]["value"]["gpu"] / 100
        if "value" in calls["GetPowerUsage"]:
            assert gpu.power_watts == calls["GetPowerUsage"]["value"] / 1000
        assert (gpu.memory_used_bytes is None) == ("code" in calls["GetMemoryInfo"])
