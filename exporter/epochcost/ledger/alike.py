"""Time in which nothing changes that decides where it goes: accounted in one go, however many reports cut it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from epochcost.ledger.devices import Device
from epochcost.ledger.shares import Claims
from epochcost.model import Phase, RunId, State


@dataclass(slots=True)
class Alike:
    """A span over which all of this stays as it is.

    Attributes:
        start, end: of the span.
        devices: what they did.
        claims: which runs use which.
        states, phases: of the open runs.
        booting: the agent was not up yet.
    """

    start: float
    end: float
    devices: Sequence[Device]
    claims: Claims
    states: Mapping[RunId, State]
    phases: Mapping[RunId, Phase]
    booting: bool

    @property
    def may_wait(self) -> bool:
        """Whether it may be accounted later, together with more: not while a run is starting up.

        How long its devices have worked decides when that is over, and a report may end it.
        """
        return State.STARTUP not in self.states.values()

    def goes_on(self, other: Alike) -> bool:
        """Whether ``other`` is the time after this, and alike."""
        return (
            self.end == other.start
            and self.claims is other.claims
            and self.states == other.states
            and self.phases == other.phases
            and self.booting == other.booting
            and (self.devices is other.devices or self.devices == other.devices)
        )
