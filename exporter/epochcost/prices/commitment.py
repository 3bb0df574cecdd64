"""A savings plan or a committed-use discount that covers a part of a fleet: what one machine of it costs an hour."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Commitment:
    """An hourly amount, paid in any case, that buys hours at a lower rate; what it does not cover is paid as published.

    Attributes:
        name: for people.
        usd_per_hour: what is committed an hour.
        factor: of the published price, at which it is used up: 0.6 for 40 % off.
        machines: over how many machines it is spread.
    """

    name: str
    usd_per_hour: float
    factor: float
    machines: float

    def parts(self, usd: float) -> dict[str, float]:
        """What one machine costs an hour, of its share in the commitment and of what is beyond, by name.

        The commitment is paid whether used or not: where it covers more than the machines need, each costs more than
        its lower rate.
        """
        share = self.usd_per_hour / self.machines
        covered = min(1.0, self.usd_per_hour / (usd * self.factor * self.machines))
        beyond = (1.0 - covered) * usd
        return {self.name: share} | ({f"beyond {self.name}": beyond} if beyond > 0 else {})

    def effective(self, usd: float) -> float:
        """What one machine costs an hour that is published at ``usd``."""
        return sum(self.parts(usd).values())
