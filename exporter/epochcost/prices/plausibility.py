"""Implausible responses: held back until the next one confirms them, or a person accepts them.

A wrong price is worse than an old one, so while a response is held back the last good price stays in place, with its
age. Held back are: figures of zero or below (never accepted), a price ten times or a tenth of the last one, and a full
response in which half of what was there is missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from epochcost.model import Price, PriceKey
from epochcost.prices.merged_prices import SourcePrices
from epochcost.prices.price_source import Catalogue, Want, summary

ZERO, NEGATIVE, JUMP, ROWS_GONE = "zero", "negative", "jump", "rows_gone"
REASONS = (ZERO, NEGATIVE, JUMP, ROWS_GONE)
JUMP_RATIO = 10.0
SAME_RATIO = 2.0
"""A second response confirms a jump if it is within this factor of the first."""
FEWEST_ROWS = 4
"""Of fewer rows, half may go in honesty."""
WRITTEN = ("owned", "listed", "listed_file")
"""Sources with figures that the user configured: they are accepted as they are."""
ANY = "*"


@dataclass(frozen=True, slots=True)
class HeldPrice:
    """What one source last returned that was implausible.

    Attributes:
        prices: newest $/h of each price that jumped.
        rows: how many prices the full response had in which too many were missing; None if there was no such response.
    """

    prices: Mapping[PriceKey, float] = field(default_factory=dict)
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What to make of a response.

    Attributes:
        catalogue: the accepted part; None if all of it is held back.
        doubt: what is held back until confirmed.
        held: how many prices are held back by this response, by reason (a response with rows gone counts once).
        sentence: what is held back, for people; empty if nothing is.
    """

    catalogue: Catalogue | None
    doubt: HeldPrice = HeldPrice()
    held: Mapping[str, int] = field(default_factory=dict)
    sentence: str = ""


def judge(
    shelf: SourcePrices,
    catalogue: Catalogue,
    doubt: HeldPrice,
    *,
    partial: bool,
    forgotten: frozenset[Want] = frozenset(),
) -> CheckResult:
    """Compare a response with the last good one.

    Args:
        shelf: the last good response.
        catalogue: the new response.
        doubt: what was held back of the previous response.
        partial: only some of what is wanted was requested, so nothing is known about missing rows.
        forgotten: what is no longer requested, so that its absence is expected.
    """
    full = not partial and not catalogue.problems
    expected = [key for key in shelf.prices if Want(key.provider, key.region, key.instance_type) not in forgotten]
    rows = len(catalogue.prices)
    before = len(expected) if shelf.rows is None else min(len(expected), shelf.rows)
    if full and _too_few(rows, before) and not _confirmed_rows(rows, doubt):
        sentence = f"a response with {rows} prices after one with {before} is held back until the next one confirms it"
        return CheckResult(None, replace(doubt, rows=rows), {ROWS_GONE: 1}, sentence)
    jumps = dict(_jumps(shelf, catalogue, doubt))
    believed = tuple(price for price in catalogue.prices if price.key not in jumps)
    earlier = doubt.prices if partial else {}
    reasons = Counter({JUMP: len(jumps)}) if jumps else Counter()
    reasons.update(ZERO if refused.usd_per_hour == 0 else NEGATIVE for refused in catalogue.refused)
    return CheckResult(
        replace(catalogue, prices=believed),
        HeldPrice({**earlier, **jumps}, doubt.rows if partial else None),
        reasons,
        summary(_sentences(shelf, jumps, catalogue)),
    )


def _too_few(rows: int, before: int) -> bool:
    return before >= FEWEST_ROWS and rows * 2 <= before


def _confirmed_rows(rows: int, doubt: HeldPrice) -> bool:
    return doubt.rows is not None and rows * SAME_RATIO >= doubt.rows


def _jumps(shelf: SourcePrices, catalogue: Catalogue, doubt: HeldPrice) -> Iterator[tuple[PriceKey, float]]:
    for price in catalogue.prices:
        known = shelf.prices.get(price.key)
        if known is None or not _jumps_away(known, price):
            continue
        before = doubt.prices.get(price.key)
        if before is None or not _within(price.usd_per_hour, before, SAME_RATIO):
            yield price.key, price.usd_per_hour


def _jumps_away(known: Price, new: Price) -> bool:
    """Whether any new step lies far from the last known price: one bad step among good ones would be charged."""
    old = set(known.steps)
    return any(not _within(step.usd_per_hour, known.usd_per_hour, JUMP_RATIO) for step in new.steps if step not in old)


def _within(usd: float, other: float, ratio: float) -> bool:
    return max(usd, other) < ratio * min(usd, other)


def _sentences(shelf: SourcePrices, jumps: Mapping[PriceKey, float], catalogue: Catalogue) -> Iterator[str]:
    for key, usd in jumps.items():
        yield f"{_name(key)} from ${shelf.prices[key].usd_per_hour:g} to ${usd:g} an hour is held back"
    for refused in catalogue.refused:
        yield f"{_name(refused.key)} at ${refused.usd_per_hour:g} an hour is not a price"


def _name(key: PriceKey) -> str:
    place = key.zone or key.region
    return f"{key.instance_type} {key.purchase_option.value}{f' in {place}' if place else ''}"
