"""Which of the runs that have ended are forgotten first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from epochcost.ledger.run import RunAccount


def first_to_forget(closed: Iterable[RunAccount]) -> list[RunAccount]:
    """``closed`` in that order: of each user the newest stay, so that one user's many do not push out another's few."""
    nth: Counter[int | None] = Counter()
    ranked = []
    for account in sorted(closed, key=lambda a: -a.last_event_t):
        nth[account.user] += 1
        ranked.append((nth[account.user], -account.last_event_t, account))
    ranked.sort(key=lambda one: one[:2], reverse=True)
    return [account for *_, account in ranked]
