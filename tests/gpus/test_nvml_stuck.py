"""A driver call that does not return delays only its own GPU, and is named."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable

import pytest
from tests.fake_nvml import FakeDriver
from tests.waiting import wait_for

from epochcost.gpus.gpu_source import GpuError
from epochcost.gpus.nvml.nvml_gpu import HOLDS_SECONDS
from epochcost.gpus.nvml.nvml_source import PATIENCE_SECONDS, NvmlSource
from epochcost.gpus.sampler import Sampler

T = 1000.0
MINUTES = 600.0
IN_TIME = 2 * PATIENCE_SECONDS


def timed(read: Callable[[], object]) -> float:
    start = time.monotonic()
    read()
    return time.monotonic() - start


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def own_threads() -> int:
    return sum(name.startswith("epochcost-") for name in threads())


@pytest.mark.parametrize(
    "call",
    [
        "GetUtilizationRates", "GetMemoryInfo_v2", "GetPowerUsage", "GetTotalEnergyConsumption", "GetTemperatureV",
        "GetCurrentClocksEventReasons",
    ],
)  # fmt: skip
def test_the_other_gpus_are_read_every_second_while_one_is_stuck(driver: FakeDriver, source: NvmlSource, call: str):
    source.read(T)
    driver.gpu("*", util=50)
    driver.hang(call, MINUTES, gpu=3)
    assert timed(lambda: source.read(T + 1)) < IN_TIME
    wait_for(lambda: source.read(T + 4).gpus[3].stuck_call, what="a second without an answer")
    for second in range(5, 9):
        samples = []
        assert timed(lambda at=T + second, into=samples: into.extend(source.read(at).gpus)) < 1.0  # type: ignore[misc]
        assert [g.utilization_ratio for g in samples] == [0.5 if i != 3 else None for i in range(8)]
        assert (samples[3].readable, samples[3].stuck_call) == (False, f"nvmlDevice{call}")
        assert samples[3].stuck_seconds >= PATIENCE_SECONDS


def test_the_last_reading_of_a_stuck_gpu_is_used_for_three_seconds_and_no_longer(
    driver: FakeDriver, source: NvmlSource
):
    driver.gpu("*", util=30)
    source.read(T)
    driver.hang("GetPowerUsage", MINUTES, gpu=0)
    assert source.read(T + HOLDS_SECONDS).gpus[0].utilization_ratio == 0.3
    stale = source.read(T + HOLDS_SECONDS + 0.01).gpus[0]
    assert (stale.readable, stale.utilization_ratio, stale.memory_used_bytes) == (False, None, None)


def test_a_gpu_that_comes_back_is_read_again(driver: FakeDriver, source: NvmlSource):
    source.read(T)
    driver.hang("GetPowerUsage", MINUTES, gpu=5)
    source.read(T + 5)
    assert not source.read(T + 6).gpus[5].readable
    driver.heal()

    beats = itertools.count(10)
    wait_for(lambda: source.read(T + next(beats)).gpus[5].readable, seconds=5, what="the GPU that came back")


def test_all_gpus_stuck_at_once_use_one_thread_each_however_long(driver: FakeDriver, source: NvmlSource):
    source.read(T)
    before = own_threads()
    driver.hang("GetPowerUsage", MINUTES, gpu="*")
    assert timed(lambda: source.read(T + 5)) < 3.0
    wait_for(lambda: all(g.stuck_call for g in source.read(T + 6).gpus), what="a second without an answer")
    for second in range(7, 40):
        samples = source.read(T + second).gpus
        assert [g.stuck_call for g in samples] == ["nvmlDeviceGetPowerUsage"] * 8
    assert own_threads() <= before + 8 + 1
    driver.heal()
    wait_for(lambda: all(g.readable for g in source.read(T + 60).gpus), what="all GPUs back")
    wait_for(lambda: own_threads() <= before + 1, what="the end of the threads left behind")


def test_a_slow_driver_is_not_stuck(driver: FakeDriver, source: NvmlSource):
    source.read(T)
    driver.gpu("*", util=70)
    driver.hang("GetPowerUsage", 0.3, gpu="*")  # 2.4 s for the eight of them
    assert [g.utilization_ratio for g in source.read(T + 5).gpus] == [0.7] * 8


@pytest.mark.parametrize("seconds", [0.04, 0.1, 0.2, 0.5])
def test_with_a_slow_driver_every_reading_is_complete(driver: FakeDriver, seconds: float):
    driver.gpu("*", util=70)
    driver.hang("*", seconds, gpu="*")
    source = NvmlSource()
    try:
        started_at = time.monotonic()
        for tick in range(4):
            reading = source.read(time.monotonic())
            assert [g.utilization_ratio for g in reading.gpus] == [0.7] * 8
            assert [g.stuck_call for g in reading.gpus] == [""] * 8
            if tick:  # the first reading has no earlier one to fall back to
                assert time.monotonic() - started_at < IN_TIME
            started_at = time.monotonic()
        assert reading.read_seconds is not None
        assert reading.read_seconds >= 5 * seconds
        assert reading.slowest_call.startswith("nvml")
        driver.heal()
        beats = itertools.count(1)
        wait_for(lambda: source.read(time.monotonic() + next(beats)).read_seconds < 0.05, what="a fast driver again")
    finally:
        driver.heal()
        source.close()


def test_one_slow_gpu_is_read_at_its_own_pace_and_the_others_every_second(driver: FakeDriver, source: NvmlSource):
    driver.gpu("*", util=70)
    source.read(time.monotonic())
    driver.hang("*", 0.6, gpu=5)
    wait_for(lambda: source.read(time.monotonic()).read_seconds > 2, what="a slow reading of GPU 5")
    driver.gpu("*", util=80)
    first = source.read(time.monotonic())
    assert [g.utilization_ratio for g in first.gpus] == [0.7 if i == 5 else 0.8 for i in range(8)]
    newer = wait_for(lambda: (r := source.read(time.monotonic())).gpus[5].utilization_ratio == 0.8 and r, what="GPU 5")
    assert not newer.gpus[5].stuck_call


def test_a_gpu_stuck_before_its_first_reading_keeps_its_index(driver: FakeDriver, source: NvmlSource):
    driver.hang("GetHandleByIndex", MINUTES, gpu=6)
    gpu = source.read(T).gpus[6]
    assert (gpu.index, gpu.uuid, gpu.stuck_call) == ("6", "unknown-6", "nvmlDeviceGetHandleByIndex")


def test_a_call_about_all_gpus_that_is_stuck_is_named_on_each_of_them(driver: FakeDriver, source: NvmlSource):
    source.read(T)
    driver.hang("GetCount", MINUTES)
    for second in range(1, 4):
        assert timed(lambda at=T + second: source.read(at)) < IN_TIME  # type: ignore[misc]
    samples = source.read(T + 5).gpus
    assert [(g.readable, g.stuck_call) for g in samples] == [(False, "nvmlDeviceGetCount")] * 8
    driver.heal()
    wait_for(lambda: all(g.readable for g in source.read(T + 9).gpus), what="the answer")


def test_a_driver_stuck_before_any_gpu_was_read_is_an_error_that_names_the_call(driver: FakeDriver, source: NvmlSource):
    driver.hang("GetCount", MINUTES)
    with pytest.raises(GpuError, match=r"nvmlDeviceGetCount has been blocked for \d+ s"):
        source.read(T)


def test_stuck_events_do_not_affect_readings(driver: FakeDriver, source: NvmlSource):
    source.read(T)
    calls = driver.load().fake_nvml_calls
    driver.hang("EventSetWait", MINUTES)
    before = calls(b"EventSetWait")
    wait_for(lambda: source.read(T) and calls(b"EventSetWait") > before, what="the stuck call")
    for second in range(5):
        assert timed(lambda at=T + second: source.read(at)) < 1.0  # type: ignore[misc]
    assert all(g.readable for g in source.read(T + 6).gpus)
    driver.heal()
    source.close()
    wait_for(lambda: "epochcost-xids" not in threads(), what="the end of the thread")
    assert calls(b"EventSetWait") == before + 1  # no calls queue up behind the stuck one


def test_a_stuck_gpu_stays_stuck_over_a_reload_and_gets_no_second_thread(driver: FakeDriver, source: NvmlSource):
    source.read(T)
    before = own_threads()
    driver.hang("GetPowerUsage", MINUTES, gpu=2)
    source.read(T + 5)
    for round_ in range(3):
        driver.reload()
        samples = source.read(T + 10 + round_).gpus
        assert [g.index for g in samples if not g.readable] == ["2"]
    assert own_threads() <= before + 2


def test_closing_while_a_call_is_stuck_does_not_wait_for_it(driver: FakeDriver, source: NvmlSource):
    source.read(T)
    driver.hang("GetPowerUsage", MINUTES, gpu=0)
    source.read(T + 5)
    assert timed(source.close) < 3.0


def test_the_sampler_keeps_its_interval_while_a_gpu_is_stuck_and_readings_stay_fresh(driver: FakeDriver):
    driver.gpu("*", util=40)
    sampler = Sampler(NvmlSource(), 0.05, time.monotonic)
    sampler.start()
    try:
        wait_for(lambda: sampler.latest, what="a reading")
        driver.hang("GetPowerUsage", MINUTES, gpu=1)
        stuck = wait_for(
            lambda: next((g for g in sampler.latest.gpus if g.stuck_call), None), seconds=5, what="the stuck call"
        )
        assert (stuck.index, stuck.stuck_call, stuck.utilization_ratio) == ("1", "nvmlDeviceGetPowerUsage", None)
        assert time.monotonic() - sampler.latest.t < 1.0
        assert sum(g.readable for g in sampler.latest.gpus) == 7
    finally:
        driver.heal()
        assert sampler.stop(10)
