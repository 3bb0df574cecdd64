"""What is known beside a machine's price, as of one instant: its parts, when it ends, what is free, what is left."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from epochcost.agent.price_dates import PriceDates
from epochcost.agent.snapshot import NodeTerms, Purse
from epochcost.prices.allowances import Credit, Limit
from epochcost.prices.free_hours import Window, free_until
from epochcost.prices.quote import PriceTerms

SAME_RATIO = 1e-6
EXTRA = "extra "
"""How the names of parts begin that are charged beside the machine."""
FRESH_SECONDS = 86400.0
"""What was spent an hour when a balance was read longer ago does not show when it will be empty."""


def on_timeline(terms: PriceTerms, dates: PriceDates) -> PriceTerms:
    """``terms`` with the poller's dates of credits brought to the node timeline."""
    credits_ = tuple(
        replace(
            credit,
            as_of_ts=dates.on_timeline(credit.as_of_ts),
            until_ts=credit.until_ts if math.isinf(credit.until_ts) else dates.on_timeline(credit.until_ts),
        )
        for credit in terms.credits
    )
    return replace(terms, credits=credits_)


class ChargedMachine(NamedTuple):
    """What this machine is charged.

    Attributes:
        limits: of the machine, those that are configured here included.
        free: when nothing is charged.
        usd_per_hour: what is charged now: parts that do not sum to it are those of another time.
        boot_ts: when the machine was booted; None if that is not known.
    """

    limits: Sequence[Limit]
    free: Iterable[Window]
    usd_per_hour: float | None
    boot_ts: float | None


def terms_at(
    terms: PriceTerms, machine: ChargedMachine, now: float, machine_purse: Callable[[Credit], Purse]
) -> NodeTerms:
    """``terms``, as last received, as of ``now`` (node timeline).

    Args:
        terms: as last received.
        machine: what they apply to.
        now: the present.
        machine_purse: what is left of credit whose spending is not reported, by this machine's own spending.
    """
    session_ends = [] if machine.boot_ts is None else [
        (limit.name, machine.boot_ts + limit.session_seconds)
        for limit in machine.limits if limit.session_seconds is not None
    ]  # fmt: skip
    until = free_until(machine.free, now)
    named = next((each.name for each in machine.limits if each.free_seconds is not None), "")
    return NodeTerms(
        parts=_parts(terms.parts, machine.usd_per_hour),
        session_ends=tuple((name, end) for name, end in session_ends if end > now),
        free_ends=((named, until),) if until is not None and named else (),
        purses=tuple(
            machine_purse(credit) if credit.spend_usd_per_hour is None else _purse(credit, now)
            for credit in terms.credits
        ),
        spot_usd_per_hour=terms.spot_usd_per_hour,
    )


def _parts(parts: Mapping[str, float], usd_per_hour: float | None) -> Mapping[str, float]:
    """All of them, or in free hours the extras alone: whichever is what is charged."""
    extras = {name: usd for name, usd in parts.items() if name.startswith(EXTRA)}
    for some in (parts, extras):
        if usd_per_hour and math.isclose(math.fsum(some.values()), usd_per_hour, rel_tol=SAME_RATIO):
            return some
    return {}


def _purse(credit: Credit, now: float) -> Purse:
    lasts = credit.lasts_seconds if now - credit.as_of_ts <= FRESH_SECONDS else None
    empty = math.inf if lasts is None else credit.as_of_ts + max(0.0, lasts)
    ends = min(empty, credit.until_ts)
    return Purse(credit.name, credit.usd, ends if math.isfinite(ends) else None, credit.as_of_ts)
