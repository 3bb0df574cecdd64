"""The processes of a run on this node: when each ran, which devices it used, and its rank in the job."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from epochcost.ledger.shares import Placed, named
from epochcost.model import TrainingEvent

MEMBERS_KEPT = 64
"""Processes of one run that are remembered after their end, so that what arrives late can still be corrected."""


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


class Members(dict[str, Member]):
    """All known processes of one run, by writer."""

    def open_at(self, t: float) -> bool:
        """Whether any of them was running at ``t``."""
        return any(m.open_at(t) for m in self.values())

    def leaves_it_to_rank_zero(self, writer: str) -> bool:
        """Whether rank 0 of its world is running here: rank 0 reports the progress that this process reports."""
        process = self.get(writer)
        return process is not None and bool(process.rank) and any(m.rank == 0 and m.end is None for m in self.values())

    def is_first_rank_zero(self, writer: str, followed: str, began: float) -> bool:
        """Whether ``writer`` is the first rank 0 here since ``began``, while another rank of its world is followed."""
        other = self.get(followed)
        zeros = [m.end for name, m in self.items() if name != writer and m.rank == 0]
        earlier = all(end is not None and end < began for end in zeros)
        return earlier and other is not None and bool(other.rank) and other.end is None

    def gpus_at(self, t: float) -> frozenset[str] | None:
        """The devices that they used at ``t``; None for all of the node."""
        used: set[str] = set()
        for member in self.values():
            if member.open_at(t):
                if member.gpus is None:
                    return None
                used.update(member.gpus if member.held is None else member.held)
        return frozenset(used)

    def hold(self, devices: Sequence[Placed]) -> None:
        """Keep which of ``devices`` they mean: from now on these stay their claim, seen or not."""
        for member in self.values():
            if member.end is None and member.gpus is not None and member.held is None:
                mine = named(frozenset(member.gpus), devices)
                member.held = tuple(uuid for uuid, _, _ in mine) if any(weight for _, _, weight in mine) else None

    def changes_after(self, t: float) -> set[float]:
        """Instants after ``t`` at which one of them began or ended."""
        instants = {m.start for m in self.values()} | {m.end for m in self.values() if m.end is not None}
        return {at for at in instants if at > t}

    def seconds(self, now: float) -> float:
        """Seconds in which at least one of them was running, by the events' clock."""
        total, reached = 0.0, -math.inf
        for member in sorted(self.values(), key=lambda m: m.start):
            end = now if member.end is None else member.end
            total += max(0.0, end - max(member.start, reached))
            reached = max(reached, end)
        return total

    def forget_old(self, leader: str | None) -> float:
        """Forget the oldest that have ended, but not the ``leader``, if there are many; returns their seconds."""
        closed = [name for name, m in self.items() if m.end is not None]
        if len(closed) < MEMBERS_KEPT:
            return 0.0
        now = max(m.end or m.last_t for m in self.values())
        whole = self.seconds(now)
        for name in closed[: MEMBERS_KEPT // 2]:
            if name != leader:
                del self[name]
        return whole - self.seconds(now)

    def state(self) -> dict[str, list[Any]]:
        """As JSON-able data."""
        return {k: [m.start, m.end, m.gpus, m.last_t, m.lost, m.rank, m.held] for k, m in self.items()}

    @classmethod
    def restored(cls, state: Mapping[str, Sequence[Any]]) -> Members:
        """What `state` described."""
        return cls(
            (k, Member(start, end, _tuple(gpus), last, lost, rank, _tuple(held)))
            for k, (start, end, gpus, last, lost, rank, held) in state.items()
        )


def _tuple(names: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(names)


def rank_of(event: TrainingEvent) -> int | None:
    """Global rank of the process that wrote ``event``, as far as it matters: 0, or not 0."""
    if event.rank is not None or event.node_rank is None:
        return event.rank
    return event.node_rank or event.local_rank or 0
