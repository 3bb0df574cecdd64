"""Snapshot -> what the guard may decide by: only what is positively known, and why it is not."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from epochcost.agent.device_activity import Idle
from epochcost.agent.host_load import HostLoad
from epochcost.agent.run_scope import scope_of
from epochcost.agent.snapshot import GpuView, NodeTerms, RunView, Snapshot
from epochcost.guard.observation import GpuSeen, Observation, Person, RunSeen
from epochcost.model import GpuOwner, GpuSample, RunId, is_number

UNREADABLE, REFUSED = "unreadable", "refused"
OTHERS = "others"
USUAL_SECONDS = 60.0
"""A training run that makes progress sends an event at least this often, as far as is known."""
CREDIT_FRESH_SECONDS = 3 * 3600.0
"""An account that was empty longer ago may have been filled since."""
SAME_BOOT_SECONDS = 120.0
"""Within which two estimates of when a machine was booted are of one boot."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the snapshot does not hold.

    Attributes:
        runs_on: open runs by the UUID of their device.
        users: the user id that began each run.
        followed: runs whose writers are seen to live, and their processes.
        unread: why some events may not have been read; empty if all were.
        reported: owners of GPUs, also of those on which a run is.
        interactive: see `Observation`.
    """

    wall_ts: float
    fresh_seconds: float
    runs_on: Mapping[str, tuple[RunId, ...]] = field(default_factory=dict)
    users: Mapping[RunId, int | None] = field(default_factory=dict)
    followed: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    unread: str = ""
    reported: Collection[GpuOwner] = ()
    interactive: tuple[tuple[Person, float], ...] | None = None
    no_room: str = ""
    """Why training processes cannot write their events: their file system is full."""
    suspended: Mapping[str, str] = field(default_factory=dict)
    """Why processes of a run are stopped on purpose."""


class Observer:
    """Makes observations, and remembers what must not have changed since the one before."""

    def __init__(self, idle: Idle) -> None:
        self._idle = idle
        self._counts: tuple[int, int] | None = None
        self._devices: frozenset[str] | None = None
        self._whole_gpus: set[str] = set()
        self._no_room_t: float | None = None
        self._t: float | None = None
        self._unheard = (math.inf, -math.inf)
        self._boot_ts: float | None = None
        self._load = HostLoad()

    def state(self) -> dict[str, Any]:
        """What must not be forgotten in a restart, as JSON-able data."""
        return {
            "t": self._t,
            "no_room_t": self._no_room_t,
            "boot_ts": self._boot_ts,
            "gpus": sorted(self._whole_gpus),
        }

    def restore(self, state: Mapping[str, Any], later: float = 0.0) -> None:
        """Continue with what `state` described, ``later`` seconds of the node timeline lying between the two.

        Raises:
            KeyError, TypeError, ValueError: when it is not what `state` makes; nothing has changed then.
        """
        times = [state[name] for name in ("t", "no_room_t", "boot_ts")]
        gpus = {uuid for uuid in state["gpus"] if isinstance(uuid, str)}
        if not all(t is None or is_number(t) for t in times) or len(gpus) != len(state["gpus"]):
            raise ValueError("the saved observations of the guard are not valid")
        self._t, self._no_room_t, self._boot_ts = (None if t is None else t + later for t in times)
        self._whole_gpus = gpus

    def observe(self, snapshot: Snapshot, facts: Facts) -> Observation:
        """What is known at the instant of ``snapshot``."""
        node = snapshot.node
        self._notice_gaps(snapshot, facts)
        self._load.see(node.host)
        void = (*self._of_devices(snapshot), *self._of_events(snapshot, facts), _of_price(snapshot))
        gpus = [view for view in snapshot.gpus if view.seconds or view.sample.gpu_fraction]
        return Observation(
            t=snapshot.t,
            wall_ts=facts.wall_ts,
            node=node.node.node,
            machine=snapshot.machine,
            team=node.node.team,
            boot_ts=node.boot_ts,
            usd_per_hour=node.price_usd_per_hour,
            fresh_seconds=facts.fresh_seconds,
            clock_jumps=snapshot.clock_jumps,
            void=tuple(filter(None, void)),
            gpus=tuple(self._gpu(view, snapshot, facts) for view in gpus),
            runs=tuple(self._run(run, snapshot, facts) for run in snapshot.runs),
            busy_cores=self._load.busy_cores,
            io_bytes_per_second=self._load.io_bytes_per_second,
            busy_cores_lately=self._load.busy_cores_lately,
            io_bytes_per_second_lately=self._load.io_bytes_per_second_lately,
            cpu_ratio=node.host.cpu_utilization_ratio if node.host is not None else None,
            interactive=facts.interactive,
            session_end_ts=min((ts for _, ts in node.terms.session_ends), default=None),
            credit_usd=_credit(node.terms, snapshot.t),
            pods=tuple(sorted({(o.namespace, o.owner) for o in facts.reported if o.kind == "kubernetes"})),
        )

    def _notice_gaps(self, snapshot: Snapshot, facts: Facts) -> None:
        """A disk that is full, or may have been full unnoticed, has silenced every process that wrote to it."""
        t, before, boot_ts = snapshot.t, self._t, snapshot.node.boot_ts
        if self._no_room_t is None or facts.no_room:
            self._no_room_t = t  # what was before an agent that remembers nothing is not known
        if before is not None and t - before > facts.fresh_seconds:
            self._unheard = (before - USUAL_SECONDS, t)
        if self._boot_ts is not None and boot_ts is not None and abs(boot_ts - self._boot_ts) > SAME_BOOT_SECONDS:
            self._whole_gpus = set()  # another machine, as far as its devices go
        self._t, self._boot_ts = t, boot_ts

    def _received(self, last_event_ts: float) -> bool:
        """Whether silence since ``last_event_ts`` means something: the disk was not full then, or might have been."""
        first, last = self._unheard
        assert self._no_room_t is not None  # noqa: S101 - each observation begins with it
        return last_event_ts > self._no_room_t and not first <= last_event_ts <= last

    def _of_devices(self, snapshot: Snapshot) -> list[str]:
        if snapshot.node.gpus == 0 and not snapshot.gpus:
            return []
        if snapshot.node.gpus is None or not snapshot.gpus:
            return ["no GPU was read just now"]
        void = [f"GPU {s.index} cannot be read" for s in _samples(snapshot) if not s.readable or s.stuck_call]
        now = frozenset(sample.uuid for sample in _samples(snapshot))
        before, self._devices = self._devices, now
        self._whole_gpus |= {sample.uuid for sample in _samples(snapshot) if not sample.parent_uuid}
        if self._whole_gpus - now:
            void.append(f"{len(self._whole_gpus - now)} GPUs that were present are missing")
        elif before is not None and before != now:
            void.append("the machine's devices have changed")
        return void

    def _of_events(self, snapshot: Snapshot, facts: Facts) -> list[str]:
        refused = sum(snapshot.refused.values()) + snapshot.events.get(REFUSED, 0)
        counts = (snapshot.events.get(UNREADABLE, 0), refused)
        before, self._counts = self._counts, counts
        void = [facts.unread, facts.no_room]
        progress = snapshot.health.get("progress")
        if progress is not None and not progress.success:
            void.append(f"events: {progress.error}")
        if before is not None and counts[0] > before[0]:
            void.append("an event file could not be read")
        if before is not None and counts[1] > before[1]:
            void.append("events of a user over quota were rejected")
        return void

    def _gpu(self, view: GpuView, snapshot: Snapshot, facts: Facts) -> GpuSeen:
        sample = view.sample
        return GpuSeen(
            uuid=sample.uuid,
            state=view.state,
            utilization_ratio=_activity(sample),
            sm_active_ratio=sample.sm_active_ratio,
            power_watts=sample.power_watts,
            held=self._held(sample),
            owners=_owners(sample.uuid, snapshot.owners),
            runs=facts.runs_on.get(sample.uuid, ()),
        )

    def _held(self, sample: GpuSample) -> bool | None:
        if sample.mig:  # what its slices leave over belongs to no one
            return False
        used = sample.memory_used_bytes
        return None if used is None else used >= self._idle.held_memory_bytes

    def _run(self, view: RunView, snapshot: Snapshot, facts: Facts) -> RunSeen:
        scope, price = scope_of(view), snapshot.node.price_usd_per_hour
        confirmed = None
        if scope.whole and scope.cost_usd is not None and view.settled is not None:
            confirmed = scope.cost_usd - view.settled.provisional_usd
        uuids = {uuid for uuid, runs in facts.runs_on.items() if view.run in runs}
        return RunSeen(
            run=view.run,
            state=view.state,
            open=view.ended_ts is None,
            experiment=view.experiment,
            team=view.team,
            user=Person(facts.users.get(view.run), view.owner_user),
            confirmed_usd=confirmed,
            budget_usd=view.budget_usd,
            usd_per_hour=None if price is None else view.share * price,
            void=facts.suspended.get(view.run, ""),
            followed=self._received(view.last_event_ts) and view.run in facts.followed,
            guessed=view.from_output,
            pids=facts.followed.get(view.run, ()),
            jobs=tuple(sorted({o.owner for o in facts.reported if o.kind == "slurm" and o.uuid in uuids})),
        )


def _samples(snapshot: Snapshot) -> list[GpuSample]:
    return [view.sample for view in snapshot.gpus]


def _of_price(snapshot: Snapshot) -> str:
    return "the price of this machine is not known" if snapshot.node.price_usd_per_hour is None else ""


def _credit(terms: NodeTerms, t: float) -> float | None:
    """The most that any purse has left; None if one of them has not been read of late."""
    fresh = all(t - purse.as_of_ts <= CREDIT_FRESH_SECONDS for purse in terms.purses)
    return max((purse.usd for purse in terms.purses), default=None) if fresh else None


def _activity(sample: GpuSample) -> float | None:
    """As the meter sees it: a slice without a figure by its GPU's power; what slices leave over does nothing."""
    if sample.utilization_ratio is None and sample.power_active is not None:
        return float(sample.power_active)
    return 0.0 if sample.mig and sample.readable else sample.utilization_ratio


def _owners(uuid: str, owners: Collection[GpuOwner]) -> tuple[Person, ...]:
    """Users of the GPU without a run; empty if not all of them are known."""
    mine = [owner for owner in owners if owner.uuid == uuid and owner.kind != "run"]
    if any(owner.kind == OTHERS for owner in mine):
        return ()
    return tuple(Person(name=owner.user or owner.owner) for owner in mine)
