"""Whose a run is: the user's who began it, and nobody else continues, ends or changes it."""

from __future__ import annotations

from collections.abc import Mapping

from epochcost.model import RunId

ROOT = 0
NETWORK = -1
"""Stands for whoever reports over the network: no user of this machine."""
MAX_RUNS_PER_USER = 2000
APART = "~"
"""Between a run's id and the user who also claims it; no id that is reported holds it (see ``parse.safe_run``)."""


class RunOwners:
    """Which user began which run.

    The same id from another user is another run, ``ID~USER``: his dollars are his, whatever he calls them. Root may
    speak for everybody's runs. Of each user the newest runs are remembered, so that nobody's can be pushed out by
    another's.
    """

    def __init__(self, most_per_user: int = MAX_RUNS_PER_USER) -> None:
        self._most = most_per_user
        self._users: dict[RunId, int] = {}
        self._runs: dict[int, dict[RunId, None]] = {}

    def run_of(self, run: RunId, user: int) -> RunId:
        """The run that ``user`` means by ``run``: that one where it is his or nobody's yet, else one of his own."""
        owner = self._users.get(run)
        if owner is None:
            self._bind(run, user)
        elif owner == user:
            mine = self._runs[user]
            mine[run] = mine.pop(run)
        return self.meant(run, user)

    def meant(self, run: RunId, user: int) -> RunId:
        """As `run_of`, of a run that need not have begun: nothing is remembered."""
        if user == ROOT or self._users.get(run, user) == user:
            return run
        return RunId(f"{run}{APART}{'net' if user == NETWORK else user}")

    def user_of(self, run: RunId) -> int | None:
        """Who began ``run``, by its id as metered; None where that is not known."""
        known = self._users.get(run)
        if known is not None:
            return known
        suffix = run.rpartition(APART)[2] if APART in run else ""
        return NETWORK if suffix == "net" else int(suffix) if suffix.isdecimal() else None

    def _bind(self, run: RunId, user: int) -> None:
        mine = self._runs.setdefault(user, {})
        if len(mine) >= self._most:
            oldest = next(iter(mine))
            del mine[oldest], self._users[oldest]
        mine[run] = None
        self._users[run] = user

    def state(self) -> dict[str, int]:
        """As JSON-able data, the longest unheard first."""
        return {run: user for user, runs in self._runs.items() for run in runs}

    def restore(self, state: Mapping[str, object]) -> None:
        """Take over what `state` described.

        Raises:
            ValueError: when it is not what `state` makes; nothing has changed then.
        """
        if not all(type(user) is int for user in state.values()):
            raise ValueError("the users of runs are not whole numbers")
        self._users, self._runs = {}, {}
        for run, user in state.items():
            assert isinstance(user, int)  # noqa: S101 - for the type checker: looked at above
            self._bind(RunId(run), user)
