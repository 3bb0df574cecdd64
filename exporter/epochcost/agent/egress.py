"""What was sent over the interfaces that are named for it, and what that costs by the GB: beside the hours' dollars.

The kernel's counters do not distinguish the Internet from a neighbour: only named interfaces count. Traffic has no
hour, so its dollars are in no state and in no run: they are an account of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from epochcost.ledger.state_check import fits
from epochcost.model import is_number

GB = 2**30
"""As AWS and Google count a GB of traffic."""
MOST_NAMES = 64
OTHERS = "others"
"""Takes the dollars of further names: a provider may name its traffic differently in each response."""


@dataclass(slots=True)
class EgressAccount:
    """Bytes by interface, and dollars by extra.

    Attributes:
        before: what each interface's own counter was; empty until the first reading.
        sent: what was sent since, or since the boot where that is known.
        usd: what it has cost.
        unpriced: bytes that were sent before a price for a GB was known; priced by the first one.
    """

    before: dict[str, int] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)
    usd: dict[str, float] = field(default_factory=dict)
    unpriced: int = 0
    _whole_boot: bool = False

    def new_boot(self, *, whole: bool) -> None:
        """The machine was rebooted, so its counters began at 0; ``whole``: all since then is this account's."""
        self._whole_boot = whole or bool(self.before)
        self.before = {}

    def add(self, counts: Mapping[str, int], usd_per_gb: Mapping[str, float]) -> None:
        """``counts`` are what the interfaces have sent since the boot, ``usd_per_gb`` what a GB costs by extra."""
        grown = 0
        for name, now in counts.items():
            was = self.before.get(name, 0 if self._whole_boot or self.before else now)
            more = now - was if now >= was else now  # an interface that was rebuilt begins at 0
            self.sent[name] = self.sent.get(name, 0) + more
            grown += more
        self.before.update(counts)
        if not usd_per_gb:
            self.unpriced += grown
            return
        grown, self.unpriced = grown + self.unpriced, 0
        for extra, usd in usd_per_gb.items():
            name = extra if extra in self.usd or len(self.usd) < MOST_NAMES - 1 else OTHERS
            self.usd[name] = self.usd.get(name, 0.0) + usd * grown / GB

    def state(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {"before": self.before, "sent": self.sent, "usd": self.usd, "unpriced": self.unpriced}

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> EgressAccount:
        """What `state` described.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: when it is not what `state` makes.
        """
        counts = [{str(name): n for name, n in state[key].items()} for key in ("before", "sent")]
        usd = {str(name): value for name, value in state["usd"].items()}
        figures = [*counts[0].values(), *counts[1].values(), state["unpriced"]]
        if not all(fits(n, int) and n >= 0 for n in figures) or max(map(len, (*counts, usd))) > MOST_NAMES:
            raise ValueError("egress: not counts of bytes")
        if not all(is_number(value) and value >= 0 for value in usd.values()):
            raise ValueError("egress: not dollars")
        return cls(counts[0], counts[1], {name: float(value) for name, value in usd.items()}, state["unpriced"])
