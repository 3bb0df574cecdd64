"""NVML faults through the real pynvml on the compiled fake driver."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path

import pynvml
import pytest
from tests import fake_nvml
from tests.fake_nvml import FakeDriver

from epochcost.gpus import choose_source
from epochcost.gpus.gpu_source import GpuError, NoDriverError, RestartNeededError
from epochcost.gpus.nvml.nvml_device import ASK_AGAIN_SECONDS
from epochcost.gpus.nvml.nvml_figures import ECC_SECONDS, THROTTLE_REASONS
from epochcost.gpus.nvml.nvml_gpu import LOOK_AGAIN_SECONDS
from epochcost.gpus.nvml.nvml_mig import LOOK_SECONDS
from epochcost.gpus.nvml.nvml_source import RETRY_SECONDS, NvmlSource
from epochcost.model import GpuSample

GIB = 1 << 30
T = 1000.0

FIELDS_OF_CALL = {
    "GetUtilizationRates": {"utilization_ratio"},
    "GetMemoryInfo_v2": set(),  # the old call is used instead
    "GetPowerUsage": {"power_watts"},
    "GetTotalEnergyConsumption": set(),  # the power is integrated instead
    "GetTemperatureV": set(),
}
FIGURES = ("utilization_ratio", "memory_used_bytes", "memory_total_bytes", "power_watts", "energy_joules")
FIGURES = (*FIGURES, "temperature_celsius")  # type: ignore[assignment]


def absent(sample: GpuSample) -> set[str]:
    return {name for name in FIGURES if getattr(sample, name) is None}


def of_a_gpu(index: int) -> GpuSample:
    return GpuSample(str(index), f"GPU-00000000-0000-0000-0000-{index:012d}", "NVIDIA H100 80GB HBM3")


def test_a_reading_holds_every_figure_of_every_gpu_in_base_units(driver: FakeDriver, source: NvmlSource):
    driver.gpu("*", util=25, memory_total=80 * GIB, memory_used=10 * GIB, memory_reserved=GIB)
    driver.gpu(3, util=87, power_mw=412_500, energy_mj=123_456_789, temperature=61, name="NVIDIA L40S")
    reading = source.read(T)
    assert (reading.t, reading.driver_version, len(reading.gpus)) == (T, "550.54.15", 8)
    assert reading.gpus[3] == GpuSample(
        "3",
        "GPU-00000000-0000-0000-0000-000000000003",
        "NVIDIA L40S",
        utilization_ratio=0.87,
        memory_used_bytes=10 * GIB,  # memory reserved by the driver is separate
        memory_total_bytes=80 * GIB,
        power_watts=412.5,
        energy_joules=123_456.789,
        temperature_celsius=61.0,
        memory_reserved_bytes=GIB,
        throttle_seconds=dict.fromkeys(THROTTLE_REASONS, 0.0),
        ecc_errors={"corrected": 0, "uncorrected": 0},
        xid_errors={},
        mig=False,
    )
    assert [gpu.index for gpu in reading.gpus] == [str(i) for i in range(8)]
    assert {gpu.utilization_ratio for gpu in reading.gpus} == {0.25, 0.87}


def test_an_idle_gpu_is_zero_and_not_absent(driver: FakeDriver, source: NvmlSource):
    driver.gpu("*", util=0, memory_used=0, power_mw=0)
    sample = source.read(T).gpus[0]
    assert (sample.utilization_ratio, sample.memory_used_bytes, sample.power_watts) == (0.0, 0, 0.0)


@pytest.mark.skipif(not hasattr(pynvml, "nvmlDeviceGetTemperatureV"), reason="the old call has no sign")
def test_temperatures_below_zero_are_kept(driver: FakeDriver, source: NvmlSource):
    driver.gpu(0, temperature=-5)
    assert source.read(T).gpus[0].temperature_celsius == -5.0


def test_sixteen_gpus_are_read(driver: FakeDriver, source: NvmlSource):
    driver.count(16)
    assert [gpu.index for gpu in source.read(T).gpus] == [str(i) for i in range(16)]


@pytest.mark.parametrize("code", [fake_nvml.NOT_SUPPORTED, fake_nvml.FUNCTION_NOT_FOUND, fake_nvml.NO_PERMISSION])
@pytest.mark.parametrize("call", FIELDS_OF_CALL)
def test_an_unsupported_figure_is_absent_and_the_others_stay(
    driver: FakeDriver, source: NvmlSource, call: str, code: int
):
    driver.error(call, code, gpu="*")
    source.read(T)
    for t in (T + 1, T + 2):
        for gpu in source.read(t).gpus:
            assert gpu.readable
            assert absent(gpu) == FIELDS_OF_CALL[call]


@pytest.mark.parametrize(
    ("calls", "fields"),
    [
        (("GetMemoryInfo_v2", "GetMemoryInfo"), {"memory_used_bytes", "memory_total_bytes"}),
        (("GetTemperatureV", "GetTemperature"), {"temperature_celsius"}),
    ],
)
def test_if_the_old_call_fails_too_the_figure_is_absent(
    driver: FakeDriver, source: NvmlSource, calls: tuple[str, str], fields: set[str]
):
    for call in calls:
        driver.error(call, fake_nvml.NOT_SUPPORTED, gpu="*")
    assert all(absent(gpu) == fields for gpu in source.read(T).gpus)


def test_one_gpu_of_another_kind_loses_only_its_own_figure(driver: FakeDriver, source: NvmlSource):
    driver.gpu(5, power_mw=None)
    source.read(T)
    assert [absent(gpu) for gpu in source.read(T + 1).gpus] == [{"power_watts"} if i == 5 else set() for i in range(8)]


def test_an_unsupported_figure_is_logged_once_and_not_requested_again_soon(
    driver: FakeDriver, source: NvmlSource, caplog: pytest.LogCaptureFixture
):
    driver.error("GetPowerUsage", fake_nvml.NOT_SUPPORTED, gpu="*")
    calls = driver.load().fake_nvml_calls
    before = calls(b"GetPowerUsage")
    for second in range(60):
        source.read(T + second)
    assert calls(b"GetPowerUsage") - before == 8
    lines = [record.getMessage() for record in caplog.records if "nvmlDeviceGetPowerUsage" in record.getMessage()]
    assert len(lines) == 1
    assert "Not Supported" in lines[0]
    assert "no power of GPU 0 (NVIDIA H100 80GB HBM3)" in lines[0]


def test_a_figure_that_returns_is_read_again_in_time(driver: FakeDriver, source: NvmlSource):
    driver.gpu("*", util=50)
    driver.error("GetUtilizationRates", fake_nvml.NOT_SUPPORTED, gpu=0)  # as in MIG mode
    assert source.read(T).gpus[0].utilization_ratio is None
    driver.heal()
    assert source.read(T + 1).gpus[0].utilization_ratio is None
    assert source.read(T + ASK_AGAIN_SECONDS).gpus[0].utilization_ratio == 0.5


def test_an_old_driver_without_the_new_memory_call_is_read_by_the_old_one(driver: FakeDriver, source: NvmlSource):
    driver.missing("GetMemoryInfo_v2")
    driver.gpu("*", memory_used=5 * GIB, memory_reserved=GIB)
    assert source.read(T).gpus[0].memory_used_bytes == 6 * GIB  # the old call does not distinguish them


def test_a_figure_without_data_yet_is_absent_for_this_reading_only(driver: FakeDriver, source: NvmlSource):
    driver.error("GetUtilizationRates", fake_nvml.NO_DATA, gpu=1)
    assert absent(source.read(T).gpus[1]) == {"utilization_ratio"}
    driver.heal()
    assert absent(source.read(T + 1).gpus[1]) == set()


@pytest.mark.parametrize(
    ("figures", "field"),
    [
        ({"util": 101}, "utilization_ratio"),
        ({"util": 0xFFFFFFFF}, "utilization_ratio"),
        ({"power_mw": 0xFFFFFFFF}, "power_watts"),
        ({"energy_mj": (1 << 63) - 1}, "energy_joules"),
        ({"temperature": 0x7FFFFFFF}, "temperature_celsius"),
        ({"memory_used": 90 * GIB, "memory_total": 80 * GIB}, "memory_used_bytes"),
        ({"memory_total": 0}, "memory_total_bytes"),
    ],
)
def test_a_figure_that_no_gpu_has_is_left_out_and_logged_once(
    driver: FakeDriver,
    source: NvmlSource,
    caplog: pytest.LogCaptureFixture,
    figures: dict[str, int],
    field: str,
):
    driver.gpu(2, **figures)
    for second in range(3):
        samples = source.read(T + second).gpus
        assert getattr(samples[2], field) is None
        assert samples[2].readable
        assert absent(samples[1]) == set()
    assert len([record for record in caplog.records if "not exported" in record.getMessage()]) == 1


@pytest.mark.parametrize("code", [fake_nvml.GPU_IS_LOST, fake_nvml.UNKNOWN, fake_nvml.RESET_REQUIRED])
@pytest.mark.parametrize("call", ["*", "GetUtilizationRates"])
def test_a_lost_gpu_is_unreadable_without_a_figure_and_the_others_are_fine(
    driver: FakeDriver, source: NvmlSource, call: str, code: int
):
    source.read(T)
    driver.gpu("*", util=70)
    driver.error(call, code, gpu=2)
    samples = source.read(T + 1).gpus
    assert samples[2] == replace(of_a_gpu(2), readable=False)
    assert [gpu.utilization_ratio for gpu in samples if gpu.readable] == [0.7] * 7
    driver.heal()
    assert source.read(T + 2).gpus[2].utilization_ratio == 0.7


def test_a_lost_gpu_is_logged_when_it_is_lost_and_when_it_returns(
    driver: FakeDriver, source: NvmlSource, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "epochcost")
    driver.error("*", fake_nvml.GPU_IS_LOST, gpu=4)
    for second in range(1, 5):
        source.read(T + second)
    driver.heal()
    for second in range(5, 9 + int(LOOK_AGAIN_SECONDS)):
        source.read(T + second)
    messages = [record.getMessage() for record in caplog.records]
    assert len([line for line in messages if line.startswith("GPU 4 cannot be read: nvmlDeviceGetHandleByIndex")]) == 1
    driver.error("GetUtilizationRates", fake_nvml.GPU_IS_LOST, gpu=4)
    for second in range(30, 33):
        source.read(T + second)
    driver.heal()
    source.read(T + 33)
    messages = [record.getMessage() for record in caplog.records]
    message = "cannot be read: nvmlDeviceGetUtilizationRates of GPU 4: GPU is lost (NVML code 15)"
    assert len([line for line in messages if line.endswith(message)]) == 1
    assert messages[-1].startswith("GPU 4 ")
    assert messages[-1].endswith("can be read again")


def test_a_gpu_that_is_lost_again_is_logged_again(
    driver: FakeDriver, source: NvmlSource, caplog: pytest.LogCaptureFixture
):
    for round_ in (0.0, 1000.0):
        driver.error("GetHandleByIndex", fake_nvml.GPU_IS_LOST, gpu=4)
        source.close()
        source.read(T + round_)
        driver.heal()
        assert source.read(T + round_ + LOOK_AGAIN_SECONDS).gpus[4].readable
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["GPU 4 cannot be read: nvmlDeviceGetHandleByIndex: GPU is lost"] * 2


def test_a_gpu_lost_before_its_first_reading_still_has_its_index(driver: FakeDriver, source: NvmlSource):
    driver.error("GetHandleByIndex", fake_nvml.GPU_IS_LOST, gpu=6)
    samples = source.read(T).gpus
    assert samples[6] == GpuSample("6", "unknown-6", readable=False)
    assert all(gpu.readable for gpu in samples if gpu.index != "6")
    driver.heal()
    assert source.read(T + LOOK_AGAIN_SECONDS).gpus[6].readable


def test_a_gpu_whose_name_call_fails_is_read_without_a_name(driver: FakeDriver, source: NvmlSource):
    driver.error("GetName", fake_nvml.NOT_SUPPORTED, gpu=0)
    sample = source.read(T).gpus[0]
    assert (sample.model, sample.readable, absent(sample)) == ("", True, set())


def test_a_name_that_cannot_be_shown_is_made_safe_for_a_label(driver: FakeDriver, source: NvmlSource):
    driver.gpu(0, name="NVIDIA\tH100\x07")
    assert source.read(T).gpus[0].model == "NVIDIA?H100?"


def test_all_gpus_failing_makes_the_source_reinitialise_the_driver(driver: FakeDriver, source: NvmlSource):
    source.read(T)
    driver.error("*", fake_nvml.INVALID_ARGUMENT, gpu="*")
    assert not any(gpu.readable for gpu in source.read(T + 1).gpus)
    inits = driver.load().fake_nvml_calls(b"Init")
    source.read(T + 2)
    assert driver.load().fake_nvml_calls(b"Init") == inits
    source.read(T + 1 + RETRY_SECONDS)
    assert driver.load().fake_nvml_calls(b"Init") == inits + 1
    driver.heal()
    assert all(gpu.readable for gpu in source.read(T + 2 + 2 * RETRY_SECONDS).gpus)


def test_a_reloaded_driver_is_reinitialised_within_the_same_read(driver: FakeDriver, source: NvmlSource):
    source.read(T)
    driver.version("560.35.03")
    driver.gpu("*", util=33)
    driver.reload()
    reading = source.read(T + 1)
    assert reading.driver_version == "560.35.03"
    assert [gpu.utilization_ratio for gpu in reading.gpus] == [0.33] * 8


def test_a_driver_unloaded_in_between_fails_the_read_until_it_is_back(driver: FakeDriver, source: NvmlSource):
    source.read(T)
    driver.unload()
    for second in (1.0, 2.0, RETRY_SECONDS + 2):
        with pytest.raises(NoDriverError, match=r"driver is not loaded: nvmlInit: .*\(NVML code 9\)"):
            source.read(T + second)
    driver.count(8)
    assert len(source.read(T + 3 * RETRY_SECONDS).gpus) == 8


def test_a_failed_init_is_not_retried_every_second(driver: FakeDriver, source: NvmlSource):
    driver.error("Init", fake_nvml.DRIVER_NOT_LOADED)
    calls = driver.load().fake_nvml_calls
    before = calls(b"Init")
    for second in range(int(2 * RETRY_SECONDS)):
        with pytest.raises(NoDriverError):
            source.read(T + second)
    assert calls(b"Init") - before <= 4


def test_a_version_mismatch_requires_a_restart_of_the_agent(driver: FakeDriver, source: NvmlSource):
    source.read(T)
    driver.reload()
    driver.error("Init", fake_nvml.LIB_RM_VERSION_MISMATCH)
    with pytest.raises(
        RestartNeededError, match=r"updated while the agent was running: restart the agent.*\(NVML code 18\)"
    ):
        source.read(T + 1)


def test_a_version_mismatch_in_the_middle_is_the_drivers_fault_and_no_gpus(driver: FakeDriver, source: NvmlSource):
    source.read(T)
    driver.error("GetUtilizationRates", fake_nvml.LIB_RM_VERSION_MISMATCH, gpu=3)
    with pytest.raises(RestartNeededError, match="nvmlDeviceGetUtilizationRates of GPU 3"):
        source.read(T + 1)


def test_an_error_of_the_count_names_the_call_and_the_result(driver: FakeDriver, source: NvmlSource):
    source.read(T)
    driver.error("GetCount", fake_nvml.UNKNOWN)
    with pytest.raises(GpuError, match=r"nvmlDeviceGetCount: Unknown Error \(NVML code 999\)"):
        source.read(T + 1)
    driver.heal()
    assert len(source.read(T + 2).gpus) == 8


def test_a_count_that_keeps_failing_makes_the_source_reinitialise_the_driver(driver: FakeDriver, source: NvmlSource):
    source.read(T)
    driver.error("GetCount", fake_nvml.UNKNOWN)
    inits = driver.load().fake_nvml_calls(b"Init")
    for second in range(1, int(RETRY_SECONDS) + 2):
        with pytest.raises(GpuError):
            source.read(T + second)
    assert driver.load().fake_nvml_calls(b"Init") == inits + 1


def test_a_code_that_pynvml_does_not_know_is_shown_by_its_number(driver: FakeDriver, source: NvmlSource):
    driver.error("GetCount", 777)
    with pytest.raises(GpuError, match="NVML code 777"):
        source.read(T)


def test_four_gpus_that_become_eight_are_all_read(driver: FakeDriver, source: NvmlSource):
    driver.count(4)
    assert len(source.read(T).gpus) == 4
    driver.count(8)
    assert [gpu.uuid for gpu in source.read(T + 1).gpus] == [of_a_gpu(i).uuid for i in range(8)]
    driver.count(7)
    assert len(source.read(T + 2).gpus) == 7


def test_gpus_that_move_up_in_the_drivers_list_are_identified_by_their_uuid(driver: FakeDriver, source: NvmlSource):
    source.read(T)
    driver.count(7)
    for index in range(2, 7):  # the third fell off
        driver.gpu(index, uuid=of_a_gpu(index + 1).uuid, util=index)
    gpus = source.read(T + 1).gpus
    assert [g.uuid for g in gpus] == [of_a_gpu(i).uuid for i in (0, 1, 3, 4, 5, 6, 7)]
    assert [g.utilization_ratio for g in gpus] == [0.0, 0.0, 0.02, 0.03, 0.04, 0.05, 0.06]


MEMORY = {"memory_used_bytes", "memory_total_bytes", "memory_reserved_bytes"}
ACTIVITY = {"sm_active_ratio", "tensor_active_ratio", "dram_active_ratio"}
LOST_BY_CALL: dict[str, tuple[set[str], set[str]]] = {
    # The call, and the figures that a GPU and a slice then lack; calls without an entry lack none.
    "SystemGetDriverVersion": (set(), set()),
    "GetName": (set(), set()),
    "GetUtilizationRates": ({"utilization_ratio"}, set()),
    "GetMemoryInfo": (set(), set()),
    "GetMemoryInfo_v2": ({"memory_reserved_bytes"}, {"memory_reserved_bytes"}),
    "GetPowerUsage": ({"power_watts"}, set()),
    "GetTotalEnergyConsumption": (set(), set()),
    "GetTemperature": (set() if hasattr(pynvml, "nvmlDeviceGetTemperatureV") else {"temperature_celsius"}, set()),
    "GetTemperatureV": (set(), set()),
    "GetCurrentClocksEventReasons": (set(), set()),
    "GetCurrentClocksThrottleReasons": (
        set() if hasattr(pynvml, "nvmlDeviceGetCurrentClocksEventReasons") else {"throttle_seconds"},
        set(),
    ),
    "GetTotalEccErrors": ({"ecc_errors"}, set()),
    "GetAttributes_v2": (set(), set()),
    "GetGpuInstanceId": (set(), {"utilization_ratio", *ACTIVITY}),
    "GetEnforcedPowerLimit": (set(), set()),
    "EventSetCreate": ({"xid_errors"}, set()),
    "RegisterEvents": ({"xid_errors"}, set()),
    "EventSetWait": (set(), set()),
    "GpmQueryDeviceSupport": (ACTIVITY, {"utilization_ratio", *ACTIVITY}),
    "GpmSampleGet": (ACTIVITY, set()),
    "GpmMigSampleGet": (set(), {"utilization_ratio", *ACTIVITY}),
    "GpmMetricsGet": (ACTIVITY, {"utilization_ratio", *ACTIVITY}),
}
WITHOUT_SLICES = {"GetMigMode": {"mig"}, "GetMaxMigDeviceCount": set(), "GetMigDeviceHandleByIndex": set()}
OF_A_GPU = (*FIGURES, "memory_reserved_bytes", *sorted(ACTIVITY), "throttle_seconds", "ecc_errors", "xid_errors", "mig")
OF_A_SLICE = ("utilization_ratio", *sorted(MEMORY | ACTIVITY))


def lacks(sample: GpuSample, names: tuple[str, ...]) -> set[str]:
    return {name for name in names if getattr(sample, name) is None}


@pytest.mark.parametrize("code", [fake_nvml.NOT_SUPPORTED, fake_nvml.FUNCTION_NOT_FOUND])
@pytest.mark.parametrize("call", [*LOST_BY_CALL, *WITHOUT_SLICES])
def test_without_any_single_call_all_other_figures_are_read(
    driver: FakeDriver, source: NvmlSource, call: str, code: int
):
    driver.gpu("*", gpm=1, util=50)
    driver.gpu(0, mig=1)
    driver.slice(0, 0, slices=7)
    for gpu in (None, "*"):
        driver.error(call, code, gpu=gpu)
    source.read(T)
    source.read(T + 1)
    gpus = {g.index: g for g in source.read(T + 2).gpus}
    assert all(g.readable for g in gpus.values())
    of_gpu, of_slice = LOST_BY_CALL.get(call, (WITHOUT_SLICES.get(call, set()), None))
    assert [lacks(gpus[str(i)], OF_A_GPU) for i in range(1, 8)] == [of_gpu] * 7
    assert ("0:0" in gpus) == (of_slice is not None)
    if of_slice is not None:
        assert lacks(gpus["0:0"], OF_A_SLICE) == of_slice


def test_a_gpu_without_a_uuid_is_not_readable_and_keeps_its_index(driver: FakeDriver, source: NvmlSource):
    driver.error("GetUUID", fake_nvml.NOT_SUPPORTED, gpu=3)
    samples = source.read(T).gpus
    assert samples[3] == GpuSample("3", "unknown-3", readable=False)
    assert [g.readable for g in samples] == [i != 3 for i in range(8)]


@pytest.mark.parametrize("code", [14, 19, 20, 23, 27, 29])
def test_a_figure_with_an_error_of_its_own_is_left_out_meanwhile_and_logged_once(
    driver: FakeDriver, source: NvmlSource, caplog: pytest.LogCaptureFixture, code: int
):
    driver.error("GetPowerUsage", code, gpu=1)
    for second in range(3):
        gpus = source.read(T + second).gpus
        assert [(g.readable, absent(g)) for g in gpus] == [
            (True, {"power_watts"} if i == 1 else set()) for i in range(8)
        ]
    assert len([r for r in caplog.records if "GPU 1: nvmlDeviceGetPowerUsage returns" in r.getMessage()]) == 1
    driver.heal()
    assert absent(source.read(T + 3).gpus[1]) == set()


SECONDARY = {
    "GetMemoryInfo_v2": {"memory_used_bytes", "memory_total_bytes", "memory_reserved_bytes"},
    "GetPowerUsage": {"power_watts"},
    "GetTotalEnergyConsumption": {"energy_joules"},
    "GetTemperatureV": {"temperature_celsius"},
    "GetCurrentClocksEventReasons": {"throttle_seconds"},
    "GetTotalEccErrors": {"ecc_errors"},
    "GpmSampleGet": set(),
    "GetMigMode": {"mig"},
}


@pytest.mark.parametrize("code", [1, 2, 6, 9, 10, 15, 16, 17, 18, 28, fake_nvml.UNKNOWN, 4711])
@pytest.mark.parametrize("call", sorted(SECONDARY))
def test_a_secondary_call_that_fails_leaves_out_its_figure_alone_whatever_its_code(
    driver: FakeDriver, source: NvmlSource, call: str, code: int
):
    driver.gpu("*", gpm=1, gpm_sm=20, util=30)
    before = source.read(T)
    driver.error(call, code, gpu="*")
    reading = source.read(T + LOOK_SECONDS + ECC_SECONDS)
    for gpu, was in zip(reading.gpus, before.gpus, strict=True):
        assert gpu.readable
        assert gpu.utilization_ratio == 0.3
        assert absent(gpu) - absent(was) <= SECONDARY[call]
    if call != "GetMigMode" and code not in {2, 6}:
        assert {name for name, _ in reading.call_failures} <= {f"nvmlDevice{call}", f"nvml{call}"}
        assert sum(reading.call_failures.values()) >= 8
    driver.heal()
    after = source.read(T + 2 * LOOK_SECONDS + 2 * ECC_SECONDS)
    assert [absent(g) for g in after.gpus] == [set()] * 8


def test_no_gpus_after_some_is_a_failed_read_and_not_an_idle_node(driver: FakeDriver, source: NvmlSource):
    source.read(T)
    driver.count(0)
    with pytest.raises(GpuError, match="reports no GPU; before, it reported 8") as caught:
        source.read(T + 1)
    assert not isinstance(caught.value, NoDriverError)
    driver.count(8)
    assert len(source.read(T + 2).gpus) == 8


def test_a_driver_without_gpus_from_the_start_counts_as_none(driver: FakeDriver, source: NvmlSource):
    driver.count(0)
    with pytest.raises(NoDriverError, match="loaded, but it reports no GPU"):
        source.read(T)


def test_a_call_that_hangs_delays_the_read_and_nothing_is_lost_after_it(driver: FakeDriver, source: NvmlSource):
    source.read(T)
    driver.hang("GetPowerUsage", 0.2, gpu=1)
    start = time.monotonic()
    reading = source.read(T + 1)
    assert time.monotonic() - start >= 0.2
    assert all(gpu.readable and not absent(gpu) for gpu in reading.gpus)


def test_a_closed_source_can_be_read_again(driver: FakeDriver, source: NvmlSource):
    source.read(T)
    source.close()
    source.close()
    assert len(source.read(T + 1).gpus) == 8


def test_nvml_by_name_without_a_driver_is_an_error(driver: FakeDriver):
    driver.unload()
    with pytest.raises(NoDriverError, match="the NVIDIA driver is not loaded"):
        choose_source("nvml")


@pytest.mark.parametrize("name", ["nvml", "auto"])
@pytest.mark.parametrize(
    ("call", "code", "message"),
    [
        ("Init", fake_nvml.NO_PERMISSION, "nvmlInit: Insufficient Permissions"),
        ("Init", fake_nvml.LIB_RM_VERSION_MISMATCH, "have different versions"),
        ("GetCount", fake_nvml.UNKNOWN, "nvmlDeviceGetCount: Unknown Error"),
    ],
)
def test_a_driver_that_fails_is_kept_and_retried(driver: FakeDriver, name: str, call: str, code: int, message: str):
    driver.error(call, code)
    chosen = choose_source(name)
    assert chosen.source is not None
    assert "the nvml driver is there but fails" in chosen.reason
    assert message in chosen.error
    driver.heal()
    assert len(chosen.source.read(T + RETRY_SECONDS).gpus) == 8
    chosen.source.close()


def test_none_reads_no_gpu_and_is_described_as_such(driver: FakeDriver):
    chosen = choose_source("none")
    assert (chosen.source, chosen.reason) == (None, "GPUs are not read, as configured")


def test_auto_finds_the_driver_and_describes_what_it_found(driver: FakeDriver):
    driver.gpu(7, name="NVIDIA L40S")
    chosen = choose_source("auto")
    assert chosen.source is not None
    chosen.source.close()
    assert chosen.reason == "8 GPUs by nvml, driver 550.54.15: NVIDIA H100 80GB HBM3, NVIDIA L40S"


def test_auto_without_a_driver_is_a_node_without_gpus_with_the_reason(driver: FakeDriver):
    driver.unload()
    chosen = choose_source("auto")
    assert chosen.source is None
    assert "no GPU found; the NVIDIA driver is not loaded" in chosen.reason


def test_auto_waits_for_the_driver_of_a_gpu_that_is_plugged_in(driver: FakeDriver, tmp_path: Path):
    device = tmp_path / "pci" / "0000:01:00.0"
    device.mkdir(parents=True)
    (device / "vendor").write_text("0x10de\n")
    (device / "class").write_text("0x030200\n")
    driver.unload()
    chosen = choose_source("auto", tmp_path / "pci")
    assert "a GPU is on the PCI bus (0000:01:00.0) and is waited for: the NVIDIA driver is not loaded" in chosen.reason
    assert chosen.source is not None
    with pytest.raises(NoDriverError):
        chosen.source.read(T)
    driver.count(8)
    assert len(chosen.source.read(T + RETRY_SECONDS).gpus) == 8
    chosen.source.close()


def test_an_unknown_source_name_is_rejected_with_the_allowed_ones():
    with pytest.raises(ValueError, match="no source 'abacus'; allowed: auto, none, dcgm, nvml, amd, tpu"):
        choose_source("abacus")


def test_eight_gpus_cost_few_calls_and_little_time(driver: FakeDriver, source: NvmlSource):
    """The bar is 1.5 ms of CPU a read on a quiet machine; this guards against its order of magnitude."""
    source.read(T)
    start = time.process_time()
    for second in range(1, 201):
        source.read(T + second)
    assert (time.process_time() - start) / 200 < 0.005
