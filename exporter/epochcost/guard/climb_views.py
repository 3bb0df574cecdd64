"""What others see of a climb up a policy's ladder: its sentence, what its runs and its command get, its next step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from epochcost.guard.conditions import MACHINE
from epochcost.guard.decisions import StopRequest, Waiting
from epochcost.guard.keeps import KeepList
from epochcost.guard.ladder import Climb
from epochcost.guard.observation import Observation
from epochcost.guard.policy import StepKind
from epochcost.model import RunId

AT_CHECKPOINT, AT_ONCE = "checkpoint", "now"


def sentence(climb: Climb, kind: StepKind | None) -> str:
    """Policy, step, what is wrong for how long, and what that costs."""
    finding, evidence = climb.finding, climb.evidence
    what = f"run {finding.subject}" if finding.subject != MACHINE else "this machine"
    costs = f"${finding.usd_per_hour:.2f} an hour, ${evidence.wasted_usd:.2f} since then"
    situation = f"{what} is {finding.condition.value} for {evidence.seconds / 60:.0f} min ({costs})"
    return f"{climb.policy.name}: {kind.value if kind else 'tell'}: {situation}"


def stop_requests(climbs: Iterable[Climb]) -> dict[RunId, StopRequest]:
    """The current request to each run; of several policies, the strictest one's."""
    requests: dict[RunId, StopRequest] = {}
    for climb in climbs:
        for run, at_once in climb.stop_runs.items():
            if run not in requests or at_once:
                reason = f"{climb.policy.name}: {climb.finding.condition.value}"
                requests[run] = StopRequest(climb.policy.name, reason, AT_ONCE if at_once else AT_CHECKPOINT)
    return requests


def waiting(climb: Climb, t: float, keeps: KeepList) -> Waiting:
    """The climb as of ``t``, with the link by which its subject may be kept, once an ``ask`` step was taken."""
    due = climb.due_t()
    may_be_kept = climb.next_step and not climb.policy.dry_run
    return Waiting(
        policy=climb.policy.name,
        subject=climb.finding.subject,
        condition=climb.finding.condition.value,
        since_ts=climb.evidence.since_t,
        seconds=climb.evidence.seconds,
        usd_per_hour=climb.finding.usd_per_hour,
        wasted_usd=climb.evidence.wasted_usd,
        next_step=climb.step.kind.value if climb.step is not None else "",
        next_ts=due if t <= due < float("inf") else None,
        gave_up=climb.gave_up,
        dry_run=climb.policy.dry_run,
        keep_link=keeps.link(climb.finding.subject, t) if may_be_kept else "",
    )


def command_values(climb: Climb, observation: Observation, reason: str) -> Mapping[str, Any]:
    """What the placeholders of a policy's command stand for."""
    runs = [run for run in observation.runs if run.run in climb.finding.runs]
    jobs = sorted({job for run in runs for job in run.jobs})
    pods = sorted(observation.pods)
    return {
        "policy": climb.policy.name,
        "node": observation.node,
        "machine": observation.machine,
        "reason": reason,
        "run": climb.finding.subject,
        "pids": [str(pid) for run in runs for pid in run.pids],
        "slurm_job": jobs[0] if len(jobs) == 1 else "",
        "namespace": pods[0][0] if len(pods) == 1 else "",
        "pod": pods[0][1] if len(pods) == 1 else "",
    }
