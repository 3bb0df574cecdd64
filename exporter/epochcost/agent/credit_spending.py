"""What is left of configured credit by what this machine has spent: a part, where other machines spend from it too."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from epochcost.agent.snapshot import Purse
from epochcost.model import is_number
from epochcost.prices.allowances import Credit

MOST = 64
"""Number of credits that are remembered; the oldest are dropped first."""


class CreditSpending:
    """Remembers, by the name of each credit, what this machine had cost when the credit's balance was read."""

    def __init__(self) -> None:
        self._base: dict[str, tuple[float, float]] = {}

    def knows(self, credit: Credit) -> bool:
        """Whether what this machine had cost at the time of ``credit``'s balance is remembered."""
        known = self._base.get(credit.name)
        return known is not None and known[0] == credit.as_of_ts

    def purse(
        self, credit: Credit, cost_usd: float, since_usd: float | None, usd_per_hour: float | None, now: float
    ) -> Purse:
        """``credit`` whose spending is not reported.

        Args:
            credit: with its balance as of a time.
            cost_usd: what this machine has cost until now.
            since_usd: of that, since the balance was read; None if the ledger does not reach back so far, or it is
                known already.
            usd_per_hour: what it costs now.
            now: the present.
        """
        if credit.as_of_ts <= now and since_usd is not None and not self.knows(credit):
            while len(self._base) >= MOST and credit.name not in self._base:
                del self._base[next(iter(self._base))]
            self._base[credit.name] = credit.as_of_ts, cost_usd - since_usd
        if not self.knows(credit):
            void = credit.until_ts if math.isfinite(credit.until_ts) else None
            return Purse(credit.name, credit.usd, void, credit.as_of_ts)
        left = credit.usd - max(0.0, cost_usd - self._base[credit.name][1])
        empty = now + max(0.0, left) / usd_per_hour * 3600 if usd_per_hour else math.inf
        ends = min(empty, credit.until_ts)
        return Purse(credit.name, left, ends if math.isfinite(ends) else None, credit.as_of_ts, machine_only=True)

    def state(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {name: list(base) for name, base in self._base.items()}

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> CreditSpending:
        """What `state` described.

        Raises:
            ValueError, TypeError, AttributeError: when it is not what `state` makes.
        """
        it = cls()
        for name, (as_of, usd) in state.items():
            if not (is_number(as_of) and is_number(usd)):
                raise ValueError(f"credits: {name!r}: not a time and dollars")
            it._base[str(name)] = float(as_of), float(usd)
        if len(it._base) > MOST:
            raise ValueError("credits: too many")
        return it
