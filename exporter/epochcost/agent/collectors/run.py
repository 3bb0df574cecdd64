"""Metrics of each training run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prometheus_client.core import Metric, SummaryMetricFamily

from epochcost.agent.collectors.family import PREFIX, Family, Row, Value
from epochcost.agent.snapshot import RunView, Snapshot
from epochcost.model import Phase, RunState


def _each_run(value: Callable[[RunView], Value]) -> Callable[[Sequence[RunView], str], list[Row]]:
    return lambda runs, _: [((r.run,), value(r)) for r in runs]


RUN: tuple[Family, ...] = (
    Family(
        "run_info",
        "What this training run is.",
        ("run", "experiment", "framework", "nodes", "world"),
        lambda runs, _: [((r.run, r.experiment, r.framework, str(r.nodes or ""), str(r.world or "")), 1) for r in runs],
    ),
    Family(
        "run_state",
        "1 for the state that the run is in, 0 for the others.",
        ("run", "state"),
        lambda runs, _: [((r.run, state.value), r.state is state) for r in runs for state in RunState],
    ),
    Family(
        "run_gpus",
        "GPUs that the run uses on this node; a GPU shared by two runs is a half.",
        ("run",),
        _each_run(lambda r: r.gpus),
    ),
    Family(
        "run_node_share_ratio",
        "Part of this node's price that the run pays now.",
        ("run",),
        _each_run(lambda r: r.share),
    ),
    Family(
        "run_seconds_total",
        "Seconds in which the run was running on this node, by the clock of its events.",
        ("run",),
        _each_run(lambda r: r.seconds),
    ),
    Family(
        "run_state_seconds_total",
        "The run's share of this node's device-mean seconds by what they went into.",
        ("run", "state"),
        lambda runs, _: [((r.run, s.value), seconds) for r in runs for s, seconds in r.totals.seconds.items()],
    ),
    Family(
        "run_state_cost_usd_total",
        "The run's dollars on this node by what they went into.",
        ("run", "state"),
        lambda runs, _: [((r.run, s.value), usd) for r in runs for s, usd in r.totals.cost_usd.items()],
    ),
    Family(
        "run_phase_seconds_total",
        "Seconds of the run by what it says it was doing.",
        ("run", "phase"),
        lambda runs, _: [((r.run, phase.value), r.phase_seconds.get(phase, 0.0)) for r in runs for phase in Phase],
    ),
    Family(
        "run_cost_usd_total",
        "Dollars of the run on this node; sum by run over nodes.",
        ("run",),
        _each_run(lambda r: r.cost_usd_total),
    ),
    Family("run_epoch", "Position in finished epochs.", ("run",), _each_run(lambda r: r.epoch)),
    Family(
        "run_epochs_total",
        "Epochs executed, fractions and work done again included.",
        ("run",),
        _each_run(lambda r: r.epochs_executed),
    ),
    Family(
        "run_useful_epochs",
        "Highest position reached: epochs that did not have to be done again.",
        ("run",),
        _each_run(lambda r: r.epochs_useful),
    ),
    Family(
        "run_lost_epochs_total",
        "Epochs whose work was lost to a crash or a preemption.",
        ("run",),
        _each_run(lambda r: r.epochs_lost),
    ),
    Family("run_epochs_planned", "Epochs planned.", ("run",), _each_run(lambda r: r.epochs_planned)),
    Family("run_steps_total", "Steps executed.", ("run",), _each_run(lambda r: r.steps)),
    Family("run_samples_total", "Samples processed.", ("run",), _each_run(lambda r: r.samples)),
    Family("run_tokens_total", "Tokens processed.", ("run",), _each_run(lambda r: r.tokens)),
    Family("run_batch_size", "Samples in one batch, as the run says.", ("run",), _each_run(lambda r: r.batch_size)),
    Family(
        "run_last_epoch_seconds",
        "Duration of the newest finished epoch.",
        ("run",),
        _each_run(lambda r: r.last_epoch_seconds),
    ),
    Family(
        "run_last_epoch_cost_usd",
        "Dollars of the newest finished epoch on this node.",
        ("run",),
        _each_run(lambda r: r.last_epoch_cost_usd),
    ),
    Family(
        "run_current_epoch_seconds",
        "Age of the epoch that is running.",
        ("run",),
        _each_run(lambda r: r.current_epoch_seconds),
    ),
    Family(
        "run_current_epoch_cost_usd",
        "Dollars of the epoch that is running, so far, on this node.",
        ("run",),
        _each_run(lambda r: r.current_epoch_cost_usd),
    ),
    Family(
        "run_memory_peak_bytes",
        "Most device memory the run ever held, as it reports.",
        ("run",),
        _each_run(lambda r: r.memory_peak_bytes),
    ),
    Family("run_budget_usd", "Budget that the run was given.", ("run",), _each_run(lambda r: r.budget_usd)),
    Family(
        "run_last_event_timestamp_seconds",
        "When the run last said anything.",
        ("run",),
        _each_run(lambda r: r.last_event_ts),
    ),
    Family(
        "run_start_timestamp_seconds",
        "When the run started on this node.",
        ("run",),
        _each_run(lambda r: r.started_ts),
    ),
)

SUMMARIES = (
    (
        "run_epoch_seconds",
        "Durations of finished epochs.",
        lambda r: (r.epoch_count, r.epoch_seconds_sum),
    ),
    (
        "run_epoch_cost_usd",
        "Dollars of finished epochs on this node; sum/count is the exact mean cost of an epoch.",
        lambda r: (r.epoch_cost_count, r.epoch_cost_usd_sum),
    ),
)


class EpochCollector:
    """Durations and dollars of finished epochs, as summaries without quantiles."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Sum and count by run, absent before the first finished epoch."""
        for name, text, numbers in SUMMARIES:
            metric = SummaryMetricFamily(PREFIX + name, text, labels=("run",))
            for run in self._snapshot().runs:
                count, total = numbers(run)  # type: ignore[no-untyped-call]
                if count and total is not None:
                    metric.add_metric([run.run], count, total)
            if metric.samples:
                yield metric
