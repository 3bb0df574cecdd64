"""The guard itself: observations in, decisions out. It knows no clock, thread, file or network."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from epochcost.guard.account import Account, Result
from epochcost.guard.climb_views import AT_CHECKPOINT, AT_ONCE, command_values, sentence, stop_requests, waiting
from epochcost.guard.conditions import (
    MACHINE,
    Finding,
    exemption,
    findings,
    just_begun,
    reason_against_ending,
    saving,
    within_hours,
)
from epochcost.guard.decisions import Decisions, GuardView, Notice, Order, Outcome
from epochcost.guard.evidence import SECONDS_PER_HOUR, Continuity, Evidence, RestWatts
from epochcost.guard.keeps import KeepList, people_with
from epochcost.guard.ladder import Climb
from epochcost.guard.observation import Observation
from epochcost.guard.placeholders import PlaceholderError, filled
from epochcost.guard.policy import Policy, PolicySet, Scope, Step, StepKind
from epochcost.guard.regulars import Regulars
from epochcost.model import is_number

log = logging.getLogger(__name__)
STATE_VERSION = 1
KeepFiles = Callable[[tuple[str, ...], Finding], str]
"""Which of a policy's keep files is there; empty for none."""


class Guard:
    """Climbs the ladders of all policies.

    Args:
        policies: those in effect.
        keep_file: looks for a policy's keep files.

    Attributes:
        keeps: what users want kept.
        account: what was done.
    """

    def __init__(self, policies: PolicySet, keep_file: KeepFiles = lambda *_: "") -> None:
        self.policies = policies
        self.keeps = KeepList()
        self.account = Account()
        self._keep_file = keep_file
        self._continuity = Continuity()
        self._rest = RestWatts()
        self._climbs: dict[tuple[str, str], Climb] = {}
        self._action_times: list[float] = []
        self._regulars = Regulars()
        self._order: Order | None = None
        self._outcomes: list[Outcome] = []
        self._notices: list[Notice] = []
        self._interruption = "the agent has just started observing"
        self._blind_until, self._blind_because = float("-inf"), ""

    def replace(self, policies: PolicySet) -> None:
        """Other policies from now on: every wait begins again, also of those that look the same."""
        self.policies = policies
        self._continuity = Continuity("the policies have changed")

    def users(self) -> tuple[int, ...]:
        """Users who had a run here recently."""
        return tuple(self._regulars.last_seen_t)

    def hold_off(self, until_t: float, because: str) -> None:
        """Decide nothing before ``until_t``."""
        self._blind_until, self._blind_because = until_t, because

    def report(self, outcome: Outcome) -> None:
        """The command that was ordered has ended; looked at in the next `tick`."""
        self._outcomes.append(outcome)

    def tick(self, observation: Observation) -> Decisions:
        """Look at ``observation``, and decide."""
        self._notices = []
        self._regulars.see([run.user.uid for run in observation.runs if run.user.uid is not None], observation.t)
        self.keeps.forget(observation.t)
        self._take_outcomes(observation.t)
        self._rest.see(observation)
        self._interruption = self._continuity.broken_by(observation) or (
            self._blind_because if observation.t < self._blind_until else ""
        )
        if self._interruption:
            self._drop(list(self._climbs), observation)
        else:
            self._look(observation)
        order = next(
            (order for climb in self._ready(observation) if (order := self._take(climb, observation)) is not None), None
        )
        self._order = order or self._order
        return Decisions(tuple(self._notices), stop_requests(self._climbs.values()), order, self._view(observation))

    # -- evidence ----------------------------------------------------------------------------------------------------

    def _look(self, observation: Observation) -> None:
        """Conditions that hold now continue, or begin; the others are over."""
        holding: set[tuple[str, str]] = set()
        put_off_reasons: dict[tuple[str, str], str] = {}
        for policy in self.policies.policies:
            for subject, finding in findings(policy, observation, self._rest.by_uuid).items():
                key, with_users = (policy.name, subject), self._with_users(finding, observation)
                reason = self._put_off(policy, with_users, observation)
                if reason:
                    put_off_reasons[key] = reason
                    continue
                holding.add(key)
                climb = self._climbs.get(key)
                if climb is None:
                    self._climbs[key] = climb = Climb(policy, with_users, Evidence(observation.t, observation.t))
                climb.finding = with_users
                climb.evidence.go_on(observation.t, with_users.usd_per_hour)
        over = [key for key in self._climbs if key not in holding]
        for key in over:
            if put_off_reasons.get(key, "").startswith("kept") and self._climbs[key].next_step:
                self._record(
                    self._climbs[key], self._climbs[key].last_kind, Result.KEPT, put_off_reasons[key], observation
                )
                self._climbs.pop(key)
        self._drop([key for key in over if key in self._climbs], observation)

    def _with_users(self, finding: Finding, observation: Observation) -> Finding:
        """The whole machine may also be kept by users who had a run here recently, or are logged in."""
        if finding.subject != MACHINE:
            return finding
        typing = [person.uid for person, _ in observation.interactive or () if person.uid is not None]
        people = people_with(finding.people, (*self.users(), *typing))
        return Finding(finding.subject, finding.condition, finding.usd_per_hour, finding.runs, people)

    def _put_off(self, policy: Policy, finding: Finding, observation: Observation) -> str:
        keep = self.keeps.holding(finding, observation.t)
        if keep is not None:
            return f"kept by {keep.by or 'somebody'}" + (f": {keep.why}" if keep.why else "")
        if policy.unless.keep_files and (name := self._keep_file(policy.unless.keep_files, finding)):
            return f"kept by {name}"
        return exemption(policy, finding, observation)

    def _drop(self, keys: list[tuple[str, str]], observation: Observation) -> None:
        """These do not hold any longer, or are not known to."""
        still_open = {run.run for run in observation.open_runs}
        for key in keys:
            climb = self._climbs.pop(key)
            stop_sent = bool(climb.stop_runs) or climb.ended
            if stop_sent and climb.finding.subject != MACHINE and climb.finding.subject not in still_open:
                self._count_end(climb, Result.DONE)
            elif climb.next_step and not climb.policy.dry_run:
                why = self._interruption or "the condition no longer holds"
                self._record(climb, climb.last_kind, Result.WITHDRAWN, f"back to the first step: {why}", observation)

    # -- steps -------------------------------------------------------------------------------------------------------

    def _ready(self, observation: Observation) -> Iterator[Climb]:
        """Those whose next step is due; while a command runs, no other is."""
        for climb in list(self._climbs.values()):
            for _ in climb.policy.ladder:  # milder steps without a wait are taken at once
                if not (climb.complete and observation.t >= climb.due_t()):
                    break
                if not within_hours(climb.policy.when.hours, observation.wall_ts):
                    break
                before = climb.next_step
                yield climb
                if climb.next_step == before:
                    break

    def _take(self, climb: Climb, observation: Observation) -> Order | None:
        step = climb.step
        if step is None:
            return None
        if climb.policy.dry_run:
            self._pretend(climb, step, observation)
            return None
        if step.kind in (StepKind.TELL, StepKind.ASK):
            climb.took(observation.t)
            self._record(climb, step.kind, Result.DONE, "", observation)
            return None
        if self._is_limited(climb, step, observation):
            return None
        if step.kind is StepKind.CHECKPOINT:
            self._request_stop(climb, AT_CHECKPOINT, observation)
            return None
        return self._stop(climb, step, observation)

    def _pretend(self, climb: Climb, step: Step, observation: Observation) -> None:
        climb.took(observation.t)
        self._record(climb, step.kind, Result.DRY_RUN, "", observation)
        if climb.step is None and step.kind in (StepKind.CHECKPOINT, StepKind.STOP):
            self._count_end(climb, Result.DRY_RUN)

    def _is_limited(self, climb: Climb, step: Step, observation: Observation) -> bool:
        self._action_times = [t for t in self._action_times if observation.t - t < SECONDS_PER_HOUR]
        if len(self._action_times) < self.policies.actions_per_hour:
            return False
        if not climb.limited:
            climb.limited = True
            most = self.policies.actions_per_hour
            self._record(
                climb, step.kind, Result.LIMITED, f"waiting: {most} actions in the last hour is the limit", observation
            )
        return True

    def _request_stop(self, climb: Climb, at: str, observation: Observation) -> None:
        climb.took(observation.t)
        if climb.finding.runs:
            self._action_times.append(observation.t)
            climb.stop_runs = dict.fromkeys(climb.finding.runs, at == AT_ONCE)
            self._record(climb, climb.last_kind, Result.DONE, "", observation)

    def _stop(self, climb: Climb, step: Step, observation: Observation) -> Order | None:
        if climb.ended:  # it was ended, and is still there
            climb.ended = False
            self._fail(climb, step, "still running after the stop", observation)
            return None
        run = saving(climb.finding, observation)
        if run:
            return None  # a checkpoint is under way: it will be over soon, or the run stalls
        if just_begun(climb.policy, climb.finding, observation):
            return None  # it will be over soon, or puts the policy off
        if step.command is None:
            climb.stop_runs = dict.fromkeys(climb.finding.runs, True)
            self._action_times.append(observation.t)
            climb.ended, climb.retry_t = True, observation.t + step.retry_seconds
            self._record(climb, step.kind, Result.DONE, "", observation)
            return None
        return self._command(climb, step, observation)

    def _command(self, climb: Climb, step: Step, observation: Observation) -> Order | None:
        command = step.command
        if command is None or self._order is not None:
            return None
        if command.scope is Scope.MACHINE:
            reason = reason_against_ending(
                climb.finding.subject, self._also_complete(climb), observation, self._rest.by_uuid
            )
            if reason:
                climb.retry_t = observation.t + step.retry_seconds
                log.info("guard: %s: %s is not run: %s", climb.policy.name, command.name, reason)
                return None
        reason = sentence(climb, StepKind.STOP)
        try:
            argv = filled(command.argv, command_values(climb, observation, reason))
        except PlaceholderError as err:
            self._fail(climb, step, f"command {command.name} is not run: {err}", observation)
            return None
        climb.under_way = True
        self._action_times.append(observation.t)
        return Order(climb.policy.name, climb.finding.subject, command, tuple(argv), reason)

    def _also_complete(self, climb: Climb) -> list[str]:
        """Runs for which the same policy has all evidence, and that were sent the same request as this one."""
        others = [c for (name, _), c in self._climbs.items() if name == climb.policy.name]
        return [c.finding.subject for c in others if c.complete and c.next_step >= climb.next_step]

    def _take_outcomes(self, t: float) -> None:
        outcomes, self._outcomes = self._outcomes, []
        for outcome in outcomes:
            order = outcome.order
            self._order = None
            climb = self._climbs.get((order.policy, order.subject))
            step = climb.step if climb is not None else None
            if climb is None or step is None:
                self.account.step(order.policy, "stop", Result.FAILED if outcome.error else Result.DONE)
                continue
            if outcome.error:
                self._fail(climb, step, f"command {order.command.name}: {outcome.error}", None, t)
                continue
            climb.under_way, climb.ended, climb.retry_t = False, True, t + step.retry_seconds
            self._record(climb, step.kind, Result.DONE, f"command {order.command.name} succeeded", None)
            if order.command.scope is Scope.MACHINE:
                self._count_end(climb, Result.DONE)

    def _fail(
        self, climb: Climb, step: Step, why: str, observation: Observation | None, t: float | None = None
    ) -> None:
        now = observation.t if observation is not None else t if t is not None else climb.evidence.until_t
        last = climb.failed(now, step)
        self._record(climb, step.kind, Result.FAILED, why, observation)
        if last:
            self._record(climb, step.kind, Result.GAVE_UP, f"given up after {climb.tries} tries: {why}", observation)

    def _count_end(self, climb: Climb, result: Result) -> None:
        self.account.ended(climb.policy.name, result, climb.finding.usd_per_hour, climb.evidence.wasted_usd)

    # -- notices ---------------------------------------------------------------------------------------------------

    def _record(
        self, climb: Climb, kind: StepKind | None, result: Result, detail: str, observation: Observation | None
    ) -> None:
        step = kind.value if kind is not None else "tell"
        self.account.step(climb.policy.name, step, result)
        text = sentence(climb, kind) + (f": {detail}" if detail else "")
        due = climb.due_t() if result in (Result.DONE, Result.DRY_RUN) else float("inf")
        can_be_kept = (
            kind in (StepKind.TELL, StepKind.ASK, StepKind.CHECKPOINT)
            and result is Result.DONE
            and observation is not None
        )
        self._notices.append(
            Notice(
                climb.policy.name,
                climb.finding.subject,
                step,
                result.value,
                f"dry run: {text}" if result is Result.DRY_RUN else text,
                climb.finding.usd_per_hour,
                climb.evidence.wasted_usd,
                due if climb.step is not None and due < float("inf") else None,
                self.keeps.link(climb.finding.subject, observation.t)
                if can_be_kept and observation is not None
                else "",
            )
        )

    def _view(self, observation: Observation) -> GuardView:
        return GuardView(
            self.policies.policies,
            tuple(waiting(climb, observation.t, self.keeps) for climb in self._climbs.values()),
            tuple(self.keeps.keeps.values()),
            self._interruption,
            dict(self.account.actions),
            dict(self.account.ended_usd_per_hour),
            dict(self.account.wasted_usd),
        )

    # -- persistence -------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """As JSON-able data. No wait is in it: after a restart every one begins again."""
        return {
            "v": STATE_VERSION,
            "keeps": self.keeps.state(),
            "account": self.account.state(),
            "acted": list(self._action_times),
            "rest_watts": dict(self._rest.by_uuid),
            "users": self._regulars.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue with what `state` described.

        Raises:
            KeyError, TypeError, ValueError: when it is not what `state` makes; nothing has changed then.
        """
        if state["v"] != STATE_VERSION:
            raise ValueError(f"version {state['v']!r}")
        keeps, account = KeepList.restored(state["keeps"]), Account.restored(state["account"])
        action_times, regulars = [t for t in state["acted"] if is_number(t)], Regulars.restored(state["users"])
        if len(action_times) != len(state["acted"]):
            raise ValueError("times are not numbers")
        rest = {
            str(uuid): float(watts) for uuid, watts in state["rest_watts"].items() if is_number(watts) and watts > 0
        }
        self.keeps, self.account, self._action_times, self._regulars = keeps, account, action_times, regulars
        self._rest.by_uuid = rest

    def promises(self) -> dict[str, Any]:
        """What must not be forgotten even if all else is lost: the keeps, and the users who may keep the machine."""
        return {
            "v": STATE_VERSION,
            "keeps": self.keeps.state(),
            "users": self._regulars.state(),
            "blind": [self._blind_until, self._blind_because] if self._blind_because else None,
        }

    def keep_promises(self, state: Mapping[str, Any], later: float) -> None:
        """Continue with what `promises` described, ``later`` seconds of the node timeline lying between the two.

        Raises:
            KeyError, TypeError, ValueError: when it is not what `promises` makes; nothing has changed then.
        """
        if state["v"] != STATE_VERSION:
            raise ValueError(f"version {state['v']!r}")
        keeps, regulars = KeepList.restored(state["keeps"]), Regulars.restored(state["users"], later)
        blind = state["blind"]
        if blind is not None:
            until_t, because = blind
            if not (is_number(until_t) and isinstance(because, str)):
                raise ValueError("the end of the pause in decisions is not valid")
            self.hold_off(until_t + later, because)
        keeps.keeps = {key: replace(keep, until_t=keep.until_t + later) for key, keep in keeps.keeps.items()}
        self.keeps, self._regulars = keeps, regulars
