"""What the meter takes in at each tick: readings, events, the newest price, and how the collectors are doing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from epochcost.agent.snapshot import CollectorHealth
from epochcost.model import GpuReading, HostReading, PreemptionNotice, PriceStep, TrainingEvent
from epochcost.prices.quote import PriceTerms

FRESH_SECONDS = 5.0
"""A reading older than this does not describe the present; a span longer than this was not observed."""


@dataclass(frozen=True, slots=True)
class Quote:
    """The price of this node as last received: steps, what on demand would cost, its source and when.

    Attributes:
        steps: on the node timeline.
        confirmed_ts: when its source last confirmed it, by that one's clock.
        confirmed_t: the same on the node timeline; None if both are the same clock.
        terms: what is known beside the price, its dates on the node timeline.
    """

    steps: tuple[PriceStep, ...]
    on_demand_usd_per_hour: float | None
    source: str
    confirmed_ts: float
    confirmed_t: float | None = None
    terms: PriceTerms = PriceTerms()  # noqa: RUF009 - a frozen value


@dataclass(frozen=True, slots=True)
class Inputs:
    """What came in since the last tick.

    Attributes:
        gpus: newest reading of the GPU source; None when there is none.
        has_gpus: whether a GPU source is in use; if not, the node is one device and its utilisation the CPUs'.
        host: newest reading of the machine.
        events: training events, in any order.
        quote: the newest price; the same object again when nothing new was received.
        preemption: the provider's notice that it takes this machine away.
        watched: event streams whose writer's life is seen by the reader; None if nothing was read.
        health: how each collector went.
        event_counts: the lines read so far, by result.
        refused: what was not accepted of users beyond their quota, by user and by what exceeded it.
        fresh_seconds: maximum age of a reading that describes the present, and maximum length of an observed interval.
    """

    gpus: GpuReading | None = None
    has_gpus: bool = True
    host: HostReading | None = None
    events: Sequence[TrainingEvent] = ()
    quote: Quote | None = None
    preemption: PreemptionNotice | None = None
    watched: Iterable[str] = ()
    health: Mapping[str, CollectorHealth] = field(default_factory=dict)
    event_counts: Mapping[str, int] = field(default_factory=dict)
    clock_jumps: int = 0
    refused: Mapping[tuple[str, str], int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    fresh_seconds: float = FRESH_SECONDS
