"""What is charged for an hour of the machine: its price, and within free windows what is still charged there."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from epochcost.ledger.price import PriceTrack, Window, following_windows
from epochcost.model import MAX_USD_PER_HOUR, PriceStep


@dataclass(slots=True)
class ChargedPrice:
    """What is known of the price.

    Attributes:
        paid: as price sources report it.
        free: windows in which only `free_usd_per_hour` is charged, ascending, not overlapping.
        floor: before it the machine was another one, with a price of its own.
    """

    paid: PriceTrack = field(default_factory=PriceTrack)
    free: tuple[Window, ...] = ()
    free_usd_per_hour: float = 0.0
    floor: float = -math.inf

    def track(self) -> PriceTrack:
        """What is charged."""
        return self.paid.free_in(self.free, self.free_usd_per_hour)

    def learn(self, steps: Sequence[PriceStep], now: float) -> None:
        """Take what a price source reports at ``now``."""
        if steps:
            self.paid = self.paid.learn(steps, now, self.floor)

    def set_free(self, windows: Iterable[Window], usd_per_hour: float) -> None:
        """Charge only ``usd_per_hour`` within ``windows``.

        A window that does not follow the one before is left out, and an impossible price makes nothing free: saved,
        either would make the whole ledger impossible.
        """
        if not 0 <= usd_per_hour <= MAX_USD_PER_HOUR:  # NaN fails too
            windows, usd_per_hour = (), 0.0
        self.free, self.free_usd_per_hour = following_windows(windows), usd_per_hour

    def forget_from(self, t: float) -> None:
        """From ``t`` on this is another machine, whose price is not known yet."""
        self.floor = t
        self.paid = self.paid.forget_from(t)
        self.free = tuple((start, min(end, t)) for start, end in self.free if start < t)

    def state(self) -> dict[str, Any]:
        """As JSON-able data, for the ledger's own."""
        return {
            "price_floor": finite(self.floor),
            "price": [[finite(t), p] for t, p in zip(self.paid.times, self.paid.usd_per_hour, strict=True)],
            "free": [list(window) for window in self.free],
            "free_usd_per_hour": self.free_usd_per_hour,
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> ChargedPrice:
        """What `state` described."""
        return cls(
            PriceTrack(tuple(infinite(t) for t, _ in state["price"]), tuple(p for _, p in state["price"])),
            tuple((float(start), float(end)) for start, end in state.get("free", ())),
            float(state.get("free_usd_per_hour", 0.0)),
            infinite(state["price_floor"]),
        )


def finite(t: float) -> float | None:
    """An instant as JSON holds it: None for one that is infinitely long ago."""
    return None if math.isinf(t) else t


def infinite(t: float | None) -> float:
    """The instant that `finite` described."""
    return -math.inf if t is None else float(t)
