"""Runs as the snapshot shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from epochcost.agent.settlement import Settlement
from epochcost.agent.snapshot import CountedProgress, EpochRecord, RunView, StateTotals, UsefulSplit
from epochcost.ledger import Ledger, RunAccount
from epochcost.ledger.finished_epoch import Epoch
from epochcost.ledger.node_ledger import Key
from epochcost.ledger.rank_zero import PHASE_NAMES
from epochcost.ledger.useful_cut import by_activity
from epochcost.model import EndStatus, Phase, RunId, RunState, State

MAX_RUNS_SHOWN = 50
HISTORY_SHOWN = 100
LATE_SECONDS = 1e-3
LEAST_PART = 0.01
"""Of an epoch: from less nothing is projected, here as in the rules."""
_ENDED = {
    EndStatus.FINISHED: RunState.FINISHED,
    EndStatus.FAILED: RunState.FAILED,
    EndStatus.PREEMPTED: RunState.PREEMPTED,
    EndStatus.LOST: RunState.LOST,
}
_STATES = {State.STARTUP: RunState.STARTUP, State.REPLAY: RunState.REPLAY, State.STALLED: RunState.STALLED}
_PHASES = {
    Phase.EVAL: RunState.EVALUATING,
    Phase.CHECKPOINT: RunState.CHECKPOINTING,
    Phase.RESTORE: RunState.CHECKPOINTING,
}


@dataclass(frozen=True, slots=True)
class _History:
    """Records, and the lists that they were made of: these only grow, or are replaced by others."""

    finished: list[Epoch]
    costs: list[float | None]
    length: int
    records: tuple[EpochRecord, ...]


class Histories:
    """The newest finished epochs of each run, rebuilt only when one more has ended or a price arrived late."""

    def __init__(self) -> None:
        self._made: dict[RunId, _History] = {}

    def of(self, account: RunAccount, costs: list[float | None]) -> tuple[EpochRecord, ...]:
        """Those of ``account``, whose finished epochs cost ``costs``."""
        finished, made = account.epochs.finished, self._made.get(account.run)
        if made is None or made.finished is not finished or made.costs is not costs or made.length != len(finished):
            newest = zip(finished[-HISTORY_SHOWN:], costs[-HISTORY_SHOWN:], strict=True)
            records = tuple(
                EpochRecord(e.number, e.end, (e.end - e.start) / e.count, _each(usd, e.count)) for e, usd in newest
            )
            made = self._made[account.run] = _History(finished, costs, len(finished), records)
        return made.records

    def forget(self, keep_runs: Iterable[RunId]) -> None:
        """Drop those of runs that are no longer shown."""
        run_ids = set(keep_runs)
        self._made = {run: made for run, made in self._made.items() if run in run_ids}


@dataclass(frozen=True, slots=True)
class Instant:
    """What the views of one instant are made from.

    Attributes:
        ledger: what is described.
        settlement: what of its dollars is settled.
        histories: the epochs of each run, as they are shown.
        now: the node timeline.
        name_of: the name of a user by number.
    """

    ledger: Ledger
    settlement: Settlement
    histories: Histories
    now: float
    name_of: Callable[[int | None], str] = lambda _: ""


def run_views(at: Instant, keep_seconds: float) -> tuple[RunView, ...]:
    """The open runs and those that are not settled or ended less than ``keep_seconds`` ago, at most 50.

    When there are more, each user has an equal part, and of each user the runs open longest stay: a flood of new ones,
    or of another user's, must not hide the one that matters.
    """
    ledger, now = at.ledger, at.now
    settled_t = ledger.unsettled.until if ledger.price.times else now  # without a price there is nothing to settle
    accounts = [a for a in ledger.runs.values() if a.members and _shown(a, now, settled_t, keep_seconds)]
    accounts.sort(key=lambda a: (a.ended_t is not None, -a.ended_t if a.ended_t is not None else a.started_t or 0.0))
    accounts = _shared_out(accounts)
    at.settlement.forget(ledger.runs.values())
    totals = ledger.node_ledger.totals(ledger.price)
    seconds, usd = _by_run(totals.seconds), _by_run(totals.cost_usd)
    at.histories.forget(a.run for a in accounts)
    return tuple(_view(a, StateTotals(seconds.get(a.run, {}), usd.get(a.run, {})), at) for a in accounts)


def _shared_out(runs: list[RunAccount]) -> list[RunAccount]:
    """At most 50 of ``runs``, in their order, one of each user in turn."""
    if len(runs) <= MAX_RUNS_SHOWN:
        return runs
    nth: Counter[int | None] = Counter()
    turns = []
    for place, account in enumerate(runs):
        nth[account.user] += 1
        turns.append((nth[account.user], place))
    return [runs[place] for place in sorted(place for _, place in sorted(turns)[:MAX_RUNS_SHOWN])]


def _by_run(values: Mapping[Key, float]) -> dict[RunId, dict[State, float]]:
    by_run: dict[RunId, dict[State, float]] = {}
    for (run, state), value in values.items():
        if run is not None:
            by_run.setdefault(run, {})[state] = value
    return by_run


def _shown(account: RunAccount, now: float, settled_t: float, keep_seconds: float) -> bool:
    ended = account.ended_t
    return ended is None or now - ended <= keep_seconds or settled_t < ended


def run_state(account: RunAccount, now: float, stall_after: float) -> RunState:
    """The state of a run as users see it."""
    if not account.is_open:
        return _ENDED[account.status or EndStatus.LOST]
    epochs = account.epochs
    state = epochs.state_at(now, stall_after)
    return _STATES.get(state) or _PHASES.get(epochs.phase, RunState.TRAINING)


def _view(account: RunAccount, totals: StateTotals, at: Instant) -> RunView:
    ledger, now, price = at.ledger, at.now, at.ledger.price
    cost = account.cost_usd(now, price)
    totals = _with_late(totals, account, now, cost)
    share, usd_per_hour = account.share.at(now) if account.is_open else 0.0, price.at(now)
    return replace(
        _described(account, at),
        **_progress(account, at, cost),
        gpus=ledger.held(account.run) if account.is_open else 0.0,
        share=share,
        seconds=account.seconds(now),
        cost_usd=cost,
        usd_per_hour=None if usd_per_hour is None else share * usd_per_hour,
        totals=totals,
        settled=None if cost is None else at.settlement.of_run(ledger, account, cost, totals.cost_usd),
        useful=useful_split(ledger, [account.run]),
        energy_joules=account.energy.joules if account.energy.seconds else None,
        energy_seconds=account.energy.seconds or None,
    )


def _described(account: RunAccount, at: Instant) -> RunView:
    """Which run it is, as itself and its launcher describe it, and its state."""
    facts = account.facts
    return RunView(
        run=account.run,
        state=run_state(account, at.now, at.ledger.settings.stall_after),
        experiment=facts.experiment,
        framework=facts.framework,
        nodes=facts.nodes,
        world=facts.world,
        started_ts=account.started_t or 0.0,
        ended_ts=account.ended_t,
        last_event_ts=account.last_event_t,
        batch_size=facts.batch_size,
        memory_peak_bytes=facts.memory_peak_bytes,
        budget_usd=facts.budget_usd,
        part=account.part,
        leader=account.counted.leads,
        team=facts.team,
        owner_user=at.name_of(account.user),
        slurm_account=facts.slurm_account,
        slurm_partition=facts.slurm_partition,
        slurm_job_id=facts.slurm_job_id,
        launcher=facts.launcher,
        launcher_job=facts.job,
        from_output=facts.from_output,
        stopped="" if account.is_open else facts.stopped,
        attempt=account.epochs.attempts if facts.attempt is None else facts.attempt,
        reported=_reported(account),
    )


def _progress(account: RunAccount, at: Instant, cost: float | None) -> dict[str, Any]:
    """Fields of a view: the run's epochs, what they took and cost, and what lies ahead."""
    epochs, now, price = account.epochs, at.now, at.ledger.price
    cost_sum, cost_count = account.epoch_cost_usd_sum(price)
    costs = account.epoch_costs(price)
    last = epochs.finished[-1] if epochs.finished else None
    began_t = epochs.begin_t if account.is_open else None
    current = None if began_t is None else account.cost(began_t, now, price)
    ahead = _projected(account, now, cost, (cost_sum, cost_count), current)
    return {
        "phase_seconds": dict(account.phase_seconds),
        "epoch": epochs.reached,
        "epochs_planned": epochs.planned(account.facts.epochs),
        "epochs_executed": epochs.executed,
        "epochs_useful": epochs.high_water,
        "epochs_lost": epochs.lost,
        "steps": _executed(epochs.steps.position, epochs.steps.executed),
        "samples": _executed(epochs.samples.position, epochs.samples.executed),
        "tokens": _executed(epochs.tokens.position, epochs.tokens.executed),
        "epoch_seconds_sum": epochs.seconds_sum,
        "epoch_count": epochs.count,
        "epoch_cost_usd_sum": cost_sum if cost_count else None,
        "epoch_cost_count": cost_count,
        "last_epoch_seconds": (last.end - last.start) / last.count if last else None,
        "last_epoch_cost_usd": _each(costs[-1], last.count) if last else None,
        "current_epoch_seconds": None if began_t is None else now - began_t,
        "current_epoch_cost_usd": current,
        "projected_cost_usd": ahead.cost_usd,
        "eta_seconds": ahead.seconds if account.is_open else None,
        "projected_from_part": ahead.from_part,
        "history": at.histories.of(account, costs),
        "counted": _counted(account, now) if account.counted.led else None,
    }


def _reported(account: RunAccount) -> dict[str, float]:
    """Of one run only one machine exports it: that of rank 0, also after the end."""
    here = account.counted
    return dict(account.reported.values) if here.led and (here.leads or not account.is_open) else {}


def useful_split(ledger: Ledger, runs: Iterable[RunId | None]) -> UsefulSplit:
    """Useful time of ``runs`` together by what the multiprocessors did, where the hardware reports it."""
    cut = ledger.useful_cut
    if not cut:
        return UsefulSplit()
    split = by_activity(cut.totals(ledger.price), ledger.node_ledger.totals(ledger.price), runs)
    return UsefulSplit(split.seconds, split.usd if ledger.price.times else {})


@dataclass(frozen=True, slots=True)
class _Projected:
    """What lies ahead of a run, None if it is not known."""

    cost_usd: float | None = None
    seconds: float | None = None
    from_part: bool = False


def _projected(
    account: RunAccount, now: float, cost: float | None, priced: tuple[float, int], current_usd: float | None
) -> _Projected:
    """The epochs that are left, each at the mean of those that finished; before one has, by the part that is done."""
    epochs = account.epochs
    position, planned = epochs.reached, epochs.planned(account.facts.epochs)
    if position is None or planned is None:
        return _Projected()
    left, (usd, count) = max(0.0, planned - position), priced
    if epochs.count:
        known = cost is not None and count > 0
        return _Projected(
            cost + left * usd / count if known and cost is not None else None, left * epochs.seconds_sum / epochs.count
        )
    done = epochs.done_of_it
    if not account.is_open or epochs.begin_t is None or done is None or done < LEAST_PART:
        return _Projected()
    known = cost is not None and current_usd is not None
    return _Projected(
        cost + left * current_usd / done if known and cost is not None and current_usd is not None else None,
        left * (now - epochs.begin_t) / done,
        from_part=True,
    )


def _counted(account: RunAccount, now: float) -> CountedProgress:
    epochs, here = account.epochs, account.counted
    amounts = here.amounts(epochs, account.phase_seconds)
    last = next((e for e in reversed(epochs.finished) if e.counted), None)
    leads = here.leads and account.is_open
    return CountedProgress(
        start=here.start,
        epoch=epochs.reached if leads else here.position,
        planned=epochs.planned(account.facts.epochs),
        executed=amounts["executed"],
        useful=epochs.high_water if leads else here.high_water,
        lost=amounts["lost"],
        finished=epochs.count_here,
        seconds=epochs.seconds_here,
        steps=_executed(epochs.steps.position, int(amounts["steps"])),
        samples=_executed(epochs.samples.position, int(amounts["samples"])),
        tokens=_executed(epochs.tokens.position, int(amounts["tokens"])),
        last_epoch_seconds=(last.end - last.start) / last.count if last else None,
        current_epoch_seconds=now - epochs.begin_t if leads and epochs.begin_t is not None else None,
        current_epoch_ratio=epochs.done_of_it if leads else None,
        phase_seconds={phase: amounts[name] for phase, name in PHASE_NAMES.items() if name in amounts},
        attempt_ts=here.attempt_t,
        before=epochs.before_this_training,
        over=account.finished.position if account.finished else None,
        over_ts=account.finished.t if account.finished else None,
    )


def _with_late(totals: StateTotals, account: RunAccount, now: float, cost: float | None) -> StateTotals:
    """Adds what the run pays for time in which it was not known to run (it was thought gone), without a state."""
    seconds, usd = dict(totals.seconds), dict(totals.cost_usd)
    late = account.share.seconds(now) - sum(seconds.values())
    if account.settled.until == 0 and late > LATE_SECONDS:
        seconds[State.UNKNOWN] = seconds.get(State.UNKNOWN, 0.0) + late
        if cost is not None:
            usd[State.UNKNOWN] = usd.get(State.UNKNOWN, 0.0) + max(0.0, cost - sum(usd.values()))
    return StateTotals(seconds, usd)


def _executed(position: int | None, executed: int) -> int | None:
    """Nothing ever reported is not zero executed."""
    return None if position is None and not executed else executed


def _each(usd: float | None, count: int) -> float | None:
    return None if usd is None else usd / count
