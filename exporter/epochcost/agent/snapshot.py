"""What the agent knows at one instant: one immutable value, built by the meter, swapped whole, read by every reader.

Times in seconds, money in US dollars, ratios 0-1, memory in bytes; None is "not known" and is never exported.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from epochcost.model import (
    GpuOwner,
    GpuSample,
    HostReading,
    Node,
    Phase,
    PreemptionNotice,
    RunId,
    RunState,
    SmActivity,
    State,
)

if TYPE_CHECKING:
    from epochcost.guard.decisions import GuardView, StopRequest


@dataclass(frozen=True, slots=True)
class StateTotals:
    """Device-mean seconds and dollars by state since the ledger began.

    The seconds never decrease. The dollars are exact, and may fall when a lower price arrives late; see `SettledMoney`.
    """

    seconds: Mapping[State, float] = field(default_factory=dict)
    cost_usd: Mapping[State, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SettledMoney:
    """What counters show: dollars of the time up to which the price is confirmed. None of it ever falls.

    Attributes:
        states: dollars by state.
        provisional: dollars by state that may still change: settled and provisional are the exact figure.
    """

    states: Mapping[State, float] = field(default_factory=dict)
    provisional: Mapping[State, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SettledRun:
    """What counters show of a run, and what may still change of it; see `SettledMoney`.

    Attributes:
        cost_usd, provisional_usd: of the run on this machine.
        states: by state; they sum to ``cost_usd``.
        epochs_usd: of finished epochs, those that ended in settled time.
        epochs: how many of those are counted on this machine.
        provisional_epochs_usd: of finished epochs.
    """

    cost_usd: float
    provisional_usd: float
    states: Mapping[State, float]
    epochs_usd: float | None = None
    epochs: int = 0
    provisional_epochs_usd: float | None = None


@dataclass(frozen=True, slots=True)
class UsefulSplit:
    """Useful seconds and dollars by what the multiprocessors did; empty if not known. The parts sum to them."""

    seconds: Mapping[SmActivity, float] = field(default_factory=dict)
    cost_usd: Mapping[SmActivity, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Purse:
    """Credit that pays this machine: how much its provider reported, and when it will be empty at the current spend.

    ``empty_ts`` is also when the rest expires; None if neither is known. ``as_of_ts`` is when its provider reported it.
    ``machine_only``: of what was spent since then only this machine's part is known; others may spend from it too, so
    that there is at most so much, and it is empty sooner.
    """

    name: str
    usd: float
    empty_ts: float | None = None
    as_of_ts: float = field(default=-math.inf, compare=False)
    machine_only: bool = False

    @property
    def scope(self) -> str:
        """Which spending it contains: label ``scope``."""
        return "machine" if self.machine_only else "account"


@dataclass(frozen=True, slots=True)
class NodeTerms:
    """What is known beyond the price of the machine; empty if nothing is. Times on the node timeline.

    Attributes:
        parts: components of the current price, in $/h; they sum to what is charged.
        session_ends: by the name of the limit, when the provider ends this machine.
        free_ends: by the name of the limit, until when nothing is charged.
        free_used: by the name of the limit, seconds of its period that this machine has used up.
        free_account: whose free hours these are; empty if unknown.
        free_scope: which use is known, the ``account``'s or only this ``machine``'s.
        purses: what the account has left.
        egress_bytes: bytes sent by the configured interfaces.
        egress_usd: the cost of that traffic, by extra; in no state's dollars.
        spot_usd_per_hour: price of spot machines of this type here, in $/h; None if unknown.
    """

    parts: Mapping[str, float] = field(default_factory=dict)
    session_ends: tuple[tuple[str, float], ...] = ()
    free_ends: tuple[tuple[str, float], ...] = ()
    free_used: tuple[tuple[str, float], ...] = ()
    free_account: str = ""
    free_scope: str = "machine"
    purses: tuple[Purse, ...] = ()
    egress_bytes: Mapping[str, int] = field(default_factory=dict)
    egress_usd: Mapping[str, float] = field(default_factory=dict)
    spot_usd_per_hour: float | None = None


@dataclass(frozen=True, slots=True)
class NodeView:
    """The machine and what it costs.

    ``price_ts`` is when the price was last confirmed by its source; ``unpriced_seconds`` counts accounted seconds whose
    price is not known yet (their dollars are added once it is known).
    """

    node: Node
    boot_ts: float | None = None
    price_usd_per_hour: float | None = None
    on_demand_usd_per_hour: float | None = None
    price_source: str = ""
    price_ts: float | None = None
    unpriced_seconds: float = 0.0
    totals: StateTotals = field(default_factory=StateTotals)
    settled: SettledMoney = field(default_factory=SettledMoney)
    gpus: int | None = None
    useful: UsefulSplit = field(default_factory=UsefulSplit)
    energy_usd_per_kwh: float | None = None
    grid: tuple[float | None, str] = (None, "")
    """Grams of CO2 for each kWh of the grid, and their source."""
    driver_version: str = ""
    gpu_read_seconds: float | None = None
    """What the driver took for the last figures of its slowest GPU."""
    gpu_call_failures: Mapping[tuple[str, int], int] = field(default_factory=dict)
    host: HostReading | None = None
    power_watts: float | None = None
    preemption: PreemptionNotice | None = None
    terms: NodeTerms = field(default_factory=NodeTerms)


@dataclass(frozen=True, slots=True)
class GpuView:
    """One GPU or MIG slice: its last sample, the state it is in, and its integrals.

    A GPU whose slices leave nothing over has no seconds of its own. An integral is None if the figure was never
    reported.
    """

    sample: GpuSample
    state: State
    seconds: Mapping[State, float]
    utilization_seconds: float | None
    memory_used_byte_seconds: float | None
    held_idle_seconds: float | None = None
    """Seconds in which its memory was held by a process and it did nothing."""


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """One finished epoch: its number (1 is the first), when it ended, and what it took on this node."""

    epoch: float
    end_ts: float
    seconds: float
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class StoredRun:
    """One run over all its machines, as a store that scrapes all of them has it.

    Attributes:
        cost_usd: of all its parts; None while the store lacks the dollars of one.
        own_cost_usd: what of that is this machine's, as of the same instant.
        machines: how many have, or had, a part of it.
        missing_epochs: done in parts that the store does not have.
        cost_to_finish_usd: of the epochs that are planned and not done.
        reached_elsewhere: highest position, in the training that runs, of the parts that it does not train on any
            more; 0 for none.
        finished_ts: when a training run under its id last finished; None if none did.
        others: names of its other machines.
    """

    cost_usd: float | None
    own_cost_usd: float | None
    machines: int
    missing_epochs: float = 0.0
    epoch_cost_usd: float | None = None
    cost_to_finish_usd: float | None = None
    reached_elsewhere: float = 0.0
    finished_ts: float | None = None
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CountedProgress:
    """What this machine counts of a run's progress: what was done while global rank 0 was here.

    Summed over machines each epoch is counted once. Once rank 0 has left this machine, it stays as it was then.

    Attributes:
        start: position in finished epochs from which it counts: 0, or where it resumed.
        epoch: position.
        planned: epochs.
        executed, useful, lost: epochs; see `RunView`.
        finished, seconds: whole epochs that were timed, and what they took.
        attempt_ts: when the newest attempt began that is counted here.
        before: epochs of earlier training runs under this id, from which positions count on.
        over, over_ts: position at which a training run under this id last finished here, and when; None if none has.
    """

    start: float | None = None
    epoch: float | None = None
    planned: float | None = None
    executed: float = 0.0
    useful: float = 0.0
    lost: float = 0.0
    finished: int = 0
    seconds: float = 0.0
    steps: int | None = None
    samples: int | None = None
    tokens: int | None = None
    last_epoch_seconds: float | None = None
    current_epoch_seconds: float | None = None
    current_epoch_ratio: float | None = None
    phase_seconds: Mapping[Phase, float] = field(default_factory=dict)
    attempt_ts: float | None = None
    before: float = 0.0
    over: float | None = None
    over_ts: float | None = None


@dataclass(frozen=True, slots=True)
class RunView:
    """One training run as far as this node sees and pays it.

    Its dollars are exact, as the price is known now, and may fall when a lower one arrives late; ``settled`` is what
    the counters show.
    """

    run: RunId
    state: RunState
    experiment: str = ""
    framework: str = ""
    nodes: int | None = None
    world: int | None = None
    started_ts: float = 0.0
    ended_ts: float | None = None
    last_event_ts: float = 0.0
    gpus: float = 0.0
    share: float = 0.0
    seconds: float = 0.0
    cost_usd: float | None = None
    usd_per_hour: float | None = None
    """What it costs on this node now; None while the price is not known."""
    totals: StateTotals = field(default_factory=StateTotals)
    phase_seconds: Mapping[Phase, float] = field(default_factory=dict)
    epoch: float | None = None
    epochs_planned: float | None = None
    epochs_executed: float = 0.0
    epochs_useful: float = 0.0
    """The high-water mark of this run's own position: epochs that did not have to be done again."""
    epochs_lost: float = 0.0
    steps: int | None = None
    samples: int | None = None
    tokens: int | None = None
    batch_size: int | None = None
    epoch_seconds_sum: float = 0.0
    epoch_count: int = 0
    epoch_cost_usd_sum: float | None = None
    epoch_cost_count: int = 0
    """Finished epochs whose price is known, the count that belongs to ``epoch_cost_usd_sum``."""
    last_epoch_seconds: float | None = None
    last_epoch_cost_usd: float | None = None
    current_epoch_seconds: float | None = None
    current_epoch_cost_usd: float | None = None
    projected_cost_usd: float | None = None
    """Cost so far + epochs left x cost per epoch: the mean of finished ones; before one is done, of the part done."""
    projected_from_part: bool = False
    """No epoch is finished yet: what is projected, dollars and seconds, comes from a part of the first."""
    eta_seconds: float | None = None
    memory_peak_bytes: int | None = None
    budget_usd: float | None = None
    history: tuple[EpochRecord, ...] = ()
    """The newest finished epochs, oldest first, at most 100."""
    part: str = ""
    """Identity of what this machine's ledger knows of the run: made when it was first seen, kept with the ledger."""
    leader: bool = True
    """A process of the run on this machine holds global rank 0."""
    counted: CountedProgress | None = None
    """None if rank 0 has never been."""
    settled: SettledRun | None = None
    useful: UsefulSplit = field(default_factory=UsefulSplit)
    energy_joules: float | None = None
    """What its devices drew in `energy_seconds`, those in which each of them reported its power; None if none was."""
    energy_seconds: float | None = None
    """None without any price."""
    launcher: str = ""
    launcher_job: str = ""
    from_output: bool = False
    """Its progress is read from a program's output, or was: see `TrainingEvent.from_output`."""
    team: str = ""
    """Who pays for it, from its environment."""
    slurm_account: str = ""
    """The account that Slurm charges for it."""
    slurm_partition: str = ""
    """Where Slurm put it on this machine: components of one job may be in several."""
    slurm_job_id: str = ""
    """The job's number: of an array's task ``launcher_job`` is another name."""
    owner_user: str = ""
    """Name of the user whose process wrote its events; empty if there is no such name."""
    attempt: int = 0
    """Number of the newest attempt: as its launcher counts, else how many of them this machine has seen."""
    stop: StopRequest | None = None
    """What the guard requests of it."""
    stopped: str = ""
    """The policy of the guard that ended it, as it reports."""
    reported: Mapping[str, float] = field(default_factory=dict)
    """Newest value of each number that it reports (loss, accuracy), in the order of its names; only where it leads."""
    stored: StoredRun | None = None
    """The run over all its machines; None if no store has responded."""
    store_note: str = ""
    """Why a store that is queried has no figures; empty if none is queried."""


@dataclass(frozen=True, slots=True)
class CollectorHealth:
    """How the last attempt of one collector went.

    Attributes:
        note: what people should know although it went well.
        contradictions: responses that contradicted those of the source that is followed, since the start.
    """

    success: bool
    duration_seconds: float
    error: str = ""
    note: str = ""
    contradictions: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything at instant ``t`` (node timeline)."""

    t: float
    node: NodeView
    gpus: tuple[GpuView, ...] = ()
    runs: tuple[RunView, ...] = ()
    health: Mapping[str, CollectorHealth] = field(default_factory=dict)
    events: Mapping[str, int] = field(default_factory=dict)
    """Training events processed, by result (``accepted``, ``malformed``, ...)."""
    clock_jumps: int = 0
    refused: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Lines and files that were refused, by user and by the exceeded quota; see `UserQuotas`."""
    problems: tuple[str, ...] = ()
    """Sentences for people: what is missing and what to do."""
    owners: tuple[GpuOwner, ...] = ()
    """The owners of each GPU; the shares of one GPU sum to 1. Nothing about a GPU whose owner is unknown."""
    processes: Mapping[str, tuple[tuple[int, int | None], ...]] = field(default_factory=dict)
    """Processes that compute on each GPU, by UUID: number, and the bytes of its memory that it holds where known."""
    owners_not_understood: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Number of processes and devices whose path or name has an unknown format, by source and format."""
    simulated: bool = False
    guard: GuardView | None = None
    """What the guard waits for and has done; None without a policy."""
    machine: str = ""
    """The agent's name for this machine, on each of its series; see `epochcost.nodes.machine_name`."""
