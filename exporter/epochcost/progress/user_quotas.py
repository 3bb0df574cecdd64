"""What one user may take of what all users share: open runs, processes of runs, event files, log lines."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass

from epochcost.model import RunId
from epochcost.progress.run_owners import NETWORK, NOBODY, short_name

MAX_USERS_COUNTED = 1000
LOG_LINES_PER_USER = 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """For all users together; each may take an equal part, and one part is always kept for the next user.

    Attributes:
        runs: open at once.
        members: processes of open runs.
        members_of_one_run: processes of one run on this node.
        forgotten_after: seconds of silence after which a process takes no place any longer.
    """

    runs: int = 200
    members: int = 1024
    members_of_one_run: int = 256
    forgotten_after: float = 3600.0


class UserQuotas:
    """Counts what each user has open, and refuses more in time.

    Attributes:
        refused: lines and files that were not accepted, by user and reason (``runs``, ``members``, ``files``).
    """

    def __init__(self, limits: Limits = Limits()) -> None:
        self._limits = limits
        self._open: dict[int, dict[RunId, dict[str, float]]] = {}
        self._lines_logged: Counter[int] = Counter()
        self.refused: Counter[tuple[int, str]] = Counter()

    def clear(self) -> None:
        """Nothing is open any longer."""
        self._open.clear()

    def admits(self, user: int, run: RunId, writer: str, t: float) -> bool:
        """Whether an event of ``writer`` at ``t`` is taken; a new process or run takes a place, if there is one."""
        runs = self._open.get(user, {})
        members = runs.get(run)
        if members is not None and writer in members:
            members[writer] = t
            return True
        if reason := self._full(user, run):
            self._forget_silent(user, t)
            reason = self._full(user, run)
        if reason:
            self.refuse(user, reason, self._sentence(user, reason))
            return False
        self._open.setdefault(user, {}).setdefault(run, {})[writer] = t
        return True

    def ended(self, user: int, run: RunId, writer: str) -> None:
        """The process is done with the run."""
        runs = self._open.get(user, {})
        members = runs.get(run)
        if members is None:
            return
        members.pop(writer, None)
        if not members:
            del runs[run]
        if not runs:
            del self._open[user]

    def gone(self, user: int, writer: str) -> None:
        """The process is gone, with all of its runs."""
        for run in list(self._open.get(user, {})):
            self.ended(user, run, writer)

    def part(self, user: int, whole: int) -> int:
        """What ``user`` may have open of ``whole``, one part being kept for a newcomer."""
        return max(1, whole // (len(self._open.keys() | {user}) + 1))

    def refuse(self, user: int, reason: str, sentence: str, count: int = 1) -> None:
        """Count something that is not taken; the first of each user and reason is logged."""
        key = (
            (user, reason)
            if len(self.refused) < MAX_USERS_COUNTED or (user, reason) in self.refused
            else (NOBODY, reason)
        )
        first = not self.refused[key]
        self.refused[key] += count
        if first:
            self.log(user, f"{named(user)}: {sentence} (further occurrences are only counted)")

    def refused_by_name(self) -> dict[tuple[str, str], int]:
        """`refused` as it is exported: ``1001``, ``network``, ``others`` where the user is not known."""
        special = {NETWORK: "network", NOBODY: "others"}
        return {(special.get(user) or short_name(user), why): count for (user, why), count in self.refused.items()}

    def log(self, user: int, sentence: str) -> None:
        """A warning about what ``user`` did, unless that user has filled enough of the log."""
        if len(self._lines_logged) > MAX_USERS_COUNTED and user not in self._lines_logged:
            return
        self._lines_logged[user] += 1
        if self._lines_logged[user] < LOG_LINES_PER_USER:
            _log.warning("%s", sentence)
        elif self._lines_logged[user] == LOG_LINES_PER_USER:
            _log.warning("%s; further faults of %s are only counted", sentence, named(user))

    def _full(self, user: int, run: RunId) -> str:
        runs = self._open.get(user, {})
        if run not in runs and len(runs) >= self.part(user, self._limits.runs):
            return "runs"
        if len(runs.get(run, ())) >= self._limits.members_of_one_run:
            return "members"
        taken = sum(len(members) for members in runs.values())
        return "members" if taken >= self.part(user, self._limits.members) else ""

    def _forget_silent(self, user: int, t: float) -> None:
        oldest = t - self._limits.forgotten_after
        for run, members in list(self._open.get(user, {}).items()):
            for writer in [writer for writer, last_t in members.items() if last_t < oldest]:
                self.ended(user, run, writer)

    def _sentence(self, user: int, reason: str) -> str:
        if reason == "runs":
            return f"more than {self.part(user, self._limits.runs)} runs at once: further ones are not metered"
        most = min(self._limits.members_of_one_run, self.part(user, self._limits.members))
        return f"more than {most} run processes at once: further ones are not metered"


def named(user: int) -> str:
    """A user for people. Not by name: the system's user database may need the network."""
    if user == NETWORK:
        return "the sender of events over the network"
    if user == NOBODY:
        return "an unknown user"
    return f"user {short_name(user)}"
