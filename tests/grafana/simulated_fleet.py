"""A clearly simulated fleet: what its agents and its price poller would export, as formulas of time.

Nothing here was measured. A node's life is a list of stretches; within one stretch every condition is constant but for
a sine on the utilisation, so each counter is a closed-form integral and the truth of every dashboard figure is known.
Times are seconds since the start of the simulation, money is US dollars, ratios are 0-1, memory is bytes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from epochcost.demo.scenario import GIB, HOUR
from epochcost.demo.scenario import Job as SimulatedRun
from epochcost.demo.simulated_agent import machine_name
from epochcost.model import RunState, State

PEAK = 1.06
USD_PER_KWH, GRAMS_PER_KWH = 0.3, 400.0
"""Peak memory of a run over what its GPUs hold on the mean."""
KEEP_SECONDS = 900.0
"""How long an agent still exports a run that has ended."""

RUN_STATES = {
    State.STARTUP: RunState.STARTUP,
    State.USEFUL: RunState.TRAINING,
    State.REPLAY: RunState.REPLAY,
    State.STALLED: RunState.STALLED,
}
ACTIVITY = {"sm": 0.6, "tensor": 0.3, "dram": 0.45}
"""Of its utilisation, what the parts of a simulated GPU are active."""
SAMPLES_OF_A_NODE, SAMPLES_OF_A_GPU, SCRAPE_SECONDS_PER_SAMPLE = 90.0, 30.0, 1e-5
RULE_SECONDS = {"epochcost-cost": 0.004, "epochcost-run": 0.011, "epochcost-price": 0.006}
INPUT_AND_OUTPUT = {"disk_read": 180e6, "disk_written": 12e6, "network_receive": 95e6, "network_transmit": 20e6}
"""Bytes a second of every simulated machine."""
TOKENS_OF_A_SAMPLE = 128
PHASES = {"train": 0.92, "eval": 0.05, "checkpoint": 0.03}


@dataclass(frozen=True, slots=True)
class Stretch:
    """From ``start`` to ``end`` (seconds) a node is in ``state``; ``useful`` means utilisation splits useful and idle.

    ``rewind`` is how many epochs the run falls back as the stretch begins.
    """

    start: float
    end: float
    state: State
    run: str = ""
    utilization: float = 0.0
    swing: float = 0.0
    epochs_per_hour: float = 0.0
    batch_size: int = 64
    memory_fill: float = 0.02
    rewind: float = 0.0

    def busy_seconds(self, t: float, lag: float = 0.0) -> float:
        """Integral of the utilisation from the stretch's start to ``t``."""
        period = 1500.0
        upto = max(0.0, min(t, self.end) - self.start)
        w = 2 * math.pi / period
        return self.utilization * upto + self.swing / w * (math.cos(lag) - math.cos(w * upto + lag))

    def utilization_at(self, t: float, lag: float = 0.0) -> float:
        """Utilisation at ``t``."""
        return self.utilization + self.swing * math.sin(2 * math.pi / 1500.0 * (t - self.start) + lag)


@dataclass(frozen=True, slots=True)
class SimulatedNode:
    """One machine: its identity, its prices over time, and its stretches."""

    node: str
    provider: str
    region: str
    zone: str
    instance_type: str
    purchase_option: str
    prices: tuple[tuple[float, float], ...]
    """(from when on, $/h); empty if unknown the price."""
    stretches: tuple[Stretch, ...]
    gpus: int = 0
    gpu_model: str = ""
    gpu_memory_bytes: int = 0
    on_demand_usd_per_hour: float | None = None
    agent_knows_price: bool = True
    price_source: str = "aws"
    watts_per_device: float = 300.0
    user: str = ""
    """Whose GPUs they are while no run says so."""
    notice_at: float | None = None
    """When the provider says that it takes the machine away."""
    clock_jumps: int = 0
    refused_events: int = 0

    def price(self, t: float) -> float | None:
        """$/h at ``t``."""
        prices = [usd for since, usd in self.prices if since <= t]
        return prices[-1] if prices else None

    def at(self, t: float) -> Stretch | None:
        """The stretch at ``t``; None outside the node's life."""
        return next((s for s in self.stretches if s.start <= t < s.end), None)

    def totals(self, t: float, run: str | None = None) -> dict[State, tuple[float, float]]:
        """Seconds and dollars by state up to ``t``, of the node or of one run on it."""
        out = dict.fromkeys(State, (0.0, 0.0))
        for stretch in self.stretches:
            if stretch.start >= t or (run is not None and stretch.run != run):
                continue
            for begin, end, usd in self._priced(stretch, t):
                busy = stretch.busy_seconds(end) - stretch.busy_seconds(begin)
                parts = {stretch.state: end - begin}
                if stretch.state is State.USEFUL:
                    parts = {State.USEFUL: busy, State.IDLE: end - begin - busy}
                for state, seconds in parts.items():
                    s, d = out[state]
                    out[state] = (s + seconds, d + seconds * usd / HOUR)
        return out

    def _priced(self, stretch: Stretch, t: float) -> Iterator[tuple[float, float, float]]:
        """Pieces of a stretch up to ``t`` in which the price is constant."""
        end = min(t, stretch.end)
        edges = [stretch.start, *(since for since, _ in self.prices if stretch.start < since < end), end]
        for a, b in itertools.pairwise(edges):
            yield a, b, self.price(a) or 0.0

    def run_cost(self, run: str, t: float) -> float:
        """Dollars of one run on this node up to ``t``."""
        return sum(d for _, d in self.totals(t, run).values())


@dataclass(frozen=True, slots=True)
class SimulatedOffer:
    """A price that the poller knows, whether or not a node of the fleet pays it."""

    provider: str
    region: str
    zone: str
    instance_type: str
    purchase_option: str
    prices: tuple[tuple[float, float], ...]
    gpus: int = 0
    gpu_model: str = ""
    gpu_memory_bytes: int = 0
    source: str = "listed"

    def price(self, t: float) -> float | None:
        """$/h at ``t``."""
        prices = [usd for since, usd in self.prices if since <= t]
        return prices[-1] if prices else None


@dataclass(frozen=True, slots=True)
class Progress:
    """A run's progress: position, epochs executed, high-water mark, samples, and the ends of its epochs (times)."""

    position: float = 0.0
    executed: float = 0.0
    useful: float = 0.0
    steps: float = 0.0
    ends: tuple[float, ...] = ()


def progress(node: SimulatedNode, run: SimulatedRun, t: float) -> Progress:
    """The progress of ``run`` at ``t`` by the stretches of the node that reports it."""
    position = executed = useful = steps = 0.0
    ends: list[float] = []
    for s in node.stretches:
        if s.run != run.run or s.start >= t:
            continue
        position -= s.rewind
        gained = s.epochs_per_hour / HOUR * (min(t, s.end) - s.start)
        new = range(math.floor(max(position, useful) + 1e-9) + 1, math.floor(position + gained + 1e-9) + 1)
        ends.extend(s.start + (k - position) / s.epochs_per_hour * HOUR for k in new)
        position += gained
        executed += gained
        steps += gained * run.samples_per_epoch / s.batch_size
        useful = max(useful, position)
    return Progress(position, executed, useful, steps, tuple(ends))


Sample = tuple[str, Mapping[str, str], float]


@dataclass(frozen=True, slots=True)
class SimulatedFleet:
    """Nodes and runs, and everything that their agents and the poller export at ``t``."""

    nodes: tuple[SimulatedNode, ...] = ()
    runs: tuple[SimulatedRun, ...] = ()
    with_poller: bool = True
    offers: tuple[SimulatedOffer, ...] = ()
    failing_sources: tuple[str, ...] = ()
    failed_runs: frozenset[str] = frozenset()
    """Those that end so."""
    epoch_ts: float = field(default=1_700_000_000.0)
    """The wall clock (seconds since the Unix epoch) at the start of the simulation."""

    def _leads(self, node: SimulatedNode) -> frozenset[str]:
        """Runs whose global rank 0 is on ``node``: the first machine of a run over several, any of one that moves."""
        of_one = {run.run for run in self.runs if run.nodes == 1}
        first: dict[str, str] = {}
        for other in self.nodes:
            for stretch in other.stretches:
                first.setdefault(stretch.run, other.node)
        return frozenset(s.run for s in node.stretches if s.run in of_one or first.get(s.run) == node.node)

    def samples(self, t: float) -> Iterator[Sample]:
        """All samples at ``t``, ``job`` and ``instance`` included, as Prometheus would store them."""
        for node in self.nodes:
            if node.at(t) is None:
                continue
            target = {"job": "epochcost-agent", "instance": f"{node.node}:10835"}
            yield from _scraped(target, SAMPLES_OF_A_NODE + SAMPLES_OF_A_GPU * node.gpus)
            machine = {"epochcost_machine": machine_name(node.node)}
            for name, labels, value in _agent(node, self, self._leads(node), t):
                yield f"epochcost_{name}", {**target, **machine, **labels}, value
        if self.with_poller:
            target = {"job": "epochcost-prices", "instance": "prices:10836"}
            yield from _scraped(target, SAMPLES_OF_A_NODE)
            for name, labels, value in _poller(self.nodes, self.offers, t, self.epoch_ts):
                yield f"epochcost_{name}", {**target, **labels}, value
            for source in self.failing_sources:
                yield "epochcost_price_source_success", {**target, "source": source}, 0
                yield "epochcost_price_source_failures_total", {**target, "source": source}, t // 900
            yield from _prometheus()


def _guard(now: float) -> Iterator[Sample]:
    """A dry-run policy before its next step, and a keep; one policy has acted before. All need a price."""
    labels = {"policy": "forgotten-machine", "run": ""}
    yield "guard_policy_info", {"policy": "forgotten-machine", "dry_run": "true"}, 1
    yield "guard_evidence", {}, 1
    yield "guard_waiting_seconds", {**labels, "condition": "vacant"}, 900
    yield "guard_next_step_timestamp_seconds", {**labels, "step": "tell", "dry_run": "true"}, now + 1800
    yield "guard_gave_up", labels, 0
    yield "guard_keep_until_timestamp_seconds", {"run": "", "by": "user 1001", "why": "debugging"}, now + 3600
    for result in ("done", "dry_run"):
        of = {"policy": "forgotten-machine", "result": result}
        yield "guard_actions_total", {**of, "step": "stop"}, 2
        yield "guard_ended_usd_per_hour_total", of, 6.12
        yield "guard_wasted_usd_total", of, 3.4


def _part(node: SimulatedNode, run: SimulatedRun) -> str:
    """The id of the ledger's record: when the ledger first saw the run."""
    return f"p{min(s.start for s in node.stretches if s.run == run.run):.0f}"


def _scraped(target: Mapping[str, str], samples: float) -> Iterator[Sample]:
    """The series that Prometheus itself adds to a scrape."""
    yield "up", target, 1
    yield "scrape_duration_seconds", target, samples * SCRAPE_SECONDS_PER_SAMPLE
    yield "scrape_samples_scraped", target, samples


def _prometheus() -> Iterator[Sample]:
    """The rule group metrics of a Prometheus that scrapes itself."""
    for group, seconds in RULE_SECONDS.items():
        labels = {"job": "prometheus", "instance": "127.0.0.1:9090", "rule_group": f"/rules/{group}.yml;{group}"}
        yield "prometheus_rule_group_last_duration_seconds", labels, seconds
        yield "prometheus_rule_group_interval_seconds", labels, 15


def _agent(node: SimulatedNode, fleet: SimulatedFleet, leads: frozenset[str], t: float) -> Iterator[Sample]:
    epoch_ts = fleet.epoch_ts
    yield from _node(node, t, epoch_ts)
    for index in range(node.gpus):
        yield from _gpu(node, index, t)
    for run in fleet.runs:
        stretches = [s for s in node.stretches if s.run == run.run and s.start <= t]
        if stretches and t < stretches[-1].end + KEEP_SECONDS:
            ends = RunState.FAILED if run.run in fleet.failed_runs else RunState.FINISHED
            yield from _run(node, run, stretches, t, epoch_ts, leads=run.run in leads, ends=ends)
    yield "build_info", {"version": "simulated", "python": "3.12"}, 1
    yield "sample_timestamp_seconds", {}, epoch_ts + t
    yield "clock_jumps_total", {}, node.clock_jumps
    yield "progress_events_total", {"result": "accepted"}, t
    yield "progress_events_total", {"result": "malformed"}, node.refused_events * t / (6 * HOUR)
    yield "progress_refused_total", {"user": "1000", "reason": "files"}, node.refused_events // 2
    for collector in ("gpus", "host", "progress", "price", "state"):
        ok = collector != "price" or bool(node.prices)
        yield "collector_success", {"collector": collector}, float(ok)
        yield "collector_duration_seconds", {"collector": collector}, 0.002


def _node(node: SimulatedNode, t: float, epoch_ts: float) -> Iterator[Sample]:
    now = node.at(t)
    assert now is not None
    yield (
        "node_info",
        {
            "node": node.node,
            "provider": node.provider,
            "region": node.region,
            **({"zone": node.zone} if node.zone else {}),
            "instance_type": node.instance_type,
            "purchase_option": node.purchase_option,
        },
        1,
    )
    totals = node.totals(t)
    price = node.price(t) if node.agent_knows_price else None
    if price is not None:
        yield "node_price_usd_per_hour", {}, price
        yield "node_price_timestamp_seconds", {}, epoch_ts + t - t % 300
        yield "node_price_info", {"source": node.price_source}, 1
        yield "node_price_part_usd_per_hour", {"part": "published"}, 0.9 * price
        yield "node_price_part_usd_per_hour", {"part": "extra disk"}, 0.1 * price
        yield "node_egress_cost_usd_total", {"extra": "traffic"}, 0.01 * t / HOUR
        if node.on_demand_usd_per_hour is not None:
            yield "node_on_demand_price_usd_per_hour", {}, node.on_demand_usd_per_hour
    for state, (seconds, usd) in totals.items():
        yield "node_seconds_total", {"state": state.value}, seconds
        if price is not None:
            yield "node_cost_usd_total", {"state": state.value}, usd
            yield "node_provisional_cost_usd", {"state": state.value}, 0
    elapsed = sum(seconds for seconds, _ in totals.values())
    yield "node_unpriced_seconds", {}, 0 if price is not None else elapsed
    yield "node_gpus", {}, node.gpus
    yield "node_boot_time_seconds", {}, epoch_ts + node.stretches[0].start
    yield "node_session_end_timestamp_seconds", {"limit": "24 h"}, epoch_ts + node.stretches[0].start + 24 * HOUR
    yield "node_free_end_timestamp_seconds", {"limit": "trial"}, epoch_ts + 12 * HOUR
    yield "node_credit_usd", {"credit": "account"}, 500
    yield "node_credit_end_timestamp_seconds", {"credit": "account"}, epoch_ts + 48 * HOUR
    if price is not None:
        yield from _guard(epoch_ts + t)
    if node.notice_at is not None and t >= node.notice_at:
        yield "node_preemption_notice_timestamp_seconds", {"kind": "interruption"}, epoch_ts + node.notice_at
    busy = now.utilization_at(t) if node.gpus == 0 else 0.22
    yield "node_cpu_utilization_ratio", {}, busy
    yield "node_cpu_seconds_total", {"state": "user"}, 16 * 0.22 * elapsed
    yield "node_cpu_seconds_total", {"state": "idle"}, 16 * 0.78 * elapsed
    yield "node_memory_used_bytes", {}, 48 * GIB
    yield "node_memory_total_bytes", {}, 256 * GIB
    for direction, bytes_per_second in INPUT_AND_OUTPUT.items():
        yield f"node_{direction}_bytes_total", {}, bytes_per_second * elapsed
    if node.gpus:
        useful = totals.get(State.USEFUL, (0.0, 0.0))[0]
        for sm, part in (("active", 0.6), ("rest", 0.4), ("unknown", 0.0)):
            yield "node_useful_seconds_total", {"sm": sm}, part * useful
        yield "gpu_read_seconds", {}, 0.004
        yield "gpu_owner_not_understood", {"source": "processes", "form": "other"}, 1
        yield "node_energy_usd_per_kwh", {}, USD_PER_KWH
        yield "node_grid_grams_per_kwh", {"source": "configured"}, GRAMS_PER_KWH
        yield "gpu_call_failures_total", {"call": "nvmlDeviceGetPowerUsage", "code": "999"}, elapsed // 600
    yield "node_power_watts", {}, node.watts_per_device * max(node.gpus, 1) * (0.3 + 0.7 * now.utilization_at(t))


def _gpu(node: SimulatedNode, index: int, t: float) -> Iterator[Sample]:
    now = node.at(t)
    assert now is not None
    lag = 0.4 * index
    gpu = {"gpu": str(index), "uuid": f"GPU-simulated-{node.node}-{index}"}
    elapsed = [s for s in node.stretches if s.start < t]
    memory_used_bytes = now.memory_fill * node.gpu_memory_bytes
    yield "gpu_info", {**gpu, "model": node.gpu_model, "driver_version": "simulated"}, 1
    yield "gpu_readable", gpu, 1
    yield "gpu_utilization_ratio", gpu, now.utilization_at(t, lag)
    yield "gpu_utilization_seconds_total", gpu, sum(s.busy_seconds(t, lag) for s in elapsed)
    yield "gpu_memory_used_bytes", gpu, memory_used_bytes
    yield "gpu_memory_total_bytes", gpu, node.gpu_memory_bytes
    filled = sum(s.memory_fill * (min(t, s.end) - s.start) for s in elapsed)
    yield "gpu_memory_used_byte_seconds_total", gpu, filled * node.gpu_memory_bytes
    yield "gpu_power_watts", gpu, node.watts_per_device * (0.3 + 0.7 * now.utilization_at(t, lag))
    yield "gpu_energy_joules_total", gpu, node.watts_per_device * 0.8 * sum(min(t, s.end) - s.start for s in elapsed)
    busy = sum(s.busy_seconds(t, lag) for s in elapsed)
    for part, of in ACTIVITY.items():
        yield f"gpu_{part}_active_ratio", gpu, of * now.utilization_at(t, lag)
    yield "gpu_throttle_seconds_total", {**gpu, "reason": "power_cap"}, 0.2 * busy
    yield "gpu_ecc_errors_total", {**gpu, "type": "corrected"}, busy // 3600
    yield "gpu_xid_errors_total", {**gpu, "xid": "13"}, float(index == 0 and t > 9000)
    yield "gpu_temperature_celsius", gpu, 40 + 35 * now.utilization_at(t, lag)
    of_run = {"owner_kind": "run", "owner": now.run}
    owner = of_run if now.run else {"owner_kind": "user", "owner": node.user, "owner_user": node.user}
    if owner["owner"]:
        yield "gpu_owner_info", {**gpu, **owner}, 1
        yield "gpu_owner_share_ratio", {**gpu, **owner}, 1
    for state, (seconds, _) in node.totals(t).items():
        yield "gpu_seconds_total", {**gpu, "state": state.value}, seconds


def _run(
    node: SimulatedNode, run: SimulatedRun, stretches: list[Stretch], t: float, epoch_ts: float, *, leads: bool,
    ends: RunState,
) -> Iterator[Sample]:  # fmt: skip
    me = {"run": run.run, "part": _part(node, run)}
    now, has_ended = stretches[-1], t >= stretches[-1].end
    state = ends if has_ended else RUN_STATES[now.state]
    totals = {s: v for s, v in node.totals(t, run.run).items() if v[0] > 0}
    priced = node.agent_knows_price and bool(node.prices)
    yield (
        "run_info",
        {
            **me,
            "experiment": run.experiment,
            "framework": run.framework,
            "nodes": str(run.nodes),
            "world": str(run.world),
            "launcher": "",
            "launcher_job": "",
            "attempt": "1",
        },
        1,
    )
    for s in RunState:
        yield "run_state", {**me, "state": s.value}, float(s is state)
    yield "run_gpus", me, node.gpus
    yield "run_node_share_ratio", me, float(not has_ended)
    yield "run_seconds_total", me, sum(seconds for seconds, _ in totals.values())
    yield "run_start_timestamp_seconds", me, epoch_ts + stretches[0].start
    yield (
        "run_last_event_timestamp_seconds",
        me,
        epoch_ts + (min(t, now.end) if now.state is not State.STALLED else now.start),
    )
    for s, (seconds, usd) in totals.items():  # type: ignore[assignment]
        yield "run_state_seconds_total", {**me, "state": s.value}, seconds
        if priced:
            yield "run_state_cost_usd_total", {**me, "state": s.value}, usd
    if node.gpus:
        elapsed = sum(seconds for seconds, _ in totals.values())
        yield "run_energy_seconds_total", me, elapsed
        yield "run_energy_joules_total", me, 0.8 * node.watts_per_device * node.gpus * elapsed
    if priced and node.gpus:
        useful = totals.get(State.USEFUL, (0.0, 0.0))[1]
        for sm, part in (("active", 0.6), ("rest", 0.4), ("unknown", 0.0)):
            yield "run_useful_cost_usd", {**me, "sm": sm}, part * useful
    if priced:
        yield "run_cost_usd_total", me, sum(usd for _, usd in totals.values())
        yield "run_provisional_cost_usd", me, 0
    if run.budget_usd is not None:
        yield "run_budget_usd", me, run.budget_usd
    yield "run_leader", me, float(leads and not has_ended)
    yield "run_batch_size", me, stretches[-1].batch_size
    if node.gpus:
        yield "run_memory_peak_bytes", me, PEAK * max(s.memory_fill for s in stretches) * node.gpu_memory_bytes
    if priced:
        yield from _epoch_dollars(node, run, stretches, t, leads=leads)
    if leads:
        yield from _run_progress(node, run, stretches, t)


def _epoch_dollars(
    node: SimulatedNode, run: SimulatedRun, stretches: list[Stretch], t: float, *, leads: bool
) -> Iterator[Sample]:
    """Every machine follows the epochs, because it pays for them."""
    me = {"run": run.run, "part": _part(node, run)}
    p = progress(node, run, t)
    if p.executed == 0:
        return
    first = next(s.start for s in stretches if s.state is not State.STARTUP)
    marks = [first, *p.ends]
    cost = [node.run_cost(run.run, mark) for mark in (*marks, t)]
    yield "run_current_epoch_cost_usd", me, cost[-1] - cost[-2]
    yield "run_epoch_cost_usd_sum", me, cost[-2] - cost[0]
    if leads:
        yield "run_epoch_cost_usd_count", me, len(p.ends)
    if len(p.ends) > 0:
        yield "run_last_epoch_cost_usd", me, cost[-2] - cost[-3]


def _run_progress(node: SimulatedNode, run: SimulatedRun, stretches: list[Stretch], t: float) -> Iterator[Sample]:
    """Only on the machine of global rank 0."""
    me = {"run": run.run, "part": _part(node, run)}
    p = progress(node, run, t)
    startup = sum(min(t, s.end) - s.start for s in stretches if s.state is State.STARTUP)
    trained = sum(min(t, s.end) - s.start for s in stretches if s.state is not State.STARTUP)
    yield "run_phase_seconds_total", {**me, "phase": "startup"}, startup
    for phase, share in PHASES.items():
        yield "run_phase_seconds_total", {**me, "phase": phase}, share * trained
    yield "run_epochs_planned", me, run.epochs
    trained = next((s for s in stretches if s.state is not State.STARTUP), None)  # type: ignore[arg-type, misc]
    if trained is not None:
        yield "run_start_epoch", me, max(0.0, -trained.rewind)
    if p.executed == 0:
        return
    yield "run_epoch", me, p.position
    yield "run_epochs_total", me, p.executed
    yield "run_useful_epochs", me, p.useful
    yield "run_lost_epochs_total", me, sum(s.rewind for s in stretches)
    yield "run_steps_total", me, p.steps
    yield "run_samples_total", me, p.executed * run.samples_per_epoch
    yield "run_tokens_total", me, p.executed * run.samples_per_epoch * TOKENS_OF_A_SAMPLE
    yield "run_current_epoch_ratio", me, p.position % 1
    yield "run_reported_value", {**me, "metric": "loss"}, 2 / (1 + p.executed)
    first = next(s.start for s in stretches if s.state is not State.STARTUP)
    marks = [first, *p.ends]
    yield "run_current_epoch_seconds", me, min(t, stretches[-1].end) - marks[-1]
    yield "run_epoch_seconds_sum", me, marks[-1] - first
    yield "run_epoch_seconds_count", me, len(p.ends)
    if len(p.ends) > 0:
        yield "run_last_epoch_seconds", me, marks[-1] - marks[-2]


def _poller(
    nodes: tuple[SimulatedNode, ...], offers: tuple[SimulatedOffer, ...], t: float, epoch_ts: float
) -> Iterator[Sample]:
    exported: set[tuple[str, ...]] = set()
    sources: dict[str, int] = {}
    for offer in (*(o for node in nodes for o in _paid_offers(node)), *offers):
        key = (offer.provider, offer.region, offer.zone, offer.instance_type, offer.purchase_option)
        usd = offer.price(t)
        if usd is None or key in exported:
            continue
        exported.add(key)
        sources[offer.source] = sources.get(offer.source, 0) + 1
        names = ("provider", "region", "zone", "instance_type", "purchase_option")
        labels = {n: v for n, v in zip(names, key, strict=True) if v} | {"source": offer.source}
        yield "instance_price_usd_per_hour", labels, usd
        yield "instance_price_timestamp_seconds", labels, epoch_ts + t - t % 300
        kind = {"provider": offer.provider, "instance_type": offer.instance_type}
        if (*kind.values(),) not in exported and offer.gpus:
            exported.add((*kind.values(),))
            yield "instance_gpus", {**kind, "gpu_model": offer.gpu_model}, offer.gpus
            yield "instance_gpu_memory_bytes", kind, offer.gpu_memory_bytes
    for source, count in sources.items():
        label = {"source": source}
        yield "price_source_success", label, 1
        yield "price_source_last_success_timestamp_seconds", label, epoch_ts + t - t % 300
        yield "price_source_duration_seconds", label, 1.4
        yield "price_source_failures_total", label, 0
        yield "price_source_prices", label, count
    yield "build_info", {"version": "simulated", "python": "3.12"}, 1


def _paid_offers(node: SimulatedNode) -> Iterator[SimulatedOffer]:
    """The price that a node pays, and its on-demand price, as offers."""
    on_node = SimulatedOffer(
        node.provider, node.region, node.zone, node.instance_type, node.purchase_option, node.prices,
        node.gpus, node.gpu_model, node.gpu_memory_bytes, node.price_source,
    )  # fmt: skip
    if node.prices:
        yield on_node
    if node.on_demand_usd_per_hour is not None:
        yield replace(on_node, zone="", purchase_option="on_demand", prices=((0, node.on_demand_usd_per_hour),))
