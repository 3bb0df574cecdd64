"""What an agent is told about its own machine, by the price poller or by its configuration."""

from __future__ import annotations

from dataclasses import dataclass

from epochcost.model import ClockReading, Price


@dataclass(frozen=True, slots=True)
class NodePrice:
    """The price of a node, and in $/h what it would cost on demand now (None where unknown or meaningless).

    ``clock`` is the clock that dated it; None for this machine's own, and where it was not said.
    """

    price: Price
    on_demand_usd_per_hour: float | None = None
    clock: ClockReading | None = None
