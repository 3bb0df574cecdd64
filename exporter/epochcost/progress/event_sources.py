"""All the places that one agent reads events from, with one account of whose runs they are and what each may take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from epochcost.model import TrainingEvent
from epochcost.progress.clock import NodeClock
from epochcost.progress.event_files import EventFiles
from epochcost.progress.run_owners import NETWORK, RunOwners
from epochcost.progress.user_quotas import UserQuotas


class EventSources:
    """The events directory, which every user may write, and the agent's own files of events from the network.

    Args:
        directory: of the training processes.
        from_network: in which only the agent writes.

    Attributes:
        owners: which user began which run.
        quotas: what each user has open, and what was refused.
    """

    def __init__(self, directory: Path, from_network: Path) -> None:
        self.owners = RunOwners()
        self.quotas = UserQuotas()
        self._local = EventFiles(directory, owners=self.owners, quotas=self.quotas)
        self._network = EventFiles(from_network, owners=self.owners, quotas=self.quotas, user=NETWORK)

    def clear(self) -> None:
        """Forget what `restore` took over: every file is read from its beginning."""
        self.owners.restore({})
        self.quotas.clear()
        self._local.clear()
        self._network.clear()

    def poll(self, clock: NodeClock) -> list[TrainingEvent]:
        """What happened since the last poll, in order of time; see `EventFiles.poll`."""
        events = [*self._local.poll(clock), *self._network.poll(clock)]
        events.sort(key=lambda event: event.t)
        return events

    def close(self) -> None:
        """Let go of the directories."""
        self._local.close()
        self._network.close()

    def watched(self) -> set[str]:
        """As `EventFiles.watched`, of all."""
        return self._local.watched() | self._network.watched()

    def unread(self) -> str:
        """As `EventFiles.unread`, of all."""
        return self._local.unread() or self._network.unread()

    def followed(self, runs: Collection[str]) -> dict[str, tuple[int, ...]]:
        """As `EventFiles.followed`: of processes of this machine alone, for the network may be cut."""
        return self._local.followed(runs)

    @property
    def counts(self) -> Mapping[str, int]:
        """Lines and files by what became of them."""
        return Counter(self._local.counts) + Counter(self._network.counts)

    @property
    def behind(self) -> int:
        """Bytes that wait for the next poll."""
        return self._local.behind + self._network.behind

    def state(self) -> dict[str, Any]:
        """What has been read, as JSON can hold it."""
        return {**self._local.state(), "network": self._network.state(), "users": self.owners.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` of an earlier agent left off; version 0.1 kept the events directory alone.

        Raises:
            ValueError: when ``state`` is not what `state` returns. This object is of no use then.
        """
        users, network = state.get("users", {}), state.get("network")
        if not isinstance(users, Mapping):
            raise ValueError(f"state of the event files: users: {type(users).__name__}")  # noqa: TRY004 - one error
        self.owners.restore(users)
        self._local.restore(state)
        if network is not None:
            self._network.restore(network)
