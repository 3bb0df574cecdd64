"""The node's ledger: seconds and dollars by (run, state), in spans that can be priced again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from epochcost.ledger.packed_seconds import KeyTable, PackedSeconds, Packing
from epochcost.ledger.price import PriceTrack
from epochcost.model import RunId, State

Key = tuple[RunId | None, State]

FINE_SECONDS = 60.0
COARSE_SECONDS = 3600.0
COARSE_AFTER_SECONDS = 2 * 3600.0
FOLD_AFTER_SECONDS = 32 * 86400.0
"""How far back a late price is still put where it belongs. Older spans keep the dollars they had."""


@dataclass(slots=True)
class Interval:
    """Seconds by key over ``start`` to ``end``; they sum to its length. Once packed, it does not change."""

    start: float
    end: float
    seconds: dict[Key, float] | PackedSeconds[Key]


@dataclass(slots=True)
class Totals:
    """Device-mean seconds, and the dollars of those whose price is known, by key."""

    seconds: dict[Key, float]
    cost_usd: dict[Key, float]
    unpriced_seconds: float = 0.0

    def add(self, key: Key, seconds: float, usd: float | None) -> None:
        """Add seconds, and dollars where the price is known."""
        self.seconds[key] = self.seconds.get(key, 0.0) + seconds
        if usd is not None:
            self.cost_usd[key] = self.cost_usd.get(key, 0.0) + usd


class NodeLedger:
    """Device-mean seconds by (run, state); the dollars are the price's integral over each span, split like its seconds.

    So the dollars of all keys sum to the integral of the price over everything accounted, whatever arrived when. Within
    a span (60 s, after two hours 3600 s) a price change that arrived late is spread over the span's keys in proportion;
    one known in time cuts the span and is exact for every key.
    """

    def __init__(self) -> None:
        self.spans: list[Interval] = []
        self._folded = Totals({}, {})
        self._cached: Totals | None = None
        self._first_fine = 0
        self._keys: dict[Key, Key] = {}
        """Each key once: all spans have the same few."""
        self._packing: Packing[Key] = Packing()
        self._first_unpacked = 0

    def add(self, start: float, end: float, shares: Mapping[Key, float], price: PriceTrack) -> None:
        """Account ``start`` to ``end``: each key gets its share (they sum to 1) of the seconds and of the dollars."""
        length = end - start
        if length <= 0:
            return
        usd, unpriced = price.integral(start, end)
        if self._cached is not None:
            self._cached.unpriced_seconds += unpriced
            for key, share in shares.items():
                self._cached.add(key, share * length, share * usd if unpriced < length else None)
        last = self.spans[-1] if self.spans else None
        if last is not None and last.end == start and _may_join(last, end, shares, price):
            last.end = end
            seconds = opened(last)
            for key, share in shares.items():
                seconds[key] = seconds.get(key, 0.0) + share * length
        else:
            known = self._keys.setdefault
            self.spans.append(Interval(start, end, {known(key, key): share * length for key, share in shares.items()}))
            self._compact(price)

    def __bool__(self) -> bool:
        """Whether anything was ever accounted here."""
        return bool(self.spans or self._folded.seconds)

    def totals(self, price: PriceTrack) -> Totals:
        """Seconds and dollars by key since the ledger began."""
        if self._cached is None:
            totals = Totals(dict(self._folded.seconds), dict(self._folded.cost_usd), self._folded.unpriced_seconds)
            for span in self.spans:
                _settle(span, price, totals)
            self._cached = totals
        return self._cached

    def usd_since(self, ts: float, price: PriceTrack) -> float | None:
        """Dollars from ``ts`` on; None if that is folded away already."""
        if self._folded.seconds and (not self.spans or ts < self.spans[0].start):
            return None
        return sum(price.integral(max(span.start, ts), span.end)[0] for span in self.spans if span.end > ts)

    def reprice(self) -> None:
        """The price has changed in what is accounted already: the next `totals` prices every span again."""
        self._cached = None

    def _compact(self, price: PriceTrack) -> None:
        """Join old fine spans to hours, and fold what is too old to be priced again, when a new span begins."""
        now = self.spans[-1].end
        i = self._first_fine
        while i + 2 < len(self.spans) and self.spans[i + 1].end < now - COARSE_AFTER_SECONDS:
            here, following = self.spans[i], self.spans[i + 1]
            if (
                here.end == following.start
                and _same_block(here, following.end, COARSE_SECONDS)
                and (_runs(here.seconds) == _runs(following.seconds) and not price.changes(here.start, following.end))
            ):
                here.end, into = following.end, opened(here)
                for key, seconds in following.seconds.items():
                    into[key] = into.get(key, 0.0) + seconds
                del self.spans[i + 1]
            else:
                i += 1
        self._first_fine = i
        while len(self.spans) > 1 and self.spans[0].end < now - FOLD_AFTER_SECONDS:
            _settle(self.spans.pop(0), price, self._folded)
            self._first_fine = max(0, self._first_fine - 1)
            self._first_unpacked = max(0, self._first_unpacked - 1)
        self._pack()

    def _pack(self) -> None:
        """What is joined to hours does not change any more."""
        for span in self.spans[self._first_unpacked : self._first_fine]:
            span.seconds = self._packing.packed(span.seconds)
        self._first_unpacked = max(self._first_unpacked, self._first_fine)

    def drop_run_names(self, keep: Iterable[RunId]) -> None:
        """Put the seconds of runs that are no longer kept under an empty id, so that the ledger stays small."""
        runs = {None, *keep}
        for span in self.spans:
            span.seconds = _renamed(span.seconds, runs)
        self._keys.clear()
        self._packing.clear()
        self._first_unpacked = 0
        self._pack()
        self._folded.seconds = _renamed(self._folded.seconds, runs)
        self._folded.cost_usd = _renamed(self._folded.cost_usd, runs)
        self._cached = None

    def state(self) -> dict[str, Any]:
        """The ledger as JSON-able data."""
        table: KeyTable[Key] = KeyTable()
        spans = [[span.start, span.end, *_row(span.seconds, table)] for span in self.spans]
        return {
            "spans": spans,
            "keys": [[[run, state.value] for run, state in keys] for keys in table.sets],
            "folded": [dump(self._folded.seconds), dump(self._folded.cost_usd), self._folded.unpriced_seconds],
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> NodeLedger:
        """The ledger that `state` described."""
        it = cls()
        sets = [load([*key, 0.0] for key in keys) for keys in state.get("keys", ())]  # an older version packed nothing
        it.spans = [Interval(float(start), float(end), _seconds(row, sets)) for start, end, *row in state["spans"]]
        seconds, usd, unpriced = state["folded"]
        it._folded = Totals(load(seconds), load(usd), float(unpriced))
        return it


def _settle(span: Interval, price: PriceTrack, totals: Totals) -> None:
    length = span.end - span.start
    usd, unpriced = price.integral(span.start, span.end)
    totals.unpriced_seconds += unpriced
    for key, seconds in span.seconds.items():
        totals.add(key, seconds, usd * seconds / length if unpriced < length else None)


def _may_join(span: Interval, end: float, shares: Mapping[Key, float], price: PriceTrack) -> bool:
    return (
        _same_block(span, end, FINE_SECONDS)
        and _runs(span.seconds) == _runs(shares)
        and not price.changes(span.start, end)
    )


def opened(span: Interval) -> dict[Key, float]:
    """Its seconds, to be added to."""
    if isinstance(span.seconds, PackedSeconds):
        span.seconds = dict(span.seconds)
    return span.seconds


def _row(seconds: Mapping[Key, float], table: KeyTable[Key]) -> list[Any]:
    return table.row(seconds) if isinstance(seconds, PackedSeconds) else [dump(seconds)]


def _seconds(row: Sequence[Any], sets: Sequence[Mapping[Key, float]]) -> dict[Key, float]:
    """What `_row` made: unpacked, for it may be joined with more."""
    if len(row) == 1:
        return load(row[0])
    number, values = row
    if type(number) is not int or not 0 <= number < len(sets):
        raise ValueError(f"book: keys number {number!r}")
    return dict(zip(sets[number], map(float, values), strict=True))


def _same_block(span: Interval, end: float, block: float) -> bool:
    return span.start // block == (end - 1e-6) // block


def _runs(keys: Iterable[Key]) -> set[RunId | None]:
    return {run for run, _ in keys}


def _renamed(seconds: Mapping[Key, float], runs: set[RunId | None]) -> dict[Key, float]:
    renamed: dict[Key, float] = {}
    for (run, state), value in seconds.items():
        key = (run if run in runs else RunId(""), state)
        renamed[key] = renamed.get(key, 0.0) + value
    return renamed


def dump(values: Mapping[Key, float]) -> list[list[Any]]:
    """Values by key as JSON can hold them."""
    return [[run, state.value, value] for (run, state), value in values.items()]


def load(rows: Iterable[Iterable[Any]]) -> dict[Key, float]:
    """What `dump` made."""
    return {(None if run is None else RunId(run), State(state)): float(value) for run, state, value in rows}
