"""What the agent positively knows at one instant, by which the guard decides. What is not known is None or `void`."""

from __future__ import annotations

from dataclasses import dataclass, field

from epochcost.model import RunId, RunState, State


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who uses the machine: a user id, a name, or both.

    Attributes:
        uid: as the system counts users; None if only a name is known.
        name: of the user, or of the pod, job or container; empty if only the number is known.
    """

    uid: int | None = None
    name: str = ""

    @property
    def label(self) -> str:
        """For people, and for patterns."""
        return self.name or (f"user {self.uid}" if self.uid is not None else "")


@dataclass(frozen=True, slots=True)
class GpuSeen:
    """One GPU or MIG slice that was read just now.

    Attributes:
        state: the ledger's state of this second.
        utilization_ratio: None if it is not known.
        sm_active_ratio, power_watts: further measurements; None if the hardware has none.
        held: whether a process holds its memory while it does nothing; None if that is not known.
        owners: those who use it without a run; empty if none are known.
        runs: open runs on it.
    """

    uuid: str
    state: State
    utilization_ratio: float | None
    sm_active_ratio: float | None = None
    power_watts: float | None = None
    held: bool | None = None
    owners: tuple[Person, ...] = ()
    runs: tuple[RunId, ...] = ()


@dataclass(frozen=True, slots=True)
class RunSeen:
    """One run on this machine.

    Attributes:
        user: the user who began it.
        open: whether a process of it is running here.
        confirmed_usd: dollars of the whole run so far whose price is confirmed; None if only a part is known.
        usd_per_hour: what its share of this machine costs.
        void: why nothing is known of it now; empty if it is.
        followed: its process is seen to live, its event file is there, and was read to the end just now.
        guessed: its progress is read from a program's output.
        pids: its processes here, each checked to be its user's.
        jobs: of Slurm, as Slurm itself reports, that hold its GPUs.
    """

    run: RunId
    state: RunState
    open: bool
    experiment: str = ""
    team: str = ""
    user: Person = Person()
    confirmed_usd: float | None = None
    budget_usd: float | None = None
    usd_per_hour: float | None = None
    void: str = ""
    followed: bool = False
    guessed: bool = False
    pids: tuple[int, ...] = ()
    jobs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Observation:
    """One instant of one machine.

    Attributes:
        t: on the node timeline, which never jumps.
        wall_ts: the wall clock, for hours of the day.
        fresh_seconds: a longer step between two observations is a gap.
        clock_jumps: jumps of the wall clock so far; one more restarts every wait.
        void: why nothing positive is known now; empty if it is.
        gpus: all of the machine's; empty if it has none, or none are known.
        cpu_ratio: utilisation of its CPUs; None if that is not known.
        busy_cores: how many of them were busy, as a mean over minutes; None if unknown.
        io_bytes_per_second: of disks and network, in the same span.
        busy_cores_lately, io_bytes_per_second_lately: the same two as means over half a minute.
        interactive: users who typed on a terminal, and how many seconds ago; None if that cannot be seen.
        session_end_ts: when its provider ends it.
        credit_usd: remaining credit of the account; None if unknown.
        pods: (namespace, name) on its GPUs, as the kubelet reports.
    """

    t: float
    wall_ts: float
    node: str
    machine: str = ""
    team: str = ""
    boot_ts: float | None = None
    usd_per_hour: float | None = None
    fresh_seconds: float = 5.0
    clock_jumps: int = 0
    void: tuple[str, ...] = ()
    gpus: tuple[GpuSeen, ...] = ()
    runs: tuple[RunSeen, ...] = ()
    cpu_ratio: float | None = None
    busy_cores: float | None = None
    io_bytes_per_second: float | None = None
    busy_cores_lately: float | None = None
    io_bytes_per_second_lately: float | None = None
    interactive: tuple[tuple[Person, float], ...] | None = None
    session_end_ts: float | None = None
    credit_usd: float | None = None
    pods: tuple[tuple[str, str], ...] = field(default=())

    @property
    def open_runs(self) -> tuple[RunSeen, ...]:
        """Those with a process running here."""
        return tuple(run for run in self.runs if run.open)
