"""One line of advice for the page, in dollars an hour: the largest of what can be saved here, as far as it is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from epochcost.agent.device_activity import Idle
from epochcost.agent.recent_hour import RecentHour
from epochcost.agent.snapshot import GpuView, RunView, Snapshot
from epochcost.model import PurchaseOption, RunState, State

LEAST_USD_PER_HOUR = 0.05
"""Advice that saves less is none."""
LEAST_SECONDS = 600.0
LEAST_IDLE = 0.25
"""Of the hour: GPUs of a run that wait for less are not worth a line."""
_UNUSED = (State.VACANT, State.UNALLOCATED, State.FINISHED)


def advice(snapshot: Snapshot, recent: RecentHour) -> str:
    """The sentence; empty if nothing is known that is worth one."""
    candidates = [(usd, text) for usd, text in _candidates(snapshot, recent) if usd >= LEAST_USD_PER_HOUR]
    return max(candidates, default=(0.0, ""))[1]


def _candidates(snapshot: Snapshot, recent: RecentHour) -> Iterator[tuple[float, str]]:
    price = snapshot.node.price_usd_per_hour
    if price is None:
        return
    yield from _gpus(snapshot, recent, price)
    yield from (_stalled(run, price, snapshot.t) for run in snapshot.runs if run.state is RunState.STALLED)
    yield from _waiting(snapshot, recent)
    yield from _spot(snapshot, price)


def _gpus(snapshot: Snapshot, recent: RecentHour, price: float) -> Iterator[tuple[float, str]]:
    whole = [gpu for gpu in snapshot.gpus if not gpu.sample.parent_uuid]
    if not whole or len(whole) != len(snapshot.gpus):  # slices have no price of their own
        return
    unused = [
        (gpu, recent.unused_seconds(gpu.sample.uuid, recent.idle.busy_ratio)) for gpu in whole if gpu.state in _UNUSED
    ]
    unused = [(gpu, seconds) for gpu, seconds in unused if seconds >= LEAST_SECONDS]
    each = price / len(whole)
    for held in (False, True):
        some = [(gpu, seconds) for gpu, seconds in unused if _is_held(gpu, recent.idle) is held]
        if some:
            usd, least = each * len(some), min(seconds for _, seconds in some)
            unused_gpus = _UnusedGpus([gpu for gpu, _ in some], least, usd, are_all=len(some) == len(whole))
            yield usd, _sentence(unused_gpus, _holders(unused_gpus, snapshot) if held else None)


def _is_held(gpu: GpuView, idle: Idle) -> bool:
    return (gpu.sample.memory_used_bytes or 0) >= idle.held_memory_bytes


class _UnusedGpus(NamedTuple):
    """GPUs that do nothing, for how long at least, what they cost an hour, and whether they are all of the machine."""

    gpus: Sequence[GpuView]
    seconds: float
    usd_per_hour: float
    are_all: bool


def _holders(unused: _UnusedGpus, snapshot: Snapshot) -> list[str]:
    uuids = {gpu.sample.uuid for gpu in unused.gpus}
    return sorted({owner.user or owner.owner for owner in snapshot.owners if owner.uuid in uuids} - {""})


def _sentence(unused: _UnusedGpus, holders: Sequence[str] | None) -> str:
    """About ``unused``; ``holders``: the owners of memory that is allocated there, None if there are none."""
    count = len(unused.gpus)
    which = f"{'GPU' if count == 1 else 'GPUs'} {', '.join(gpu.sample.index for gpu in unused.gpus)}"
    which = "All GPUs" if unused.are_all and count > 1 else which
    since, usd = f"for {_minutes(unused.seconds)}", f"{_usd(unused.usd_per_hour)}/h"
    if holders is not None:
        whose = f" by {', '.join(holders[:3])}" if holders else ""
        return f"{which} held{whose} and idle {since}: {usd}. Ask whether the memory is still needed."
    todo = " Shut the machine down if nobody needs it." if unused.are_all else ""
    return f"{which} unused {since}: {usd}.{todo}"


def _stalled(run: RunView, price: float, t: float) -> tuple[float, str]:
    usd, quiet = run.share * price, max(0.0, t - run.last_event_ts)
    since = f" for {_minutes(quiet)}" if quiet >= 60 else ""  # noqa: PLR2004 - a minute
    return usd, f"Run {run.run} has made no progress{since}: {_usd(usd)}/h. Look at its log."


def _waiting(snapshot: Snapshot, recent: RecentHour) -> Iterator[tuple[float, str]]:
    """What the GPUs of the one run here did not do while it trained, over what is known of the last hour."""
    training = [run for run in snapshot.runs if run.state is RunState.TRAINING]
    points = recent.points()
    if len(training) != 1 or len(points) < 2 or points[-1].t - points[0].t < LEAST_SECONDS:  # noqa: PLR2004
        return
    run, price = training[0], snapshot.node.price_usd_per_hour or 0.0
    useful, idle = (run.totals.seconds.get(state, 0.0) for state in (State.USEFUL, State.IDLE))
    share = idle / (useful + idle) if useful + idle >= LEAST_SECONDS else 0.0
    if share >= LEAST_IDLE:
        usd = share * run.share * price
        wait = f"The GPUs of run {run.run} wait {100 * share:.0f} % of its training: {_usd(usd)}/h"
        yield usd, f"{wait}. More workers for its data, or a larger batch, may help."


def _spot(snapshot: Snapshot, price: float) -> Iterator[tuple[float, str]]:
    spot = snapshot.node.terms.spot_usd_per_hour
    if spot is None or snapshot.node.node.purchase_option is not PurchaseOption.ON_DEMAND or spot >= price:
        return
    saved = price - spot
    yield saved, f"Spot machines of this type cost {_usd(spot)}/h here: {_usd(saved)}/h less, and may be taken away."


def _minutes(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{seconds / 3600:.1f} h"  # noqa: PLR2004


def _usd(usd: float) -> str:
    return f"${usd:,.2f}"
