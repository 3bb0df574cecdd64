"""Idle states: allocated versus free, thresholds as configured, and a node whose training does not report."""

from __future__ import annotations

from typing import Any

import pytest

from epochcost.agent.device_activity import Idle
from epochcost.agent.meter import Meter, MeterSettings
from epochcost.agent.meter_inputs import Inputs
from epochcost.agent.snapshot import Snapshot
from epochcost.ledger import Ledger, LedgerSettings
from epochcost.ledger.devices import DeviceLedger
from epochcost.model import GpuReading, GpuSample, Node, State

T0 = 1_700_000_000.0
GIB = 1 << 30


def metered(*gpus: GpuSample, seconds: int = 60, idle: Idle | None = None, busy_ratio: float = 0.05) -> Snapshot:
    """A minute of a node without a reporting training run, with the given GPUs throughout."""
    meter = Meter(Ledger(LedgerSettings(busy_ratio=busy_ratio)), Node("n1"), MeterSettings(idle=idle or Idle()))
    meter.begin_boot(T0, T0 - 86400, [])
    for second in range(1, seconds + 1):
        t = T0 + second
        snapshot = meter.tick(t, Inputs(gpus=GpuReading(t, gpus)))
    return snapshot


def gpu(number: int, utilization: float | None, memory_bytes: int | None, **more: Any) -> GpuSample:
    return GpuSample(str(number), f"GPU-{number}", "", True, utilization, memory_bytes, 80 * GIB, **more)  # type: ignore[arg-type]


def test_an_allocated_idle_gpu_is_distinguished_from_a_free_and_a_busy_one() -> None:
    allocated, free, busy = metered(gpu(0, 0.0, 9 * GIB), gpu(1, 0.0, 3 << 20), gpu(2, 0.9, 9 * GIB)).gpus
    assert (allocated.held_idle_seconds, free.held_idle_seconds, busy.held_idle_seconds) == (60, 0, 0)
    assert (allocated.state, free.state, busy.state) == (State.VACANT, State.VACANT, State.UNATTRIBUTED)


def test_without_utilisation_or_memory_no_allocation_is_reported() -> None:
    lost_gpu = GpuSample("2", "GPU-2", readable=False)
    views = metered(gpu(0, None, 9 * GIB), gpu(1, 0.0, None), lost_gpu).gpus
    assert [view.held_idle_seconds for view in views] == [None, None, None]


def test_both_limits_are_as_configured() -> None:
    idle = Idle(busy_ratio=0.2, held_memory_bytes=20 * GIB)
    below, above, full = metered(gpu(0, 0.1, 9 * GIB), gpu(1, 0.3, 30 * GIB), gpu(2, 0.1, 30 * GIB), idle=idle).gpus
    assert [g.held_idle_seconds for g in (below, above, full)] == [0, 0, 60]


def test_a_mig_slice_is_held_by_its_power_and_the_remainder_is_unallocated() -> None:
    parent = gpu(0, None, 9 * GIB, mig=True, gpu_fraction=0.5)
    slice_ = GpuSample(
        "0:0", "MIG-0", memory_used_bytes=9 * GIB, parent_uuid="GPU-0", gpu_fraction=0.5, power_active=False
    )
    views = {view.sample.index: view for view in metered(parent, slice_).gpus}
    assert (views["0"].held_idle_seconds, views["0:0"].held_idle_seconds) == (None, 60)


def test_held_seconds_survive_a_restart_and_a_state_of_an_older_version_is_read() -> None:
    meter = Meter(Ledger(), Node("n1"))
    meter.begin_boot(T0, T0 - 86400, [])
    meter.tick(T0 + 1, Inputs(gpus=GpuReading(T0 + 1, (gpu(0, 0.0, 9 * GIB),))))
    again = DeviceLedger.restored(meter.ledger.devices.state())
    assert again.devices["GPU-0"].held_idle_seconds == 1
    older = DeviceLedger.restored({"GPU-0": [{"vacant": 5}, 1.5, None]})
    totals = older.devices["GPU-0"]
    assert (totals.utilization_seconds, totals.memory_used_byte_seconds, totals.held_idle_seconds) == (1.5, None, None)


@pytest.mark.parametrize(
    ("utilization", "busy_ratio", "state"),
    [
        (0.0, 0.05, "vacant"),
        (0.04, 0.05, "vacant"),
        (0.05, 0.05, "unattributed"),
        (0.3, 0.5, "vacant"),
        (None, 0.05, "unknown"),
    ],
)
def test_without_reports_a_node_is_vacant_unattributed_or_unknown_by_its_gpu_activity(
    utilization: float | None, busy_ratio: float, state: str
) -> None:
    snapshot = metered(gpu(0, utilization, 30 * GIB), busy_ratio=busy_ratio)
    assert {s.value: v for s, v in snapshot.node.totals.seconds.items() if v} == {state: 60}
    fill = snapshot.gpus[0].memory_used_byte_seconds
    assert fill == 60 * 30 * GIB, "so underfill is seen without a run, too"
