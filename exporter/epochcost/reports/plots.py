"""Plots as inline SVG: colours come from the page's style, so that one picture serves dark and light."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

from epochcost.palette import PALETTE
from epochcost.reports.format import cents, dollars, length, percent
from epochcost.reports.rows import Row

WIDTH, HEIGHT = 420.0, 260.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 18.0, 28.0, 40.0
_STEPS = (1.0, 2.0, 5.0)
_TIMES = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
_MOST_TICKS = 5


class Axis:
    """A logarithmic axis from ``low`` to ``high`` of the values over pixels."""

    def __init__(self, values: Sequence[float], begin: float, end: float) -> None:
        spread = max(1.35, (max(values) / min(values)) ** 0.18)
        self.low, self.high = math.log(min(values) / spread), math.log(max(values) * spread)
        self.begin, self.end = begin, end

    def at(self, value: float) -> float:
        """Position of ``value``, in pixels."""
        return self.begin + (self.end - self.begin) * (math.log(value) - self.low) / (self.high - self.low)

    def ticks(self, *, time: bool) -> list[float]:
        """Round values within the axis, at most five."""
        marks = [v for v in (_round_times() if time else _round_figures()) if self.low < math.log(v) < self.high]
        if len(marks) < 2:  # noqa: PLR2004 - a narrow axis: its own ends
            marks = [math.exp(self.low + (self.high - self.low) * part) for part in (0.2, 0.8)]
        return marks[:: math.ceil(len(marks) / _MOST_TICKS)]


def _round_figures() -> Iterator[float]:
    return (step * 10.0**power for power in range(-7, 7) for step in _STEPS)


def _round_times() -> Iterator[float]:
    yield from (step * 10.0**power for power in range(-4, 0) for step in _STEPS)
    yield from (step * unit for unit in (1.0, 60.0) for step in _TIMES)
    yield from (3600 * hours for hours in (1.0, 2.0, 6.0, 12.0, 24.0, 72.0, 168.0))


def frontier_plot(rows: Sequence[Row], title: str) -> str:
    """Cost per epoch over time per epoch: a numbered point for each row; those on the frontier are filled and joined.

    Every row must have both figures, above 0.
    """
    x = Axis([r.seconds_per_epoch or 0.0 for r in rows], LEFT, WIDTH - RIGHT)
    y = Axis([r.usd_per_epoch or 0.0 for r in rows], HEIGHT - BOTTOM, TOP)
    parts = [*_grid(x, y), *_line([r for r in rows if r.frontier], x, y)]
    parts += [_point(number, row, x, y) for number, row in enumerate(rows, 1)]
    label = escape(f"{title}: cost per epoch over time per epoch", quote=True)
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
    )


def _grid(x: Axis, y: Axis) -> Iterator[str]:
    for t in x.ticks(time=True):
        at = x.at(t)
        yield f'<line class="grid" x1="{at:.1f}" y1="{TOP}" x2="{at:.1f}" y2="{HEIGHT - BOTTOM}"/>'
        yield f'<text class="tick" x="{at:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{_time(t)}</text>'
    for usd in y.ticks(time=False):
        at = y.at(usd)
        yield f'<line class="grid" x1="{LEFT}" y1="{at:.1f}" x2="{WIDTH - RIGHT}" y2="{at:.1f}"/>'
        yield f'<text class="tick" x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{_money(usd)}</text>'
    middle = (LEFT + WIDTH - RIGHT) / 2
    yield f'<text class="axis" x="{middle}" y="{HEIGHT - 5}" text-anchor="middle">time per epoch</text>'
    yield '<text class="axis" x="4" y="14">cost per epoch</text>'


def _time(seconds: float) -> str:
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 3600 else f"{seconds / 3600:.3g} h"  # noqa: PLR2004


def _money(usd: float) -> str:
    return f"{usd * 100:.3g} ¢" if usd < 1 else f"${usd:,.4g}"


def _line(rows: Sequence[Row], x: Axis, y: Axis) -> Iterator[str]:
    places = sorted((x.at(r.seconds_per_epoch or 1.0), y.at(r.usd_per_epoch or 1.0)) for r in rows)
    if len(places) > 1:
        yield f'<polyline class="frontier" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in places)}"/>'


def _point(number: int, row: Row, x: Axis, y: Axis) -> str:
    a, b = x.at(row.seconds_per_epoch or 1.0), y.at(row.usd_per_epoch or 1.0)
    kind = "on" if row.frontier else "off"
    label = escape(f"{row.instance_type} {row.option}: {length(row.seconds_per_epoch)}, {cents(row.usd_per_epoch)}")
    return (
        f'<g class="point {kind}"><title>{label}</title><circle cx="{a:.1f}" cy="{b:.1f}" r="10"/>'
        f'<text x="{a:.1f}" y="{b + 4:.1f}" text-anchor="middle">{number}</text></g>'
    )


def state_bar(amounts: dict[str, float], *, money: bool) -> str:
    """One bar, cut by state in the order of the palette; widths are shares of its sum."""
    whole = sum(amounts.values())
    rects, at = [], 0.0
    for state in PALETTE:
        if (amount := amounts.get(state.value, 0.0)) <= 0 or not whole:
            continue
        width = 1000 * amount / whole
        text = dollars(amount) if money else length(amount)
        label = f"{state.value}: {text}, {percent(amount / whole)}"
        rects.append(
            f'<rect x="{at:.2f}" y="0" width="{max(width - 2, 1):.2f}" height="14" fill="var(--{state.value})">'
            f"<title>{label}</title></rect>"
        )
        at += width
    label = ", ".join(f"{s} {percent(v / whole)}" for s, v in amounts.items() if v > 0) if whole else "nothing"
    return (
        f'<svg class="bar" viewBox="0 0 1000 14" preserveAspectRatio="none" role="img" aria-label="{label}">'
        f"{''.join(rects)}</svg>"
    )
