"""What the poller knows at one instant: one immutable value that every reader reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from epochcost.model import InstanceFacts, Price, PriceKey
from epochcost.prices.allowances import Credit, Limit
from epochcost.prices.extras import Extra
from epochcost.prices.price_source import Zone


@dataclass(frozen=True, slots=True)
class SourceHealth:
    """State of one price source.

    Attributes:
        success: of its last attempt; None before the first, and while it is skipped for lack of configuration.
        last_success_ts: time of its last full response, also before a restart.
        duration_seconds: of its last attempt.
        failures: attempts that failed since the start.
        prices: how many it has now.
        sentence: for people: why it failed or is skipped; empty after a success.
        held: how many prices the last responses held back, by reason.
        held_total: the same, summed since the start.
        held_sentence: what is held back, for people; empty if nothing is.
        unpriced: types in regions that were requested and are not in its responses.
        unpriced_sentences: the same, for people.
        unknown_total: kinds of prices in its responses that it does not know, summed since the start.
        unknown: what its last response had of these.
        credits: remaining credit of the account at its provider.
    """

    success: bool | None = None
    last_success_ts: float | None = None
    duration_seconds: float | None = None
    failures: int = 0
    prices: int = 0
    sentence: str = ""
    held: Mapping[str, int] = field(default_factory=dict)
    held_total: Mapping[str, int] = field(default_factory=dict)
    held_sentence: str = ""
    unpriced: int = 0
    unpriced_sentences: tuple[str, ...] = ()
    unknown_total: int = 0
    unknown: tuple[str, ...] = ()
    credits: tuple[Credit, ...] = ()


@dataclass(frozen=True, slots=True)
class PollerSnapshot:
    """What is exported at ``t`` (seconds since the Unix epoch).

    Attributes:
        prices: in use or watched.
        facts: of their types, by provider and instance type.
        sources: all.
        extras: what runs beside machines.
        zones: names and ids of the zones of exported prices.
        dropped: prices that are known and not exported, by reason.
        parts: current components of adjusted prices, by key.
        credits: prepaid or granted.
        limits: of sessions, and free hours.
    """

    t: float
    prices: Mapping[PriceKey, Price] = field(default_factory=dict)
    facts: Mapping[tuple[str, str], InstanceFacts] = field(default_factory=dict)
    sources: Mapping[str, SourceHealth] = field(default_factory=dict)
    extras: tuple[Extra, ...] = ()
    zones: frozenset[Zone] = frozenset()
    dropped: Mapping[str, int] = field(default_factory=dict)
    parts: Mapping[PriceKey, Mapping[str, float]] = field(default_factory=dict)
    credits: tuple[Credit, ...] = ()
    limits: tuple[Limit, ...] = ()
