"""One process of a run on this node: when it ran, which devices it used, and its rank in the job."""

from __future__ import annotations

from dataclasses import dataclass

from epochcost.model import TrainingEvent


@dataclass(slots=True)
class Member:
    """One process of a run on this node. ``end`` is None while it is running."""

    start: float
    end: float | None = None
    gpus: tuple[str, ...] | None = None
    last_t: float = 0.0
    lost: bool = False
    """It was reported as gone, by a reader that may have been wrong."""
    rank: int | None = None
    """Rank of the process in its job; None if it is not reported, or there is no job."""
    held: tuple[str, ...] | None = None
    """UUIDs of the devices that ``gpus`` names, once they are known: an index may later refer to another device."""
    unheard: TrainingEvent | None = None
    """Its first reported position, received while another process was followed; not saved."""

    def open_at(self, t: float) -> bool:
        """Whether the process was running at ``t``."""
        return self.start <= t and (self.end is None or t < self.end)


def rank_of(event: TrainingEvent) -> int | None:
    """Global rank of the process that wrote ``event``, as far as it matters: 0, or not 0."""
    if event.rank is not None or event.node_rank is None:
        return event.rank
    return event.node_rank or event.local_rank or 0
