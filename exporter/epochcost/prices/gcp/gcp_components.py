"""What a machine of Google Cloud is billed for: its parts, on demand and spot, and their sum in a region."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from epochcost.model import InstanceFacts
from epochcost.prices.gcp.gcp_skus import COMPUTE, Part, RateError, Rates

PROVIDER = "gcp"
GIB = 1024**3
LOCAL_SSD = Part(COMPUTE, "local SSD")


class UnknownMachineError(Exception):
    """No machine of that name is known; the text contains known forms."""


class IncompleteError(Exception):
    """A machine is offered in a region, but some part of it has not exactly one rate; the text contains which part."""


@dataclass(frozen=True, slots=True)
class Line:
    """An amount of one part, at its spot rate or not."""

    part: Part
    quantity: float
    spot: bool = False


@dataclass(frozen=True, slots=True)
class Machine:
    """What one machine type holds and is billed for.

    Attributes:
        on_demand: every part of the bill; empty if it is not sold on demand, whatever the catalogue contains.
        spot: the same as a spot machine.
        facts: its hardware.
    """

    on_demand: tuple[Line, ...]
    spot: tuple[Line, ...]
    facts: InstanceFacts

    @property
    def services(self) -> frozenset[str]:
        """Ids of the services whose SKUs are needed."""
        return frozenset(line.part.service for line in (*self.on_demand, *self.spot))


def usd_per_hour(lines: tuple[Line, ...], rates: Mapping[str, Rates], region: str) -> float | None:
    """The sum of all ``lines`` in ``region``; None if nothing of it is sold there. ``rates`` by service.

    Raises:
        IncompleteError: when some of it is sold there and some has not exactly one rate.
    """
    # Local SSD is sold everywhere, whether the machine is or not.
    own = [line for line in lines if line.part != LOCAL_SSD]
    if not any(rates[line.part.service].has(line.part, region, spot=line.spot) for line in own):
        return None
    dollars: list[float] = []
    missing: list[str] = []
    for line in lines:
        try:
            dollars.append(line.quantity * rates[line.part.service].usd(line.part, region, spot=line.spot))
        except RateError as err:  # noqa: PERF203 - every missing part is named
            missing.append(f"{line.part.name} {err}")
    if missing:
        raise IncompleteError("; ".join(missing))
    return math.fsum(dollars)
