"""Trials of an experiment by a metric that their runs reported: which was the best, and what the others cost."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from epochcost.reports.rows import Row, added
from epochcost.settings import words

BEST, LOST, OPEN, NO_VALUE = "best", "lost", "not ended", "no value"
LOWER, HIGHER = "lower", "higher"
_LOWER_WORDS = frozenset(("loss", "error", "perplexity", "ppl", "nll", "mse", "rmse", "mae", "wer", "cer", "fid"))
_HIGHER_WORDS = frozenset(
    ("accuracy", "acc", "f1", "auc", "auroc", "precision", "recall", "bleu", "rouge", "iou", "dice")
)
_EVALUATION = frozenset(("val", "valid", "validation", "eval", "evaluation", "test", "dev"))
_BESIDE = _EVALUATION | {"train", "training", "epoch", "step", "mean", "avg", "top", "macro", "micro", "weighted"}
"""Words of a metric's name that do not describe what it measures."""
_NAMED = 8
_WORD = re.compile(r"[A-Z]+(?![a-z])[0-9]*|[A-Z]?[a-z]+[0-9]*")


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric and which of its values is better; ``better`` is empty if its name does not show it."""

    name: str
    better: str

    def best(self, values: Iterable[float]) -> float | None:
        """The best of ``values``; None of none."""
        return min(values, default=None) if self.better == LOWER else max(values, default=None)


@dataclass(frozen=True, slots=True)
class Trials:
    """The runs of one experiment that came out in one way.

    Attributes:
        outcome: `BEST`, `LOST`, `OPEN` or `NO_VALUE`.
        metric: with which of its values is better.
        value: of the best run, or the best among those that lost; None without a value.
        run: the best one's id; empty where there are several, and for the others.
        usd: None where the price of one of them is not known.
        share: of the dollars of all runs of the experiment.
    """

    experiment: str
    outcome: str
    metric: str
    better: str
    value: float | None
    run: str
    runs: int
    hours: float
    usd: float | None
    share: float | None


def metrics(text: str) -> tuple[Metric, ...]:
    """``val_loss,reward:higher``: with what is better if the name does not show it.

    Raises:
        ValueError: if neither defines which is better.
    """
    return tuple(_metric(word) for word in words(text))


def _metric(text: str) -> Metric:
    name, _, better = text.rpartition(":") if text.endswith((f":{LOWER}", f":{HIGHER}")) else (text, "", "")
    metric = Metric(name.strip(), better or direction(name))
    if not metric.name or not metric.better:
        raise ValueError(f"whether lower or higher is better is not known: {text}:{LOWER} or {text}:{HIGHER}")
    return metric


def direction(name: str) -> str:
    """Which value of a metric is better by its name, empty where that is not certain: ``val_loss`` lower."""
    last = next((word for word in reversed(_words(name)) if word not in _BESIDE), "")
    return LOWER if last in _LOWER_WORDS else HIGHER if last in _HIGHER_WORDS else ""


def of_evaluation(name: str) -> bool:
    """Whether a metric's name shows that it is of data that was not trained on."""
    return not _EVALUATION.isdisjoint(_words(name))


def _words(name: str) -> list[str]:
    """``valAcc_top5`` -> val, acc, top."""
    in_lower_case = (word.lower() for word in _WORD.findall(name))
    return [word if word in _HIGHER_WORDS else word.rstrip("0123456789") for word in in_lower_case]


def compared(rows: Sequence[Row], metrics: Sequence[Metric]) -> tuple[list[Row], list[str]]:
    """Rows with their metric and how they came out, and what could not be compared, as sentences.

    Args:
        rows: of runs.
        metrics: metrics that the user named; of each experiment the first that its runs report.
    """
    experiments: dict[str, list[Row]] = {}
    for row in rows:
        experiments.setdefault(row.experiment, []).append(row)
    by: dict[str, Metric] = {}
    unclear: list[str] = []
    for experiment, some in experiments.items():
        chosen = _chosen(some, metrics) if experiment else []
        if len(chosen) == 1:
            by[experiment] = chosen[0]
        elif chosen:
            unclear.append(f"{experiment}: {', '.join(one.name for one in chosen)}")
    best = {experiment: one.best(_values(experiments[experiment], one)) for experiment, one in by.items()}
    notes = [_UNCLEAR.format("; ".join(sorted(unclear)))] if unclear else []
    if metrics and rows and not by:
        notes.append(_not_reported(rows, metrics))
    return [_with_metric(row, by.get(row.experiment), best.get(row.experiment)) for row in rows], notes


_UNCLEAR = "Trials are not compared if metrics disagree about the best run ({}): choose one with --metric NAME."


def _not_reported(rows: Sequence[Row], metrics: Sequence[Metric]) -> str:
    reported = sorted({name for row in rows for name in row.reported})
    more = f" and {len(reported) - _NAMED} more" if len(reported) > _NAMED else ""
    known = f"Reported: {', '.join(reported[:_NAMED])}{more}" if reported else "No run reported a metric"
    names = " or ".join(one.name for one in metrics)
    return f"Trials are not compared: no experiment has two runs that reported {names}. {known}."


def _with_metric(row: Row, by: Metric | None, best: float | None) -> Row:
    if by is None:
        return row
    value = row.reported.get(by.name)
    trial = NO_VALUE if value is None else BEST if value == best else LOST if row.ended else OPEN
    return replace(row, metric=by.name, better=by.better, value=value, trial=trial)


def _values(rows: Iterable[Row], by: Metric) -> list[float]:
    return [row.reported[by.name] for row in rows if by.name in row.reported]


def _chosen(rows: Sequence[Row], metrics: Sequence[Metric]) -> list[Metric]:
    """The metric by which to compare; several that disagree about the best; none where nothing can be compared."""
    runs = Counter(name for row in rows for name in row.reported)
    for one in metrics:
        if runs[one.name] > 1:
            return [one]
    if metrics:
        return []
    known = [Metric(name, direction(name)) for name in sorted(runs) if runs[name] > 1 and of_evaluation(name)]
    widest = max((runs[one.name] for one in known if one.better), default=0)
    candidates = [one for one in known if one.better and runs[one.name] == widest]
    return candidates[:1] if len({_winners(rows, one) for one in candidates}) == 1 else candidates


def _winners(rows: Sequence[Row], by: Metric) -> tuple[int, ...]:
    best = by.best(_values(rows, by))
    return tuple(i for i, row in enumerate(rows) if row.reported.get(by.name) == best)


def trials(rows: Iterable[Row]) -> list[Trials]:
    """What each way to come out cost, by experiment: that of the most dollars first, the best run before the others."""
    groups: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        if row.trial:
            groups.setdefault(row.experiment, {}).setdefault(row.trial, []).append(row)
    result: list[list[Trials]] = []
    for outcomes in groups.values():
        whole = added(row.usd for some in outcomes.values() for row in some)
        result.append([_trials(some, whole) for how in (BEST, LOST, OPEN, NO_VALUE) if (some := outcomes.get(how))])
    result.sort(key=lambda some: -sum(row.usd or 0.0 for row in some))
    return [row for some in result for row in some]


def _trials(rows: list[Row], whole: float | None) -> Trials:
    first, usd = rows[0], added(row.usd for row in rows)
    return Trials(
        experiment=first.experiment,
        outcome=first.trial,
        metric=first.metric,
        better=first.better,
        value=Metric(first.metric, first.better).best([row.value for row in rows if row.value is not None]),
        run=first.label if first.trial == BEST and len(rows) == 1 else "",
        runs=len(rows),
        hours=sum(row.hours for row in rows),
        usd=usd,
        share=usd / whole if usd is not None and whole else None,
    )
