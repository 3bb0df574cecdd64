"""What the reader of event files reads, for which users, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from epochcost.progress.directory_scan import ENTRIES_PER_STEP
from epochcost.progress.run_owners import RunOwners
from epochcost.progress.user_directories import UserDirectories
from epochcost.progress.user_quotas import UserQuotas


@dataclass(frozen=True, slots=True)
class EventDirectories:
    """Where event files are.

    Attributes:
        shared: by all users; may be missing, and come later.
        from_network: the agent's own; None for none.
        of_users: those of one user each.
    """

    shared: Path
    from_network: Path | None = None
    of_users: UserDirectories = field(default_factory=UserDirectories)


@dataclass(frozen=True, slots=True)
class EventUsers:
    """Which user began which run, and what each may have open."""

    owners: RunOwners = field(default_factory=RunOwners)
    quotas: UserQuotas = field(default_factory=UserQuotas)


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """What one reader of event files may take.

    Attributes:
        bytes_per_poll: read in one poll, about; the rest in the next.
        files_per_poll: opened in one poll.
        followed: files remembered at once: the directory may be open to every user, and none may fill this agent's
            memory. What comes beyond is not read until some are deleted, which is logged and counted.
        listed: names looked at in one poll of a directory; one with more is listed in several.
    """

    bytes_per_poll: int = 4 * 1024 * 1024
    files_per_poll: int = 5000
    followed: int = 20_000
    listed: int = ENTRIES_PER_STEP
