"""What an agent gets to know about its own machine, from the price poller or by its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from epochcost.model import ClockReading, Price
from epochcost.prices.allowances import Credit, Limit


@dataclass(frozen=True, slots=True)
class PriceTerms:
    """What is known beside the price of a machine.

    Attributes:
        parts: of what an hour is made now, in $/h; they sum to the price. Empty if that is not known.
        limits: after how long its provider ends it, and what of it is free.
        credits: what the account that pays it has left.
        usd_per_gb: what a GB that was sent costs, by extra, where it is charged as counted.
        extras_usd_per_hour: what runs beside it and is charged also while its own hours are free.
        spot_usd_per_hour: what spot machines of its type cost in its zone now; None if that is not known.
    """

    parts: Mapping[str, float] = field(default_factory=dict)
    limits: tuple[Limit, ...] = ()
    credits: tuple[Credit, ...] = ()
    extras_usd_per_hour: float = 0.0
    usd_per_gb: Mapping[str, float] = field(default_factory=dict)
    spot_usd_per_hour: float | None = None


@dataclass(frozen=True, slots=True)
class NodePrice:
    """The price of a node, and in $/h what it would cost on demand now (None if unknown or meaningless).

    Attributes:
        price: None if its hours are free for a while, and what others cost is not known.
        clock: the clock that dated it; None for this machine's own, and where it is not known.
        terms: what is known beside it.
    """

    price: Price | None
    on_demand_usd_per_hour: float | None = None
    clock: ClockReading | None = None
    terms: PriceTerms = PriceTerms()
