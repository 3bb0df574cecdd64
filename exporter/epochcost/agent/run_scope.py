"""What a run's figures are of: the whole run, or this machine's part of it. A part never passes for the whole.

The agent knows its own machine. A run that spans machines, or that began above epoch 0, has parts that only a store
knows: Prometheus, which scrapes all of them. What it has is read here beside the agent's own exact figures, and never
goes into a counter.
"""

from __future__ import annotations

from dataclasses import dataclass

from epochcost.agent.snapshot import RunView

ROUNDING_USD = 0.01
ROUNDING_RATIO = 0.01
"""How far the store may be ahead of this machine's own figure: after a lower price that arrived late."""
ROUNDING_EPOCHS = 1e-6


@dataclass(frozen=True, slots=True)
class RunScope:
    """The figures that may be shown as the run's, and what they are of.

    Attributes:
        whole: whether they are the whole run's; else they are this machine's part.
        machines: how many machines the run is known to be or to have been on; None if unknown.
        earlier_part: whether epochs were done in a part that is not known.
        missing: what is missing for the whole run's figures; empty when they are whole.
    """

    whole: bool
    machines: int | None
    cost_usd: float | None
    epoch_cost_usd: float | None
    projected_cost_usd: float | None
    earlier_part: bool = False
    missing: str = ""

    @property
    def part(self) -> str:
        """``this machine's part of 2``; empty if the figures are whole."""
        if self.whole:
            return ""
        of = f" of {self.machines}" if self.machines is not None and self.machines > 1 else ""
        return f"this machine's part{of}"


def scope_of(view: RunView) -> RunScope:
    """What the figures of ``view`` are of."""
    stored = view.stored
    machines = max(view.nodes or 1, stored.machines if stored else 1)
    earlier = stored.missing_epochs > 0 if stored else _done_elsewhere(view)
    if machines == 1 and not earlier and not _unknown_machines(view):
        return _own(view, machines if view.nodes or stored else None, missing="", earlier=False)
    missing = _missing(view, earlier=earlier)
    if missing:
        return _own(view, machines if machines > 1 else None, missing, earlier=earlier)
    return _whole(view, machines)


def _done_elsewhere(view: RunView) -> bool:
    """Whether epochs were done that this machine has not counted: before its first, or between two of its attempts."""
    progress = view.counted
    if progress is None:
        return False
    began = progress.start or 0.0
    return began > 0 or progress.useful - began > progress.executed + ROUNDING_EPOCHS


def _unknown_machines(view: RunView) -> bool:
    """Whether the run has, or may have, machines that are not counted.

    It has if rank 0 never was on this one. It may have if a world of several processes does not report how many of them
    are on each machine; a store that has this machine's part knows the others.
    """
    if view.counted is None:
        return view.stored is None or view.stored.machines == 1
    return view.nodes is None and (view.world or 1) > 1 and view.stored is None


def _missing(view: RunView, *, earlier: bool) -> str:
    stored = view.stored
    if stored is None:
        return view.store_note or "set --prometheus.url on the agent for the whole run's"
    if earlier:
        return f"the store lacks parts of this run in which {stored.missing_epochs:.3g} epochs were done"
    least = max(view.nodes or 1, 2 if view.counted is None else 1)
    if stored.machines < least:
        return f"the store has {stored.machines} of its {view.nodes or f'{least} or more'} machines"
    if stored.cost_usd is None or stored.own_cost_usd is None:
        return "the store has no dollars for one of its parts"
    if view.cost_usd is not None and _beyond(stored.own_cost_usd, view.cost_usd):
        return "the store has more dollars for this machine's part than the machine itself: is its name used twice?"
    return ""


def _beyond(stored_usd: float, own_usd: float) -> bool:
    return stored_usd > own_usd * (1 + ROUNDING_RATIO) + ROUNDING_USD


def _own(view: RunView, machines: int | None, missing: str, *, earlier: bool) -> RunScope:
    total, count = view.epoch_cost_usd_sum, view.epoch_cost_count or view.epoch_count
    epoch_cost = total / count if total is not None and count else None
    return RunScope(not missing, machines, view.cost_usd, epoch_cost, view.projected_cost_usd, earlier, missing)


def _whole(view: RunView, machines: int) -> RunScope:
    """Of the other parts what the store has, of this one what is exact now."""
    stored = view.stored
    assert stored is not None  # noqa: S101 - `_missing` has checked it
    cost = stored.cost_usd
    if cost is not None and view.cost_usd is not None and stored.own_cost_usd is not None:
        cost = max(0.0, cost - stored.own_cost_usd) + view.cost_usd
    left = stored.cost_to_finish_usd
    return RunScope(
        whole=True,
        machines=machines,
        cost_usd=cost,
        epoch_cost_usd=stored.epoch_cost_usd,
        projected_cost_usd=None if cost is None or left is None else cost + left,
    )
