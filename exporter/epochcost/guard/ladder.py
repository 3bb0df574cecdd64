"""Where one finding is on its policy's ladder: what is due now. Pure; the time is an argument."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from epochcost.guard.conditions import Finding
from epochcost.guard.evidence import Evidence
from epochcost.guard.policy import Policy, Step, StepKind
from epochcost.model import RunId


@dataclass(slots=True)
class Climb:
    """One finding on the ladder of its policy.

    Attributes:
        next_step: index of the step that is to be taken next; beyond the last when all are.
        step_t: when the last was taken.
        tries: how often the command of this step has failed.
        retry_t: not before then.
        under_way: its command is running.
        ended: its command has succeeded, or its stop was requested; then it must be gone by ``retry_t``.
        stop_runs: runs that are asked to stop, and whether at once.
        limited: it waits for the limit of actions, which was counted.
    """

    policy: Policy
    finding: Finding
    evidence: Evidence
    next_step: int = 0
    step_t: float = -math.inf
    tries: int = 0
    retry_t: float = -math.inf
    under_way: bool = False
    ended: bool = False
    gave_up: bool = False
    stop_runs: dict[RunId, bool] = field(default_factory=dict)
    limited: bool = False

    @property
    def step(self) -> Step | None:
        """The step to be taken next; None when all are."""
        return self.policy.ladder[self.next_step] if self.next_step < len(self.policy.ladder) else None

    @property
    def complete(self) -> bool:
        """Whether the evidence is that of the whole wait."""
        when = self.policy.when
        return self.evidence.seconds >= when.for_seconds and self.evidence.wasted_usd >= when.from_usd

    def due_t(self) -> float:
        """When the next step is to be taken, as far as time decides; infinity where there is none."""
        if self.step is None or self.under_way or self.gave_up:
            return math.inf
        first = self.evidence.since_t + self.policy.when.for_seconds
        before = self.policy.ladder[self.next_step - 1].wait_seconds if self.next_step else 0.0
        return max(first, self.step_t + before, self.retry_t)

    def took(self, t: float) -> None:
        """The step was taken at ``t``."""
        self.next_step += 1
        self.step_t, self.tries, self.retry_t, self.limited = t, 0, -math.inf, False

    def failed(self, t: float, step: Step) -> bool:
        """A try of ``step`` failed; True when it was the last."""
        self.under_way = False
        self.tries += 1
        self.retry_t = t + step.retry_seconds
        self.gave_up = self.tries >= step.tries
        return self.gave_up

    @property
    def last_kind(self) -> StepKind | None:
        """The step that was taken last; None before the first."""
        return self.policy.ladder[self.next_step - 1].kind if self.next_step else None
