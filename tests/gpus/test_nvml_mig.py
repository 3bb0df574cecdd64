"""MIG slices are devices of their own, each a part of its GPU."""

from __future__ import annotations

import math

import pytest
from tests import fake_nvml
from tests.fake_nvml import FakeDriver

from epochcost.gpus.nvml.nvml_mig import HOLDS_BYTES, LOOK_SECONDS
from epochcost.gpus.nvml.nvml_source import NvmlSource
from epochcost.model import GpuSample

GIB = 1 << 30
T = 1000.0


@pytest.fixture
def sliced(driver: FakeDriver) -> FakeDriver:
    """Two GPUs; the first is cut into slices of 3, 2 and 1 of its 7 parts."""
    driver.count(2)
    driver.gpu(0, mig=1)
    driver.slice(0, 0, slices=3, memory_total=40 * GIB, memory_used=30 * GIB, name="NVIDIA H100 MIG 3g.40gb")
    driver.slice(0, 1, slices=2, memory_total=20 * GIB, memory_used=0)
    driver.slice(0, 4, memory_total=10 * GIB, memory_used=5 * GIB)
    return driver


def uuid(number: int) -> str:
    return f"MIG-00000000-0000-0000-0000-{number:012d}"


def by_index(source: NvmlSource, t: float) -> dict[str, GpuSample]:
    return {gpu.index: gpu for gpu in source.read(t).gpus}


def test_each_slice_has_its_own_name_memory_and_share_of_the_gpu(sliced: FakeDriver, source: NvmlSource):
    gpus = by_index(source, T)
    assert list(gpus) == ["0", "0:0", "0:1", "0:4", "1"]
    first = gpus["0:0"]
    assert (first.uuid, first.model) == (uuid(0), "NVIDIA H100 MIG 3g.40gb")
    assert first.parent_uuid == gpus["0"].uuid == "GPU-00000000-0000-0000-0000-000000000000"
    assert (first.memory_used_bytes, first.memory_total_bytes) == (30 * GIB, 40 * GIB)
    assert [gpus[i].gpu_fraction * 7 for i in gpus] == pytest.approx([1, 3, 2, 1, 7])
    assert (gpus["0"].mig, gpus["1"].mig, gpus["1"].parent_uuid) == (True, False, "")


def test_a_slice_has_its_placement_where_the_driver_reports_it(sliced: FakeDriver, source: NvmlSource):
    sliced.slice(0, 0, slices=3, profile=9, start=4)
    gpus = by_index(source, T)
    places = {i: (g.gpu_instance, g.instance_profile, g.instance_start) for i, g in gpus.items() if g.parent_uuid}
    assert places == {"0:0": (0, 9, 4), "0:1": (1, None, None), "0:4": (4, None, None)}


@pytest.mark.parametrize("code", [3, 4, 999])
def test_an_unknown_placement_is_left_out_and_the_slice_is_read(sliced: FakeDriver, source: NvmlSource, code: int):
    sliced.error("GetGpuInstanceById", code, 0)
    first = by_index(source, T)["0:0"]
    assert (first.gpu_instance, first.instance_profile, first.memory_total_bytes) == (0, None, 40 * GIB)


def test_a_gpu_in_slices_keeps_its_power_and_has_no_utilisation(sliced: FakeDriver, source: NvmlSource):
    sliced.gpu(0, util=99, power_mw=300_000)
    gpu = by_index(source, T)["0"]
    assert (gpu.utilization_ratio, gpu.power_watts, gpu.temperature_celsius) == (None, 300.0, 40.0)


def test_slices_never_sum_to_more_than_their_gpu(driver: FakeDriver, source: NvmlSource):
    driver.count(1)
    driver.gpu(0, mig=1)
    for number in range(3):
        driver.slice(0, number, slices=4)
    gpus = source.read(T).gpus
    assert [g.gpu_fraction for g in gpus] == pytest.approx([0.0, 1 / 3, 1 / 3, 1 / 3])


@pytest.mark.parametrize("size", [None, 0, 99])
def test_a_slice_of_unknown_size_counts_as_the_smallest(driver: FakeDriver, source: NvmlSource, size: int | None):
    driver.count(1)
    driver.gpu(0, mig=1)
    driver.slice(0, 0, slices=size)
    gpus = source.read(T).gpus
    assert [g.gpu_fraction for g in gpus] == pytest.approx([6 / 7, 1 / 7])


def test_on_hopper_a_slice_has_utilisation_and_activity_of_its_own(sliced: FakeDriver, source: NvmlSource):
    sliced.gpu(0, gpm=1)
    sliced.slice(0, 0, slices=3, gpm_graphics=80, gpm_sm=55, gpm_tensor=20, gpm_dram=33)
    sliced.slice(0, 1, slices=2)
    assert by_index(source, T)["0:0"].utilization_ratio is None  # the counters need two readings
    gpus = by_index(source, T + 1)
    first = gpus["0:0"]
    assert (first.utilization_ratio, first.sm_active_ratio, first.tensor_active_ratio) == (0.8, 0.55, 0.2)
    assert first.dram_active_ratio == 0.33
    assert gpus["0:1"].utilization_ratio == 0.0  # it was measured
    assert {g.power_active for g in gpus.values()} == {None}


def test_on_ampere_power_above_idle_marks_slices_with_memory_and_utilisation_is_not_invented(
    sliced: FakeDriver, source: NvmlSource
):
    sliced.gpu(0, power_mw=60_000, power_limit_mw=400_000)
    resting = by_index(source, T)
    assert {resting[i].power_active for i in ("0:0", "0:1", "0:4")} == {False}
    sliced.gpu(0, power_mw=150_000)
    working = by_index(source, T + 1)
    assert [working[i].power_active for i in ("0:0", "0:1", "0:4")] == [True, False, True]
    assert {g.utilization_ratio for g in working.values() if g.parent_uuid} == {None}
    assert (working["0"].power_active, working["1"].power_active) == (None, None)


def test_a_gpu_busy_since_the_agents_start_is_not_assumed_idle(sliced: FakeDriver, source: NvmlSource):
    sliced.gpu(0, power_mw=310_000, power_limit_mw=400_000)
    assert by_index(source, T)["0:0"].power_active
    sliced.gpu(0, power_mw=None)
    assert by_index(source, T + 1)["0:0"].power_active is None


def test_mig_switched_on_while_running_gives_slices_in_place_of_the_utilisation(driver: FakeDriver, source: NvmlSource):
    driver.count(1)
    driver.gpu(0, util=40)
    assert [(g.index, g.utilization_ratio) for g in source.read(T).gpus] == [("0", 0.4)]
    driver.gpu(0, mig=1)
    driver.slice(0, 0, slices=7)
    assert source.read(T + 1).gpus[0].utilization_ratio is None
    gpus = source.read(T + LOOK_SECONDS).gpus
    assert [(g.index, g.gpu_fraction) for g in gpus] == [("0", 0.0), ("0:0", 1.0)]


def test_mig_switched_off_while_running_gives_the_utilisation_back_at_once(sliced: FakeDriver, source: NvmlSource):
    source.read(T)
    sliced.gpu(0, mig=0, util=70)
    assert list(by_index(source, T + 1)) == ["0", "1"]  # the slices' calls fail, so they are enumerated again
    gpu = by_index(source, T + 2)["0"]
    assert (gpu.utilization_ratio, gpu.gpu_fraction, gpu.mig) == (0.7, 1.0, False)


def test_the_share_of_a_destroyed_slice_becomes_unallocated(sliced: FakeDriver, source: NvmlSource):
    source.read(T)
    sliced.destroy(0, 0)
    gpus = by_index(source, T + 1)
    assert list(gpus) == ["0", "0:1", "0:4", "1"]
    assert gpus["0"].gpu_fraction == pytest.approx(4 / 7)


def test_a_new_slice_is_found_within_seconds(sliced: FakeDriver, source: NvmlSource):
    source.read(T)
    sliced.slice(0, 5, slices=1)
    assert list(by_index(source, T + LOOK_SECONDS)) == ["0", "0:0", "0:1", "0:4", "0:5", "1"]


def test_slices_of_a_lost_gpu_are_lost_too_and_keep_their_shares(sliced: FakeDriver, source: NvmlSource):
    before = by_index(source, T)
    sliced.error("*", fake_nvml.GPU_IS_LOST, gpu=0)
    gpus = by_index(source, T + 1)
    assert {i: g.readable for i, g in gpus.items()} == {"0": False, "0:0": False, "0:1": False, "0:4": False, "1": True}
    assert [g.gpu_fraction for g in gpus.values()] == [g.gpu_fraction for g in before.values()]
    assert all(g.memory_used_bytes is None for i, g in gpus.items() if i != "1")


def test_slices_of_a_stuck_gpu_are_stuck_too(sliced: FakeDriver, source: NvmlSource):
    source.read(T)
    sliced.hang("GetMemoryInfo_v2", 600, gpu=0)
    gpus = by_index(source, T + 5)
    assert [(i, g.stuck_call) for i, g in gpus.items() if not g.readable] == [
        (i, "nvmlDeviceGetMemoryInfo_v2") for i in ("0", "0:0", "0:1", "0:4")
    ]


@pytest.mark.parametrize("code", [fake_nvml.NO_PERMISSION, fake_nvml.NOT_SUPPORTED, fake_nvml.FUNCTION_NOT_FOUND])
@pytest.mark.parametrize("call", ["GetMigMode", "GetMaxMigDeviceCount", "GetMigDeviceHandleByIndex"])
def test_without_reported_slices_the_gpu_counts_as_one_device(
    sliced: FakeDriver, source: NvmlSource, call: str, code: int
):
    sliced.error(call, code, gpu="*")
    gpus = by_index(source, T)
    assert list(gpus) == ["0", "1"]
    assert (gpus["0"].readable, gpus["0"].gpu_fraction) == (True, 1.0)


def test_slices_that_fail_make_the_gpu_unreadable_and_are_logged_once(
    sliced: FakeDriver, source: NvmlSource, caplog: pytest.LogCaptureFixture
):
    source.read(T)
    sliced.error("GetMigMode", fake_nvml.UNKNOWN, gpu=0)
    for tick in range(3):
        gpus = by_index(source, T + LOOK_SECONDS + tick)
        assert [i for i, g in gpus.items() if g.readable] == ["1"]
    assert len([r for r in caplog.records if "slices are unknown: nvmlDeviceGetMigMode" in r.getMessage()]) == 1


def test_slices_and_the_remainder_always_sum_to_their_gpu(sliced: FakeDriver, source: NvmlSource):
    for tick, change in enumerate((None, 1, 4, 0)):
        if change is not None:
            sliced.destroy(0, change)
        gpus = source.read(T + LOOK_SECONDS * tick).gpus
        assert math.fsum(g.gpu_fraction for g in gpus) == pytest.approx(2.0)
    assert HOLDS_BYTES < GIB
