"""One finished epoch, or several that finished together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Epoch:
    """``count`` epochs finished in one go, the last of them number ``number``, from ``start`` to ``end``.

    ``counted`` where global rank 0 was on this machine; see `epochcost.ledger.rank_zero`.
    """

    number: float
    start: float
    end: float
    count: int
    counted: bool = True
