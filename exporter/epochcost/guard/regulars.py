"""Users who had a run on this machine recently: they may keep it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from epochcost.model import is_number

REMEMBERED_SECONDS = 7 * 86400.0
MAX_USERS = 500


class Regulars:
    """Users by when they were last seen to have a run here, node timeline."""

    def __init__(self) -> None:
        self.last_seen_t: dict[int, float] = {}

    def see(self, uids: Iterable[int], t: float) -> None:
        """These users have one now; those without one for a week are forgotten, and of too many the least recent."""
        for uid in uids:
            self.last_seen_t.pop(uid, None)
            self.last_seen_t[uid] = t
        newest = list(self.last_seen_t.items())[-MAX_USERS:]
        self.last_seen_t = {uid: last_t for uid, last_t in newest if t - last_t < REMEMBERED_SECONDS}

    def state(self) -> list[list[float]]:
        """As JSON-able data."""
        return [[uid, t] for uid, t in self.last_seen_t.items()]

    @classmethod
    def restored(cls, state: list[Any], later: float = 0.0) -> Regulars:
        """What `state` described, ``later`` seconds of the node timeline lying between the two.

        Raises:
            TypeError, ValueError: when it is not what `state` makes.
        """
        it = cls()
        for uid, t in state:
            if type(uid) is not int or not is_number(t):
                raise ValueError("users are not numbers")
            it.last_seen_t[uid] = t + later
        return it
