"""MIG slices count as their share of a GPU, and everything still sums to the cost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.ledger.story import T0, dollars, event, gpus, ledger, play, run_cost, seconds, sliced

from epochcost.ledger import Device, Ledger
from epochcost.model import RunId, State

TRAIN: dict[str, Any] = {"phase": "train", "epoch": 0.0}


def training(run: str, *devices: str) -> list[Any]:
    return [
        event("start", 0, run, gpus=devices),
        event("phase", 0, run, **TRAIN),
        *(event("progress", t, run, step=t, epoch=t / 100) for t in range(1, 40)),
    ]


def test_slices_weigh_their_share_of_a_gpu_beside_full_gpus() -> None:
    it = ledger()
    node = [*gpus(1.0), *sliced(1, 1 / 7, (2 / 7, 1.0), (4 / 7, 0.0))]
    play(it, 28, [], node)
    assert seconds(it) == pytest.approx({State.UNATTRIBUTED: 14 + 14 * 2 / 7, State.VACANT: 14 * 5 / 7})
    assert sum(dollars(it).values()) == pytest.approx(0.028)


def test_a_run_on_a_slice_holds_a_fraction_of_a_gpu_and_pays_it() -> None:
    it = ledger(whole_node=False)
    node = sliced(0, 0.0, (3 / 7, 0.5), (4 / 7, 0.0))
    play(it, 40, training("a", "MIG-0-0"), node)
    assert it.held(RunId("a")) == pytest.approx(3 / 7)
    assert run_cost(it, "a") == pytest.approx(0.040 * 3 / 7)
    assert seconds(it)[State.UNALLOCATED] == pytest.approx(40 * 4 / 7)
    assert sum(seconds(it).values()) == pytest.approx(40)


def test_two_runs_on_two_slices_pay_the_whole_node_by_their_size() -> None:
    it = ledger()
    node = sliced(0, 3 / 7, (1 / 7, 1.0), (3 / 7, 1.0))
    play(it, 40, [*training("a", "MIG-0-0"), *training("b", "0:1")], node)
    assert run_cost(it, "a") == pytest.approx(0.010)
    assert run_cost(it, "b") == pytest.approx(0.030)


@pytest.mark.parametrize("name", ["0", "GPU-0"])
def test_a_run_that_names_the_gpu_uses_its_slices(name: str) -> None:
    it = ledger()
    play(it, 40, training("a", name), [*sliced(0, 0.0, (0.5, 1.0), (0.5, 1.0)), Device("GPU-1", "1", 0.0)])
    assert it.held(RunId("a")) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("names", "gpus_held"),
    [
        (("GPU-8932",), 1.0),
        (("GPU-8932f937-d72c", "GPU-1"), 2.0),
        (("GPU-8932f937-d72c-4106",), 1.0),
        (("GPU-8",), 3.0),  # of two devices: CUDA uses neither, and the node is charged all the same
        (("GPU-",), 3.0),
        (("8932f937",), 3.0),
        (("GPU-8932", "7"), 1.0),
    ],
)
def test_a_run_may_name_a_gpu_by_the_first_digits_of_its_uuid_as_cuda_does(
    names: tuple[str, ...], gpus_held: float
) -> None:
    it = ledger()
    uuids = ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "GPU-8111f937-d72c-4106-c12f-20bd9faed9f6", "GPU-1")
    play(it, 40, training("a", *names), [Device(uuid, str(i), 1.0) for i, uuid in enumerate(uuids)])
    assert it.held(RunId("a")) == pytest.approx(gpus_held)


def test_a_run_may_name_a_slice_by_the_first_digits_of_its_uuid() -> None:
    it = ledger()
    node = [Device("GPU-a", "0", None, weight=0.5), Device("MIG-12ab", "0:0", 1.0, weight=0.5)]
    play(it, 40, training("a", "MIG-12"), node)
    assert it.held(RunId("a")) == pytest.approx(0.5)


def test_partitioning_a_gpu_while_a_run_is_open_changes_no_sum() -> None:
    it = ledger()
    events = training("a")
    play(it, 20, events, gpus(1.0, 1.0))
    play(it, 40, [e for e in events if e.t > T0 + 20], [*gpus(1.0), *sliced(1, 0.0, (0.5, 1.0), (0.5, 0.0))])
    assert run_cost(it, "a") == pytest.approx(0.040)
    assert seconds(it)[State.IDLE] == pytest.approx(20 * 0.25)


def test_a_gpu_with_no_weight_of_its_own_has_no_seconds_of_its_own() -> None:
    it = ledger()
    play(it, 10, [], sliced(0, 0.0, (1.0, 0.0)))
    assert set(it.devices.devices) == {"MIG-0-0"}


def test_unreadable_slices_are_unknown_by_their_share() -> None:
    it = ledger()
    play(it, 40, training("a"), sliced(0, 0.0, (0.25, None), (0.75, 1.0)))
    assert seconds(it)[State.UNKNOWN] == pytest.approx(40 * 0.25)
    assert sum(dollars(it).values()) == pytest.approx(0.040)


def test_weights_survive_a_restart_and_a_state_without_them_is_of_full_gpus() -> None:
    it = ledger()
    play(it, 10, training("a", "MIG-0-0"), sliced(0, 0.0, (0.25, 1.0), (0.75, 1.0)))
    state = json.loads(json.dumps(it.state()))
    again = Ledger.restored(state, it.settings)
    assert again.held(RunId("a")) == pytest.approx(0.25)
    state["layout"] = [["GPU-0", "0"], ["GPU-1", "1"]]
    assert Ledger.restored(state, it.settings).held(RunId("a")) == pytest.approx(2.0)
