"""The content of a policy, as frozen values: when, except, and a ladder of steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Condition(str, Enum):
    """What may be paid for nothing. The first five need GPUs or a run, the others a provider's or user's figure."""

    VACANT = "vacant"
    FINISHED = "finished"
    HELD_IDLE = "held-idle"
    IDLE = "idle"
    STALLED = "stalled"
    OVER_BUDGET = "over-budget"
    PAST_SESSION = "past-session"
    OUT_OF_CREDIT = "out-of-credit"


OF_RUNS = frozenset({Condition.IDLE, Condition.STALLED, Condition.OVER_BUDGET})
"""Conditions of one run; the others are of the whole machine."""
DOES_NOTHING = frozenset({Condition.VACANT, Condition.FINISHED, Condition.HELD_IDLE})
"""Conditions of a machine on which nothing runs."""


class StepKind(str, Enum):
    """Steps of the ladder, the mildest first."""

    TELL = "tell"
    ASK = "ask"
    CHECKPOINT = "checkpoint"
    STOP = "stop"


class Scope(str, Enum):
    """What a command ends."""

    RUN = "run"
    MACHINE = "machine"


@dataclass(frozen=True, slots=True)
class Command:
    """A command of the user's choosing, run without a shell.

    Attributes:
        argv: program and arguments; ``{run}`` and the like are filled in, see `placeholders`.
        scope: what it ends; one that ends the machine is not run while others use the machine.
        deadline_seconds: after it the command is killed, and has failed.
    """

    name: str
    argv: tuple[str, ...]
    scope: Scope = Scope.MACHINE
    deadline_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Step:
    """One step; the next follows after ``wait_seconds``, if the condition still holds.

    Attributes:
        command: of ``stop``; None only requests it of the training process (``epochcost exec`` then ends its command by
            signals).
        tries: how often a command that failed is run at most.
        retry_seconds: between two of them, and until a machine that a command ended must be gone.
    """

    kind: StepKind
    wait_seconds: float = 0.0
    command: Command | None = None
    tries: int = 3
    retry_seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class Selector:
    """Patterns (``*``, ``?``); an empty list selects all."""

    nodes: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    experiments: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything is set."""
        return any((self.nodes, self.runs, self.experiments, self.owners, self.teams))


@dataclass(frozen=True, slots=True)
class Hours:
    """When steps may be taken.

    Attributes:
        spans: (from, to) in seconds of the day; one that ends before it begins goes over midnight. Empty: always.
        days: 0 is Monday; of a span over midnight the day on which it begins.
        timezone: as the system names it (``Europe/Berlin``).
    """

    spans: tuple[tuple[float, float], ...] = ()
    days: frozenset[int] = frozenset(range(7))
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True)
class When:
    """What must be true without a gap, for how long, and from how many dollars on.

    Attributes:
        session_seconds: so long after the boot the machine's session is over.
        session_left_seconds: or so long before the provider's own limit ends it.
        credit_usd: the account counts as empty at this many dollars.
    """

    conditions: tuple[Condition, ...]
    for_seconds: float
    from_usd: float = 0.0
    hours: Hours = field(default_factory=Hours)
    select: Selector = field(default_factory=Selector)
    session_seconds: float | None = None
    session_left_seconds: float = 600.0
    credit_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Except:
    """What postpones a policy.

    Attributes:
        keep_files: while one of these is there.
        interactive_seconds: while a user has typed on a terminal this recently; None: not checked.
        busy_cpu_ratio: while the machine's CPUs are this busy: data may be being prepared. None: not checked.
        busy_cores: or while this many of them are busy, as a mean over minutes: one alone is little of 96.
        busy_io_mbps: nor while its disks and network move this many MB a second: data are being fetched.
        select: runs, users, teams and machines that it leaves alone.
    """

    keep_files: tuple[str, ...] = ()
    interactive_seconds: float | None = None
    busy_cpu_ratio: float | None = None
    busy_cores: float | None = None
    busy_io_mbps: float | None = None
    select: Selector = field(default_factory=Selector)


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy."""

    name: str
    when: When
    ladder: tuple[Step, ...]
    unless: Except = field(default_factory=Except)
    dry_run: bool = True


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where ``tell`` and ``ask`` are sent as JSON."""

    url: str
    timeout_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class PolicySet:
    """A whole ``guard.yml``.

    Attributes:
        actions_per_hour: of this machine, all policies together; an agent knows of no other.
        longest_keep_seconds: a longer ``keep`` counts as this long.
        link: base of the links with which people put an action off; empty: this agent's own address.
    """

    policies: tuple[Policy, ...] = ()
    actions_per_hour: int = 4
    longest_keep_seconds: float = 86400.0
    webhook: Webhook | None = None
    link: str = ""
