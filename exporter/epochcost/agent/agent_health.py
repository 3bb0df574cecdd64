"""How every collector of the agent goes, and what people should do something about."""

from __future__ import annotations

from typing import Protocol

from epochcost.agent.gpu_owners import GpuOwners
from epochcost.agent.gpu_sampling import GpuSampling
from epochcost.agent.host_sampling import HostSampling
from epochcost.agent.priced_machine import PricedMachine
from epochcost.agent.snapshot import CollectorHealth, Snapshot
from epochcost.agent.whole_run_feed import WholeRunFeed
from epochcost.nodes.notices import NoticeFeed, sentence

GOOD = CollectorHealth(success=True, duration_seconds=0.0)


class Feed(Protocol):
    """Something that asks others on a thread of its own."""

    error: str
    """Why the last question failed; empty when it did not."""
    last_duration: float | None
    """Seconds of the last question; None where nobody was asked."""


class AgentHealth:
    """Collects the health of the parts that sample and ask.

    Attributes:
        progress: of reading the event files; set by the beat.
        state: of saving the state; set by the memory.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of the agent
        self,
        host: HostSampling,
        gpus: GpuSampling,
        machine: PricedMachine,
        notices: NoticeFeed,
        owners: GpuOwners,
        store: WholeRunFeed | None = None,
    ) -> None:
        self._host = host
        self._gpus = gpus
        self._machine = machine
        self._notices = notices
        self._owners = owners
        self._store = store
        self.progress = GOOD
        self.state = GOOD

    def by_collector(self, now: float) -> dict[str, CollectorHealth]:
        """How the last attempt of each collector went; one that never made any is absent."""
        health = {"host": self._host.health, "progress": self.progress, "state": self.state}
        if (gpus := self._gpus.health(now)) is not None:
            health["gpus"] = gpus
        asked: list[tuple[str, Feed]] = [("identity", self._machine.identity), ("preemption", self._notices)]
        asked += [(f"owners_{feed.name}", feed) for feed in self._owners.feeds]
        asked += [("store", self._store)] if self._store is not None else []
        for name, feed in asked:
            if feed.last_duration is not None:
                health[name] = CollectorHealth(not feed.error, feed.last_duration, feed.error)
        health["price"] = self._machine.price_health()
        return health


def problems(snapshot: Snapshot) -> tuple[str, ...]:
    """What people should do something about, as sentences."""
    notice = snapshot.node.preemption
    found = [] if notice is None else [f"preemption: {sentence(notice)}. Save a checkpoint."]
    for name, health in sorted(snapshot.health.items()):
        if health.success:
            found += [f"{name}: {health.note}"] if health.note else []
            continue
        if name != "price":
            found.append(f"{name}: {health.error}")
        elif snapshot.node.price_usd_per_hour is None:
            found.append(f"price unknown: {health.error}. Set --price.usd-per-hour, or --prices.url and the node.")
        else:
            found.append(f"price not confirmed: {health.error}. The last known price is used.")
    return tuple(found)
