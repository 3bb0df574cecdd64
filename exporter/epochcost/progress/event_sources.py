"""All the places that one agent reads events from, with one account of the runs' owners and of each user's quota."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from epochcost.model import RunId, TrainingEvent
from epochcost.progress.clock import NodeClock
from epochcost.progress.event_files import EventFiles
from epochcost.progress.event_places import EventPlace, PlaceKind
from epochcost.progress.reading_settings import EventDirectories, EventUsers
from epochcost.progress.user_directories import UserDirectories


class EventSources:
    """The events directory, which every user may write, those of one user each, and the agent's own from the network.

    Args:
        directory: of the training processes of all users.
        from_network: in which only the agent writes.
        user_dirs: the directories of one user each.

    Attributes:
        owners: which user began which run.
        quotas: what each user has open, and what was refused.
    """

    def __init__(self, directory: Path, from_network: Path, user_dirs: UserDirectories | None = None) -> None:
        users = EventUsers()
        self.owners, self.quotas = users.owners, users.quotas
        directories = EventDirectories(directory, from_network, user_dirs or UserDirectories())
        self._files = EventFiles(directories, users)

    def clear(self) -> None:
        """Forget what `restore` took over: every file is read from its beginning."""
        self.owners.restore({})
        self.quotas.clear()
        self._files.clear()

    def poll(self, clock: NodeClock) -> list[TrainingEvent]:
        """What happened since the last poll, in order of time; see `EventFiles.poll`."""
        return self._files.poll(clock)

    def close(self) -> None:
        """Close the directories."""
        self._files.close()

    def watched(self) -> set[str]:
        """As `EventFiles.watched`."""
        return self._files.watched()

    def homes(self) -> dict[RunId, set[str]]:
        """As `EventFiles.homes`."""
        return self._files.homes()

    @property
    def user_places(self) -> tuple[EventPlace, ...]:
        """The directories of one user each that are there now."""
        return tuple(place for place in self._files.places if place.kind is PlaceKind.OF_ONE_USER)

    def unread(self) -> str:
        """As `EventFiles.unread`, of all."""
        return self._files.unread()

    def followed(self, runs: Collection[str]) -> dict[str, tuple[int, ...]]:
        """As `EventFiles.followed`."""
        return self._files.followed(runs)

    @property
    def counts(self) -> Mapping[str, int]:
        """Lines and files by what became of them."""
        return self._files.counts

    @property
    def behind(self) -> int:
        """Bytes that wait for the next poll."""
        return self._files.behind

    def state(self) -> dict[str, Any]:
        """What has been read, as JSON can hold it."""
        return {**self._files.state(), "users": self.owners.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue where `state` of an earlier agent left off; version 0.1 kept the events directory alone.

        Raises:
            ValueError: when ``state`` is not what `state` returns. This object is of no use then.
        """
        users = state.get("users", {})
        if not isinstance(users, Mapping):
            raise ValueError(f"state of the event files: users: {type(users).__name__}")  # noqa: TRY004 - one error
        self.owners.restore(users)
        self._files.restore(state)
