"""Host counters are read at a slower pace where GPUs show the node's activity; otherwise with every sample."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.agent.driven_agent import SimulatedMachine

from epochcost.agent.host_sampling import PACE_SECONDS, HostSampling


@pytest.fixture
def host(tmp_path: Path) -> HostSampling:
    return HostSampling(SimulatedMachine(tmp_path).proc)


def test_without_a_pace_each_reading_is_new(host: HostSampling) -> None:
    readings = [host.read(float(t)) for t in range(1, 4)]
    assert [r.t for r in readings if r] == [1.0, 2.0, 3.0]


def test_with_a_pace_a_reading_is_reused_for_that_long(host: HostSampling) -> None:
    readings = [host.read(float(t), PACE_SECONDS) for t in range(1, 9)]
    assert [r.t for r in readings if r] == [1.0, 1.0, 1.0, 4.0, 4.0, 4.0, 7.0, 7.0]


def test_a_failure_is_not_kept(host: HostSampling, tmp_path: Path) -> None:
    stat = tmp_path / "proc" / "stat"
    text = stat.read_text()
    stat.write_text("cpu nonsense\n")
    assert host.read(1.0, PACE_SECONDS) is None
    stat.write_text(text)
    assert host.read(2.0, PACE_SECONDS) is not None
    assert host.health.success


def test_a_machine_that_does_not_say_when_it_was_booted_counts_from_now(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "proc").mkdir()
    host = HostSampling(tmp_path / "proc")
    assert host.boot_ts(1_795_000_000.0) == 1_795_000_000.0
    assert host.boot_id == ""
    texts = [record.message for record in caplog.records]
    assert [text.partition(",")[0] for text in texts] == [
        "cannot read the boot ID",
        "the boot time of this machine is unknown",
    ]


def test_after_a_step_back_in_time_it_is_read_again(host: HostSampling) -> None:
    host.read(100.0, PACE_SECONDS)
    again = host.read(50.0, PACE_SECONDS)
    assert again is not None
    assert again.t == 50.0
