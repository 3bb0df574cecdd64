"""GPM activity, throttling, memory errors, Xids and energy, where the hardware reports them."""

from __future__ import annotations

import logging

import pynvml
import pytest
from tests import fake_nvml
from tests.fake_nvml import FakeDriver
from tests.waiting import wait_for

from epochcost.gpus.nvml.nvml_device import SILENT_SECONDS
from epochcost.gpus.nvml.nvml_figures import ECC_SECONDS
from epochcost.gpus.nvml.nvml_source import NvmlSource
from epochcost.model import GpuSample

T = 1000.0


def read(source: NvmlSource, *times: float) -> GpuSample:
    """GPU 0 at the last of ``times``."""
    return [source.read(T + t) for t in times][-1].gpus[0]


def activity(gpu: GpuSample) -> tuple[float | None, ...]:
    return gpu.sm_active_ratio, gpu.tensor_active_ratio, gpu.dram_active_ratio


def lines_about(caplog: pytest.LogCaptureFixture, word: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if word in record.getMessage()]


def test_activity_comes_with_the_second_reading_and_is_a_ratio(driver: FakeDriver, source: NvmlSource):
    driver.gpu("*", gpm=1, gpm_sm=62, gpm_tensor=31, gpm_dram=45, util=90)
    assert activity(read(source, 0)) == (None, None, None)
    gpu = read(source, 1)
    assert activity(gpu) == (0.62, 0.31, 0.45)
    assert gpu.utilization_ratio == 0.9  # stays NVML's own


def test_an_older_gpu_has_no_activity_and_this_is_logged_once(
    driver: FakeDriver, source: NvmlSource, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "epochcost")
    assert activity(read(source, 0, 1, 2)) == (None, None, None)
    (line,) = lines_about(caplog, "nvmlGpmSampleGet")
    assert line.startswith("nvmlGpmSampleGet returns Not Supported: no activity of SMs, tensor cores and memory")


@pytest.mark.parametrize("call", ["GpmQueryDeviceSupport", "GpmSampleGet"])
def test_activity_without_permission_is_absent_and_all_else_is_read(driver: FakeDriver, source: NvmlSource, call: str):
    driver.gpu("*", gpm=1, gpm_sm=62, util=90)
    driver.error(call, fake_nvml.NO_PERMISSION, gpu="*")
    gpu = read(source, 0, 1)
    assert activity(gpu) == (None, None, None)
    assert gpu.utilization_ratio == 0.9


def test_one_activity_that_a_gpu_lacks_is_absent_alone(driver: FakeDriver, source: NvmlSource):
    driver.gpu("*", gpm=1, gpm_sm=62, gpm_tensor=None, gpm_dram=45)
    assert activity(read(source, 0, 1)) == (0.62, None, 0.45)


def test_activity_that_no_gpu_has_is_left_out(driver: FakeDriver, source: NvmlSource):
    driver.gpu("*", gpm=1, gpm_sm=250, gpm_tensor=-3, gpm_dram=101)
    assert activity(read(source, 0, 1)) == (None, None, 1.0)


@pytest.mark.parametrize("call", ["GpmSampleGet", "GpmMetricsGet"])
def test_inconsistent_counters_leave_out_the_activity_and_not_the_gpu(
    driver: FakeDriver, source: NvmlSource, call: str
):
    driver.gpu("*", gpm=1, gpm_sm=62, util=90)
    read(source, 0, 1)
    for gpu in (None, 0):
        driver.error(call, fake_nvml.INVALID_ARGUMENT, gpu=gpu)
    gpu = read(source, 2, 3)  # type: ignore[assignment]
    assert (gpu.readable, gpu.utilization_ratio, activity(gpu)) == (True, 0.9, (None, None, None))  # type: ignore[arg-type]
    driver.heal()
    assert activity(read(source, 4, 5)) == (0.62, 0.0, 0.0)


def test_activity_continues_after_a_reload(driver: FakeDriver, source: NvmlSource):
    driver.gpu("*", gpm=1, gpm_sm=62)
    read(source, 0, 1)
    driver.reload()
    assert read(source, 2).sm_active_ratio is None
    assert read(source, 3).sm_active_ratio == 0.62


def test_throttled_seconds_are_counted_by_reason_and_survive_a_reload(driver: FakeDriver, source: NvmlSource):
    power_cap, thermal, idle = 0x04, 0x20, 0x01
    assert set(read(source, 0).throttle_seconds.values()) == {0.0}  # type: ignore[union-attr]
    driver.gpu("*", throttle=power_cap | idle)
    read(source, 1, 2)
    driver.reload()
    driver.gpu("*", throttle=power_cap | thermal)
    read(source, 3)
    driver.gpu("*", throttle=idle)
    gpu = read(source, 4)
    assert {k: v for k, v in gpu.throttle_seconds.items() if v} == {"power_cap": 3.0, "sw_thermal": 1.0}  # type: ignore[union-attr]


def test_time_without_readings_is_not_throttled_time(driver: FakeDriver, source: NvmlSource):
    driver.gpu("*", throttle=0x04)
    assert read(source, 0, 60).throttle_seconds["power_cap"] == 0.0  # type: ignore[index]
    assert read(source, 62).throttle_seconds["power_cap"] == 2.0  # type: ignore[index]


@pytest.mark.skipif(not hasattr(pynvml, "nvmlDeviceGetCurrentClocksEventReasons"), reason="pynvml before 535")
def test_an_older_driver_reports_throttling_by_the_old_call(driver: FakeDriver, source: NvmlSource):
    driver.missing("GetCurrentClocksEventReasons")
    driver.gpu("*", throttle=0x40)
    assert read(source, 0, 1).throttle_seconds["hw_thermal"] == 1.0  # type: ignore[index]


def test_memory_errors_are_counted_and_read_every_ten_seconds(driver: FakeDriver, source: NvmlSource):
    driver.gpu(0, ecc_corrected=7, ecc_uncorrected=1)
    assert read(source, 0).ecc_errors == {"corrected": 7, "uncorrected": 1}
    driver.gpu(0, ecc_corrected=9)
    calls = driver.load().fake_nvml_calls
    before = calls(b"GetTotalEccErrors")
    assert read(source, 1, 2, 3).ecc_errors["corrected"] == 7  # type: ignore[index]
    assert calls(b"GetTotalEccErrors") == before
    assert read(source, ECC_SECONDS).ecc_errors["corrected"] == 9  # type: ignore[index]


def test_a_consumer_card_reports_no_memory_errors(driver: FakeDriver, source: NvmlSource):
    driver.gpu("*", ecc_corrected=None)
    gpu = read(source, 0, 1)
    assert gpu.ecc_errors is None
    assert gpu.readable


def test_a_virtual_gpu_reports_everything_but_memory_errors(driver: FakeDriver, source: NvmlSource):
    driver.error("GetTotalEccErrors", fake_nvml.VGPU_ECC_NOT_SUPPORTED, gpu="*")
    gpu = read(source, 0, 1)
    assert (gpu.readable, gpu.ecc_errors, gpu.utilization_ratio) == (True, None, 0.0)


def test_without_an_energy_counter_the_power_is_integrated(driver: FakeDriver, source: NvmlSource):
    driver.gpu("*", energy_mj=None, power_mw=250_000)
    assert read(source, 0).energy_joules is None
    assert read(source, 1, 2).energy_joules == 500.0
    driver.reload()
    assert read(source, 3).energy_joules == 750.0
    driver.gpu(0, power_mw=None)
    assert read(source, 4).energy_joules is None


def test_an_encoder_only_board_has_its_supported_figures(driver: FakeDriver, source: NvmlSource):
    driver.gpu("*", util=None, power_mw=None, energy_mj=None, ecc_corrected=None, throttle=None, mig=None)
    gpu = read(source, 0, 1)
    assert gpu.readable
    assert (gpu.utilization_ratio, gpu.energy_joules, gpu.throttle_seconds, gpu.mig) == (None, None, None, None)
    assert gpu.memory_total_bytes is not None
    assert gpu.temperature_celsius == 40.0


def test_a_gpu_whose_every_call_fails_is_not_readable_until_one_succeeds(driver: FakeDriver, source: NvmlSource):
    read(source, 0)
    driver.error("*", fake_nvml.NO_PERMISSION, gpu=0)  # for example, its device node is gone from the container
    assert not read(source, 1).readable
    driver.heal()
    assert read(source, 2 + SILENT_SECONDS).readable


def test_device_nodes_removed_by_a_daemon_reload_are_not_idle_gpus(driver: FakeDriver, source: NvmlSource):
    driver.gpu("*", util=80)
    read(source, 0)
    driver.error("*", fake_nvml.UNKNOWN, gpu="*")
    driver.error("Init", fake_nvml.UNKNOWN)
    unreadable = source.read(T + 1).gpus
    assert [(g.readable, g.utilization_ratio) for g in unreadable] == [(False, None)] * 8
    driver.heal()
    assert read(source, 30).utilization_ratio == 0.8


def test_an_xid_is_counted_for_its_gpu_and_logged(
    driver: FakeDriver, source: NvmlSource, caplog: pytest.LogCaptureFixture
):
    assert [g.xid_errors for g in source.read(T).gpus] == [{}] * 8
    driver.xid(3, 79)
    driver.xid(3, 79)
    driver.xid(5, 31)
    beats = iter(range(1, 500))
    gpu_with_xid = wait_for(
        lambda: (
            {g.index: g.xid_errors for g in source.read(T + next(beats)).gpus if g.xid_errors}.get("5")
            and source.read(T + next(beats)).gpus
        ),
        what="the errors",
    )
    assert [dict(g.xid_errors) for g in gpu_with_xid] == [{}, {}, {}, {"79": 2}, {}, {"31": 1}, {}, {}]  # type: ignore[attr-defined]
    assert len(lines_about(caplog, "Xid 79")) == 2
    driver.reload()
    assert source.read(T + 600).gpus[3].xid_errors == {"79": 2}


@pytest.mark.parametrize("call", ["EventSetCreate", "RegisterEvents"])
def test_without_events_there_are_no_xids_and_one_log_line(
    driver: FakeDriver, source: NvmlSource, caplog: pytest.LogCaptureFixture, call: str
):
    caplog.set_level(logging.INFO, "epochcost")
    if call == "RegisterEvents":
        driver.error(call, fake_nvml.NOT_SUPPORTED, gpu="*")
    else:
        driver.error(call, fake_nvml.NOT_SUPPORTED)
    gpu = read(source, 0, 1)
    assert (gpu.readable, gpu.xid_errors) == (True, None)
    assert len(lines_about(caplog, "no Xid errors")) == 1


def test_events_that_fail_later_are_logged_once_and_affect_nothing_else(
    driver: FakeDriver, source: NvmlSource, caplog: pytest.LogCaptureFixture
):
    read(source, 0)
    driver.error("EventSetWait", fake_nvml.GPU_IS_LOST)
    wait_for(lambda: read(source, 1) and lines_about(caplog, "cannot be received"), what="the line")
    assert read(source, 2, 3).readable
    assert len(lines_about(caplog, "cannot be received")) == 1


def test_slow_calls_are_never_made(driver: FakeDriver, source: NvmlSource):
    read(source, 0, 1, 2)
    calls = driver.load().fake_nvml_calls
    for call in (b"GetPcieThroughput", b"GetProcessUtilization", b"GetFieldValues"):
        assert calls(call) == 0
