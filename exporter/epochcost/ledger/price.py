"""A price as a step function of time, and its integral."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from epochcost.model import PriceStep

SECONDS_PER_HOUR = 3600.0
EARLIEST = 946_684_800.0
"""2000-01-01: no machine that runs this was accounted before."""
MAX_STEPS = 20_000
"""A spot price changes a few times a day; beyond this the oldest steps are dropped (their dollars are long settled)."""


@dataclass(frozen=True, slots=True)
class PriceTrack:
    """$/h from each instant on; None if the price is not known.

    Attributes:
        times: instants of change in seconds, strictly ascending; may begin with ``-inf``.
        usd_per_hour: the price from that instant on, as long as ``times``.
    """

    times: tuple[float, ...] = ()
    usd_per_hour: tuple[float | None, ...] = ()

    def at(self, t: float) -> float | None:
        """The price at ``t`` in $/h, None if not known."""
        i = bisect_right(self.times, t) - 1
        return self.usd_per_hour[i] if i >= 0 else None

    def changes(self, after: float, before: float) -> tuple[float, ...]:
        """The instants of change strictly between ``after`` and ``before``."""
        lo, hi = bisect_right(self.times, after), bisect_right(self.times, before)
        inside = self.times[lo:hi]
        return inside[:-1] if inside and inside[-1] == before else inside

    def integral(self, start: float, end: float) -> tuple[float, float]:
        """What ``start`` to ``end`` costs at share 1.

        Returns:
            Dollars over the part whose price is known, and the seconds of the part whose price is not.
        """
        if end <= start:
            return 0.0, 0.0
        usd = unpriced = 0.0
        i = bisect_right(self.times, start) - 1
        t = start
        while t < end:
            until = min(end, self.times[i + 1]) if i + 1 < len(self.times) else end
            price = self.usd_per_hour[i] if i >= 0 else None
            if price is None:
                unpriced += until - t
            else:
                usd += price * (until - t) / SECONDS_PER_HOUR
            t, i = until, i + 1
        return usd, unpriced

    def learn(self, steps: Sequence[PriceStep], now: float, floor: float = -math.inf) -> PriceTrack:
        """Add what a source reported at ``now`` about the time from ``floor`` on (before it the machine was another).

        From its first step on the source's history replaces ours; before that step, ours stays. A source without dates
        (first step at ``-inf``) does not report when its price changed: a differing price counts from ``now`` on, and
        fills only what was not known before.
        """
        ours = list(zip(self.times, self.usd_per_hour, strict=True))
        before = [pair for pair in ours if pair[0] < floor]
        ours = [pair for pair in ours if pair[0] >= floor]
        theirs: list[tuple[float, float | None]] = [(s.ts, s.usd_per_hour) for s in steps if s.ts > floor]
        earlier = [s.usd_per_hour for s in steps if s.ts <= floor]
        if earlier:
            theirs.insert(0, (floor, earlier[-1]))
        undated = steps[0].ts == -math.inf
        merged = _with_undated(ours, theirs, floor, now) if undated else _with_dated(ours, theirs)
        return _track([*before, *merged])

    def free_in(self, windows: Sequence[Window], usd_per_hour: float = 0.0) -> PriceTrack:
        """The same, costing only ``usd_per_hour`` within ``windows``, and after each what it would have cost."""
        if not windows:
            return self
        cuts = sorted({*self.times, *(t for window in windows for t in window)})
        return _track((t, usd_per_hour if any(a <= t < b for a, b in windows) else self.at(t)) for t in cuts)

    def forget_from(self, t: float) -> PriceTrack:
        """From ``t`` on the price is not known (the machine became another one)."""
        steps = [(at, p) for at, p in zip(self.times, self.usd_per_hour, strict=True) if at < t]
        return _track([*steps, (t, None)])


Pair = tuple[float, float | None]
Window = tuple[float, float]
"""From an instant up to another one."""


def _with_dated(ours: list[Pair], theirs: list[Pair]) -> list[Pair]:
    return [*(pair for pair in ours if pair[0] < theirs[0][0]), *theirs] if theirs else ours


def _with_undated(ours: list[Pair], theirs: list[Pair], floor: float, now: float) -> list[Pair]:
    """``theirs`` begins at ``floor`` with the undated price; any further steps of it are dated."""
    base = theirs[0][1]
    later = theirs[1:]
    filled: list[Pair] = [(t, base if price is None else price) for t, price in ours if t < now]
    if not filled or filled[0][0] > floor:
        filled.insert(0, (floor, base))
    if not later and filled[-1][1] != base:
        filled.append((now, base))
    return _with_dated(filled, later)


def _track(pairs: Iterable[tuple[float, float | None]]) -> PriceTrack:
    """Merge steps that change nothing, so that the track stays as small as the price is calm."""
    steps: list[tuple[float, float | None]] = []
    for t, price in pairs:
        if not steps or steps[-1][1] != price:
            steps.append((t, price))
    if steps and steps[0][1] is None:
        steps.pop(0)
    steps = steps[-MAX_STEPS:]
    return PriceTrack(tuple(t for t, _ in steps), tuple(p for _, p in steps))


def following_windows(windows: Iterable[Window]) -> tuple[Window, ...]:
    """Those of ``windows`` that can be, each after the one before."""
    free: list[Window] = []
    for start, end in windows:
        if EARLIEST <= start < end < math.inf and (not free or free[-1][1] <= start):
            free.append((start, end))
    return tuple(free)
