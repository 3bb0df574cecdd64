"""GPU time through the real driver calls: means that are exact at any scrape interval, and time without readings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests import fake_nvml
from tests.agent.periodic_load import START, MeanUtilization, an_hour
from tests.fake_nvml import CONTROL_VARIABLE, FakeDriver, build

from epochcost.agent.meter import Meter
from epochcost.agent.meter_inputs import Inputs, Quote
from epochcost.agent.snapshot import Snapshot
from epochcost.gpus.nvml.nvml_source import NvmlSource
from epochcost.ledger import Ledger, LedgerSettings
from epochcost.model import EventKind, Node, Phase, PriceStep, RunId, State, TrainingEvent

PERIODS = (1, 2, 3, 7, 15, 16, 30, 31, 45, 60, 90, 120, 300)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def driver(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    fake = FakeDriver(library, tmp_path / "nvml.control", gpus=4)
    monkeypatch.setenv(CONTROL_VARIABLE, str(fake.control))
    fake.load()
    return fake


@pytest.fixture(scope="module")
def hours() -> dict[int, list[MeanUtilization]]:
    """Simulated hours, by the period of their load."""
    return {}


@pytest.mark.parametrize("period", PERIODS)
def test_an_hour_of_an_intermittent_load_has_the_true_mean_by_the_counter(
    driver: FakeDriver, hours: dict[int, list[MeanUtilization]], period: int
) -> None:
    means = hours[period] = an_hour(driver, period)
    assert max(abs(s.counter_error_points) for s in means) < 0.25
    assert {s.scrape_seconds for s in means} == {15, 30, 60}


def test_the_gauge_can_be_tens_of_points_off_where_the_counter_is_not(
    driver: FakeDriver, hours: dict[int, list[MeanUtilization]]
) -> None:
    means = [hours.get(period) or an_hour(driver, period) for period in (15, 30, 60)]
    worst = max(abs(s.gauge_error_points) for by_interval in means for s in by_interval)
    assert worst > 25


class Metered:
    """A meter over the driver, a second at a time; one run trains on all GPUs, at 0.001 $/s."""

    def __init__(self, *, whole_node: bool = True) -> None:
        self.source = NvmlSource()
        self.meter = Meter(Ledger(LedgerSettings(whole_node)), Node("n"))
        self.second = 0.0
        self.quote = Quote((PriceStep(-math.inf, 3.6),), None, "test", START)
        self.reading = None

    def train(self, *gpus: str) -> None:
        now = START + self.second
        for kind, fields in ((EventKind.START, {}), (EventKind.PHASE, {"phase": Phase.TRAIN, "epoch": 0.0})):
            happened = TrainingEvent(kind, now, RunId("r"), "r.jsonl", gpus=gpus or None, **fields)  # type: ignore[arg-type]
            self.meter.tick(now, Inputs(gpus=self.reading, events=[happened], quote=self.quote))

    def go(self, seconds: int) -> Snapshot:
        for _ in range(seconds):
            self.second += 1
            now = START + self.second
            self.reading = self.source.read(now)  # type: ignore[assignment]
            step = TrainingEvent(EventKind.PROGRESS, now, RunId("r"), "r.jsonl", step=int(self.second))
            running = [step] if RunId("r") in self.meter.ledger.runs else []
            snapshot = self.meter.tick(now, Inputs(gpus=self.reading, events=running, quote=self.quote))
        return snapshot


@pytest.fixture
def metered(driver: FakeDriver) -> Iterator[Callable[..., Metered]]:
    meters: list[Metered] = []

    def one(*, whole_node: bool = True) -> Metered:
        meters.append(Metered(whole_node=whole_node))
        return meters[-1]

    yield one
    driver.heal()
    for it in meters:
        it.source.close()


def states(snapshot: Snapshot) -> dict[State, float]:
    return {state: seconds for state, seconds in snapshot.node.totals.seconds.items() if seconds}


def test_seconds_and_dollars_of_a_lost_gpu_are_unknown_and_the_bill_still_sums(
    driver: FakeDriver, metered: Callable[..., Metered]
) -> None:
    driver.gpu("*", util=100)
    it = metered()
    it.go(2)
    it.train()
    it.go(10)
    driver.error("*", fake_nvml.GPU_IS_LOST, gpu=1)
    after = it.go(20)
    assert states(after)[State.UNKNOWN] == pytest.approx(20 / 4)
    cost = after.node.totals.cost_usd
    assert cost[State.UNKNOWN] == pytest.approx(0.001 * 20 / 4)
    assert math.fsum(cost.values()) == pytest.approx(0.001 * 31, abs=1e-12)
    assert math.fsum(states(after).values()) == pytest.approx(31, abs=1e-9)
    lost_gpu = after.gpus[1]
    assert (lost_gpu.state, lost_gpu.sample.readable) == (State.UNKNOWN, False)
    assert lost_gpu.utilization_seconds == after.gpus[0].utilization_seconds - 20  # type: ignore[operator]


def test_a_stuck_gpu_is_unknown_once_its_last_reading_is_stale_and_the_others_continue(
    driver: FakeDriver, metered: Callable[..., Metered]
) -> None:
    driver.gpu("*", util=100)
    it = metered()
    it.go(2)
    it.train()
    before = states(it.go(10)).get(State.USEFUL, 0.0)
    driver.hang("GetPowerUsage", 600, gpu=3)
    after = it.go(20)
    assert states(after)[State.UNKNOWN] == pytest.approx((20 - 3) / 4)  # three seconds by its last reading
    assert states(after)[State.USEFUL] - before == pytest.approx(20 - (20 - 3) / 4)
    assert after.node.power_watts is None  # the power of all of them together is unknown


def test_no_figure_of_a_stuck_gpu_is_shown_five_seconds_after_its_last_reading(
    driver: FakeDriver, metered: Callable[..., Metered]
) -> None:
    driver.gpu("*", util=80)
    it = metered()
    it.go(2)
    driver.hang("GetTotalEnergyConsumption", 600, gpu=2)
    seconds_shown = []
    for _ in range(5):
        gpus = it.go(1).gpus
        seconds_shown.append(gpus[2].sample.utilization_ratio is not None)
        assert [g.sample.utilization_ratio for g in gpus if g.sample.index != "2"] == [0.8] * 3
    assert not seconds_shown[-1]
    stuck = gpus[2].sample
    assert (stuck.stuck_call, stuck.memory_used_bytes, stuck.power_watts) == (
        "nvmlDeviceGetTotalEnergyConsumption",
        None,
        None,
    )


def test_four_gpus_that_become_eight_change_no_sum(driver: FakeDriver, metered: Callable[..., Metered]) -> None:
    driver.gpu("*", util=100)
    it = metered()
    it.go(2)
    it.train()
    assert it.go(10).node.gpus == 4
    driver.count(8)
    after = it.go(10)
    assert (after.node.gpus, after.runs[0].gpus) == (8, 8)
    assert math.fsum(after.node.totals.cost_usd.values()) == pytest.approx(0.001 * 21, abs=1e-12)


def test_partitioning_a_gpu_under_a_run_changes_no_sum_and_the_run_keeps_its_share(
    driver: FakeDriver, metered: Callable[..., Metered]
) -> None:
    driver.gpu("*", util=100, gpm=1)
    it = metered()
    it.go(2)
    it.train()
    it.go(10)
    driver.gpu(3, mig=1)
    driver.slice(3, 0, slices=3, gpm_graphics=50)
    driver.slice(3, 1, slices=2, gpm_graphics=0)
    after = it.go(40)
    assert (after.node.gpus, after.runs[0].gpus) == (4, pytest.approx(4.0))
    assert [g.sample.index for g in after.gpus] == ["0", "1", "2", "3", "3:0", "3:1"]
    assert math.fsum(after.node.totals.cost_usd.values()) == pytest.approx(0.001 * 51, abs=1e-12)
    assert after.gpus[3].utilization_seconds == after.gpus[0].utilization_seconds - 40  # type: ignore[operator]


def test_a_run_on_a_slice_pays_its_part_of_a_gpu(driver: FakeDriver, metered: Callable[..., Metered]) -> None:
    driver.count(1)
    driver.gpu(0, mig=1, gpm=1)
    driver.slice(0, 0, slices=2, gpm_graphics=100)
    driver.slice(0, 1, slices=5, gpm_graphics=100)
    it = metered(whole_node=False)
    it.go(2)
    it.train("MIG-00000000-0000-0000-0000-000000000000")
    after = it.go(35)
    (run,) = after.runs
    assert run.gpus == pytest.approx(2 / 7)
    assert run.cost_usd == pytest.approx(0.001 * 35 * 2 / 7)
    assert "0" in [g.sample.index for g in after.gpus]  # its power and temperature still show
    assert not after.gpus[0].seconds


def test_on_ampere_the_power_threshold_decides_and_no_utilisation_is_integrated(
    driver: FakeDriver, metered: Callable[..., Metered]
) -> None:
    driver.count(1)
    driver.gpu(0, mig=1, power_mw=300_000, power_limit_mw=400_000)
    driver.slice(0, 0, slices=3, memory_used=1 << 30)
    driver.slice(0, 1, slices=4, memory_used=0)
    it = metered()
    after = it.go(15)
    assert states(after) == pytest.approx({State.UNATTRIBUTED: 14 * 3 / 7, State.VACANT: 14 * 4 / 7})
    assert [g.utilization_seconds for g in after.gpus] == [None, None, None]


def test_a_gpu_that_never_reports_utilisation_has_no_counter_of_it_and_its_time_is_unknown(
    driver: FakeDriver, metered: Callable[..., Metered]
) -> None:
    driver.count(1)
    driver.gpu(0, util=None)
    it = metered()
    after = it.go(10)
    assert after.gpus[0].utilization_seconds is None
    assert states(after) == pytest.approx({State.UNKNOWN: 9})
