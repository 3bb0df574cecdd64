"""The cost of an epoch, to float precision: the project's guarantee."""

from __future__ import annotations

import json
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ledger.story import T0, dollars, event, gpus, last_epoch_usd, ledger, play, run_cost, seconds, sliced

from epochcost.ledger import Ledger
from epochcost.model import PriceStep, RunId, State

REFERENCE = [
    # $/h, seconds of an epoch, cents per epoch exactly: REFERENCE of the article "Cost of Machine Learning"
    ("c4.8xlarge", 1.675, 1404, 65.325),
    ("g2.2xlarge", 0.65, 3779, 0.65 * 3779 / 36),
    ("p2.xlarge", 0.90, 428, 10.70),
    ("p2.xlarge, batch_size 100", 0.90, 170, 4.25),
]


@pytest.mark.parametrize(("name", "usd_per_hour", "epoch_seconds", "cents"), REFERENCE)
def test_the_reference_article_is_reproduced_epoch_by_epoch(
    name: str, usd_per_hour: float, epoch_seconds: int, cents: float
) -> None:
    it = ledger(usd_per_hour)
    events = [event("start", 0, epochs=25), event("phase", 0, phase="train", epoch=0)]
    events += [event("epoch_end", epoch_seconds * k, epoch=k) for k in range(1, 26)]
    play(it, epoch_seconds * 25, events, gpus(0.9), every=60.0)
    costs = it.runs[RunId("r")].epoch_costs(it.price)
    assert len(costs) == 25
    for usd in costs:
        assert usd is not None
        assert usd * 100 == pytest.approx(cents, abs=1e-9), name
    assert run_cost(it) == pytest.approx(cents * 25 / 100, abs=1e-9)


def test_two_price_changes_within_an_epoch_one_published_late_are_exact() -> None:
    it = ledger(3.6)
    devices = gpus(0.5, 0.25)
    play(it, 40, [event("start", 0), event("phase", 0, phase="train", epoch=0)], devices)
    it.set_price([PriceStep(T0 + 50, 7.2)], T0 + 40)
    play(it, 80, [], devices)
    it.set_price([PriceStep(T0 + 70.5, 1.8)], T0 + 80)  # published 9.5 s late
    play(it, 100, [event("epoch_end", 100, epoch=1)], devices)
    exact = (50 * 3.6 + 20.5 * 7.2 + 29.5 * 1.8) / 3600
    assert last_epoch_usd(it) == pytest.approx(exact, abs=1e-15)
    assert run_cost(it) == pytest.approx(exact, abs=1e-15)
    assert sum(dollars(it).values()) == pytest.approx(exact, abs=1e-15)


def test_dollars_of_an_interval_are_added_when_its_price_becomes_known() -> None:
    it = ledger(None)
    play(it, 60, [event("start", 0), event("phase", 0, phase="train", epoch=0)], gpus(1.0))
    assert run_cost(it) is None
    assert it.node_ledger.totals(it.price).unpriced_seconds == 60
    it.set_price([PriceStep(T0 - 5, 3.6)], T0 + 60)
    assert run_cost(it) == pytest.approx(0.06, abs=1e-15)
    assert it.node_ledger.totals(it.price).unpriced_seconds == 0


def test_an_epoch_with_a_part_of_unknown_price_has_no_cost_rather_than_a_low_one() -> None:
    it = ledger(None)
    it.set_price([PriceStep(T0 + 30, 3.6)], T0)
    play(it, 60, [event("start", 0), event("phase", 0, phase="train"), event("epoch_end", 60, epoch=1)], gpus(1.0))
    assert last_epoch_usd(it) is None
    assert run_cost(it) == pytest.approx(0.03)


def test_a_stop_and_a_kill_within_an_epoch_change_nothing() -> None:
    def metered(*, interrupted: bool) -> Ledger:
        it = ledger(3.6)
        devices = gpus(0.5)
        play(it, 30, [event("start", 2.25), event("phase", 3.5, phase="train", epoch=0)], devices)
        state = json.loads(json.dumps(it.state()))
        if interrupted:  # it continued for 5 s, which were not saved, and returned 20 s later
            it = Ledger.restored(state, it.settings)
            it.advance(T0 + 41, devices, observed=False)
            it.apply(event("progress", 41, epoch=0.4))
            it.advance(T0 + 55, devices, observed=False)
        play(it, 100, [event("epoch_end", 90.125, epoch=1)], devices)
        return it

    uninterrupted, interrupted_run = metered(interrupted=False), metered(interrupted=True)
    assert last_epoch_usd(interrupted_run) == last_epoch_usd(uninterrupted) == pytest.approx(86.625 * 0.001)
    assert run_cost(interrupted_run) == pytest.approx(run_cost(uninterrupted), abs=1e-15)
    assert sum(dollars(interrupted_run).values()) == pytest.approx(0.1, abs=1e-12)
    assert seconds(interrupted_run)[State.UNKNOWN] == pytest.approx(25)  # from the saved state to the return


def test_a_start_reported_late_is_charged_from_its_time() -> None:
    it = ledger(3.6)
    play(it, 30, [], gpus(0.9))
    it.apply(event("start", 10))
    play(it, 40, [], gpus(0.9))
    assert run_cost(it) == pytest.approx(0.030, abs=1e-15)


def test_two_runs_share_by_gpus_and_an_end_reported_late_is_corrected() -> None:
    it = ledger(3.6)
    a = event("start", 0, "a", gpus=("0", "1"))
    b = event("start", 0, "b", gpus=("2",))
    play(it, 60, [a, b], gpus(1.0, 1.0, 1.0, 0.0))
    assert run_cost(it, "a") == pytest.approx(0.06 * 2 / 3)
    it.apply(event("end", 30, "b", status="finished"))
    assert run_cost(it, "b") == pytest.approx(0.03 / 3)
    assert run_cost(it, "a") == pytest.approx(0.03 * 2 / 3 + 0.03)


def test_a_lost_boundary_heals_itself() -> None:
    it = ledger(3.6)
    events = [event("start", 0), event("phase", 0, phase="train", epoch=0), event("epoch_end", 10, epoch=1)]
    play(it, 40, [*events, event("epoch_end", 40, epoch=4)], gpus(1.0))
    epochs = it.runs[RunId("r")].epochs
    assert (epochs.count, epochs.seconds_sum) == (4, 40)


def test_a_job_in_steps_has_nominal_epochs_that_end_between_its_reports() -> None:
    it = ledger(3.6)
    steps = [event("progress", t, step=5 * t, steps=50) for t in range(3, 36, 4)]  # 5 steps a second, 10 s an epoch
    play(it, 36, [event("start", 0), event("phase", 0, phase="train", epoch=0), *steps], gpus(1.0))
    account = it.runs[RunId("r")]
    assert [(e.number, e.start - T0, e.end - T0) for e in account.epochs.finished] == [
        (1, 0, pytest.approx(10)), (2, pytest.approx(10), pytest.approx(20)), (3, pytest.approx(20), pytest.approx(30))
    ]  # fmt: skip
    assert account.epoch_costs(it.price) == [pytest.approx(0.010)] * 3
    assert account.epochs.steps.executed == 175


def test_an_epoch_ends_with_its_event_even_if_its_last_step_was_reported_before() -> None:
    it = ledger(3.6)
    events = [event("start", 0), event("phase", 0, phase="train", epoch=0), event("progress", 10, epoch=1.0)]
    events += [event("phase", 10, phase="eval"), event("epoch_end", 14, epoch=1), event("progress", 15, epoch=1.1)]
    play(it, 16, events, gpus(1.0))
    (epoch,) = it.runs[RunId("r")].epochs.finished
    assert (epoch.start, epoch.end) == (T0, T0 + 14)


def test_an_epoch_reported_twice_counts_once() -> None:
    it = ledger(3.6)
    ends = [event("epoch_end", 10, epoch=1), event("epoch_end", 10.5, epoch=1), event("epoch_end", 20, epoch=2)]
    play(it, 20, [event("start", 0), event("phase", 0, phase="train", epoch=0), *ends], gpus(1.0))
    assert it.runs[RunId("r")].epochs.count == 2
    assert run_cost(it) == pytest.approx(0.02)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32))
def test_in_any_sequence_states_sum_to_the_cost_and_runs_to_their_share(seed: int) -> None:
    rng = random.Random(seed)
    it = ledger(rng.choice([None, 2.5]), whole_node=True)
    bill_steps: list[tuple[float, float]] = []
    t, names = 0.0, ["a", "b", "c"]
    restarts = 0
    while t < 400:
        t += rng.choice([0.25, 1.0, 1.0, 3.0, 30.0])
        readings = gpus(*(rng.choice([None, 0.0, 0.3, 1.0]) for _ in range(3)))
        if rng.random() < 0.2:  # the last GPU is partitioned, and unpartitioned again
            part = rng.choice([0.25, 2 / 7])
            slice_weights = ((part, rng.choice([None, 0.4])), (0.5, rng.choice([None, 1.0])))
            readings = [*readings[:2], *sliced(2, rng.choice([1 - part - 0.5, 0.0]), *slice_weights)]
        name = rng.choice(names)
        if rng.random() < 0.3:
            kind = rng.choice(["start", "progress", "epoch_end", "phase", "end", "resume"])
            at = max(0.0, t - rng.choice([0.0, 0.0, 0.4, 20.0]))
            extra = {"phase": rng.choice(["train", "eval", "checkpoint"])} if kind == "phase" else {}
            if kind in ("progress", "epoch_end", "resume"):
                extra["epoch"] = float(rng.randint(0, 6)) if kind != "progress" else rng.uniform(0, 6)  # type: ignore[assignment]
            it.advance(T0 + at, readings)
            it.apply(event(kind, at, name, gpus=rng.choice([None, ("0",), ("GPU-1", "2"), ("MIG-2-1",)]), **extra))
        if rng.random() < 0.2:
            bill_steps.append((T0 + max(0.0, t - rng.uniform(0, 60)), rng.choice([0.5, 2.0, 3.25])))
            it.set_price([PriceStep(*bill_steps[-1])], T0 + t)
        if rng.random() < 0.05:
            it = Ledger.restored(json.loads(json.dumps(it.state())), it.settings)
            restarts += 1
        it.advance(T0 + t, readings, observed=rng.random() < 0.9)
    totals = it.node_ledger.totals(it.price)
    assert math.fsum(totals.seconds.values()) == pytest.approx(it.cursor - T0, abs=1e-9)  # type: ignore[operator]
    bill, unpriced = it.price.integral(T0, it.cursor)  # type: ignore[arg-type]
    assert math.fsum(totals.cost_usd.values()) == pytest.approx(bill, abs=1e-9)
    assert totals.unpriced_seconds == pytest.approx(unpriced, abs=1e-9)
    for _ in range(5):  # at any instant the open runs share the node's cost, and without a run it is not allocated
        at = rng.uniform(T0, it.cursor)  # type: ignore[arg-type]
        shares = [a.share.at(at) for a in it.runs.values()]
        assert sum(shares) == pytest.approx(1.0 if any(a.members.open_at(at) for a in it.runs.values()) else 0.0)
    for uuid in ("GPU-0", "GPU-1"):  # the third is sometimes another device
        device = it.devices.devices[uuid]
        assert math.fsum(device.seconds.values()) == pytest.approx(it.cursor - T0, abs=1e-9)  # type: ignore[operator]


def test_an_epoch_longer_than_prices_are_kept_has_all_of_its_dollars_though_shares_changed_in_it() -> None:
    day = 86400.0
    it = ledger(3.6)
    other_runs = [event("start", day * k, f"other{k}") for k in (1, 3)]
    other_runs += [event("end", day * (k + 1), f"other{k}", status="finished") for k in (1, 3)]
    events = [event("start", 0), event("phase", 0, phase="train", epoch=0), *other_runs]
    play(it, 20 * day, events, gpus(1.0), every=day / 4)
    for until in range(1, 9):
        it.settle(T0 + until * day)
    play(it, 40 * day, [event("epoch_end", 40 * day, epoch=1)], gpus(1.0), every=day / 4)
    it.settle(T0 + 38 * day)
    assert last_epoch_usd(it) == pytest.approx((40 - 1) * day * 0.001)  # two days were shared by half
    assert run_cost(it) == pytest.approx((40 - 1) * day * 0.001)
