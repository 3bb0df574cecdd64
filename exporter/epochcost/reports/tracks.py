"""Series on the grid of a span: read in pieces, merged over scrapes, counted over restarts."""

from __future__ import annotations

import math
import operator
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from epochcost.reports.span import Span
from epochcost.store.promql_client import Series, Store, TooMuchError, TooSlowError

Labels = tuple[tuple[str, str], ...]
PREFIX = "epochcost_"
_MOST_SLOW = 3
"""Consecutive timeouts, each of a query half as large, after which the size of the query is not the cause."""
_LESS = "The query was for a single window: reduce it with --match, --experiment or --runs"
_FEWEST_POINTS, _TIMES_A_LIFE = 12, 10
_ROUNDING = 1e-9
"""A counter that falls by less than this part of itself was rounded, not restarted."""


@dataclass(slots=True)
class Track:
    """One figure on the grid: its value in window ``first + i``, NaN where the window has none.

    ``peaks`` holds, for windows in which a counter was reset, the most that it had reached within them.
    """

    first: int = 0
    values: array[float] = field(default_factory=lambda: array("d"))
    peaks: dict[int, float] = field(default_factory=dict)

    def put(self, index: int, value: float) -> None:
        """Note ``value`` for a window; of two, the greater one holds."""
        if not self.values:
            self.first = index
        if index < self.first:
            self.values = array("d", [math.nan] * (self.first - index)) + self.values
            self.first = index
        while self.first + len(self.values) <= index:
            self.values.append(math.nan)
        old = self.values[index - self.first]
        self.values[index - self.first] = value if math.isnan(old) else max(old, value)

    def extend(self, points: Sequence[tuple[int, float]]) -> None:
        """Note values for windows in ascending order."""
        for index, value in points:
            if index == self.first + len(self.values) and self.values:
                self.values.append(value)
            else:
                self.put(index, value)

    def items(self) -> Iterator[tuple[int, float]]:
        """Window and value, where there is one."""
        return ((self.first + i, v) for i, v in enumerate(self.values) if not math.isnan(v))

    def merge(self, other: Track) -> None:
        """Take in another track of the same figure."""
        if not self.values:
            self.first, self.values, self.peaks = other.first, other.values[:], dict(other.peaks)
            return
        for index, value in other.items():
            self.put(index, value)
        self.peaks.update(other.peaks)

    def last(self) -> tuple[int, float] | None:
        """The last window that has a value, and it."""
        return next(
            (
                (self.first + i, self.values[i])
                for i in reversed(range(len(self.values)))
                if not math.isnan(self.values[i])
            ),
            None,
        )

    def falls(self) -> list[int]:
        """Windows in which the value is below the one before."""
        if self.rises():
            return []
        indexes, before = [], -math.inf
        for index, value in self.items():
            if value < before - _ROUNDING * abs(before):
                indexes.append(index)
            before = value
        return indexes

    def rises(self) -> bool:
        """Whether it has a value in each window, none below the one before: true of nearly every counter."""
        values = self.values
        return all(map(operator.le, values, values[1:])) and not (len(values) == 1 and math.isnan(values[0]))

    def gaps(self) -> int:
        """Windows without a value between the first and the last that have one."""
        return sum(map(math.isnan, self.values))


def increments(track: Track, *, from_zero: bool) -> dict[int, float]:
    """How much a counter grew in each window; growth over windows without a sample is spread over them.

    Args:
        from_zero: the counter began within the span, so its first value is growth too. Else its first value is what it
            had before: PromQL's ``increase`` always takes that, and so misses what came before the first scrape.
    """
    if track.values and track.rises():
        grown = {track.first: track.values[0] if from_zero else 0.0}
        return grown | dict(enumerate(map(operator.sub, track.values[1:], track.values), track.first + 1))
    grown = {}
    falls = set(track.falls())
    before: tuple[int, float] | None = None
    for index, value in track.items():
        if before is None:
            at, amount = index - 1, value if from_zero else 0.0
        elif index in falls:
            at, amount = before[0], max(0.0, track.peaks.get(index, before[1]) - before[1]) + value
        else:
            at, amount = before[0], max(0.0, value - before[1])
        windows = range(max(at, 0) + 1, index + 1) or range(index, index + 1)
        for window in windows:
            grown[window] = grown.get(window, 0.0) + amount / len(windows)
        before = index, value
    return grown


@dataclass(slots=True)
class Reader:
    """Reads metrics of agents and poller over a span, in pieces as large as the store allows.

    Attributes:
        progress: called with how many windows of how many are read, of which metric.
        points: windows requested at once; halved whenever the store reports that it is too much.
    """

    store: Store
    span: Span
    progress: Callable[[str, int, int], None] = lambda _metric, _done, _all: None
    points: int = 240
    _slow: int = 0
    _windows: tuple[int, int] | None = None
    """The first and the last to read; None for all."""

    def suit(self, windows: float) -> None:
        """Query in pieces that suit series with values in this many windows on average.

        A store looks at each window of a piece for each series that has a value in it.
        """
        self.points = min(self.points, max(_FEWEST_POINTS, math.ceil(_TIMES_A_LIFE * windows)))

    @contextmanager
    def within(self, first: int, last: int) -> Iterator[None]:
        """Read only these windows meanwhile: the requested series have no value in any other."""
        self._windows = first, last
        try:
            yield
        finally:
            self._windows = None

    def tracks(
        self,
        metric: str,
        matchers: str = "",
        rollup: str = "last_over_time",
        *,
        counter: bool = False,
        only: str = "",
    ) -> dict[Labels, Track]:
        """Every series of ``epochcost_<metric>``, without its name; of counters also what they had before a restart."""
        tracks: dict[Labels, Track] = {}
        for labels, points in self.pieces(metric, matchers, rollup, only):
            if (track := tracks.get(labels)) is None:
                track = tracks[labels] = Track()
            track.extend(points)
        fallen = {labels: set(falls) for labels, track in tracks.items() if counter and (falls := track.falls())}
        if fallen:
            for index, labels, value in self.values(metric, matchers, "max_over_time"):
                if index in fallen.get(labels, ()):
                    tracks[labels].peaks[index] = value
        return tracks

    def folded(
        self, metric: str, matchers: str, rollup: str, fold: Callable[[float, float], float]
    ) -> dict[Labels, float]:
        """One figure for each series: its windows folded in order of time."""
        totals: dict[Labels, float] = {}
        for _, labels, value in self.values(metric, matchers, rollup):
            totals[labels] = fold(totals[labels], value) if labels in totals else value
        return totals

    def values(self, metric: str, matchers: str, rollup: str) -> Iterator[tuple[int, Labels, float]]:
        """Window, labels and value; finite values only."""
        for labels, points in self.pieces(metric, matchers, rollup):
            for index, value in points:
                yield index, labels, value

    def pieces(
        self, metric: str, matchers: str, rollup: str, only: str = ""
    ) -> Iterator[tuple[Labels, list[tuple[int, float]]]]:
        """Labels, and windows with their finite values, piece by piece.

        ``only`` is a comparison that values must pass: `` == 1``.
        """
        milliseconds = math.ceil(self.span.step_seconds * 1000)
        query = f"{rollup}({PREFIX}{metric}{{{matchers}}}[{milliseconds}ms]){only}"
        begin, step = self.span.begin, self.span.step_seconds
        at, last = self._windows or (0, self.span.steps)
        while at <= last:
            upto = min(at + self.points - 1, last)
            for series in self._piece(metric, query, at, upto):
                points = [
                    (index, value)
                    for t, value in series.points
                    if at <= (index := round((t - begin) / step)) <= upto and math.isfinite(value)
                ]
                if points:
                    yield _labels(series.labels), points
            at = upto + 1

    def _piece(self, metric: str, query: str, first: int, last: int) -> list[Series]:
        step = math.ceil(self.span.step_seconds * 1000) / 1000
        self.progress(metric, first, self.span.steps + 1)
        try:
            series = self.store.over(query, self.span.at(first), self.span.at(last) + step / 2, step)
        except TooMuchError as error:
            self._slow = self._slow + 1 if isinstance(error, TooSlowError) else 0
            if self._slow >= _MOST_SLOW:
                raise
            if first == last:
                raise TooMuchError(f"{error}. {_LESS}") from None
            middle = (first + last) // 2
            self.points = max(1, middle - first + 1)
            return [*self._piece(metric, query, first, middle), *self._piece(metric, query, middle + 1, last)]
        self._slow = 0
        return series


def _labels(labels: Mapping[str, str]) -> Labels:
    """Without the name; a label that a target's took the place of is the series' own again."""
    if "exported_" not in "".join(labels):
        return tuple(sorted(pair for pair in labels.items() if pair[0] != "__name__"))
    own = {name.removeprefix("exported_"): value for name, value in labels.items() if name.startswith("exported_")}
    own_labels = {
        name: value for name, value in labels.items() if name != "__name__" and not name.startswith("exported_")
    }
    return tuple(sorted({**own_labels, **own}.items()))
