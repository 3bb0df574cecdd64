"""Snapshots as the agent would make them, for tests of the page. All figures are made up for these tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from epochcost.agent.snapshot import CountedProgress, EpochRecord, GpuView, NodeView, RunView, Snapshot, StateTotals
from epochcost.model import GpuSample, HostReading, Node, PurchaseOption, RunId, RunState, State

NOW = 1_700_000_000.0
GIB = 2**30
HOUR = 3600.0


def totals(usd_per_hour: float | None, **seconds: float) -> StateTotals:
    """Seconds by state name, with dollars at one price (none where there is no price)."""
    by_state = {State(name): value for name, value in seconds.items()}
    cost = {s: v * usd_per_hour / HOUR for s, v in by_state.items()} if usd_per_hour else {}
    return StateTotals(by_state, cost)


def history(epochs: int, seconds: float, usd_per_hour: float | None) -> tuple[EpochRecord, ...]:
    """Finished epochs that drift a little, so that a chart has a shape."""

    def record(number: int) -> EpochRecord:
        took = seconds * (1 + 0.06 * ((number * 7) % 5 - 2) / 2 + (0.35 if number == 1 else 0))
        cost = took * usd_per_hour / HOUR if usd_per_hour else None
        return EpochRecord(float(number), NOW - (epochs - number) * seconds - 100, took, cost)

    return tuple(record(n) for n in range(1, epochs + 1))


def reference_run(**changes: Any) -> RunView:
    """The p2.xlarge of the reference table in its fourth epoch."""
    epochs = history(3, 428.0, 0.90)
    view = RunView(
        run=RunId("char-lm-20231114"),
        state=RunState.TRAINING,
        experiment="char-lm",
        framework="torch",
        nodes=1,
        world=1,
        started_ts=NOW - 1520,
        last_event_ts=NOW - 1,
        gpus=1.0,
        share=1.0,
        seconds=1520.0,
        cost_usd=0.38,
        totals=totals(0.90, useful=1180, idle=250, startup=90),
        epoch=3.4,
        epochs_planned=25.0,
        epochs_executed=3.4,
        epochs_useful=3.4,
        steps=9010,
        batch_size=20,
        epoch_seconds_sum=sum(e.seconds for e in epochs),
        epoch_count=3.0,  # type: ignore[arg-type]
        epoch_cost_usd_sum=sum(e.cost_usd or 0 for e in epochs),
        last_epoch_seconds=428.0,
        last_epoch_cost_usd=0.107,
        current_epoch_seconds=164.4,
        current_epoch_cost_usd=0.0411,
        projected_cost_usd=2.7,
        eta_seconds=9245.0,
        memory_peak_bytes=3 * GIB,
        budget_usd=3.0,
        history=epochs,
        counted=CountedProgress(start=0.0),  # rank 0 is here, from the run's beginning
    )
    return replace(view, **changes)  # type: ignore[arg-type]


def gpu(index: int, state: State, use: float | None, used_gib: float | None, total_gib: float = 80.0) -> GpuView:
    """A GPU; ``use`` None makes it unreadable."""
    sample = GpuSample(
        index=str(index),
        uuid=f"GPU-0000-{index}",
        model="NVIDIA H100 80GB HBM3" if total_gib > 20 else "Tesla K80",
        readable=use is not None,
        utilization_ratio=use,
        memory_used_bytes=None if used_gib is None else int(used_gib * GIB),
        memory_total_bytes=None if used_gib is None else int(total_gib * GIB),
        power_watts=None if use is None else 90 + 580 * use,
        temperature_celsius=None if use is None else 36 + 30 * use,
    )
    return GpuView(sample, state, {state: 60.0}, 30.0, 1e12)


def host(use: float = 0.23, used_gib: float = 14.2, total_gib: float = 61.0) -> HostReading:
    return HostReading(NOW, use, {"user": 1.0}, int(used_gib * GIB), int(total_gib * GIB))


def one_gpu() -> Snapshot:
    """A rented machine with one GPU, one run."""
    node = Node("trainer-1", "aws", "us-east-1", "us-east-1a", "p2.xlarge", PurchaseOption.ON_DEMAND, "aws")
    view = NodeView(
        node=node,
        boot_ts=NOW - 2600,
        price_usd_per_hour=0.90,
        price_source="listed",
        price_ts=NOW - 7 * 365.25 * 86400,
        totals=totals(0.90, boot=130, startup=90, useful=1180, idle=250, vacant=700),
        gpus=1,
        driver_version="470.82.01",
        host=host(),
        power_watts=131.0,
    )
    return Snapshot(NOW, view, (gpu(0, State.USEFUL, 0.87, 2.9, 11.2),), (reference_run(),))


def eight_gpus() -> Snapshot:
    """A spot machine with eight GPUs, three runs and something of everything."""
    node = Node("p5-fleet-07", "aws", "us-west-2", "us-west-2b", "p5.48xlarge", PurchaseOption.SPOT, "aws")
    price = 37.42
    totals_so_far = totals(
        price,
        boot=210,
        startup=1460,
        useful=31200,
        idle=7010,
        stalled=1900,
        replay=2300,
        unallocated=2650,
        finished=900,
        unattributed=500,
        vacant=4100,
        unknown=120,
    )
    view = NodeView(
        node=node,
        boot_ts=NOW - 52350,
        price_usd_per_hour=price,
        on_demand_usd_per_hour=98.32,
        price_source="aws",
        price_ts=NOW - 310,
        totals=totals_so_far,
        gpus=8,
        driver_version="550.54.15",
        host=host(0.61, 812.0, 1999.0),
        power_watts=4120.0,
    )
    gpus = (
        *tuple(gpu(n, State.USEFUL, 0.94 - 0.015 * n, 71.2 - n) for n in range(4)),
        gpu(4, State.STALLED, 0.0, 40.0),
        gpu(5, State.STALLED, 1.0, 40.2),
        gpu(6, State.UNALLOCATED, 0.0, 0.5),
        gpu(7, State.UNKNOWN, None, None),
    )
    return Snapshot(NOW, view, gpus, _runs_of_eight(price))


def _runs_of_eight(price: float) -> tuple[RunView, ...]:
    big = reference_run(
        run=RunId("llama-sft-7b-lr2e-5-seed1"),
        experiment="llama-sft",
        nodes=4,
        world=32,
        gpus=4.0,
        share=4 / 6,
        started_ts=NOW - 30500,
        seconds=30500.0,
        cost_usd=211.36,
        totals=totals(price * 4 / 6, useful=24100, idle=3600, startup=500, replay=2300),
        epoch=17.62,
        epochs_planned=40.0,
        epochs_lost=1.43,
        batch_size=512,
        epoch_count=17.0,
        epoch_seconds_sum=17 * 1490.0,
        epoch_cost_usd_sum=17 * 10.326,
        last_epoch_seconds=1511.0,
        last_epoch_cost_usd=10.471,
        current_epoch_seconds=930.0,
        current_epoch_cost_usd=6.4431,
        projected_cost_usd=442.49,
        eta_seconds=33350.0,
        budget_usd=400.0,
        history=history(17, 1490.0, price * 4 / 6),
    )
    stalled = reference_run(
        run=RunId("vit-b16/ablation 3"),
        state=RunState.STALLED,
        experiment="vit-ablation",
        framework="lightning",
        gpus=2.0,
        share=2 / 6,
        cost_usd=51.77,
        totals=totals(price * 2 / 6, useful=7100, idle=3410, startup=960, stalled=1900),
        epoch=71.05,
        epochs_planned=90.0,
        epoch_count=71.0,
        epoch_seconds_sum=71 * 201.0,
        epoch_cost_usd_sum=71 * 0.7,
        last_epoch_cost_usd=0.6994,
        last_epoch_seconds=201.0,
        current_epoch_cost_usd=6.613,
        current_epoch_seconds=1910.0,
        projected_cost_usd=65.1,
        eta_seconds=3800.0,
        budget_usd=None,
        history=history(71, 201.0, price / 3),
    )
    return big, stalled, ended_run()


def of_its_own(gpus: int) -> Snapshot:
    """A machine with that many GPUs, all of them one run's."""
    base = eight_gpus()
    run = replace(base.runs[0], gpus=float(gpus), share=1.0)
    devices = tuple(gpu(n, State.USEFUL, 0.94 - 0.03 * n, 71.2 - n) for n in range(gpus))
    return replace(base, node=replace(base.node, gpus=gpus), gpus=devices, runs=(run,))


def slices() -> Snapshot:
    """Seven partitions of one GPU, every other one of which reports its utilisation."""
    base = of_its_own(7)

    def partition(n: int) -> GpuView:
        parent = gpu(n, State.USEFUL, 0.7, 8.2, 9.75)
        uuid, model = f"MIG-41b6ed37-0000-5555-aaaa-{n:012d}", "NVIDIA A100-SXM4-80GB MIG 1g.10gb"
        busy = None if n % 2 else 0.7
        return replace(
            parent, sample=replace(parent.sample, index=f"0:{n}", uuid=uuid, model=model, utilization_ratio=busy)
        )

    return replace(base, gpus=tuple(partition(n) for n in range(7)))


def sweep(runs: int = 12) -> Snapshot:
    """Many small runs on eight GPUs, in every state a run can have."""
    base = of_its_own(8)

    def one(n: int) -> RunView:
        state = list(RunState)[n % len(RunState)]
        ended_ts = NOW - 420 if state.value in ("finished", "failed", "preempted", "lost") else None
        name, budget = RunId(f"sweep-lr{n}e-4"), None if n % 2 else 400.0
        return replace(base.runs[0], run=name, state=state, gpus=8 / runs, ended_ts=ended_ts, budget_usd=budget)

    return replace(base, runs=tuple(one(n) for n in range(runs)))


def hostile_snapshot(text: str) -> Snapshot:
    """A snapshot in which every external name is ``text``."""
    base = of_its_own(2)
    run = replace(base.runs[0], run=RunId(text), experiment=text, framework=text)
    node = replace(base.node.node, node=text, instance_type=text, zone=text)
    gpus = tuple(replace(g, sample=replace(g.sample, model=text)) for g in base.gpus)
    return replace(
        base, node=replace(base.node, node=node, price_source=text), gpus=gpus, runs=(run,), problems=(text,)
    )


def ended_run() -> RunView:
    return reference_run(
        run=RunId("smoke-test"),
        state=RunState.FAILED,
        experiment="",
        framework="",
        started_ts=NOW - 9000,
        ended_ts=NOW - 420,
        share=0.0,
        seconds=312.0,
        cost_usd=0.00031,
        totals=totals(0.0036, startup=200, useful=112),
        epoch=0.2,
        epochs_planned=1.0,
        epoch_count=0.0,
        epoch_cost_usd_sum=None,
        last_epoch_cost_usd=None,
        last_epoch_seconds=None,
        current_epoch_cost_usd=None,
        projected_cost_usd=None,
        eta_seconds=None,
        budget_usd=None,
        history=(),
    )


def cpu_only(runs: tuple[RunView, ...] = ()) -> Snapshot:
    """An owned desktop without a GPU, no run yet."""
    node = Node("desk", "owned", "", "", "desktop", PurchaseOption.OWNED, "configured")
    view = NodeView(
        node=node,
        price_usd_per_hour=0.15667707,
        price_source="owned",
        price_ts=NOW - 20,
        totals=totals(0.15667707, vacant=340, unattributed=45),
        gpus=0,
        host=host(0.07, 5.3, 15.5),
        power_watts=88.0,
    )
    return Snapshot(NOW, view, (), runs, simulated=False)


def price_unknown() -> Snapshot:
    """A machine with an unknown price."""
    snapshot = one_gpu()
    view = replace(
        snapshot.node,
        price_usd_per_hour=None,
        price_source="",
        price_ts=None,
        totals=totals(None, boot=130, startup=90, useful=1180, idle=250),
        unpriced_seconds=1650.0,
    )
    run = reference_run(
        cost_usd=None,
        totals=totals(None, useful=1180, idle=250, startup=90),
        epoch_cost_usd_sum=None,
        last_epoch_cost_usd=None,
        current_epoch_cost_usd=None,
        projected_cost_usd=None,
        history=history(3, 428.0, None),
    )
    sentence = "price unknown: no price for aws us-east-1 p2.xlarge spot; give --price.usd-per-hour or --prices.url"
    return replace(snapshot, node=view, runs=(run,), problems=(sentence,))
