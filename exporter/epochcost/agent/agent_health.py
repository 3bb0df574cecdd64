"""How every collector of the agent goes, and what people should do something about."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Protocol

from epochcost.agent.sampled import Sampled
from epochcost.agent.snapshot import CollectorHealth, NodeTerms, Snapshot
from epochcost.nodes.notices import sentence

HANG_SECONDS = 60.0
SOON_SECONDS = 3600.0
GOOD = CollectorHealth(success=True, duration_seconds=0.0)


class Feed(Protocol):
    """Something that sends requests on a thread of its own."""

    error: str
    """Why the last request failed; empty when it did not."""
    asking_since: float | None
    """When the request in progress was sent, in monotonic seconds; None between two."""
    last_duration: float | None
    """Seconds of the last request; None before the first."""


class AgentHealth:
    """Collects the health of the parts that sample or send requests.

    Attributes:
        progress: of reading the event files; set by the sampling loop.
        state: of saving the state; set by `AgentMemory`.
        guard: health of the guard, if there is one.
    """

    def __init__(self, sampled: Sampled) -> None:
        self._sampled = sampled
        self.progress = GOOD
        self.state = GOOD
        self.guard: Callable[[], CollectorHealth] | None = None

    def by_collector(self, now: float) -> dict[str, CollectorHealth]:
        """How the last attempt of each collector went; one that never made any is absent."""
        parts = self._sampled
        health = {"host": parts.host.health, "progress": self.progress, "state": self.state}
        if self.guard is not None:
            health["guard"] = self.guard()
        if (gpus := parts.gpus.health(now)) is not None:
            health["gpus"] = gpus
        remote: list[tuple[str, Feed]] = [("identity", parts.machine.identity), ("preemption", parts.notices)]
        remote += [(f"owners_{feed.name}", feed) for feed in parts.owners.feeds]
        remote += [("store", parts.store)] if parts.store is not None else []
        for name, feed in remote:
            hangs = hanging(feed.asking_since)
            if feed.last_duration is not None or hangs:
                error = hangs or feed.error
                health[name] = CollectorHealth(not error, feed.last_duration or HANG_SECONDS, error)
        price, prices = parts.machine.price_health(), parts.machine.prices
        hangs = hanging(prices.asking_since) if prices is not None else ""
        health["price"] = dataclasses.replace(price, success=False, error=hangs) if hangs else price
        return health


def hanging(since: float | None) -> str:
    """What is wrong with a feed whose request has been in progress since then; empty while a response may still come.

    Each request has a deadline of its own; a library that ignores it must not show its last success for ever.
    """
    seconds = 0.0 if since is None else time.monotonic() - since
    return f"no response for {seconds:.0f} s" if seconds > HANG_SECONDS else ""


def endings(terms: NodeTerms, now: float) -> list[str]:
    """What ends within the hour: the session, the credit."""
    sentences = [
        f"session: the limit {name} ends this machine in {_minutes(end - now)}. Save a checkpoint."
        for name, end in terms.session_ends
        if end - now < SOON_SECONDS
    ]
    for purse in terms.purses:
        left = math.inf if purse.empty_ts is None else purse.empty_ts - now
        if left < SOON_SECONDS:
            at_least = " at the latest" if purse.machine_only else ""
            sentences.append(
                f"credit: {purse.name} will be used up or expire in {_minutes(left)}{at_least}. Top it up."
            )
    return sentences


def _minutes(seconds: float) -> str:
    return f"{max(0.0, seconds) / 60:.0f} min"


def problems(snapshot: Snapshot) -> tuple[str, ...]:
    """What people should do something about, as sentences."""
    notice = snapshot.node.preemption
    notes = [] if notice is None else [f"preemption: {sentence(notice)}. Save a checkpoint."]
    notes += endings(snapshot.node.terms, snapshot.t)
    for name, health in sorted(snapshot.health.items()):
        if health.success:
            notes += [f"{name}: {health.note}"] if health.note else []
            continue
        if name != "price":
            notes.append(f"{name}: {health.error}")
        elif snapshot.node.price_usd_per_hour is None:
            notes.append(
                f"price unknown: {health.error}. Set --price.usd-per-hour, or --prices.url and the node's identity."
            )
        else:
            notes.append(f"price not confirmed: {health.error}. The last known price is used.")
    return tuple(notes)
