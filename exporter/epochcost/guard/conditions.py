"""Whether a condition holds at one instant: pure functions over an `Observation`. Absent evidence never does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from zoneinfo import ZoneInfo

from epochcost.guard.observation import GpuSeen, Observation, Person, RunSeen
from epochcost.guard.policy import DOES_NOTHING, Condition, Except, Hours, Policy, Selector, When
from epochcost.model import RunId, RunState, State

MACHINE = ""
"""The subject of what is found of the whole machine; of a run it is the run's id."""
BUSY_RATIO = 0.05
BUSY_CPU_RATIO = 0.25
BYTES_OF_MB = 1e6
BUSY_CORES = 0.9
"""One process that computes for minutes keeps a whole one busy."""
JUST_BEGUN = 0.75
"""Part of what counts as busy over minutes: this much in the last half minute may be its beginning.

Half of one core is what the daemons of a machine with two hundred use all the time.
"""
ABOVE_REST = 2.0
"""A GPU that draws this many times its power at rest is working, whatever its reported utilisation."""
_STATES = {Condition.VACANT: State.VACANT, Condition.FINISHED: State.FINISHED}


@dataclass(frozen=True, slots=True)
class Finding:
    """A condition that holds now.

    Attributes:
        subject: a run, or `MACHINE`.
        usd_per_hour: what would no longer be paid.
        runs: those that would be asked to save a checkpoint.
        people: users whose ``keep`` counts.
    """

    subject: str
    condition: Condition
    usd_per_hour: float
    runs: tuple[RunId, ...] = ()
    people: tuple[Person, ...] = ()


def findings(policy: Policy, observation: Observation, rest_watts: Mapping[str, float]) -> dict[str, Finding]:
    """All that the policy's conditions hold of, by subject."""
    when = policy.when
    if (
        observation.void
        or observation.usd_per_hour is None
        or not _any(when.select.nodes, observation.node, observation.machine)
    ):
        return {}
    findings = [
        f for f in (_of_run(when, run, observation, rest_watts) for run in observation.open_runs) if f is not None
    ]
    machine = _of_machine(when, observation, rest_watts)
    return {f.subject: f for f in (*findings, *([machine] if machine is not None else []))}


def exemption(policy: Policy, finding: Finding, observation: Observation) -> str:
    """Why the policy's exceptions put this off; empty if they do not."""
    unless = policy.unless
    concerned = [
        run for run in observation.runs if run.run in (finding.subject, *finding.runs) or finding.subject == MACHINE
    ]
    if unless.select and _excluded(unless.select, concerned, finding, observation):
        return "the policy leaves it alone"
    if reason := _host_busy(unless, observation):
        return reason
    if unless.interactive_seconds is None:
        return ""
    if observation.interactive is None:
        return "whether somebody is logged in cannot be seen from here"
    typing = [person.label for person, seconds in observation.interactive if seconds <= unless.interactive_seconds]
    return f"{typing[0]} is at a terminal" if typing else ""


def _host_busy(unless: Except, observation: Observation) -> str:
    """What the machine does beside its GPUs; empty if that is nothing."""
    if unless.busy_cpu_ratio is not None and (
        observation.cpu_ratio is None or observation.cpu_ratio >= unless.busy_cpu_ratio
    ):
        return "its CPUs are busy" if observation.cpu_ratio is not None else "what its CPUs do is not known"
    if unless.busy_cores is not None and (observation.busy_cores or 0.0) >= unless.busy_cores:
        return f"{observation.busy_cores:.1f} of its CPUs are busy"
    if (
        unless.busy_io_mbps is not None
        and (observation.io_bytes_per_second or 0.0) >= BYTES_OF_MB * unless.busy_io_mbps
    ):
        return "its disks or its network are busy"
    return ""


def just_begun(policy: Policy, finding: Finding, observation: Observation) -> bool:
    """Whether the machine's CPUs, disks or network became busy too recently for means over minutes to show it.

    It is no reason to begin the wait anew, which a task of seconds would then do again and again, but nothing is ended
    in the midst of it.
    """
    guessed = any(run.guessed for run in observation.open_runs if run.run == finding.subject)
    silent = guessed and finding.condition is Condition.STALLED
    cores = policy.unless.busy_cores or (BUSY_CORES if silent else None)
    if cores is not None and (observation.busy_cores_lately or 0.0) >= JUST_BEGUN * cores:
        return True
    mbps = policy.unless.busy_io_mbps
    return mbps is not None and (observation.io_bytes_per_second_lately or 0.0) >= JUST_BEGUN * BYTES_OF_MB * mbps


def saving(finding: Finding, observation: Observation) -> str:
    """The run of ``finding`` that is saving or loading a checkpoint; empty if none is."""
    subjects = {finding.subject, *finding.runs}
    return next((r.run for r in observation.open_runs if r.run in subjects and r.state is RunState.CHECKPOINTING), "")


def reason_against_ending(
    subject: str, allowed: Iterable[str], observation: Observation, rest_watts: Mapping[str, float]
) -> str:
    """Others that a command that ends the machine would affect, for ``subject``; empty if there are none.

    Args:
        subject: a run: the others on the machine must be among ``allowed``. For the machine itself, its own condition
            has considered every user.
        allowed: runs whose evidence is complete as well.
    """
    if subject == MACHINE:
        return ""
    subjects = {subject, *allowed}
    others = [run.run for run in observation.open_runs if run.run not in subjects]
    if others:
        return f"run {others[0]} is on this machine too"
    for gpu in observation.gpus:
        if not gpu.runs and does_nothing(gpu, rest_watts) is not True:
            return "a GPU without a run is not seen to do nothing"
        if not gpu.runs and (gpu.held is not False or gpu.owners):
            return "somebody holds a GPU without a run, or may"
    return ""


def does_nothing(gpu: GpuSeen, rest_watts: Mapping[str, float]) -> bool | None:
    """Whether the GPU does nothing, by every measurement that there is; None if that is not known."""
    if gpu.utilization_ratio is None:
        return None
    if gpu.utilization_ratio >= BUSY_RATIO or (gpu.sm_active_ratio or 0.0) >= BUSY_RATIO:
        return False
    rest = rest_watts.get(gpu.uuid)
    if gpu.power_watts is None or (rest is None and gpu.held is False):
        return True
    if rest is None:  # a process holds it, and its power at rest is unknown: only its multiprocessors can show it
        return True if gpu.sm_active_ratio is not None else None
    return gpu.power_watts <= ABOVE_REST * rest


def within_hours(hours: Hours, wall_ts: float) -> bool:
    """Whether steps may be taken at this time of the day."""
    local = datetime.fromtimestamp(wall_ts, ZoneInfo(hours.timezone))
    second = local.hour * 3600 + local.minute * 60 + local.second
    before = (local - timedelta(days=1)).weekday()
    for start, end in hours.spans or ((0.0, 86400.0),):
        if start < end and start <= second < end and local.weekday() in hours.days:
            return True
        if start >= end and second >= start and local.weekday() in hours.days:
            return True
        if start >= end and second < end and before in hours.days:
            return True
    return False


def _of_run(when: When, run: RunSeen, observation: Observation, rest_watts: Mapping[str, float]) -> Finding | None:
    select = when.select
    named = (
        _any(select.runs, run.run)
        and _any(select.experiments, run.experiment)
        and _any(select.owners, run.user.label)
        and _any(select.teams, run.team or observation.team)
    )
    if not named or run.void or run.usd_per_hour is None:
        return None
    holds = {
        Condition.STALLED: lambda: _stalled(run, observation, rest_watts),
        Condition.OVER_BUDGET: lambda: _over_budget(run),
        Condition.IDLE: lambda: _idle(run, observation, rest_watts),
    }
    condition = next((c for c in when.conditions if c in holds and holds[c]()), None)
    if condition is None:
        return None
    return Finding(run.run, condition, run.usd_per_hour, (run.run,), (run.user,))


def _stalled(run: RunSeen, observation: Observation, rest_watts: Mapping[str, float]) -> bool:
    """Its process is seen to live, what it writes is read to the end, and nothing comes.

    Progress that is read from a program's output is a guess: it may be silent for long and work. Then its devices must
    do nothing either, nor the machine's CPUs.
    """
    if run.state is not RunState.STALLED or not run.followed:
        return False
    run_gpus = [gpu for gpu in observation.gpus if run.run in gpu.runs]
    if not run.guessed:
        return True
    calm = (
        observation.cpu_ratio is not None
        and observation.cpu_ratio < BUSY_CPU_RATIO
        and (observation.busy_cores or 0.0) < BUSY_CORES
    )
    if run_gpus:
        return calm and all(does_nothing(gpu, rest_watts) is True for gpu in run_gpus)
    return calm and not observation.gpus


def _over_budget(run: RunSeen) -> bool:
    return run.confirmed_usd is not None and run.budget_usd is not None and run.confirmed_usd >= run.budget_usd


def _idle(run: RunSeen, observation: Observation, rest_watts: Mapping[str, float]) -> bool:
    """In the midst of training, all of its GPUs do nothing."""
    run_gpus = [gpu for gpu in observation.gpus if run.run in gpu.runs]
    training = run.state in (RunState.TRAINING, RunState.REPLAY, RunState.STALLED)
    return training and bool(run_gpus) and all(does_nothing(gpu, rest_watts) is True for gpu in run_gpus)


def _of_machine(when: When, observation: Observation, rest_watts: Mapping[str, float]) -> Finding | None:
    assert observation.usd_per_hour is not None  # noqa: S101 - checked in `findings`
    people = tuple(
        dict.fromkeys((*(p for gpu in observation.gpus for p in gpu.owners), *(run.user for run in observation.runs)))
    )
    select = when.select
    if not _any(select.teams, observation.team) or (select.owners and not _all(select.owners, people)):
        return None
    condition = _past(when, observation) or _nothing_runs(when, observation, rest_watts)
    if condition is None:
        return None
    return Finding(
        MACHINE, condition, observation.usd_per_hour, tuple(run.run for run in observation.open_runs), people
    )


def _past(when: When, observation: Observation) -> Condition | None:
    if Condition.PAST_SESSION in when.conditions:
        # A limit of the provider's that has passed and did not hold is none: it is looked at before.
        ends = [] if observation.session_end_ts is None else [observation.session_end_ts - when.session_left_seconds]
        if when.session_seconds is not None and observation.boot_ts is not None:
            ends.append(observation.boot_ts + when.session_seconds)
        if ends and observation.t >= min(ends):
            return Condition.PAST_SESSION
    spent = observation.credit_usd is not None and observation.credit_usd <= when.credit_usd
    return Condition.OUT_OF_CREDIT if spent and Condition.OUT_OF_CREDIT in when.conditions else None


def _nothing_runs(when: When, observation: Observation, rest_watts: Mapping[str, float]) -> Condition | None:
    """The whole machine: every GPU in one of the wanted states. One without GPUs has no witness, and is left alone."""
    of_idleness = DOES_NOTHING & set(when.conditions)
    if not of_idleness or not observation.gpus or observation.open_runs:
        return None
    conditions = [_nothing_on(gpu, of_idleness, rest_watts) for gpu in observation.gpus]
    present = [condition for condition in conditions if condition is not None]
    if len(present) < len(conditions):
        return None
    return Condition.HELD_IDLE if Condition.HELD_IDLE in present else present[0]


def _nothing_on(gpu: GpuSeen, conditions: frozenset[Condition], rest_watts: Mapping[str, float]) -> Condition | None:
    if gpu.runs or gpu.held is None or does_nothing(gpu, rest_watts) is not True:
        return None
    if gpu.held or gpu.owners:
        # Memory that is held, or a GPU allocated to a job: it may be ended only if its owner is known.
        return Condition.HELD_IDLE if Condition.HELD_IDLE in conditions and gpu.owners else None
    return next((condition for condition in conditions if _STATES.get(condition) is gpu.state), None)


def _excluded(select: Selector, runs: list[RunSeen], finding: Finding, observation: Observation) -> bool:
    """Whether any of what is concerned is named."""
    named = bool(select.nodes) and _any(select.nodes, observation.node, observation.machine)
    for run in runs:
        named = named or (bool(select.runs) and _any(select.runs, run.run))
        named = named or (bool(select.experiments) and _any(select.experiments, run.experiment))
        named = named or (bool(select.teams) and _any(select.teams, run.team))
    named = named or (bool(select.teams) and _any(select.teams, observation.team))
    return named or (bool(select.owners) and any(_any(select.owners, p.label) for p in finding.people))


def _any(patterns: tuple[str, ...], *names: str) -> bool:
    """Whether one of ``names`` is selected; no pattern selects all."""
    return not patterns or any(fnmatchcase(name, pattern) for name in names if name for pattern in patterns)


def _all(patterns: tuple[str, ...], people: tuple[Person, ...]) -> bool:
    return bool(people) and all(_any(patterns, person.label) for person in people)
