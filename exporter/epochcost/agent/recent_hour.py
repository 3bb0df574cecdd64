"""The last hour of this machine for its page: a few figures every half minute, in a few kilobytes."""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from epochcost.agent.device_activity import Idle
from epochcost.agent.snapshot import RunView, Snapshot
from epochcost.model import RunId, State

EVERY_SECONDS = 30.0
MOST_POINTS = 121
"""An hour, with both ends."""
MOST_GPUS = 64
SPEED_SECONDS = 120.0
_WASTE = frozenset(State) - {State.USEFUL, State.UNATTRIBUTED, State.UNKNOWN, State.BOOT}


@dataclass(frozen=True, slots=True)
class Point:
    """The machine at one instant. NaN is not known.

    Attributes:
        t: node timeline.
        utilization: mean of its GPUs, or its CPUs.
        memory: used part of the memory of its GPUs, or its own.
        watts: drawn.
        cost_usd, wasted_usd: until now.
        busy: by GPU, the integral of its utilisation in seconds.
    """

    t: float
    utilization: float
    memory: float
    watts: float
    cost_usd: float
    wasted_usd: float
    busy: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Speed:
    """What a run does in a second; None if it does not report it, or has not for long enough."""

    steps: float | None = None
    samples: float | None = None
    tokens: float | None = None


class RecentHour:
    """Keeps a point every half minute, at most an hour of them. A reader may come from any thread.

    Args:
        idle: what counts as doing nothing here.
    """

    def __init__(self, idle: Idle = Idle()) -> None:  # noqa: B008 - frozen
        self.idle = idle
        self._points: deque[Point] = deque(maxlen=MOST_POINTS)
        self._work: dict[RunId, deque[tuple[float, array[float]]]] = {}

    def due(self, now: float) -> bool:
        """Whether the next point is to be added; a clock that was set back begins again."""
        last = self._points[-1].t if self._points else -math.inf
        return now < last or now - last >= EVERY_SECONDS

    def add(self, snapshot: Snapshot) -> None:
        """Keep what ``snapshot`` contains."""
        point = _point(snapshot)
        if self._points and point.t <= self._points[-1].t:
            self._points.clear()
            self._work.clear()
        self._points.append(point)
        self._work = {run.run: self._worked(run, point.t) for run in snapshot.runs if run.ended_ts is None}

    def _worked(self, run: RunView, t: float) -> deque[tuple[float, array[float]]]:
        points = self._work.get(run.run) or deque(maxlen=round(SPEED_SECONDS / EVERY_SECONDS) + 1)
        points.append((t, _amounts(run)))
        return points

    def points(self) -> list[Point]:
        """Those of the last hour, the oldest first."""
        return list(self._points)

    def speed(self, run: RunView, t: float) -> Speed:
        """Of ``run``, as it is at ``t``: over the last two minutes, or since it was first seen if that is less."""
        begun = next(iter(self._work.get(run.run, ())), None)
        if begun is None or run.ended_ts is not None or t - begun[0] < EVERY_SECONDS:
            return Speed()
        rates = [_rate(then, now, t - begun[0]) for then, now in zip(begun[1], _amounts(run), strict=True)]
        return Speed(*rates)

    def unused_seconds(self, uuid: str, busy_ratio: float) -> float:
        """For how long a GPU has done less than ``busy_ratio`` without a break; 0 if that is not known."""
        points = list(self._points)
        since = points[-1].t if points else 0.0
        for before, after in zip(reversed(points[:-1]), reversed(points[1:]), strict=True):
            worked = after.busy.get(uuid, math.nan) - before.busy.get(uuid, math.nan)
            if not worked < busy_ratio * (after.t - before.t):  # NaN too
                break
            since = before.t
        return points[-1].t - since if points else 0.0


def _point(snapshot: Snapshot) -> Point:
    node, gpus = snapshot.node, [gpu.sample for gpu in snapshot.gpus]
    used = [(g.memory_used_bytes, g.memory_total_bytes) for g in gpus if g.memory_used_bytes is not None]
    host = node.host
    if gpus:
        busy = [g.utilization_ratio for g in gpus if g.utilization_ratio is not None]
        memory = _part(sum(u for u, _ in used), sum(total or 0 for _, total in used))
    else:
        busy = [host.cpu_utilization_ratio] if host is not None and host.cpu_utilization_ratio is not None else []
        memory = _part(host.memory_used_bytes, host.memory_total_bytes) if host is not None else math.nan
    usd = node.totals.cost_usd
    return Point(
        t=snapshot.t,
        utilization=sum(busy) / len(busy) if busy else math.nan,
        memory=memory,
        watts=math.nan if node.power_watts is None else node.power_watts,
        cost_usd=math.fsum(usd.values()) if usd else math.nan,
        wasted_usd=math.fsum(amount for state, amount in usd.items() if state in _WASTE) if usd else math.nan,
        busy={g.sample.uuid: g.utilization_seconds for g in snapshot.gpus[:MOST_GPUS]
              if g.utilization_seconds is not None},
    )  # fmt: skip


def _part(used: float | None, whole: float | None) -> float:
    return math.nan if used is None or not whole else used / whole


def _amounts(run: RunView) -> array[float]:
    return array("d", (math.nan if n is None else float(n) for n in (run.steps, run.samples, run.tokens)))


def _rate(then: float, now: float, seconds: float) -> float | None:
    done = now - then
    return done / seconds if done >= 0 and seconds > 0 else None
