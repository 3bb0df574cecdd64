"""Of what the price of machines was made: what is published, discounts, taxes, extras; in dollars of a span."""

from __future__ import annotations

from epochcost.reports.history import History, NodeHistory
from epochcost.reports.money import HOUR_SECONDS
from epochcost.reports.tracks import increments

COUNTED = " (counted traffic, in addition to the hours)"


def price_parts(history: History) -> dict[str, float]:
    """Dollars by part, over all machines whose agents export them: each window's seconds x the part's mean in it.

    Empty where no price has more than one part. Windows in which an agent exports no parts are in none of them. Counted
    traffic comes after them: it is paid beside the hours, and is in no other figure of a report.
    """
    usd: dict[str, float] = {}
    counted: dict[str, float] = {}
    for node in history.nodes.values():
        from_zero = node.begins_in(history.span)
        seconds = _seconds(node, from_zero=from_zero)
        for extra, track in node.egress.items():
            grown = sum(increments(track, from_zero=from_zero).values())
            name = f"{extra}{COUNTED}"
            counted[name] = counted.get(name, 0.0) + grown
        for name, track in node.parts.items():
            for index, usd_per_hour in track.items():
                usd[name] = usd.get(name, 0.0) + usd_per_hour * seconds.get(index, 0.0) / HOUR_SECONDS
    return {**usd, **counted} if len(usd) > 1 or counted else {}


def _seconds(node: NodeHistory, *, from_zero: bool) -> dict[int, float]:
    """Of the machine by window, whatever it did."""
    grown: dict[int, float] = {}
    for track in node.seconds.values():
        for index, amount in increments(track, from_zero=from_zero).items():
            grown[index] = grown.get(index, 0.0) + amount
    return grown
