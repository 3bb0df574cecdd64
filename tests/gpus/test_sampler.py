"""The sampler keeps its interval whatever the source does."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import fake_nvml
from tests.fake_nvml import FakeDriver
from tests.waiting import wait_for

from epochcost.gpus.gpu_source import GpuError
from epochcost.gpus.nvml.nvml_source import NvmlSource
from epochcost.gpus.sampler import Sampler, next_due
from epochcost.model import GpuReading, GpuSample

GPU = GpuSample("0", "GPU-a")


class ScriptedSource:
    """Performs one step of a script per read, then repeats the last."""

    name = "scripted"

    def __init__(self, *steps: Callable[[], None]) -> None:
        self.steps = list(steps)
        self.reads = 0
        self.close_count = 0
        self.under_way = 0

    def read(self, t: float) -> GpuReading:
        self.under_way += 1
        assert self.under_way == 1
        self.reads += 1
        try:
            if self.steps:
                self.steps[min(self.reads, len(self.steps)) - 1]()
        finally:
            self.under_way -= 1
        return GpuReading(t, (GPU,))

    def close(self) -> None:
        self.close_count += 1


def raising(error: Exception) -> Callable[[], None]:
    def step() -> None:
        raise error

    return step


def fine() -> None:
    pass


@pytest.fixture
def sampled() -> Iterator[Callable[..., Sampler]]:
    samplers = []

    def start(source, interval: float = 0.01, clock: Callable[[], float] = time.monotonic) -> Sampler:
        sampler = Sampler(source, interval, clock)
        samplers.append(sampler)
        sampler.start()
        return sampler

    yield start
    for sampler in samplers:
        assert sampler.stop(10), "a sampler did not end"


def test_readings_are_published_with_the_time_of_the_nodes_clock(sampled):
    times = iter(range(10_000))
    sampler = sampled(ScriptedSource(), clock=lambda: float(next(times)))
    wait_for(lambda: sampler.latest is not None and sampler.latest.t >= 2, what="a third reading")
    assert sampler.error is None
    assert sampler.last_duration is not None
    assert sampler.latest.gpus == (GPU,)


def test_there_is_no_reading_before_the_first():
    sampler = Sampler(ScriptedSource(), 1.0, time.monotonic)
    assert (sampler.latest, sampler.error, sampler.last_duration, sampler.stuck_seconds(5.0)) == (None, None, None, 0.0)
    assert sampler.stop()


@pytest.mark.parametrize("interval", [0.0, -1.0, math.nan, math.inf])
def test_an_invalid_interval_is_rejected(interval: float):
    with pytest.raises(ValueError, match="interval must be above 0 s"):
        Sampler(ScriptedSource(), interval, time.monotonic)


def test_a_failed_read_keeps_the_last_reading_with_its_time_and_the_reason(sampled):
    source = ScriptedSource(fine, raising(GpuError("nvmlDeviceGetCount: Unknown Error")))
    sampler = sampled(source)
    wait_for(lambda: sampler.error, what="an error")
    assert sampler.error == "nvmlDeviceGetCount: Unknown Error"
    stale = sampler.latest
    reads = source.reads
    wait_for(lambda: source.reads > reads + 2, what="more reads")
    assert sampler.latest is stale


def test_an_error_is_logged_once_and_so_is_its_end(sampled, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "epochcost")
    failing = [raising(GpuError("gone"))] * 5
    sampler = sampled(source := ScriptedSource(*failing, fine))
    wait_for(lambda: source.reads > 7 and sampler.error is None, what="the end of the error")
    messages = [record.getMessage() for record in caplog.records if record.name == "epochcost.gpus.sampler"]
    assert messages == ["the GPUs cannot be read: gone", "the GPUs can be read again"]


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise ValueError("no text either")


@settings(max_examples=30, deadline=None)
@given(
    script=st.lists(
        st.one_of(
            st.none(),
            st.builds(GpuError, st.text(max_size=20)),
            st.sampled_from(
                [
                    OSError(5, "I/O"),
                    MemoryError(),
                    ZeroDivisionError(),
                    RecursionError(),
                    UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"),
                    StopIteration(),
                    AssertionError(),
                    UnprintableError(),
                    KeyError("\ud800"),
                ]
            ),
        ),
        max_size=12,
    )
)
def test_sampling_survives_any_error_of_a_source(script: list[Exception | None]):
    steps = [fine if error is None else raising(error) for error in script]
    source = ScriptedSource(*steps, fine)
    sampler = Sampler(source, 0.0005, time.monotonic)
    sampler.start()
    try:
        wait_for(lambda: source.reads > len(script) + 1 and sampler.error is None, every=0.0005, what="a good read")
        assert sampler.latest is not None
    finally:
        assert sampler.stop(10)
    assert source.close_count == 1


def test_a_clock_that_fails_does_not_end_sampling(sampled):
    ticks = iter([ValueError("no clock"), 7.0])

    def clock() -> float:
        tick = next(ticks, 8.0)
        if isinstance(tick, Exception):
            raise tick
        return tick  # type: ignore[return-value]

    sampler = sampled(ScriptedSource(), clock=clock)
    wait_for(lambda: sampler.latest is not None, what="a reading after the clock's error")


def test_a_read_that_hangs_stops_the_readings_and_its_duration_is_reported(sampled):
    release = threading.Event()
    now = [100.0]
    sampler = sampled(ScriptedSource(fine, release.wait), clock=lambda: now[0])  # type: ignore[arg-type]
    try:
        wait_for(lambda: sampler.latest is not None, what="a reading")
        now[0] = 101.0
        wait_for(lambda: sampler.stuck_seconds(105.0) in (4.0, 5.0), what="a read under way")
        assert sampler.latest.t <= 101.0
        assert not sampler.stop(0.05)
    finally:
        release.set()
    assert sampler.stop(10)
    assert sampler.stuck_seconds(200.0) == 0.0


def test_stopping_closes_the_source_once(sampled):
    source = ScriptedSource()
    sampler = sampled(source)
    wait_for(lambda: source.reads, what="a read")
    assert sampler.stop(10)
    assert sampler.stop(10)
    assert source.close_count == 1


def test_samples_stay_on_their_grid_however_long_a_read_takes():
    assert next_due(10.0, 1.0, 10.2) == 11.0
    assert next_due(10.0, 1.0, 11.0) == 12.0
    assert next_due(10.0, 1.0, 14.7) == 15.0
    assert next_due(10.0, 1.0, 9.999) == 11.0


@given(late=st.lists(st.floats(0, 30), max_size=50), interval=st.sampled_from([0.1, 1.0, 5.0]))
def test_samples_never_drift_or_bunch_up(late: list[float], interval: float):
    due = 0.0
    for delay in late:
        after = next_due(due, interval, due + delay)
        assert due + delay <= after + 1e-6
        assert after - (due + delay) <= interval + 1e-6
        assert abs(after / interval - round(after / interval)) < 1e-6
        due = after


def test_a_hang_in_the_driver_does_not_block_the_rest_of_the_process(driver: FakeDriver, sampled):
    driver.gpu("*", util=40)
    sampler = sampled(NvmlSource(), interval=0.02)
    wait_for(lambda: sampler.latest is not None, what="a reading")
    driver.hang("GetPowerUsage", 60, gpu=1)
    wait_for(lambda: sampler.stuck_seconds(time.monotonic()) > 0.2, what="a stuck read")
    stale = sampler.latest
    assert not sampler.stop(0.01)
    driver.heal()
    assert sampler.stop(10)
    assert sampler.latest is not None
    assert sampler.latest.t >= stale.t


def test_errors_and_recoveries_of_the_driver_reach_the_reader(driver: FakeDriver, sampled):
    sampler = sampled(NvmlSource(), interval=0.02)
    wait_for(lambda: sampler.latest is not None, what="a reading")
    driver.error("GetCount", fake_nvml.UNKNOWN)
    wait_for(lambda: sampler.error == "nvmlDeviceGetCount: Unknown Error (NVML code 999)", what="the driver's error")
    driver.heal()
    wait_for(lambda: sampler.error is None, what="the recovery")
