"""The live page: one self-contained file at ``/`` that reads ``/v1/live`` each second."""

from __future__ import annotations

import base64
import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from epochcost._version import __version__
from epochcost.agent.advice import advice
from epochcost.agent.recent_hour import RecentHour, Speed
from epochcost.agent.run_scope import scope_of
from epochcost.agent.snapshot import GpuView, NodeView, RunView, Snapshot, StateTotals
from epochcost.agent.term_lines import term_lines
from epochcost.model import State
from epochcost.palette import PALETTE, SHOWN_AS
from epochcost.serve import Request, Response, Route, html, json_response
from epochcost.sha256 import sha256

Json: TypeAlias = dict[str, Any]
VERSION = 1
"""Of the JSON; raised when a reader of the old one would go wrong."""


def page_routes(
    read: Callable[[], Snapshot | None], recent: RecentHour | None = None, grafana_url: str = ""
) -> dict[str, Route]:
    """The page and its data.

    Args:
        read: returns the newest snapshot, None before the first.
        recent: the last hour, if it is recorded.
        grafana_url: of dashboards to link to; empty for none.
    """
    page, policy = _page()

    def root(_: Request) -> Response:
        """The live page."""
        return html(200, page, {"Content-Security-Policy": policy, "Cache-Control": "no-cache"})

    def live(_: Request) -> Response:
        """The figures of the live page as JSON; 503 until the machine has been sampled once."""
        snapshot = read()
        if snapshot is None:
            return json_response(503, {"v": VERSION, "error": "the agent has not sampled this machine yet"})
        return json_response(200, live_json(snapshot, recent, grafana_url))

    return {"/": root, "/v1/live": live}


def _page() -> tuple[bytes, str]:
    """The page with its colours filled in, and a content security policy that lets nothing else run."""
    source = Path(__file__).with_name("live.html").read_text(encoding="utf-8")
    page = source.replace("/* palette */", _variables())
    style, script = (_hash(page, tag) for tag in ("style", "script"))
    policy = (
        f"default-src 'none'; style-src {style}; script-src {script}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page.encode(), policy


def _variables() -> str:
    states = (f"--{state.value}: {colour};" for state, colour in PALETTE.items())
    runs = (f"--run-{run.value}: var(--{state.value});" for run, state in SHOWN_AS.items())
    return " ".join((*states, *runs))


def _hash(page: str, tag: str) -> str:
    (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    return f"'sha256-{base64.b64encode(sha256(content.encode()).digest()).decode()}'"


def live_json(snapshot: Snapshot, recent: RecentHour | None = None, grafana_url: str = "") -> Json:
    """The snapshot as JSON: money in US dollars, times in Unix seconds, null for unknown."""
    hour = recent or RecentHour()
    document: Json = {
        "v": VERSION,
        "t": snapshot.t,
        "version": __version__,
        "simulated": snapshot.simulated,
        "node": _node(snapshot.node),
        "machine": snapshot.machine,
        "grafana": grafana_url,
        "advice": advice(snapshot, hour),
        "recent": _recent(hour),
        "gpus": [_gpu(gpu, snapshot) for gpu in snapshot.gpus],
        "runs": [_run(run, hour.speed(run, snapshot.t)) for run in snapshot.runs],
        "problems": list(snapshot.problems),
        "guard": list(guard_lines(snapshot)),
        "terms": list(term_lines(snapshot.node.terms)),
    }
    return {key: _finite(value) for key, value in document.items()}


def _node(view: NodeView) -> Json:
    node, host = view.node, view.host
    cost_usd = _cost(view.totals, view.unpriced_seconds)
    return {
        "node": node.node,
        "provider": node.provider,
        "region": node.region,
        "zone": node.zone,
        "instance_type": node.instance_type,
        "purchase_option": node.purchase_option.value if node.purchase_option else None,
        "gpus": view.gpus,
        "driver_version": view.driver_version,
        "boot_ts": view.boot_ts,
        "price_usd_per_hour": view.price_usd_per_hour,
        "on_demand_usd_per_hour": view.on_demand_usd_per_hour,
        "spot_usd_per_hour": view.terms.spot_usd_per_hour,
        "price_source": view.price_source,
        "price_ts": view.price_ts,
        "cost_usd": cost_usd,
        "seconds": math.fsum(view.totals.seconds.values()),
        "unpriced_seconds": view.unpriced_seconds,
        "states": _states(view.totals, priced=cost_usd is not None),
        "cpu_utilization_ratio": host.cpu_utilization_ratio if host else None,
        "memory_used_bytes": host.memory_used_bytes if host else None,
        "memory_total_bytes": host.memory_total_bytes if host else None,
        "power_watts": view.power_watts,
    }


def guard_lines(snapshot: Snapshot) -> Iterator[str]:
    """What the guard waits for, what it does not know, and the active keeps, as sentences; none without a policy."""
    guard = snapshot.guard
    if guard is None:
        return
    if guard.void:
        yield f"guard: nothing is decided now: {guard.void}"
    for one in guard.waiting:
        what = f"run {one.subject}" if one.subject else "this machine"
        dry = " (dry run)" if one.dry_run else ""
        left = "" if one.next_ts is None else f" in {max(0.0, one.next_ts - snapshot.t) / 60:.0f} min"
        step = "given up, see the log" if one.gave_up else f"next: {one.next_step}{left}" if one.next_step else "done"
        yield f"guard {one.policy}{dry}: {what} is {one.condition} for {one.seconds / 60:.0f} min; {step}"
    for keep in guard.keeps:
        what = f"run {keep.subject}" if keep.subject else "what is theirs"
        why = f": {keep.why}" if keep.why else ""
        yield f"guard: {keep.by} keeps {what} for {max(0.0, keep.until_t - snapshot.t) / 60:.0f} min more{why}"


def _cost(totals: StateTotals, unpriced_seconds: float) -> float | None:
    """Dollars of all states; None while every second waits for a price, as nothing at all is then known."""
    cost_usd = math.fsum(totals.cost_usd.values())
    return None if cost_usd == 0 and (unpriced_seconds > 0 or not totals.cost_usd) else cost_usd


def _states(totals: StateTotals, *, priced: bool) -> Json:
    """The states that took any time, in the order in which bars stack them."""

    def entry(state: State) -> Json:
        return {"seconds": totals.seconds[state], "cost_usd": totals.cost_usd.get(state, 0.0) if priced else None}

    return {state.value: entry(state) for state in PALETTE if totals.seconds.get(state, 0.0) > 0}


def _recent(hour: RecentHour) -> Json:
    """The last hour as columns; dollars are those an hour since the point before."""
    points = hour.points()
    pairs = list(itertools.pairwise(points))

    def spent(name: str) -> list[float | None]:
        return [None, *(_per_hour(getattr(b, name) - getattr(a, name), b.t - a.t) for a, b in pairs)][: len(points)]

    return {
        "t": [round(point.t, 1) for point in points],
        "utilization_ratio": [_short(point.utilization) for point in points],
        "memory_ratio": [_short(point.memory) for point in points],
        "power_watts": [_short(point.watts) for point in points],
        "usd_per_hour": spent("cost_usd"),
        "wasted_usd_per_hour": spent("wasted_usd"),
    }


def _per_hour(usd: float, seconds: float) -> float | None:
    return _short(max(0.0, usd) / seconds * 3600) if seconds > 0 and math.isfinite(usd) else None


def _short(value: float) -> float | None:
    """Four digits, for a line of some pixels."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


def _owners(uuid: str, snapshot: Snapshot) -> list[Json]:
    return [
        {"kind": o.kind, "owner": o.owner, "user": o.user, "namespace": o.namespace, "share": o.share_ratio}
        for o in snapshot.owners
        if o.uuid == uuid
    ]


def _gpu(view: GpuView, snapshot: Snapshot) -> Json:
    sample = view.sample
    return {
        "gpu": sample.index,
        "uuid": sample.uuid,
        "model": sample.model,
        "readable": sample.readable,
        "utilization_ratio": sample.utilization_ratio,
        "memory_used_bytes": sample.memory_used_bytes,
        "memory_total_bytes": sample.memory_total_bytes,
        "power_watts": sample.power_watts,
        "temperature_celsius": sample.temperature_celsius,
        "state": view.state.value,
        "owners": _owners(sample.uuid, snapshot),
        "processes": [{"pid": pid, "memory_bytes": held} for pid, held in snapshot.processes.get(sample.uuid, ())],
    }


_SAME_NAME = (
    "run", "experiment", "team", "slurm_account", "slurm_partition", "slurm_job_id", "owner_user", "framework",
    "launcher", "launcher_job", "nodes", "world", "started_ts", "ended_ts", "last_event_ts", "gpus", "share",
    "seconds", "epoch", "epochs_planned", "epochs_executed", "epochs_useful", "epochs_lost", "steps",
    "batch_size", "last_epoch_seconds", "last_epoch_cost_usd", "current_epoch_seconds", "current_epoch_cost_usd",
    "projected_from_part", "eta_seconds", "memory_peak_bytes", "budget_usd",
)  # fmt: skip
"""Fields of `RunView` that the JSON carries as they are."""


def _run(view: RunView, speed: Speed) -> Json:
    scope = scope_of(view)
    return {
        **{name: getattr(view, name) for name in _SAME_NAME},
        "steps_per_second": speed.steps,
        "samples_per_second": speed.samples,
        "tokens_per_second": speed.tokens,
        "reported": dict(view.reported),
        "others": list(view.stored.others) if view.stored is not None else [],
        "state": view.state.value,
        "stopped": view.stopped,
        "leader": view.leader,
        "scope": "run" if scope.whole else "machine",
        "part": scope.part,
        "machines": scope.machines,
        "missing": scope.missing,
        "cost_usd": scope.cost_usd,
        "projected_cost_usd": scope.projected_cost_usd,
        "mean_epoch_cost_usd": scope.epoch_cost_usd,
        "machine_cost_usd": view.cost_usd,
        "machine_mean_epoch_cost_usd": _mean(view.epoch_cost_usd_sum, view.epoch_cost_count or view.epoch_count),
        "mean_epoch_seconds": _mean(view.epoch_seconds_sum, view.epoch_count),
        "states": _states(view.totals, priced=view.cost_usd is not None),
        "history": [
            {"epoch": e.epoch, "end_ts": e.end_ts, "seconds": e.seconds, "cost_usd": e.cost_usd} for e in view.history
        ],
    }


def _mean(total: float | None, count: float) -> float | None:
    return None if total is None or count <= 0 else total / count


def _finite(value: Any) -> Any:  # noqa: ANN401 - JSON
    """``value`` with null for every NaN or infinity, which JSON cannot hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return value
