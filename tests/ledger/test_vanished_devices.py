"""A device that leaves the driver's list while a run holds it stays that run's, and its time is unknown."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.ledger.story import T0, event, gpus, ledger, play, run_cost, seconds, sliced

from epochcost.ledger import Device, Ledger, LedgerSettings
from epochcost.ledger.devices import MOST_REMEMBERED, DeviceLedger
from epochcost.model import RunId, State

RUNS = {"a": ("GPU-7",), "b": ("0", "1", "2", "3"), "c": ("4", "5", "6")}
SHARES = {"a": 0.125, "b": 0.5, "c": 0.375}


def ledger_of_two_runs(**settings: Any) -> Ledger:
    it = ledger(**settings)
    starts = [event("start", 0, run, gpus=indices) for run, indices in RUNS.items()]
    trains = [event("phase", 0, run, phase="train") for run in RUNS]
    play(it, 10, [*starts, *trains], gpus(*[1.0] * 8))
    return it


def shares(it: Ledger) -> dict[str, float]:
    assert it.cursor is not None
    return {run: it.runs[RunId(run)].share.at(it.cursor) for run in RUNS if run in it.runs}


@pytest.mark.parametrize("whole_node", [True, False])
def test_a_gpu_that_falls_off_the_bus_stays_charged_to_its_run_and_no_share_changes(whole_node: bool) -> None:
    it = ledger_of_two_runs(whole_node=whole_node)
    assert shares(it) == SHARES
    play(it, 30, [], gpus(*[1.0] * 7))
    assert shares(it) == SHARES
    assert {run: it.held(RunId(run)) for run in RUNS} == {"a": 1, "b": 4, "c": 3}
    assert seconds(it) == pytest.approx({State.USEFUL: 30 - 20 / 8, State.UNKNOWN: 20 / 8})
    assert run_cost(it, "a") == pytest.approx(0.030 / 8)
    assert it.devices.devices["GPU-7"].seconds == pytest.approx({State.USEFUL: 10, State.UNKNOWN: 20})
    play(it, 40, [], gpus(*[1.0] * 8))  # it has returned
    assert shares(it) == SHARES
    assert seconds(it)[State.UNKNOWN] == pytest.approx(20 / 8)


def test_when_the_driver_renumbers_a_claim_stays_with_its_devices() -> None:
    it = ledger_of_two_runs()
    remaining = [Device(f"GPU-{i}", str(n), 1.0) for n, i in enumerate((0, 1, 3, 4, 5, 6, 7))]  # GPU-2 is gone
    play(it, 30, [], remaining)
    assert shares(it) == SHARES
    assert it.runs_on()["GPU-4"] == ("c",)
    assert it.runs_on()["GPU-2"] == ("b",)


def test_a_device_index_named_later_means_the_device_with_that_index_then() -> None:
    it = ledger_of_two_runs()
    remaining = [Device(f"GPU-{i}", str(n), 1.0) for n, i in enumerate((0, 1, 3, 4, 5, 6, 7))]
    play(it, 30, [event("end", 15, "b", status="failed"), event("start", 20, "b2", gpus=("2",))], remaining)
    assert it.runs_on()["GPU-3"] == ("b2",)


def test_a_device_that_no_run_holds_any_more_is_dropped() -> None:
    it = ledger_of_two_runs()
    play(it, 20, [], gpus(*[1.0] * 7))
    play(it, 30, [event("end", 25, "a", status="failed")], gpus(*[1.0] * 7))
    assert "GPU-7" not in it.runs_on()
    assert shares(it) == pytest.approx({"a": 0, "b": 4 / 7, "c": 3 / 7})


@pytest.mark.parametrize(
    "remainder", [0.5, 0.25]
)  # what it leaves over is its GPU's, as the driver sees it, or not yet
def test_a_vanished_slice_stays_charged_to_its_run_and_its_gpu_counts_for_no_more(remainder: float) -> None:
    it = ledger()
    slices = sliced(0, 0.25, (0.25, 1.0), (0.5, 1.0))
    starts = [event("start", 0, "small", gpus=("MIG-0-0",)), event("start", 0, "large", gpus=("MIG-0-1",))]
    play(it, 10, starts, slices)
    before = {run: it.runs[RunId(run)].share.at(it.cursor) for run in ("small", "large")}  # type: ignore[arg-type]
    play(it, 30, [], [Device("GPU-0", "0", 0.0, weight=remainder), slices[2]])
    assert {run: it.runs[RunId(run)].share.at(it.cursor) for run in before} == before  # type: ignore[arg-type]
    assert it.held(RunId("small")) == 0.25
    assert sum(seconds(it).values()) == pytest.approx(30)


def halves() -> Ledger:
    """A GPU in two halves, each with a run, beside a whole one with another."""
    it = ledger()
    names = {"a": "MIG-0-0", "b": "MIG-0-1", "c": "GPU-1"}
    starts = [event("start", 0, run, gpus=(name,)) for run, name in names.items()]
    trains = [event("phase", 0, run, phase="train") for run in names]
    play(it, 10, [*starts, *trains], [*sliced(0, 0.0, (0.5, 1.0), (0.5, 1.0)), *gpus(1.0, 1.0)[1:]])
    return it


def anew(*weights: float, rest: float = 0.0) -> list[Device]:
    """The same, with the first half repartitioned."""
    new = [Device(f"MIG-0-new{i}", f"0:{i}", 1.0, weight=weight) for i, weight in enumerate(weights)]
    return [
        Device("GPU-0", "0", 0.0, weight=rest),
        *new,
        Device("MIG-0-1", "0:7", 1.0, weight=0.5),
        *gpus(1.0, 1.0)[1:],
    ]


@pytest.mark.parametrize("whole_node", [True, False])
@pytest.mark.parametrize(("weights", "rest"), [((0.5,), 0.0), ((0.25, 0.25), 0.0), ((0.25,), 0.25), ((0.125,), 0.0)])
def test_a_slice_repartitioned_while_it_is_held_changes_no_share(
    weights: tuple[float, ...], rest: float, *, whole_node: bool
) -> None:
    it = halves()
    it.settings = LedgerSettings(whole_node=whole_node)
    play(it, 30, [], anew(*weights, rest=rest))
    assert shares(it) == pytest.approx({"a": 0.25, "b": 0.25, "c": 0.5})
    nonzero = {state: value for state, value in seconds(it).items() if value > 1e-6}
    assert nonzero == pytest.approx({State.USEFUL: 10 + 20 * 0.75, State.UNKNOWN: 20 * 0.25})
    play(it, 40, [event("end", 30, "a", status="failed")], anew(*weights, rest=rest))
    assert it.held(RunId("b")) == 0.5


@pytest.mark.parametrize("late", [0, 5])
def test_a_new_slice_replaces_the_vanished_one_and_no_other(late: float) -> None:
    it = halves()
    play(it, 30, [], anew(0.25, 0.25))
    play(it, 30.5, [event("start", 30 - late, "d", gpus=("MIG-0-new0",))], anew(0.25, 0.25))
    play(it, 40, [event("phase", 31, "d", phase="train")], anew(0.25, 0.25))
    assert {run: it.held(RunId(run)) for run in "abcd"} == pytest.approx({"a": 0.25, "b": 0.5, "c": 1, "d": 0.25})
    assert shares(it) == pytest.approx({"a": 0.125, "b": 0.25, "c": 0.5})
    play(it, 50, [event("start", 40, "e", gpus=("MIG-0-new1",))], anew(0.25, 0.25))
    assert {run: it.held(RunId(run)) for run in "abcde"} == pytest.approx(
        {"a": 0, "b": 0.5, "c": 1, "d": 0.25, "e": 0.25}, abs=1e-8
    )
    assert sum(seconds(it).values()) == pytest.approx(50)
    assert it.runs[RunId("d")].share.at(T0 + 30) in (0.125, pytest.approx(0, abs=1e-8))


def test_a_gpu_repartitioned_under_a_run_that_has_all_of_it_stays_with_that_run() -> None:
    it = ledger()
    play(it, 10, [event("start", 0, "all", gpus=("0",)), event("start", 0, "other", gpus=("1",))], gpus(1.0, 1.0))
    play(it, 20, [], [*sliced(0, 0.0, (0.5, 1.0), (0.5, 1.0)), *gpus(1.0, 1.0)[1:]])
    play(it, 30, [], [*anew(0.5)[:2], *sliced(0, 0.0, (0.5, 1.0))[1:], *gpus(1.0, 1.0)[1:]])
    assert {run: it.held(RunId(run)) for run in ("all", "other")} == pytest.approx({"all": 1, "other": 1})


def test_a_run_whose_devices_were_never_seen_has_all_of_them() -> None:
    it = ledger()
    play(it, 10, [event("start", 0, "x", gpus=("GPU-of-a-container",))], gpus(1.0, 1.0))
    assert it.held(RunId("x")) == 2


def test_a_claim_survives_the_agent() -> None:
    it = ledger_of_two_runs()
    play(it, 20, [], gpus(*[1.0] * 7))
    it = Ledger.restored(json.loads(json.dumps(it.state())), it.settings)
    play(it, 30, [], gpus(*[1.0] * 7))
    assert shares(it) == SHARES
    assert seconds(it)[State.UNKNOWN] == pytest.approx(20 / 8)


def test_a_run_with_the_entire_node_keeps_no_vanished_device() -> None:
    it = ledger()
    play(it, 10, [event("start", 0, "all"), event("phase", 0, "all", phase="train")], gpus(1.0, 1.0))
    play(it, 20, [], gpus(1.0))
    assert it.held(RunId("all")) == 1
    assert State.UNKNOWN not in seconds(it)


def test_ever_new_device_names_displace_long_vanished_ones_and_no_present_one() -> None:
    book, own_device = DeviceLedger(), Device("mine", "0", utilization_ratio=0.5)
    for n in range(3000):
        book.add(own_device, 1.0, {State.VACANT: 1.0})
        book.add(Device(f"forged {n}", "1", utilization_ratio=0.5), 1.0, {State.VACANT: 1.0})
    assert len(book.devices) == MOST_REMEMBERED
    assert book.devices["mine"].seconds == {State.VACANT: 3000.0}
