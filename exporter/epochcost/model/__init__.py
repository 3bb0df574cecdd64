"""The nouns of epochcost: frozen values, no behaviour beyond refusing what cannot be true.

This module imports nothing of ours and knows no clock, file or network.

Time: every ``t`` or ``*_ts`` is in seconds since the Unix epoch (float). ``t`` values lie on the *node timeline*: the
wall clock as it stood when the agent first started in this boot, continued by the monotonic clock, so it never jumps.
Money: US dollars. Ratios: 0 to 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import NewType, TypeGuard

from epochcost.model.device_readings import GpuOwner as GpuOwner
from epochcost.model.device_readings import GpuReading as GpuReading
from epochcost.model.device_readings import GpuSample as GpuSample
from epochcost.model.device_readings import HostReading as HostReading

RunId = NewType("RunId", str)
"""The identity of one training run, already made safe for a label (see ``epochcost.progress.parse``)."""

MAX_USD_PER_HOUR = 1e6
"""No rented machine costs more an hour; a larger figure is a unit error (cents, micro-dollars) and is refused."""


def is_number(value: object) -> TypeGuard[float]:
    """Whether what JSON held is a number that a float holds: neither a truth, nor infinite, nor of too many digits."""
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # of a whole number with more digits than a float has
        return False


class PurchaseOption(str, Enum):
    """How an hour of a machine is bought."""

    ON_DEMAND = "on_demand"
    SPOT = "spot"
    RESERVED = "reserved"
    OWNED = "owned"


class State(str, Enum):
    """Where one second of one device goes. Each second is in exactly one state, or split over two by utilisation."""

    BOOT = "boot"
    STARTUP = "startup"
    REPLAY = "replay"
    STALLED = "stalled"
    USEFUL = "useful"
    IDLE = "idle"
    UNALLOCATED = "unallocated"
    FINISHED = "finished"
    UNATTRIBUTED = "unattributed"
    VACANT = "vacant"
    UNKNOWN = "unknown"


UNSETTLED = "unsettled"
"""What rules and dashboards show beside the states of a run: dollars that may still change."""
NOT_WASTED = (State.USEFUL.value, State.UNATTRIBUTED.value, State.UNKNOWN.value, UNSETTLED)
"""Not called waste: work without a reported run may be useful, and unobserved time is not known to be wasted."""


class EventKind(str, Enum):
    """What a training process reports. ``GONE`` never comes over the wire: the reader makes it when a writer died."""

    START = "start"
    PROGRESS = "progress"
    EPOCH_END = "epoch_end"
    PHASE = "phase"
    CHECKPOINT = "checkpoint"
    RESUME = "resume"
    RETRACT = "retract"
    END = "end"
    GONE = "gone"


class SmActivity(str, Enum):
    """A part of useful time: multiprocessors active, the others idle meanwhile, or not known."""

    ACTIVE = "active"
    REST = "rest"
    UNKNOWN = "unknown"


class Phase(str, Enum):
    """What a training process is doing."""

    STARTUP = "startup"
    TRAIN = "train"
    DATA = "data"
    EVAL = "eval"
    CHECKPOINT = "checkpoint"
    RESTORE = "restore"


class EndStatus(str, Enum):
    """How a run, or one attempt of it, ended. ``LOST``: its process died without a report."""

    FINISHED = "finished"
    FAILED = "failed"
    PREEMPTED = "preempted"
    LOST = "lost"


class RunState(str, Enum):
    """The state of a run as users see it (label ``state`` of ``epochcost_run_state``)."""

    STARTUP = "startup"
    TRAINING = "training"
    EVALUATING = "evaluating"
    CHECKPOINTING = "checkpointing"
    REPLAY = "replay"
    STALLED = "stalled"
    FINISHED = "finished"
    FAILED = "failed"
    PREEMPTED = "preempted"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Node:
    """One machine, as providers name it. Empty strings where unknown.

    Attributes:
        node: name of the machine, unique in the fleet (the host name unless configured).
        provider: ``aws``, ``gcp``, ``azure``, ... or ``owned``; lower case.
        region: the provider's region code, ``us-east-1``.
        zone: the provider's zone, ``us-east-1a``; empty if the price is regional.
        instance_type: ``p4d.24xlarge``, ``a3-highgpu-8g``, or a name of the owner's choice.
        purchase_option: how the machine is paid; None if unknown.
        source: which identity source it is from (``configured``, ``aws``, ...).
        reservation: id of the reservation (a capacity block, a future reservation) that it is started in.
        team: the team that pays for it, as configured.
    """

    node: str
    provider: str = ""
    region: str = ""
    zone: str = ""
    instance_type: str = ""
    purchase_option: PurchaseOption | None = None
    source: str = ""
    reservation: str = ""
    team: str = ""


@dataclass(frozen=True, slots=True)
class PreemptionNotice:
    """The provider's notice that it will, or may soon, take the machine away.

    Attributes:
        kind: ``interruption`` (it will) or ``rebalance`` (the risk has risen).
        action: what will be done, in the provider's term (``terminate``, ``preempt``); empty if not reported.
        at_ts: when, by the provider's clock; None if not reported, or if it has begun.
        seen_ts: when the agent first received it, on the node timeline; None from a source, which has no access to the
            timeline.
        provider_clock: the provider's clock when it announced it; None if unknown.
        at_t: `at_ts` on the node timeline; None from a source.
    """

    kind: str
    action: str = ""
    at_ts: float | None = None
    seen_ts: float | None = None
    provider_clock: ClockReading | None = field(default=None, compare=False)
    at_t: float | None = None


@dataclass(frozen=True, slots=True)
class PriceKey:
    """What is bought: exactly one price series per key.

    ``zone`` is empty if the price is regional, ``reservation`` where it is not that of one reservation alone.
    """

    provider: str
    region: str
    zone: str
    instance_type: str
    purchase_option: PurchaseOption
    reservation: str = ""


@dataclass(frozen=True, slots=True)
class PriceStep:
    """From ``ts`` (seconds since the Unix epoch) on, an hour costs ``usd_per_hour``.

    Raises:
        ValueError: for a price that is negative, zero, NaN, infinite or above `MAX_USD_PER_HOUR`, or a NaN ``ts``.
    """

    ts: float
    usd_per_hour: float

    def __post_init__(self) -> None:
        if not (0 < self.usd_per_hour <= MAX_USD_PER_HOUR):  # NaN fails too
            raise ValueError(f"a price must be above 0 and at most {MAX_USD_PER_HOUR:g} $/h, not {self.usd_per_hour!r}")
        if math.isnan(self.ts):
            raise ValueError("a price step needs a time, not NaN")


@dataclass(frozen=True, slots=True)
class Price:
    """A price series: what an hour of ``key`` costs and since when.

    Attributes:
        key: what is bought.
        steps: in ascending order of ``ts``, at least one; a first ``ts`` of ``-inf`` means "as far back as matters".
        source: the price source it is from (``aws``, ``listed``, ``owned``, ``configured``).
        fetched_ts: when the source last confirmed it (for a dated list: the date of the row).

    Raises:
        ValueError: when ``steps`` is empty or not strictly ascending.
    """

    key: PriceKey
    steps: tuple[PriceStep, ...]
    source: str
    fetched_ts: float

    def __post_init__(self) -> None:
        if not self.steps:
            raise ValueError(f"a price needs at least one step: {self.key}")
        if any(a.ts >= b.ts for a, b in zip(self.steps, self.steps[1:], strict=False)):
            raise ValueError(f"price steps must ascend in time: {self.key}")

    @property
    def usd_per_hour(self) -> float:
        """The newest known price, in $/h."""
        return self.steps[-1].usd_per_hour


@dataclass(frozen=True, slots=True)
class ClockReading:
    """A remote clock, as reported in a response; ``exact`` False if it has whole seconds alone."""

    ts: float
    exact: bool = True


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """The hardware of a machine type, as reported by its provider. None if not reported."""

    provider: str
    instance_type: str
    gpu_model: str = ""
    gpus: float | None = None
    gpu_memory_bytes: int | None = None
    """Memory of one GPU."""
    vcpus: float | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class TrainingEvent:
    """One event of one training process. Figures are absolute, so a lost line heals itself; None if not reported.

    Attributes:
        kind: what happened.
        t: when, on the node timeline.
        run: the run's id, safe as a label.
        writer: which stream it came from (file name), one per process; two writers of one run are its members.
        experiment: groups runs of the same model and data.
        team: the team that pays for the run, from its environment.
        slurm_account, slurm_partition, slurm_job_id: the account that Slurm charges, the partition of this machine, and
            the job's number.
        rank, local_rank, node_rank, nodes, world: of the process in its job.
        gpus: device indices or UUIDs that the process uses; None for all of the node.
        epoch: position, counted in finished epochs (3.25 = a quarter into the fourth); whole for ``EPOCH_END``.
        epochs: planned.
        step, samples, tokens: absolute positions.
        steps: per epoch (the length of the loader), where known.
        memory_peak_bytes: the most device memory the process ever held.
        job, launcher: what a launcher started (its id), and which launcher; facts about the run, never its identity.
        attempt: the newest attempt's number, as the launcher counts; for people, never summed by.
        user: the user id that began the run; None if unknown.
        stopped: the policy of the guard by which it ended.
        metrics: numbers that the program reports, by name; None retracts one.
        from_output: whether ``epochcost exec`` made the event from a program's output: its progress is a guess.
    """

    kind: EventKind
    t: float
    run: RunId
    writer: str
    experiment: str | None = None
    team: str | None = None
    slurm_account: str | None = None
    slurm_partition: str | None = None
    slurm_job_id: str | None = None
    framework: str | None = None
    pid: int | None = None
    rank: int | None = None
    local_rank: int | None = None
    node_rank: int | None = None
    nodes: int | None = None
    world: int | None = None
    gpus: tuple[str, ...] | None = None
    unit: str | None = None
    epoch: float | None = None
    epochs: float | None = None
    step: int | None = None
    steps: int | None = None
    samples: int | None = None
    samples_per_epoch: int | None = None
    tokens: int | None = None
    batch_size: int | None = None
    phase: Phase | None = None
    memory_peak_bytes: int | None = None
    budget_usd: float | None = None
    status: EndStatus | None = None
    job: str | None = None
    launcher: str | None = None
    attempt: int | None = None
    user: int | None = None
    stopped: str | None = None
    metrics: tuple[tuple[str, float | None], ...] | None = None
    from_output: bool = False
