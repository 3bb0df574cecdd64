"""What the guard has done, and would have done: counters that outlive a restart."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from epochcost.model import is_number

MAX_SERIES = 2000


class Result(str, Enum):
    """What became of a step."""

    DONE = "done"
    DRY_RUN = "dry_run"
    FAILED = "failed"
    KEPT = "kept"
    WITHDRAWN = "withdrawn"
    LIMITED = "limited"
    GAVE_UP = "gave_up"


class Account:
    """Counts by policy.

    Attributes:
        actions: steps by policy, step and result.
        ended_usd_per_hour: sum of what an hour cost of all that was ended, by policy and result (done, dry_run).
        wasted_usd: dollars wasted until then, by the same keys.
    """

    def __init__(self) -> None:
        self.actions: dict[tuple[str, str, str], int] = {}
        self.ended_usd_per_hour: dict[tuple[str, str], float] = {}
        self.wasted_usd: dict[tuple[str, str], float] = {}

    def step(self, policy: str, step: str, result: Result) -> None:
        """One step."""
        key = (policy, step, result.value)
        if key in self.actions or len(self.actions) < MAX_SERIES:
            self.actions[key] = self.actions.get(key, 0) + 1

    def ended(self, policy: str, result: Result, usd_per_hour: float, wasted_usd: float) -> None:
        """Something was ended, or would have been."""
        key = (policy, result.value)
        self.ended_usd_per_hour[key] = self.ended_usd_per_hour.get(key, 0.0) + usd_per_hour
        self.wasted_usd[key] = self.wasted_usd.get(key, 0.0) + wasted_usd

    def state(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {
            "actions": [[*key, n] for key, n in self.actions.items()],
            "ended": [[*key, usd] for key, usd in self.ended_usd_per_hour.items()],
            "wasted": [[*key, usd] for key, usd in self.wasted_usd.items()],
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Account:
        """What `state` described.

        Raises:
            KeyError, TypeError, ValueError: when it is not what `state` makes.
        """
        it = cls()
        it.actions = {(str(p), str(s), str(r)): _count(n) for p, s, r, n in state["actions"]}
        it.ended_usd_per_hour = {(str(p), str(r)): _amount(usd) for p, r, usd in state["ended"]}
        it.wasted_usd = {(str(p), str(r)): _amount(usd) for p, r, usd in state["wasted"]}
        return it


def _count(value: Any) -> int:  # noqa: ANN401 - whatever JSON holds
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is not a count")
    return value


def _amount(value: Any) -> float:  # noqa: ANN401
    if not is_number(value) or value < 0:
        raise ValueError(f"{value!r} is not an amount")
    return float(value)
