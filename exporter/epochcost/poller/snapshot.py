"""What the poller knows at one instant: one immutable value that every reader reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from epochcost.model import InstanceFacts, Price, PriceKey


@dataclass(frozen=True, slots=True)
class SourceHealth:
    """How one price source fares.

    Attributes:
        success: how its last attempt went; None before the first, and while it is skipped for want of configuration.
        last_success_ts: when it last answered in full, also before a restart.
        duration_seconds: of its last attempt.
        failures: attempts that failed since the start.
        prices: how many it gives now.
        sentence: for people: why it failed or is skipped; empty after a success.
    """

    success: bool | None = None
    last_success_ts: float | None = None
    duration_seconds: float | None = None
    failures: int = 0
    prices: int = 0
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class PollerSnapshot:
    """All prices, facts by provider and instance type, and sources at ``t`` (seconds since the Unix epoch)."""

    t: float
    prices: Mapping[PriceKey, Price] = field(default_factory=dict)
    facts: Mapping[tuple[str, str], InstanceFacts] = field(default_factory=dict)
    sources: Mapping[str, SourceHealth] = field(default_factory=dict)
