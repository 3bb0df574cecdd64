"""The owner of each GPU, as reported by the agent's owner feeds and its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from epochcost.agent.agent_settings import AgentSettings
from epochcost.agent.gpu_sampling import GpuSampling
from epochcost.agent.snapshot import GpuView
from epochcost.agent.sources import owner_feeds
from epochcost.model import GpuOwner, RunId
from epochcost.owners import combined, run_owners


class GpuOwners:
    """The feeds that may report a GPU's owner, combined with the runs."""

    def __init__(self, settings: AgentSettings, environ: Mapping[str, str], gpus: GpuSampling, proc: Path) -> None:
        self.feeds = owner_feeds(settings, environ, lambda: gpus.known() or (), proc, gpus.name) if gpus.name else []
        self._runs_count = "run" in settings.owners_sources
        self._reported: tuple[Any, ...] = ()
        self._owners: tuple[GpuOwner, ...] = ()

    def start(self) -> None:
        """Start the feeds."""
        for feed in self.feeds:
            feed.start()

    def stop(self) -> None:
        """Stop the feeds."""
        for feed in self.feeds:
            feed.stop()

    def as_reported(self) -> tuple[GpuOwner, ...]:
        """What the feeds report now, also about GPUs on which a run is."""
        return tuple(owner for feed in self.feeds for owner in feed.owners())

    def not_understood(self) -> Mapping[tuple[str, str], int]:
        """Number of processes and devices whose path or name has an unknown format, by source and format."""
        return {(feed.name, form): n for feed in self.feeds for form, n in feed.not_understood().items()}

    def processes(self) -> Mapping[str, tuple[tuple[int, int | None], ...]]:
        """Processes that compute on each GPU, by UUID: number, and the bytes that it holds where known."""
        return {uuid: some for feed in self.feeds for uuid, some in feed.processes().items()}

    def of(self, gpus: Sequence[GpuView], runs_on: Mapping[str, tuple[RunId, ...]]) -> tuple[GpuOwner, ...]:
        """The owners of ``gpus``, given the open runs by the UUID of their device."""
        runs = runs_on if self._runs_count else {}
        uuids = {gpu.sample.uuid for gpu in gpus}
        reported = [feed.owners() for feed in self.feeds]
        if (runs, uuids, reported) != self._reported:  # most seconds nothing new is reported
            owners = combined([run_owners(runs), *reported])
            self._reported = (runs, uuids, reported)
            self._owners = tuple(owner for owner in owners if owner.uuid in uuids)
        return self._owners
