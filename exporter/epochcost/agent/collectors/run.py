"""Metrics of each training run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from epochcost.agent.collectors.family import MACHINE, PREFIX, Family, Row, Rows, Value, each
from epochcost.agent.snapshot import CountedProgress, RunView, SettledRun, Snapshot
from epochcost.metric_families import MetricFamily, Sample
from epochcost.model import Phase, RunState

RUN_LABELS = ("run", "part")


def _each_run(value: Callable[[RunView], Value]) -> Rows:
    return _rows(lambda r: [((r.run, r.part), value(r))])


def _counted(value: Callable[[CountedProgress], Value]) -> Rows:
    """Progress, where it is counted: elsewhere it would be counted once more for each machine."""
    return _rows(lambda r: [((r.run, r.part), None if r.counted is None else value(r.counted))])


def _rows(rows: Callable[[RunView], Iterable[Row]]) -> Rows:
    return each(lambda s: s.runs, rows)


def _settled(value: Callable[[SettledRun], Value]) -> Rows:
    return _rows(lambda r: [((r.run, r.part), None if r.settled is None else value(r.settled))])


RUN: tuple[Family, ...] = (
    Family(
        "run_info",
        "Metadata of this training run; value is always 1.",
        (
            *RUN_LABELS,
            "experiment",
            "team",
            "owner_user",
            "slurm_account",
            "slurm_partition",
            "slurm_job_id",
            "framework",
            "nodes",
            "world",
            "launcher",
            "launcher_job",
            "attempt",
        ),
        _rows(lambda r: [(_facts(r), 1)]),
    ),
    Family(
        "run_leader",
        "1 if a process of the run on this machine has global rank 0, so that progress is counted here, else 0.",
        RUN_LABELS,
        _each_run(lambda r: r.leader),
    ),
    Family(
        "run_state",
        "1 for the current state of the run, 0 for the others.",
        (*RUN_LABELS, "state"),
        _rows(lambda r: [((r.run, r.part, state.value), r.state is state) for state in RunState]),
    ),
    Family(
        "run_gpus",
        "GPUs that the run uses on this node; a GPU shared by two runs counts as a half.",
        RUN_LABELS,
        _each_run(lambda r: r.gpus),
    ),
    Family(
        "run_node_share_ratio",
        "Share of this node's price currently allocated to the run.",
        RUN_LABELS,
        _each_run(lambda r: r.share),
    ),
    Family(
        "run_seconds_total",
        "Seconds for which the run was running on this node, by the timestamps of its events.",
        RUN_LABELS,
        _each_run(lambda r: r.seconds),
    ),
    Family(
        "run_state_seconds_total",
        "The run's share of this node's seconds by state, averaged over the node's devices.",
        (*RUN_LABELS, "state"),
        _rows(lambda r: [((r.run, r.part, s.value), seconds) for s, seconds in r.totals.seconds.items()]),
    ),
    Family(
        "run_state_cost_usd_total",
        "Settled cost of the run on this node in US dollars, by state.",
        (*RUN_LABELS, "state"),
        _rows(lambda r: [((r.run, r.part, s.value), usd) for s, usd in r.settled.states.items()] if r.settled else []),
    ),
    Family(
        "run_useful_seconds_total",
        "Useful seconds of the run by activity of the streaming multiprocessors (active, rest, unknown); they "
        "sum to the state useful.",
        (*RUN_LABELS, "sm"),
        _rows(lambda r: [((r.run, r.part, sm.value), seconds) for sm, seconds in r.useful.seconds.items()]),
    ),
    Family(
        "run_useful_cost_usd",
        "Cost of the run's useful time on this node in US dollars, as currently known, by activity of the "
        "streaming multiprocessors.",
        (*RUN_LABELS, "sm"),
        _rows(lambda r: [((r.run, r.part, sm.value), usd) for sm, usd in r.useful.cost_usd.items()]),
    ),
    Family(
        "run_energy_joules_total",
        "Energy drawn by the run's GPUs on this node during run_energy_seconds_total.",
        RUN_LABELS,
        _each_run(lambda r: r.energy_joules),
    ),
    Family(
        "run_energy_seconds_total",
        "Seconds of the run for which the power draw of all its GPUs is known.",
        RUN_LABELS,
        _each_run(lambda r: r.energy_seconds),
    ),
    Family(
        "run_phase_seconds_total",
        "Seconds of the run by reported phase.",
        (*RUN_LABELS, "phase"),
        _rows(
            lambda r: [
                ((r.run, r.part, phase.value), r.counted.phase_seconds.get(phase, 0.0) if r.counted else None)
                for phase in Phase
            ]
        ),
    ),
    Family(
        "run_cost_usd_total",
        "Cost of the run on this node in US dollars, up to the time for which the price is confirmed; sum by run.",
        RUN_LABELS,
        _settled(lambda m: m.cost_usd),
    ),
    Family(
        "run_provisional_cost_usd",
        "Cost of the run on this node in US dollars that is not settled yet; together with run_cost_usd_total "
        "it is the cost as currently known.",
        RUN_LABELS,
        _settled(lambda m: m.provisional_usd),
    ),
    Family(
        "run_provisional_epoch_cost_usd",
        "Cost of finished epochs on this node in US dollars that is not settled yet; add it to run_epoch_cost_usd_sum.",
        RUN_LABELS,
        _settled(lambda m: m.provisional_epochs_usd),
    ),
    Family(
        "run_start_epoch",
        "Position, in finished epochs, at which this part began: 0, or where it resumed.",
        RUN_LABELS,
        _counted(lambda c: c.start),
    ),
    Family("run_epoch", "Position in finished epochs.", RUN_LABELS, _counted(lambda c: c.epoch)),
    Family(
        "run_epochs_total",
        "Epochs executed, including fractions and repeated work.",
        RUN_LABELS,
        _counted(lambda c: c.executed),
    ),
    Family(
        "run_useful_epochs",
        "Highest position reached, in epochs of the run; beyond run_start_epoch, the epochs that this part executed "
        "without repeated work.",
        RUN_LABELS,
        _counted(lambda c: c.useful),
    ),
    Family(
        "run_lost_epochs_total",
        "Epochs whose work was lost to a crash or a preemption.",
        RUN_LABELS,
        _counted(lambda c: c.lost),
    ),
    Family(
        "run_before_epochs",
        "Epochs of earlier, finished training runs under this run's id, from which positions continue.",
        RUN_LABELS,
        _counted(lambda c: c.before or None),
    ),
    Family(
        "run_finished_epochs",
        "Position at which this run last finished here.",
        RUN_LABELS,
        _counted(lambda c: c.over),
    ),
    Family(
        "run_finished_timestamp_seconds",
        "Time at which this run last finished here; anything started later under its id is new work.",
        RUN_LABELS,
        _counted(lambda c: c.over_ts),
    ),
    Family(
        "run_attempt_timestamp_seconds",
        "Start time of the run's newest attempt whose progress is counted here.",
        RUN_LABELS,
        _counted(lambda c: c.attempt_ts),
    ),
    Family("run_epochs_planned", "Planned number of epochs.", RUN_LABELS, _counted(lambda c: c.planned)),
    Family("run_steps_total", "Steps executed.", RUN_LABELS, _counted(lambda c: c.steps)),
    Family("run_samples_total", "Samples processed.", RUN_LABELS, _counted(lambda c: c.samples)),
    Family("run_tokens_total", "Tokens processed.", RUN_LABELS, _counted(lambda c: c.tokens)),
    Family(
        "run_batch_size",
        "Batch size in samples, as reported by the run.",
        RUN_LABELS,
        _each_run(lambda r: r.batch_size),
    ),
    Family(
        "run_last_epoch_seconds",
        "Duration of the last finished epoch.",
        RUN_LABELS,
        _counted(lambda c: c.last_epoch_seconds),
    ),
    Family(
        "run_last_epoch_cost_usd",
        "Cost of the last finished epoch on this node, in US dollars.",
        RUN_LABELS,
        _each_run(lambda r: r.last_epoch_cost_usd),
    ),
    Family(
        "run_current_epoch_seconds",
        "Time since the current epoch began.",
        RUN_LABELS,
        _counted(lambda c: c.current_epoch_seconds),
    ),
    Family(
        "run_current_epoch_ratio",
        "Finished share of the current epoch on this node.",
        RUN_LABELS,
        _counted(lambda c: c.current_epoch_ratio),
    ),
    Family(
        "run_current_epoch_cost_usd",
        "Cost of the current epoch so far on this node, in US dollars.",
        RUN_LABELS,
        _each_run(lambda r: r.current_epoch_cost_usd),
    ),
    Family(
        "run_memory_peak_bytes",
        "Peak device memory, as reported by the run.",
        RUN_LABELS,
        _each_run(lambda r: r.memory_peak_bytes),
    ),
    Family(
        "run_stopped_info",
        "1 if the run ended because a policy of the guard asked it to.",
        (*RUN_LABELS, "policy"),
        _rows(lambda r: [((r.run, r.part, r.stopped), 1)] if r.stopped else []),
    ),
    Family(
        "run_reported_value",
        "Latest value of a number reported by the run, such as its loss, under the run's own name for it.",
        (*RUN_LABELS, "metric"),
        _rows(lambda r: [((r.run, r.part, name), value) for name, value in r.reported.items()]),
    ),
    Family("run_budget_usd", "Budget of the run, in US dollars.", RUN_LABELS, _each_run(lambda r: r.budget_usd)),
    Family(
        "run_last_event_timestamp_seconds",
        "Time of the last event received from the run.",
        RUN_LABELS,
        _each_run(lambda r: r.last_event_ts),
    ),
    Family(
        "run_start_timestamp_seconds",
        "Time at which the run started on this node.",
        RUN_LABELS,
        _each_run(lambda r: r.started_ts),
    ),
)


Sums = tuple[float | None, float | None]
"""Count and sum, None if not known."""


class Summary(NamedTuple):
    """One metric of sums and counts: its name without prefix, help, and its count and sum of a run."""

    name: str
    help: str
    numbers: Callable[[RunView], Sums]


def _durations(r: RunView) -> Sums:
    return (r.counted.finished, r.counted.seconds) if r.counted is not None and r.counted.finished else (None, None)


def _dollars(r: RunView) -> Sums:
    if r.settled is None or r.settled.epochs_usd is None:
        return None, None
    return (r.settled.epochs if r.counted is not None else None), r.settled.epochs_usd


SUMMARIES = (
    Summary("run_epoch_seconds", "Durations of finished epochs.", _durations),
    Summary(
        "run_epoch_cost_usd",
        "Settled cost of finished epochs on this node in US dollars; the count of these epochs exists only where "
        "progress is counted.",
        _dollars,
    ),
)


class EpochCollector:
    """Durations and dollars of finished epochs, as summaries without quantiles.

    Attributes:
        problem: why some samples are missing from the last collection; empty when none is.
    """

    def __init__(self, snapshot: Callable[[], Snapshot | None]) -> None:
        self.problem = ""
        self._snapshot = snapshot

    def collect(self) -> Iterator[MetricFamily]:
        """Sum and count by run, absent before the first finished epoch."""
        snapshot, self.problem = self._snapshot(), ""
        if snapshot is None:
            return
        for summary in SUMMARIES:
            samples: list[Sample] = []
            for run in snapshot.runs:
                try:
                    samples += _samples(summary, run, snapshot.machine)
                except Exception as err:  # noqa: BLE001, PERF203 - the other runs are exported
                    self.problem = f"{PREFIX}{summary.name}: {type(err).__name__}: {err}"
            if samples:
                yield MetricFamily(PREFIX + summary.name, summary.help, "summary", samples)


def _samples(summary: Summary, run: RunView, machine: str) -> list[Sample]:
    name, labels = PREFIX + summary.name, {MACHINE: machine, "run": run.run, "part": run.part}
    count, total = summary.numbers(run)
    counted = [Sample(f"{name}_count", labels, float(count))] if count is not None else []
    summed = [Sample(f"{name}_sum", labels, float(total))] if total is not None else []
    return counted + summed


def _facts(r: RunView) -> tuple[str, ...]:
    size = (str(r.nodes or ""), str(r.world or ""))
    whose = (r.experiment, r.team, r.owner_user, r.slurm_account, r.slurm_partition, r.slurm_job_id)
    return r.run, r.part, *whose, r.framework, *size, r.launcher, r.launcher_job, str(r.attempt)
