"""The last hour, the speed of runs, and the one line of advice in dollars."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
from tests.page import snapshots
from tests.page.snapshots import GIB, HOUR, NOW, totals

from epochcost.agent.advice import advice
from epochcost.agent.live_page import live_json
from epochcost.agent.recent_hour import EVERY_SECONDS, MOST_POINTS, RecentHour
from epochcost.agent.snapshot import NodeTerms, Snapshot
from epochcost.model import GpuOwner, PurchaseOption, RunState, State


def at(snapshot: Snapshot, t: float, busy: dict[int, float] | None = None, **node: object) -> Snapshot:
    """``snapshot`` at ``t``, whose GPUs have been busy for so many seconds."""
    gpus = tuple(replace(g, utilization_seconds=(busy or {}).get(i, 0.0)) for i, g in enumerate(snapshot.gpus))
    return replace(snapshot, t=t, gpus=gpus, node=replace(snapshot.node, **node))  # type: ignore[arg-type]


def idle_hour(snapshot: Snapshot, minutes: int = 60, busy: tuple[int, ...] = ()) -> RecentHour:
    recent = RecentHour()
    for k in range(int(minutes * 60 / EVERY_SECONDS) + 1):
        t = NOW - minutes * 60 + k * EVERY_SECONDS
        recent.add(at(snapshot, t, dict.fromkeys(busy, t - NOW + HOUR)))
    return recent


def test_no_more_than_an_hour_is_kept_and_it_is_small():
    snapshot, recent = snapshots.eight_gpus(), RecentHour()
    for k in range(1000):
        t = NOW + k * EVERY_SECONDS
        assert recent.due(t)
        recent.add(at(snapshot, t, dict.fromkeys(range(8), float(k))))
        assert not recent.due(t + 1)
    points = recent.points()
    assert (len(points), points[-1].t - points[0].t) == (MOST_POINTS, HOUR)
    size = sum(sys.getsizeof(p) + sys.getsizeof(p.busy) + 24 * (6 + len(p.busy)) for p in points)
    assert size < 256 * 1024


def test_dollars_are_those_of_an_hour_between_two_points():
    snapshot, recent = snapshots.one_gpu(), RecentHour()
    for k in range(3):
        usd_so_far = totals(0.90, useful=60.0 * k, idle=60.0 * k)
        recent.add(at(snapshot, NOW + 120 * k, totals=usd_so_far))
    hour = live_json(snapshot, recent)["recent"]
    assert hour["usd_per_hour"] == [None, 0.9, 0.9]
    assert hour["wasted_usd_per_hour"] == [None, 0.45, 0.45]
    assert len(hour["t"]) == len(hour["utilization_ratio"]) == len(hour["power_watts"]) == 3


def test_unknown_values_are_gaps_in_a_line():
    recent = RecentHour()
    recent.add(snapshots.price_unknown())
    hour = live_json(snapshots.price_unknown(), recent)["recent"]
    assert hour["usd_per_hour"] == [None]
    assert live_json(snapshots.one_gpu())["recent"]["t"] == []


def test_a_clock_that_was_set_back_starts_over():
    recent = idle_hour(snapshots.one_gpu())
    assert recent.due(NOW - 10 * HOUR)
    recent.add(at(snapshots.one_gpu(), NOW - 10 * HOUR))
    assert len(recent.points()) == 1


def test_the_speed_of_a_run_is_that_of_the_last_two_minutes():
    run, recent = snapshots.reference_run(), RecentHour()
    base = snapshots.one_gpu()
    for k in range(11):
        steps, samples = 100 * k * (1 if k < 6 else 2), 6400 * k
        moving = replace(run, steps=steps, samples=samples)
        recent.add(replace(at(base, NOW + 30 * k), runs=(moving,)))
    now = replace(run, steps=100 * 10 * 2, samples=64_000)
    speed = recent.speed(now, NOW + 300)
    assert speed.steps == pytest.approx(200 / 30)
    assert speed.samples == pytest.approx(6400 / 30)
    assert speed.tokens is None
    assert recent.speed(replace(now, ended_ts=NOW), NOW + 300).steps is None
    assert RecentHour().speed(now, NOW).steps is None
    assert recent.speed(replace(now, steps=1), NOW + 300).steps is None


def vacant(*indices: int, held_gib: float = 0.1) -> Snapshot:
    """Eight GPUs, some of which are idle and hold ``held_gib`` GiB; the others train."""
    gpus = tuple(
        snapshots.gpu(i, State.VACANT if i in indices else State.USEFUL, 0.0 if i in indices else 0.9, held_gib)
        for i in range(8)
    )
    eight = snapshots.eight_gpus()
    node = replace(eight.node, price_usd_per_hour=88.0, terms=NodeTerms())
    return replace(eight, t=NOW, gpus=gpus, runs=(), node=node)


def test_an_unused_gpu_is_named_with_its_dollars():
    snapshot = vacant(5)
    recent = idle_hour(snapshot, 40, busy=(0, 1, 2, 3, 4, 6, 7))
    assert advice(snapshot, recent) == "GPU 5 unused for 40 min: $11.00/h."


def test_an_unused_machine_may_be_shut_down():
    snapshot = vacant(*range(8))
    sentence = advice(snapshot, idle_hour(snapshot))
    assert sentence == "All GPUs unused for 60 min: $88.00/h. Shut the machine down if nobody needs it."


def test_a_gpu_with_held_memory_is_not_called_unused():
    owner = GpuOwner("GPU-0000-3", "user", "ada", 1.0, user="ada")
    snapshot = replace(vacant(3, held_gib=20.0), owners=(owner,))
    sentence = advice(snapshot, idle_hour(snapshot, 30, busy=(0, 1, 2, 4, 5, 6, 7)))
    assert sentence == "GPU 3 held by ada and idle for 30 min: $11.00/h. Ask whether the memory is still needed."


@pytest.mark.parametrize("price", [None, 0.01])
def test_there_is_no_advice_without_a_price_or_for_cents(price):
    snapshot = vacant(5)
    snapshot = replace(snapshot, node=replace(snapshot.node, price_usd_per_hour=price))
    assert advice(snapshot, idle_hour(snapshot)) == ""


def test_there_is_no_advice_before_ten_minutes_of_data():
    assert advice(vacant(*range(8)), idle_hour(vacant(*range(8)), 9)) == ""
    assert advice(vacant(*range(8)), RecentHour()) == ""


def test_the_largest_amount_is_shown():
    snapshot = vacant(5)
    run = replace(snapshots.eight_gpus().runs[0], state=RunState.STALLED, share=0.875, last_event_ts=NOW - 1200)
    sentence = advice(replace(snapshot, runs=(run,)), idle_hour(snapshot, 40))
    assert sentence.startswith(f"Run {run.run} has made no progress for 20 min: $77.00/h.")


def test_cheaper_spot_prices_are_shown_with_both_figures():
    one = snapshots.one_gpu()
    node = replace(one.node.node, purchase_option=PurchaseOption.ON_DEMAND)
    view = replace(one.node, node=node, price_usd_per_hour=88.25, terms=NodeTerms(spot_usd_per_hour=36.40))
    sentence = advice(replace(one, node=view, runs=()), RecentHour())
    assert sentence == "Spot machines of this type cost $36.40/h here: $51.85/h less, and may be taken away."


def test_a_run_whose_gpus_wait_shows_the_cost():
    run = replace(
        snapshots.reference_run(), totals=totals(10.0, useful=1800, idle=1800), share=1.0, state=RunState.TRAINING
    )
    one = snapshots.one_gpu()
    snapshot = replace(one, runs=(run,), node=replace(one.node, price_usd_per_hour=10.0, terms=NodeTerms()))
    assert advice(snapshot, idle_hour(snapshot, 30, busy=(0,))).startswith(
        f"The GPUs of run {run.run} wait 50 % of its training: $5.00/h."
    )


def test_owners_and_processes_of_a_gpu_are_in_the_json():
    snapshot = replace(
        vacant(3),
        owners=(GpuOwner("GPU-0000-3", "kubernetes", "pod-1", 1.0, namespace="lab", user=""),),
        processes={"GPU-0000-3": ((4711, 3 * GIB), (4712, None))},
    )
    gpu = live_json(snapshot)["gpus"][3]
    assert gpu["owners"] == [{"kind": "kubernetes", "owner": "pod-1", "user": "", "namespace": "lab", "share": 1.0}]
    assert gpu["processes"] == [{"pid": 4711, "memory_bytes": 3 * GIB}, {"pid": 4712, "memory_bytes": None}]
