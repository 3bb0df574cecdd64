"""Which of several pollers behind one name is followed: one, while it responds, so that the past is not rewritten."""

from __future__ import annotations

import logging

from epochcost.model import Price, PriceStep
from epochcost.prices.price_source import PriceSourceError

FOLLOW_SECONDS = 600.0
"""Time since its last response after which a poller gives way to another one that contradicts it."""
_SAME_RATIO = 1e-9
_log = logging.getLogger(__name__)


class ContradictionError(PriceSourceError):
    """A poller contradicts the one that is followed about the same time."""

    contradicts = True


class FollowedPoller:
    """Takes the responses of one poller, and of others only what does not contradict it."""

    def __init__(self) -> None:
        self._poller = ""
        self._received = 0.0
        self._price: Price | None = None

    def take(self, poller: str, price: Price, monotonic: float) -> Price:
        """``price`` as ``poller`` returned it, if it is to be used.

        Args:
            poller: its id; empty from one that does not report it.
            price: its response.
            monotonic: now, in seconds of a clock that never jumps.

        Raises:
            ContradictionError: when another poller is followed that responded not long ago, and contradicts.
        """
        followed = self._price
        if followed is not None and poller != self._poller:
            differs = contradiction(followed, price)
            if differs and monotonic - self._received < FOLLOW_SECONDS:
                names = [name or "(without an id)" for name in (poller, self._poller)]
                raise ContradictionError(
                    f"price poller {names[0]} contradicts {names[1]}, which is used while it responds: {differs}"
                )
            if not differs:
                return price
            _log.warning(
                "price poller %s has not responded for a long time: following %s from now on", self._poller, poller
            )
        self._poller, self._received, self._price = poller, monotonic, price
        return price


def contradiction(one: Price, other: Price) -> str:
    """Where the two have different prices for a time that both know, for people; empty if they nowhere do.

    Only what both had confirmed by then is compared: the later of the two may know of a newer change.
    """
    begin = max(one.steps[0].ts, other.steps[0].ts)
    until = min(one.fetched_ts, other.fetched_ts)
    times = sorted({step.ts for step in (*one.steps, *other.steps) if begin <= step.ts <= until} | {begin})
    for ts in times:
        left, right = _at(one.steps, ts), _at(other.steps, ts)
        if ts <= until and abs(left - right) > _SAME_RATIO * max(left, right):
            return f"${left:g} and ${right:g} an hour for the same time"
    return ""


def _at(steps: tuple[PriceStep, ...], ts: float) -> float:
    return next(step.usd_per_hour for step in reversed(steps) if step.ts <= ts)
