"""Time whose price may still change: what was accounted since the instant up to which the price is confirmed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from epochcost.ledger.node_ledger import Interval, Key, dump, load, opened
from epochcost.ledger.price import PriceTrack

BLOCK_SECONDS = 10.0
MAX_BLOCKS = 720
"""Two hours. Beyond, the older half is kept half as finely."""


class Unsettled:
    """Seconds by key since ``until``, in blocks of 10 s, so that their dollars are known apart from settled ones."""

    def __init__(self, until: float) -> None:
        self.until = until
        self._blocks: list[Interval] = []

    def add(self, start: float, end: float, shares: Mapping[Key, float]) -> None:
        """``start`` to ``end`` was accounted; the part that is settled already is left out."""
        start = max(start, self.until)
        if end <= start:
            return
        last = self._blocks[-1] if self._blocks else None
        if last is None or last.end != start or last.start // BLOCK_SECONDS != start // BLOCK_SECONDS:
            last = Interval(start, start, {})
            self._blocks.append(last)
        seconds = opened(last)
        for key, share in shares.items():
            seconds[key] = seconds.get(key, 0.0) + share * (end - start)
        last.end = end
        if len(self._blocks) > MAX_BLOCKS:
            self._coarsen()

    def settle(self, until: float) -> None:
        """The price up to ``until`` is confirmed; an earlier instant than before changes nothing."""
        if until <= self.until:
            return
        self.until = until
        self._blocks = [block for block in self._blocks if block.end > until]
        if self._blocks and (first := self._blocks[0]).start < until:
            left = (first.end - until) / (first.end - first.start)
            self._blocks[0] = Interval(until, first.end, {k: s * left for k, s in first.seconds.items()})

    def dollars(self, price: PriceTrack) -> dict[Key, float]:
        """What it costs by the price as it is known."""
        usd: dict[Key, float] = {}
        for block in self._blocks:
            cost, _ = price.integral(block.start, block.end)
            for key, seconds in block.seconds.items():
                usd[key] = usd.get(key, 0.0) + cost * seconds / (block.end - block.start)
        return usd

    def _coarsen(self) -> None:
        half = len(self._blocks) // 2
        pairs = zip(self._blocks[0:half:2], self._blocks[1:half:2], strict=False)
        joined = [_joined(a, b) if a.end == b.start else [a, b] for a, b in pairs]
        odd = self._blocks[half - half % 2 : half]
        self._blocks = [block for blocks in joined for block in blocks] + odd + self._blocks[half:]

    def state(self) -> list[Any]:
        """As JSON-able data."""
        return [self.until, [[b.start, b.end, dump(b.seconds)] for b in self._blocks]]

    @classmethod
    def restored(cls, state: Iterable[Any]) -> Unsettled:
        """What `state` described."""
        until, blocks = state
        it = cls(float(until))
        it._blocks = [Interval(float(start), float(end), load(seconds)) for start, end, seconds in blocks]
        return it


def _joined(a: Interval, b: Interval) -> list[Interval]:
    seconds = dict(a.seconds)
    for key, value in b.seconds.items():
        seconds[key] = seconds.get(key, 0.0) + value
    return [Interval(a.start, b.end, seconds)]
