"""The owner of a run: the user who began it; no one else continues, ends or changes it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from epochcost.model import RunId

ROOT = 0
NETWORK = -1
"""The user of everything reported over the network: no user of this machine."""
NOBODY = -2
"""A user who is not known, because the file's status could not be read."""
FIRST_DIRECTORY, FIRST_NAMESPACE, DIGESTS = 1 << 50, 1 << 51, 1 << 48
"""Users that are a directory, or all pods of a namespace, have ids from minus this on; 48 bits of a digest follow."""
MAX_RUNS_PER_USER = 2000
APART = "~"
"""Between a run's id and the user who also claims it; no id that is reported holds it (see ``parse.safe_run``)."""


class RunOwners:
    """The user who began each run.

    The same id from another user is another run, ``ID~USER``, with its own dollars. Root may report for every user's
    runs. Of each user the newest runs are remembered, so that one user's cannot displace another's.
    """

    def __init__(self, most_per_user: int = MAX_RUNS_PER_USER) -> None:
        self._most = most_per_user
        self._users: dict[RunId, int] = {}
        self._runs: dict[int, dict[RunId, None]] = {}

    def run_of(self, run: RunId, user: int) -> RunId:
        """The run that ``user`` means by ``run``: the one of that name, or one of their own if another user has it."""
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
        return RunId(f"{run}{APART}{short_name(user)}")

    def user_of(self, run: RunId) -> int | None:
        """The user who began ``run``, by its id as metered; None if unknown."""
        known = self._users.get(run)
        if known is not None:
            return known
        return user_called(run.rpartition(APART)[2]) if APART in run else None

    def release(self, gone: Collection[int]) -> None:
        """Users that no longer exist: the names of their runs become free."""
        for user in gone:
            for run in self._runs.pop(user, ()):
                del self._users[run]

    def directories(self) -> set[int]:
        """Users with runs that stand for a directory, and not for a person."""
        return {user for user in self._runs if is_directory(user)}

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
        """Restore what `state` described.

        Raises:
            ValueError: when it is not what `state` makes; nothing has changed then.
        """
        if not all(type(user) is int for user in state.values()):
            raise ValueError("the users of runs are not whole numbers")
        self._users, self._runs = {}, {}
        for run, user in state.items():
            assert isinstance(user, int)  # noqa: S101 - for the type checker: looked at above
            self._bind(RunId(run), user)


def directory_user(digest: int) -> int:
    """The user for a directory that belongs to one user, but whose owner does not show which."""
    return -(FIRST_DIRECTORY + digest)


def namespace_user(digest: int) -> int:
    """The user for all pods of a namespace."""
    return -(FIRST_NAMESPACE + digest)


def is_directory(user: int) -> bool:
    """Whether the user is a directory."""
    return FIRST_DIRECTORY <= -user < FIRST_DIRECTORY + DIGESTS


def short_name(user: int) -> str:
    """``1001``, ``net``, ``dir4f00c0ffee12``, ``ns4f00c0ffee12``."""
    if is_directory(user):
        return f"dir{-user - FIRST_DIRECTORY:012x}"
    if -user >= FIRST_NAMESPACE:
        return f"ns{-user - FIRST_NAMESPACE:012x}"
    return "net" if user == NETWORK else str(user)


def user_called(name: str) -> int | None:
    """The opposite of `short_name`; None for anything else."""
    if name == "net":
        return NETWORK
    if made := re.fullmatch(r"(dir|ns)([0-9a-f]{12})", name):
        return (directory_user if made[1] == "dir" else namespace_user)(int(made[2], 16))
    return int(name) if name.isascii() and name.isdecimal() else None
