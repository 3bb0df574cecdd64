"""The nouns of a simulated fleet: what happens on each machine and in the market, and when.

A script contains what *happens* (a process starts, a GPU works, a price changes), never what the ledger should make of
it, so that the truth of every figure can be computed from it by other means than the code under test. All times are
seconds since the beginning of the simulation, money is US dollars, ratios are 0-1, memory is bytes.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

from epochcost.model import PurchaseOption

GIB = 2**30
HOUR = 3600.0
REPORT_SECONDS = 15.0
"""A simulated training run reports its position this often, and at the end of each epoch."""
BLOCK_SECONDS = 300.0
"""Within one block the load of a GPU is constant, so that its integral is known."""
DRIVER_FILL = 0.002
"""Share of a GPU's memory that its driver uses while no process holds any."""
STARTUP_LOAD = 0.15
"""Of a GPU while its process loads data and compiles."""
COMPILING_LOAD = 0.01
COMPILING_CPU, QUIET_CPU = 0.55, 0.003
"""Of all CPUs, while a training run compiles on them, and while nothing runs."""
FOREVER = math.inf
CLUSTER = "simulated"
"""On every target, or as the prefix of a name: the demo's dollars must not be taken for real ones."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is trained, whichever machine it runs on; ``team`` pays, ``user`` began it."""

    run: str
    experiment: str
    epochs: float
    samples_per_epoch: int
    framework: str = "torch"
    nodes: int = 1
    world: int = 1
    budget_usd: float | None = None
    team: str = ""
    user: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One process of a job on one machine, from its start to its end.

    Attributes:
        run: of the job.
        start: when the process starts.
        first_step: when it has loaded everything and trains.
        end: when it ends.
        epochs_per_hour: its speed.
        load: mean utilisation of its GPUs while it trains.
        memory_fill: share of each GPU's memory in use.
        batch_size: samples a step.
        from_epoch: the checkpoint's position; 0 for a beginning.
        status: how it ends: ``finished``, ``preempted``, ``failed``, or ``lost`` (without a report).
        hangs_at: from when on it makes no progress, its GPUs busy all the same.
        waiting_gpus: indices of GPUs that it holds and does not use.
        compiles: before its first step it compiles: its GPUs idle, its CPUs busy; else it loads data over the network.
        rank: the lowest global rank on the machine; 0 counts the run's progress.
    """

    run: str
    start: float
    first_step: float
    end: float
    epochs_per_hour: float
    load: float
    memory_fill: float = 0.5
    batch_size: int = 64
    from_epoch: float = 0.0
    status: str = "finished"
    hangs_at: float = FOREVER
    waiting_gpus: tuple[int, ...] = ()
    rank: int = 0
    compiles: bool = False

    def position(self, t: float) -> float:
        """Where it is at ``t``, in epochs."""
        trained = max(0.0, min(t, self.end, self.hangs_at) - self.first_step)
        return self.from_epoch + trained * self.epochs_per_hour / HOUR

    def reaches(self, position: float) -> float:
        """When it is at ``position``."""
        return self.first_step + (position - self.from_epoch) * HOUR / self.epochs_per_hour


@dataclass(frozen=True, slots=True)
class Stranger:
    """A user of the machine's GPUs who reports no run; without load, only their memory is allocated."""

    start: float
    end: float
    load: float
    memory_fill: float
    user: str


@dataclass(frozen=True, slots=True)
class PlannedKeep:
    """A user postpones the guard's actions on a machine."""

    start: float
    end: float
    user: str
    why: str


@dataclass(frozen=True, slots=True)
class Steps:
    """A price over time: ``(from when on, $/h)``, ascending; the first may lie before the beginning."""

    steps: tuple[tuple[float, float], ...]

    def at(self, t: float) -> float | None:
        """$/h at ``t``; None before the first."""
        known = [usd for since, usd in self.steps if since <= t]
        return known[-1] if known else None


@dataclass(frozen=True, slots=True)
class Offer:
    """The hourly price of a machine type somewhere, and its simulated source.

    Attributes:
        dated: for a list's row its date; None for a price that is confirmed at every refresh.
    """

    source: str
    provider: str
    region: str
    zone: str
    instance_type: str
    purchase_option: PurchaseOption
    price: Steps
    dated: float | None = None


@dataclass(frozen=True, slots=True)
class Kind:
    """A machine type's hardware; ``profiled`` where its GPUs count what their parts do, as Hopper and later ones."""

    provider: str
    instance_type: str
    gpus: int = 0
    gpu_model: str = ""
    gpu_memory_bytes: int = 0
    vcpus: int = 16
    memory_bytes: int = 64 * GIB
    watts_per_gpu: float = 300.0
    profiled: bool = False


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine's life.

    Attributes:
        cluster: label of its target.
        team: the team that pays for it.
        boots: when it is booted (before the beginning: long ago).
        agent_starts: when its agent first runs.
        gone: when it is taken away; its target stays in Prometheus.
        notice: when its provider announces that it will be.
        rebalance: when its provider announces that it may be.
        priced: whether its agent queries the poller.
        unreadable: (GPU, from, to) in which the driver does not respond for it.
        asleep: (from, to) in which the agent serves and does not sample.
        contradicted: (from, to) in which a second poller contradicts the first, once a minute.
        guarded: whether its agent has a guard, which only reports what it would do.
        keeps: by which users that is postponed.
    """

    name: str
    kind: Kind
    region: str = ""
    zone: str = ""
    purchase_option: PurchaseOption | None = None
    boots: float = -86400.0
    agent_starts: float = 0.0
    gone: float = FOREVER
    notice: float | None = None
    rebalance: float | None = None
    priced: bool = True
    cluster: str = CLUSTER
    team: str = ""
    attempts: tuple[Attempt, ...] = ()
    strangers: tuple[Stranger, ...] = ()
    cpu_load: float = 0.2
    unreadable: tuple[tuple[int, float, float], ...] = ()
    asleep: tuple[tuple[float, float], ...] = ()
    contradicted: tuple[tuple[float, float], ...] = ()
    guarded: bool = False
    keeps: tuple[PlannedKeep, ...] = ()

    def attempt_at(self, t: float) -> Attempt | None:
        """The attempt that runs at ``t``."""
        return next((a for a in self.attempts if a.start <= t < a.end), None)

    def stranger_at(self, t: float) -> Stranger | None:
        """The users at ``t`` without a run."""
        return next((s for s in self.strangers if s.start <= t < s.end), None)

    def compiles_at(self, t: float) -> bool:
        """Whether a training run compiles on it at ``t``."""
        attempt = self.attempt_at(t)
        return attempt is not None and attempt.compiles and t < attempt.first_step

    def cpu(self, t: float) -> float:
        """Utilisation of the CPUs of a machine with GPUs at ``t``."""
        if self.compiles_at(t):
            return COMPILING_CPU
        stranger = self.stranger_at(t)
        works = self.attempt_at(t) is not None or (stranger is not None and stranger.load > 0)
        return self.cpu_load if works else QUIET_CPU

    def devices(self) -> int:
        """How many devices its time is the mean of: its GPUs, or itself."""
        return max(1, self.kind.gpus)

    def load(self, device: int, t: float) -> float:
        """Utilisation of one device (of a machine without GPUs: of its CPUs) at ``t``."""
        attempt = self.attempt_at(t)
        if attempt is not None:
            if device in attempt.waiting_gpus:
                return 0.0
            starting = COMPILING_LOAD if attempt.compiles else STARTUP_LOAD
            mean = starting if t < attempt.first_step else attempt.load
            return _unsteady(mean, f"{self.name}/{device}", t)
        stranger = self.stranger_at(t)
        if stranger is not None:
            return _unsteady(stranger.load, f"{self.name}/{device}", t)
        return 0.0 if self.kind.gpus else 0.02

    def memory_fill(self, t: float) -> float:
        """Share of each GPU's memory in use at ``t``."""
        user = self.attempt_at(t) or self.stranger_at(t)
        return user.memory_fill if user is not None else DRIVER_FILL

    def sees(self, device: int, t: float) -> bool:
        """Whether the driver responds for the device at ``t``."""
        return not any(gpu == device and start <= t < end for gpu, start, end in self.unreadable)

    def samples(self, t: float) -> bool:
        """Whether its agent samples at ``t``."""
        return self.agent_starts <= t < self.gone and not any(start <= t < end for start, end in self.asleep)


@dataclass(frozen=True, slots=True)
class Script:
    """A whole simulated world.

    Attributes:
        failing: (source, from, to) in which a source of prices does not respond.
        refused: (source, offer's instance type, from, to) in which a source returns a price of zero for it.
        credits: (source, dollars, $/h) of accounts: what is left, and what is spent by time.
        poller_down: (from, to) in which the poller cannot be reached.
        budget_usd_per_month: of the fleet.
    """

    machines: tuple[Machine, ...]
    jobs: tuple[Job, ...]
    offers: tuple[Offer, ...]
    kinds: tuple[Kind, ...]
    failing: tuple[tuple[str, float, float], ...] = ()
    refused: tuple[tuple[str, str, float, float], ...] = ()
    credits: tuple[tuple[str, float, Steps], ...] = ()
    poller_down: tuple[tuple[float, float], ...] = ()
    budget_usd_per_month: float = 0.0

    def job(self, run: str) -> Job:
        """The job of ``run``."""
        return next(job for job in self.jobs if job.run == run)


def _unsteady(mean: float, who: str, t: float) -> float:
    """``mean`` with a swing that is the same whenever the demo is played: a device's load in one block."""
    block = math.floor(t / BLOCK_SECONDS)
    digest = hashlib.blake2s(f"{who}/{block}".encode(), digest_size=4).digest()
    swing = (int.from_bytes(digest, "big") / 2**32 - 0.5) * 0.16 * min(mean, 1 - mean) * 2
    return round(min(1.0, max(0.0, mean + swing)), 4)
