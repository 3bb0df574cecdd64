"""The contract of a price source: its requests, its responses, its failures.

A new source (another cloud, a marketplace, a house price list) is one file in this package with a function
``make(settings) -> tuple[Source, ...]`` and one line in ``epochcost.prices.SOURCES``. The poller settings that ``make``
needs are declared as a ``Protocol`` in its own file, so that this package does not depend on the poller.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from epochcost.model import InstanceFacts, Price, PriceKey
from epochcost.prices.allowances import Credit


class PriceSourceError(Exception):
    """A source failed: the text names the source, the request and the response, and contains no secrets."""


class NotConfiguredError(PriceSourceError):
    """The source has no credentials or no file to work with: it is skipped; the text contains what would help."""


@dataclass(frozen=True, slots=True, order=True)
class Want:
    """A machine type in a region; its prices are watched by configuration or were requested."""

    provider: str
    region: str
    instance_type: str


@dataclass(frozen=True, slots=True)
class PriceRequests:
    """Everything wanted of a source in one fetch."""

    items: frozenset[Want] = frozenset()

    def by_region(self, provider: str) -> Mapping[str, tuple[str, ...]]:
        """Instance types by region for ``provider``, both sorted."""
        regions: dict[str, list[str]] = {}
        for want in sorted(self.items):
            if want.provider == provider:
                regions.setdefault(want.region, []).append(want.instance_type)
        return {region: tuple(types) for region, types in regions.items()}


@dataclass(frozen=True, slots=True)
class Refused:
    """A figure that cannot be a price (zero or below), in $/h as returned: it is counted, never exported."""

    key: PriceKey
    usd_per_hour: float


@dataclass(frozen=True, slots=True)
class Zone:
    """A zone's name in one account, and its id, which is the same in all."""

    provider: str
    region: str
    zone: str
    zone_id: str


@dataclass(frozen=True, slots=True)
class Catalogue:
    """One response of a source.

    Attributes:
        prices: at most one per key.
        facts: the hardware of the machine types.
        problems: sentences about what could not be priced while the rest could. With any problem the response counts as
            a failure of the source, and what it does not mention is kept from the last good response.
        whole_history: the steps are all there ever were (a dated list), so steps known before are forgotten;
            otherwise they extend what is known.
        complete: what it does not mention is dropped at once; otherwise that stays until it is too old. A whole history
            is complete.
        refused: figures that cannot be a price.
        zones: names and ids of zones.
        requested: the wanted types that the response covers: those without a price are not sold, or misspelt (see
            `epochcost.prices.unpriced`). A failed request is a problem and not in here.
        names: machine types that the provider is known to have, to find the nearest to one that has no price.
        reasons: why a machine type has no price, by its name, if the response contains it.
        notes: sentences for people about the response that are not failures.
        unknown: kinds of prices in the response that this source does not know. A provider has changed something.
        credits: what the account has left there.
    """

    prices: tuple[Price, ...] = ()
    facts: tuple[InstanceFacts, ...] = ()
    problems: tuple[str, ...] = ()
    whole_history: bool = False
    complete: bool = False
    refused: tuple[Refused, ...] = ()
    zones: tuple[Zone, ...] = ()
    requested: frozenset[Want] = frozenset()
    names: frozenset[str] = frozenset()
    reasons: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    credits: tuple[Credit, ...] = ()


class Source(Protocol):
    """Where prices come from. One instance is only ever called by one thread at a time."""

    @property
    def name(self) -> str:
        """Label ``source`` of its prices and of its health."""
        ...

    @property
    def provider(self) -> str:
        """The provider whose types can be requested; empty if the source returns all it has whatever is wanted."""
        ...

    @property
    def refresh_seconds(self) -> float:
        """Interval between two requests, in seconds."""
        ...

    @property
    def watched(self) -> frozenset[Want]:
        """What to watch always, by configuration; the schedule adds what agents request."""
        ...

    def fetch(self, requests: PriceRequests, now: float) -> Catalogue:
        """Fetch once; ``now`` in seconds since the Unix epoch. Bounded in time by its own timeouts.

        Raises:
            NotConfiguredError: nothing to work with.
            PriceSourceError: anything else that left it without a response.
        """
        ...


def summary(sentences: Iterable[str], most: int = 3) -> str:
    """The first few of ``sentences`` in one line, and how many more there are."""
    all_of_them = list(dict.fromkeys(sentences))
    more = f"; and {len(all_of_them) - most} more" if len(all_of_them) > most else ""
    return "; ".join(all_of_them[:most]) + more


def without_contradictions(source: str, prices: Iterable[Price], problems: list[str]) -> tuple[Price, ...]:
    """One price a key: none if a response has two prices for one key, which is added to ``problems``."""
    by_key: dict[PriceKey, Price] = {}
    different: dict[PriceKey, set[float]] = {}
    for price in prices:
        different.setdefault(price.key, set()).add(price.usd_per_hour)
        by_key.setdefault(price.key, price)
    for key, figures in different.items():
        if len(figures) > 1:
            amounts = ", ".join(f"${usd:g}" for usd in sorted(figures))
            problems.append(
                f"{source}: {key.instance_type}: {len(figures)} prices in one response: {amounts}; none used"
            )
            del by_key[key]
    return tuple(by_key.values())
