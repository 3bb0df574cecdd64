"""How many epochs of a run did not have to be done again: how far it has come, in each training under its id."""

from __future__ import annotations

from collections.abc import Sequence

from epochcost.reports.history import Member

Began = tuple[Member, bool]
"""A part, and whether it began within the span."""


def useful_epochs(parts: Sequence[Began]) -> float | None:
    """How far the positions rose. What began after a training that finished is new work, wherever it was done."""
    ends = [member.finished for member, _ in parts if member.finished is not None]
    now = [part for part in parts if not ends or (part[0].attempt or 0.0) > max(ends)]
    running = _risen([(*_of_this_training(member), begins) for member, begins in now])
    if not ends:
        return running
    over = [part for part in parts if part not in now or part[0].finished is not None]
    ended = sum(member.finished_epochs or 0.0 for member, _ in over)
    before = _risen([(*_of_all(member), begins) for member, begins in over], least=ended)
    return (before or 0.0) + (running or 0.0)


def _of_all(member: Member) -> tuple[float, list[float]]:
    """Where a part began, and its positions; those of a training that runs now are not of those that are over."""
    tops = [value for _, value in member.useful_epochs.items()]
    most = member.finished_epochs
    return member.start_epoch or 0.0, tops if most is None else [min(top, most) for top in tops]


def _of_this_training(member: Member) -> tuple[float, list[float]]:
    """The same, in the training that runs: positions count on from those before it."""
    before = member.before_epochs or 0.0
    start = (member.start_epoch or 0.0) if member.finished_epochs is None else member.finished_epochs - before
    return max(0.0, start), [max(0.0, value - before) for _, value in member.useful_epochs.items()]


def _risen(parts: Sequence[tuple[float, list[float], bool]], least: float = 0.0) -> float | None:
    """From its position when the span began, or from the lowest start, to the highest position."""
    tops = [tops[-1] for _, tops, _ in parts if tops]
    if not tops:
        return None
    before = [tops[0] for _, tops, begins in parts if tops and not begins]
    began = max(before) if before else min(start for start, _, _ in parts)
    return max(0.0, max([*tops, least]) - began)
