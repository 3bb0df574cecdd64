"""Metrics of each training run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from prometheus_client.core import Metric, SummaryMetricFamily
from prometheus_client.samples import Sample

from epochcost.agent.collectors.family import MACHINE, PREFIX, Family, Row, Rows, Value, each
from epochcost.agent.snapshot import CountedProgress, RunView, SettledRun, Snapshot
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
        "What this training run is.",
        (*RUN_LABELS, "experiment", "framework", "nodes", "world", "launcher", "launcher_job", "attempt"),
        _rows(lambda r: [(_facts(r), 1)]),
    ),
    Family(
        "run_leader",
        "1 where a process of the run on this machine holds global rank 0, so that progress is counted here; else 0.",
        RUN_LABELS,
        _each_run(lambda r: r.leader),
    ),
    Family(
        "run_state",
        "1 for the state that the run is in, 0 for the others.",
        (*RUN_LABELS, "state"),
        _rows(lambda r: [((r.run, r.part, state.value), r.state is state) for state in RunState]),
    ),
    Family(
        "run_gpus",
        "GPUs that the run uses on this node; a GPU shared by two runs is a half.",
        RUN_LABELS,
        _each_run(lambda r: r.gpus),
    ),
    Family(
        "run_node_share_ratio",
        "Part of this node's price that the run pays now.",
        RUN_LABELS,
        _each_run(lambda r: r.share),
    ),
    Family(
        "run_seconds_total",
        "Seconds in which the run was running on this node, by the clock of its events.",
        RUN_LABELS,
        _each_run(lambda r: r.seconds),
    ),
    Family(
        "run_state_seconds_total",
        "The run's share of this node's device-mean seconds by what they went into.",
        (*RUN_LABELS, "state"),
        _rows(lambda r: [((r.run, r.part, s.value), seconds) for s, seconds in r.totals.seconds.items()]),
    ),
    Family(
        "run_state_cost_usd_total",
        "The run's settled dollars on this node by what they went into.",
        (*RUN_LABELS, "state"),
        _rows(lambda r: [((r.run, r.part, s.value), usd) for s, usd in r.settled.states.items()] if r.settled else []),
    ),
    Family(
        "run_useful_seconds_total",
        "The run's useful seconds by what the multiprocessors did: active, the rest, or unknown; they sum to `useful`.",
        (*RUN_LABELS, "sm"),
        _rows(lambda r: [((r.run, r.part, sm.value), seconds) for sm, seconds in r.useful.seconds.items()]),
    ),
    Family(
        "run_useful_cost_usd",
        "The run's useful dollars on this node, as exact as known now, by what the multiprocessors did.",
        (*RUN_LABELS, "sm"),
        _rows(lambda r: [((r.run, r.part, sm.value), usd) for sm, usd in r.useful.cost_usd.items()]),
    ),
    Family(
        "run_energy_joules_total",
        "Energy that the run's GPUs drew for it on this node, in the seconds of the next.",
        RUN_LABELS,
        _each_run(lambda r: r.energy_joules),
    ),
    Family(
        "run_energy_seconds_total",
        "Seconds of the run in which each of its GPUs told its power.",
        RUN_LABELS,
        _each_run(lambda r: r.energy_seconds),
    ),
    Family(
        "run_phase_seconds_total",
        "Seconds of the run by what it says it was doing.",
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
        "Dollars of the run on this node, of the time up to which the price is confirmed; sum by run.",
        RUN_LABELS,
        _settled(lambda m: m.cost_usd),
    ),
    Family(
        "run_provisional_cost_usd",
        "Dollars of the run on this node beside those, whose price may still change; both together are exact now.",
        RUN_LABELS,
        _settled(lambda m: m.provisional_usd),
    ),
    Family(
        "run_provisional_epoch_cost_usd",
        "Dollars of finished epochs on this node beside run_epoch_cost_usd_sum, whose price may still change.",
        RUN_LABELS,
        _settled(lambda m: m.provisional_epochs_usd),
    ),
    Family(
        "run_start_epoch",
        "Position in finished epochs at which this part began: 0, or where it resumed.",
        RUN_LABELS,
        _counted(lambda c: c.start),
    ),
    Family("run_epoch", "Position in finished epochs.", RUN_LABELS, _counted(lambda c: c.epoch)),
    Family(
        "run_epochs_total",
        "Epochs executed, fractions and work done again included.",
        RUN_LABELS,
        _counted(lambda c: c.executed),
    ),
    Family(
        "run_useful_epochs",
        "Highest position reached: epochs that did not have to be done again.",
        RUN_LABELS,
        _counted(lambda c: c.useful),
    ),
    Family(
        "run_lost_epochs_total",
        "Epochs whose work was lost to a crash or a preemption.",
        RUN_LABELS,
        _counted(lambda c: c.lost),
    ),
    Family("run_epochs_planned", "Epochs planned.", RUN_LABELS, _counted(lambda c: c.planned)),
    Family("run_steps_total", "Steps executed.", RUN_LABELS, _counted(lambda c: c.steps)),
    Family("run_samples_total", "Samples processed.", RUN_LABELS, _counted(lambda c: c.samples)),
    Family("run_tokens_total", "Tokens processed.", RUN_LABELS, _counted(lambda c: c.tokens)),
    Family("run_batch_size", "Samples in one batch, as the run says.", RUN_LABELS, _each_run(lambda r: r.batch_size)),
    Family(
        "run_last_epoch_seconds",
        "Duration of the newest finished epoch.",
        RUN_LABELS,
        _counted(lambda c: c.last_epoch_seconds),
    ),
    Family(
        "run_last_epoch_cost_usd",
        "Dollars of the newest finished epoch on this node.",
        RUN_LABELS,
        _each_run(lambda r: r.last_epoch_cost_usd),
    ),
    Family(
        "run_current_epoch_seconds",
        "Age of the epoch that is running.",
        RUN_LABELS,
        _counted(lambda c: c.current_epoch_seconds),
    ),
    Family(
        "run_current_epoch_cost_usd",
        "Dollars of the epoch that is running, so far, on this node.",
        RUN_LABELS,
        _each_run(lambda r: r.current_epoch_cost_usd),
    ),
    Family(
        "run_memory_peak_bytes",
        "Most device memory the run ever held, as it reports.",
        RUN_LABELS,
        _each_run(lambda r: r.memory_peak_bytes),
    ),
    Family(
        "run_stopped_info",
        "1 where the run ended because a policy of the guard asked it to.",
        (*RUN_LABELS, "policy"),
        _rows(lambda r: [((r.run, r.part, r.stopped), 1)] if r.stopped else []),
    ),
    Family("run_budget_usd", "Budget that the run was given.", RUN_LABELS, _each_run(lambda r: r.budget_usd)),
    Family(
        "run_last_event_timestamp_seconds",
        "When the run last said anything.",
        RUN_LABELS,
        _each_run(lambda r: r.last_event_ts),
    ),
    Family(
        "run_start_timestamp_seconds",
        "When the run started on this node.",
        RUN_LABELS,
        _each_run(lambda r: r.started_ts),
    ),
)


Sums = tuple[float | None, float | None]
"""Count and sum, None where not known."""


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
        "Settled dollars of finished epochs on this node; the count, of these epochs, only where progress is counted.",
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

    def collect(self) -> Iterator[Metric]:
        """Sum and count by run, absent before the first finished epoch."""
        snapshot, self.problem = self._snapshot(), ""
        if snapshot is None:
            return
        for summary in SUMMARIES:
            metric = SummaryMetricFamily(PREFIX + summary.name, summary.help, labels=(MACHINE, *RUN_LABELS))
            for run in snapshot.runs:
                try:
                    metric.samples += _samples(summary, run, snapshot.machine)
                except Exception as err:  # noqa: BLE001, PERF203 - the other runs are exported
                    self.problem = f"{PREFIX}{summary.name}: {type(err).__name__}: {err}"
            if metric.samples:
                yield metric


def _samples(summary: Summary, run: RunView, machine: str) -> list[Sample]:
    name, labels = PREFIX + summary.name, {MACHINE: machine, "run": run.run, "part": run.part}
    count, total = summary.numbers(run)
    counted = [Sample(f"{name}_count", labels, float(count))] if count is not None else []
    summed = [Sample(f"{name}_sum", labels, float(total))] if total is not None else []
    return counted + summed


def _facts(r: RunView) -> tuple[str, ...]:
    size = (str(r.nodes or ""), str(r.world or ""))
    return r.run, r.part, r.experiment, r.framework, *size, r.launcher, r.launcher_job, str(r.attempt)
