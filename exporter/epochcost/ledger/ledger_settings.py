"""How the ledger decides."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    """How the ledger decides.

    Attributes:
        whole_node: the runs pay for devices that no run uses (as the bill does); else those are ``unallocated``.
        busy_ratio: utilisation from which a device without a run is ``unattributed`` rather than ``vacant``.
        stall_after: least seconds without progress before a run is ``stalled``.
    """

    whole_node: bool = True
    busy_ratio: float = 0.05
    stall_after: float = 120.0
