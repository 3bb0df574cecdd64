"""How one device's time is divided between the runs that use it or no run, and what their devices do and draw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from epochcost.ledger.alike import Alike
from epochcost.ledger.devices import Device
from epochcost.ledger.layout import is_gone
from epochcost.ledger.node_ledger import Key
from epochcost.ledger.shares import Claims
from epochcost.model import RunId, State

WORKING_RATIO = 0.3
"""Utilisation from which a device of a run that has reported only its start is clearly at work."""


def split_between_runs(device: Device, runs: tuple[RunId, ...], span: Alike) -> dict[Key, float]:
    """Shares of the device's time in ``span`` by (run, state); they sum to 1."""
    split: dict[Key, float] = {}
    if is_gone(device.index):
        return {(run, State.UNKNOWN): 1 / one_of for run, one_of in span.claims.parts(runs).items()}
    for run, one_of in span.claims.parts(runs).items():
        for state, share in _with_run(span.states[run], device.utilization_ratio):
            split[run, state] = split.get((run, state), 0.0) + share / one_of
    return split


def state_without_run(
    device: Device, busy_ratio: float, *, booting: bool, runs_elsewhere: bool, after_run: bool
) -> State:
    """The state of a device that no run uses.

    Args:
        device: with its reading.
        busy_ratio: utilisation from which it is used without a reported run.
        booting: before the agent's first start in this boot.
        runs_elsewhere: other devices of the node are used by runs.
        after_run: a run has ended in this boot.
    """
    if booting:
        return State.BOOT
    if runs_elsewhere:
        return State.UNALLOCATED
    if after_run:
        return State.FINISHED
    if device.utilization_ratio is None:
        return State.UNKNOWN
    return State.UNATTRIBUTED if device.utilization_ratio >= busy_ratio else State.VACANT


def works(run: RunId, devices: Sequence[Device], current: Claims) -> bool:
    """Whether one of the run's devices is plainly in use."""
    mine = (d for d, runs in zip(devices, current.by_device, strict=True) if run in runs)
    return any((device.utilization_ratio or 0.0) >= WORKING_RATIO for device in mine)


def watts(run: RunId, devices: Sequence[Device], current: Claims) -> float | None:
    """Power that the run's devices draw for it; one with two runs half for each. None unless all of them report it."""
    total = 0.0
    for device, runs in zip(devices, current.by_device, strict=True):
        if run in runs and device.weight:
            if device.power_watts is None:
                return None
            total += device.power_watts / current.parts(runs)[run]
    return total


def _with_run(state: State, utilization: float | None) -> Iterable[tuple[State, float]]:
    if state is not State.USEFUL:
        return ((state, 1.0),)
    if utilization is None:
        return ((State.UNKNOWN, 1.0),)
    if utilization in (0.0, 1.0):
        return ((State.USEFUL if utilization else State.IDLE, 1.0),)
    return ((State.USEFUL, utilization), (State.IDLE, 1.0 - utilization))
