"""What the guard decides at one instant: its notices, requests to training runs, and the command to be run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from epochcost.guard.keeps import Keep
from epochcost.guard.policy import Command, Policy
from epochcost.model import RunId


@dataclass(frozen=True, slots=True)
class StopRequest:
    """A request to a training run.

    Attributes:
        at: ``checkpoint`` (at its next one, or the end of its epoch) or ``now``.
    """

    policy: str
    reason: str
    at: str


@dataclass(frozen=True, slots=True)
class Notice:
    """One notice to people: in the log, on the page, by the webhook.

    Attributes:
        step: ``tell``, ``ask``, ``checkpoint``, ``stop``.
        result: as in `epochcost.guard.account.Result`.
        text: one sentence.
        next_ts: when the next step follows, node timeline; None if there is none.
        keep_link: what a link needs to postpone it; empty in a dry run.
    """

    policy: str
    subject: str
    step: str
    result: str
    text: str
    usd_per_hour: float
    wasted_usd: float
    next_ts: float | None = None
    keep_link: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    """A command to be run, with all that its arguments name."""

    policy: str
    subject: str
    command: Command
    argv: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an order: empty text for success."""

    order: Order
    error: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One finding, for page and metrics.

    Attributes:
        seconds: since it was first seen, without a gap.
        next_step: empty when all steps are taken.
        next_ts: when it is taken, if the condition still holds; None if it waits for something other than time.
        keep_link: see `Notice`; only once an ``ask`` step was taken.
    """

    policy: str
    subject: str
    condition: str
    since_ts: float
    usd_per_hour: float
    wasted_usd: float
    next_step: str = ""
    next_ts: float | None = None
    gave_up: bool = False
    dry_run: bool = True
    keep_link: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class GuardView:
    """The guard as the snapshot shows it.

    Attributes:
        void: why nothing is decided at all; empty if it is.
        actions, ended_usd_per_hour, wasted_usd: see `epochcost.guard.account.Account`.
    """

    policies: tuple[Policy, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    keeps: tuple[Keep, ...] = ()
    void: str = ""
    actions: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    ended_usd_per_hour: Mapping[tuple[str, str], float] = field(default_factory=dict)
    wasted_usd: Mapping[tuple[str, str], float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decisions:
    """All of one instant."""

    notices: tuple[Notice, ...] = ()
    requests: Mapping[RunId, StopRequest] = field(default_factory=dict)
    order: Order | None = None
    view: GuardView = field(default_factory=GuardView)
