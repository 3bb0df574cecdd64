"""Effects of the driver on the agent, at /metrics: a real process on the compiled driver of the tests."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests import fake_nvml
from tests.agent.agent_process import AgentProcess
from tests.fake_nvml import FakeDriver, build
from tests.waiting import wait_for

from epochcost.model import State

GPU_GAUGES = {
    "gpu_utilization_ratio", "gpu_memory_used_bytes", "gpu_memory_total_bytes", "gpu_power_watts",
    "gpu_temperature_celsius", "gpu_energy_joules_total",
}  # fmt: skip
Samples = dict[str, dict[str, float]]
"""Values by metric name and label ``gpu``."""


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml-of-agents"))


@pytest.fixture
def driver(library: Path, tmp_path: Path) -> FakeDriver:
    driver = FakeDriver(library, tmp_path / "nvml.control")
    driver.gpu("*", util=60)
    return driver


@pytest.fixture
def agent(tmp_path: Path, driver: FakeDriver) -> Iterator[Callable[..., AgentProcess]]:
    agents: list[AgentProcess] = []

    def start(*flags: str) -> AgentProcess:
        flags_given = ("--node.metadata=off", "--price.usd-per-hour=36", *flags)
        agents.append(AgentProcess(tmp_path, *flags_given, env=driver.env()))
        return agents[-1]

    yield start
    for one in agents:
        one.end(signal.SIGKILL)


def scraped(it: AgentProcess) -> tuple[Samples, str]:
    _, text = it.get("/metrics")
    samples: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name.removeprefix("epochcost_")
            samples.setdefault(name, {})[sample.labels.get("gpu", "") or sample.labels.get("collector", "")] = (
                sample.value
            )
    return samples, text


def with_series_of(samples: Samples, gpu: str) -> set[str]:
    return {name for name in GPU_GAUGES if gpu in samples.get(name, {})}


def test_the_series_of_a_stuck_gpu_disappear_and_the_call_is_named(
    agent: Callable[..., AgentProcess], driver: FakeDriver
) -> None:
    it = agent().up()
    wait_for(lambda: with_series_of(scraped(it)[0], "2") == GPU_GAUGES, what="the series of GPU 2")
    driver.hang("GetPowerUsage", 600, gpu=2)
    wait_for(lambda: not with_series_of(scraped(it)[0], "2"), what="their end")
    samples, text = wait_for(lambda: (s := scraped(it)) and "gpu_stuck_call_seconds" in s[0] and s, what="the call")
    uuid = "GPU-00000000-0000-0000-0000-000000000002"
    stuck = rf'epochcost_gpu_stuck_call_seconds\{{call="nvmlDeviceGetPowerUsage",\S+,gpu="2",uuid="{uuid}"\}}'
    assert re.search(stuck, text)
    assert samples["gpu_readable"] == {str(i): float(i != 2) for i in range(8)}
    for other in "0134567":
        assert with_series_of(samples, other) == GPU_GAUGES
    assert samples["collector_success"]["gpus"] == 0
    (problem,) = [p for p in it.live()["problems"] if p.startswith("gpus:")]
    assert "GPU 2: nvmlDeviceGetPowerUsage has not returned" in problem
    driver.heal()
    wait_for(lambda: with_series_of(scraped(it)[0], "2") == GPU_GAUGES, what="the series again")
    assert "gpu_stuck_call_seconds" not in scraped(it)[0]
    assert it.end() == 0


def test_seconds_and_dollars_of_a_stuck_gpu_are_unknown_at_metrics_and_the_bill_still_sums(
    agent: Callable[..., AgentProcess], driver: FakeDriver
) -> None:
    driver.count(2)
    it = agent("--gpus.source=nvml").up()
    wait_for(lambda: with_series_of(scraped(it)[0], "1") == GPU_GAUGES, what="the series of GPU 1")
    driver.hang("GetUtilizationRates", 600, gpu=1)

    def unknown() -> list[list[float]]:
        samples = by_state(it)
        return samples if samples[2][STATES.index("unknown")] > 2 else []

    seconds, dollars, stuck, other = wait_for(unknown, what="two unknown seconds")
    assert other[STATES.index("unknown")] < stuck[STATES.index("unknown")]
    assert sum(stuck) == pytest.approx(sum(other), abs=1e-6)
    assert sum(seconds) == pytest.approx(sum(stuck), abs=1e-6)
    assert sum(dollars) == pytest.approx(sum(seconds) * 36 / 3600, rel=1e-9)
    assert dollars[STATES.index("unknown")] == pytest.approx(seconds[STATES.index("unknown")] * 36 / 3600, rel=1e-9)
    assert it.end() == 0


STATES = [state.value for state in State]


def by_state(it: AgentProcess) -> list[list[float]]:
    """The node's seconds, its dollars, and the seconds of GPU 1 and of GPU 0, by state, of one scrape."""
    rows: dict[tuple[str, str], dict[str, float]] = {}
    for family in text_string_to_metric_families(it.get("/metrics")[1]):
        for sample in family.samples:
            row = rows.setdefault((sample.name.removeprefix("epochcost_"), sample.labels.get("gpu", "")), {})
            row[sample.labels.get("state", "")] = sample.value
    metrics = (("node_seconds_total", ""), ("node_cost_usd_total", ""), ("gpu_seconds_total", "1"))
    return [[rows[key].get(state, 0.0) for state in STATES] for key in (*metrics, ("gpu_seconds_total", "0"))]


def test_it_shuts_down_cleanly_while_every_call_is_stuck(
    agent: Callable[..., AgentProcess], driver: FakeDriver
) -> None:
    it = agent().up()
    driver.hang("GetCount", 600)
    wait_for(lambda: "gpu_stuck_call_seconds" in scraped(it)[0], what="the stuck call")
    assert len(scraped(it)[0]["gpu_stuck_call_seconds"]) == 8
    assert it.end() == 0


def test_a_driver_update_ends_the_agent_with_a_code_and_the_next_one_continues(
    agent: Callable[..., AgentProcess], driver: FakeDriver
) -> None:
    first = agent().up()
    wait_for(lambda: "gpu_info" in scraped(first)[0], what="the GPUs")
    driver.error("Init", fake_nvml.LIB_RM_VERSION_MISMATCH)
    driver.reload()
    assert first.process.wait(timeout=15) == 3
    assert (
        "so that the supervisor restarts the agent: the NVIDIA driver was updated while the agent was running"
        in first.log.read_text()
    )
    assert "Traceback" not in first.log.read_text()
    driver.heal()
    second = agent().up()
    samples, _ = wait_for(lambda: (s := scraped(second)) and "gpu_info" in s[0] and s, what="the GPUs again")
    assert len(samples["gpu_readable"]) == 8


def test_a_mismatch_that_a_restart_does_not_fix_causes_no_restart_loop(
    agent: Callable[..., AgentProcess], driver: FakeDriver
) -> None:
    driver.error("Init", fake_nvml.LIB_RM_VERSION_MISMATCH)
    it = agent().up()
    samples, _ = wait_for(
        lambda: (s := scraped(it)) and s[0].get("collector_success", {}).get("gpus") == 0 and s, what="the failure"
    )
    assert "gpu_info" not in samples
    assert any("have different versions" in p for p in it.live()["problems"])
    driver.heal()
    wait_for(lambda: len(scraped(it)[0].get("gpu_readable", {})) == 8, seconds=20, what="the GPUs")


def test_slices_are_shown_with_their_gpu_share_and_profile(
    agent: Callable[..., AgentProcess], driver: FakeDriver
) -> None:
    driver.count(2)
    driver.gpu(0, mig=1, gpm=1)
    driver.slice(0, 0, slices=3, gpm_graphics=70, memory_used=1 << 30, name="NVIDIA H100 80GB HBM3 MIG 3g.40gb")
    it = agent().up()
    figures = {"gpu_sm_active_ratio", "gpu_utilization_seconds_total"}
    samples, text = wait_for(lambda: (s := scraped(it)) and figures <= s[0].keys() and s, what="the activity")
    assert samples["node_gpus"][""] == 2
    assert samples["gpu_mig_slice_ratio"] == {"0:0": pytest.approx(3 / 7)}
    assert samples["gpu_mig_mode"] == {"0": 1.0, "1": 0.0}
    assert samples["gpu_utilization_ratio"] == {"0:0": 0.7, "1": 0.6}
    assert set(samples["gpu_utilization_seconds_total"]) == {"0:0", "1"}
    assert 'parent_uuid="GPU-00000000-0000-0000-0000-000000000000",profile="3g.40gb"' in text


def test_with_a_slow_driver_every_scrape_is_complete_and_the_driver_reported_as_slow(
    agent: Callable[..., AgentProcess], driver: FakeDriver
) -> None:
    driver.gpu("*", util=70)
    driver.hang("*", 0.2, gpu="*")
    it = agent().up()
    wait_for(lambda: len(scraped(it)[0].get("gpu_utilization_ratio", {})) == 8, what="the first reading")
    for _ in range(8):
        samples, _ = scraped(it)
        assert set(samples["gpu_utilization_ratio"].values()) == {0.7}
        assert set(samples["gpu_readable"].values()) == {1.0}
        assert "gpu_stuck_call_seconds" not in samples
        assert samples["collector_success"]["gpus"] == 1.0
        time.sleep(0.5)  # the interval of a scraper
    wait_for(lambda: scraped(it)[0]["gpu_read_seconds"][""] > 1, what="how slow it is")
    wait_for(
        lambda: any("the driver is slow: reading one GPU takes" in p for p in it.live()["problems"]),
        what="the sentence",
    )


def test_a_secondary_call_that_fails_is_counted_by_call_and_code(
    agent: Callable[..., AgentProcess], driver: FakeDriver
) -> None:
    driver.error("GetPowerUsage", fake_nvml.UNKNOWN, gpu="*")
    it = agent().up()
    names = {"gpu_call_failures_total", "gpu_readable"}
    samples, text = wait_for(lambda: (s := scraped(it)) and names <= s[0].keys() and s, what="the count")
    assert set(samples["gpu_readable"].values()) == {1.0}
    assert "gpu_power_watts" not in samples
    assert 'epochcost_gpu_call_failures_total{call="nvmlDeviceGetPowerUsage",code="999",' in text
