"""The tables of a report: which columns they have, and how figures are written, in one unit a column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from epochcost.reports.format import UNKNOWN, dollars, number, percent, same_length, same_money
from epochcost.reports.pieces import LATE, Split
from epochcost.reports.report import Report
from epochcost.reports.rows import Row
from epochcost.reports.trials import Trials, trials

T = TypeVar("T")
STATES = ("useful", "idle", "stalled", "replay", "startup")
NOT_ENDED = "not ended"


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """One column: its title, the text of its cells, and whether these are figures."""

    title: str
    cells: Callable[[Sequence[T]], list[str]]
    figure: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """One table: ``key`` is its name for programs."""

    key: str
    title: str
    columns: Sequence[Column[Any]]
    rows: Sequence[Any]
    caption: str = ""


def _words(title: str, cell: Callable[[Any], str]) -> Column[Any]:
    return Column(title, lambda rows: [cell(row) for row in rows], figure=False)


def _figures(title: str, cell: Callable[[Any], str]) -> Column[Any]:
    return Column(title, lambda rows: [cell(row) for row in rows])


FIGURES: tuple[Column[Row], ...] = (
    _figures("epochs", lambda r: number(r.epochs)),
    Column("time/epoch", lambda rows: same_length([r.seconds_per_epoch for r in rows])),
    _figures("$/h", lambda r: dollars(r.usd_per_hour)),
    Column("cost/epoch", lambda rows: same_money([r.usd_per_epoch for r in rows])),
    Column("cost/useful epoch", lambda rows: same_money([r.usd_per_useful_epoch for r in rows])),
    _words("", lambda r: "★" if r.frontier else ""),
    _figures("total", lambda r: dollars(r.usd)),
    _figures("memory", lambda r: percent(r.fill)),
    _figures("busy", lambda r: percent(r.utilization)),
    *(_figures(state, lambda r, s=state: percent(r.share(s))) for state in STATES),  # type: ignore[misc]
    _figures("saved", lambda r: percent(r.price_saving)),
    _figures("realised", lambda r: percent(r.realised_saving)),
)
_TYPE = _words("instance type", lambda r: r.instance_type or UNKNOWN)
_KIND: tuple[Column[Row], ...] = (
    _TYPE,
    _words("paid", lambda r: r.option.replace("_", " ") or UNKNOWN),
    _figures("batch", lambda r: r.batch_size or UNKNOWN),
)
GROUPS: tuple[Column[Row], ...] = (
    _words("experiment", lambda r: r.experiment),
    *_KIND,
    _figures("runs", lambda r: number(r.runs)),
    *FIGURES,
)
RUNS: tuple[Column[Row], ...] = (
    _words("run", lambda r: f"{r.label} ({r.context})" if r.context else r.label),
    _words("experiment", lambda r: r.experiment or UNKNOWN),
    _words("ended", lambda r: r.ended or UNKNOWN),
    _words("trial", lambda r: r.trial),
    _figures("metric", lambda r: measured(r.metric, r.value)),
    *_KIND,
    _figures("nodes", lambda r: number(r.nodes)),
    _figures("hours", lambda r: number(r.hours)),
    *FIGURES,
)


@dataclass(frozen=True, slots=True)
class Ended:
    """Runs that ended in one way, and what they cost: ``usd`` of those with a known price, None for none."""

    ended: str
    runs: int
    hours: float
    usd: float | None
    useful_usd: float
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Beside:
    """What machines cost in one state in which no run paid."""

    state: str
    hours: float
    usd: float | None
    share: float | None


_ENDED: tuple[Column[Ended], ...] = (
    _words("ended", lambda e: e.ended),
    _figures("runs", lambda e: number(e.runs)),
    _figures("hours", lambda e: number(e.hours)),
    _figures("total", lambda e: dollars(e.usd)),
    _figures("share", lambda e: percent(e.share)),
    _figures("useful", lambda e: percent(e.useful_usd / e.usd if e.usd else None)),
)
_TRIALS: tuple[Column[Trials], ...] = (
    _words("experiment", lambda t: t.experiment),
    _words("trials", lambda t: f"{t.outcome}: {t.run}" if t.run else t.outcome),
    _words("metric", lambda t: f"{t.metric}, {t.better} is better"),
    _figures("best value", lambda t: UNKNOWN if t.value is None else f"{t.value:.4g}"),
    _figures("runs", lambda t: number(t.runs)),
    _figures("hours", lambda t: number(t.hours)),
    _figures("total", lambda t: dollars(t.usd)),
    _figures("share of the experiment", lambda t: percent(t.share)),
)
_BESIDE: tuple[Column[Beside], ...] = (
    _words("state", lambda b: b.state),
    _figures("hours", lambda b: number(b.hours)),
    _figures("total", lambda b: dollars(b.usd)),
    _figures("share of the total", lambda b: percent(b.share)),
)
_SPLIT: tuple[Column[Split], ...] = (
    _words("", lambda s: s.name),
    _figures("runs", lambda s: number(s.runs)),
    _figures("nodes", lambda s: number(s.nodes)),
    _figures("hours", lambda s: number(s.hours)),
    _figures("total", lambda s: dollars(s.usd)),
    _figures("share", lambda s: percent(s.share)),
    _figures("useful", lambda s: percent(s.useful_usd / s.usd if s.usd else None)),
    _figures("outside runs", lambda s: dollars(s.outside_usd if s.usd is not None else None)),
    _figures("hours without a price", lambda s: number(s.unpriced_hours)),
)
FRONTIER = "★: efficient frontier; no other way to run this experiment is both cheaper and faster per epoch."
LEGEND = (
    "cost/epoch: exact mean of finished epochs. cost/useful epoch: all dollars, start-up and lost work included, "
    "divided by the epochs that were not repeated. memory: highest peak. busy: share of training time with work on the "
    "device. saved: compared with the same hours on demand. realised: compared with the useful hours alone on demand "
    "(spot machines only)."
)
_TRIALS_SAY = "best: the run with the best last value of the metric. lost: runs that ended with a worse one."
_OUTSIDE = "Cost of machines in states in which no run paid for them."
_SPLIT_SAYS = "Rows sum to the total cost of all nodes; outside runs: the part that no run paid."


def tables(report: Report) -> list[Table]:
    """Those that have a row, in order."""
    starred = f"{FRONTIER} " if any(row.frontier for row in (*report.groups, *report.runs)) else ""
    by = report.by.replace("-", " ")
    named = _words(by, lambda s: s.name.replace("_", " ") if report.by == "purchase-option" else s.name)
    split_columns = [named, *_SPLIT[1:]]
    candidates = [
        Table("groups", "Experiments", told_apart(GROUPS, report.groups), report.groups),
        Table("runs", "Runs", _of_runs(report.runs), report.runs, f"{starred}{LEGEND}"),
        Table("ended", "How runs ended", _ENDED, ended(report.runs) if any(r.ended for r in report.runs) else ()),
        Table("trials", "Trials", _TRIALS, trials(report.runs), _TRIALS_SAY),
        Table("outside", "Outside runs", _BESIDE, beside(report), _OUTSIDE),
        Table("by", f"By {by}", split_columns, report.split, _SPLIT_SAYS),
    ]
    return [table for table in candidates if table.rows]


def measured(metric: str, value: float | None) -> str:
    """``val_loss 0.3123``."""
    return UNKNOWN if value is None else f"{metric} {value:.4g}"


def _of_runs(runs: Sequence[Row]) -> list[Column[Row]]:
    """Without how trials came out where none was compared."""
    columns = told_apart(RUNS, runs)
    return columns if any(row.trial for row in runs) else [c for c in columns if c.title not in ("trial", "metric")]


def ended(runs: Sequence[Row]) -> list[Ended]:
    """Runs by how they ended, the most expensive first."""
    groups: dict[str, list[Row]] = {}
    for row in runs:
        groups.setdefault(row.ended or NOT_ENDED, []).append(row)
    rows = [_ended(how, of_status) for how, of_status in groups.items()]
    whole = sum(row.usd or 0.0 for row in rows)
    rows = [replace(row, share=row.usd / whole if row.usd is not None and whole else None) for row in rows]
    return sorted(rows, key=lambda row: -(row.usd or 0.0))


def _ended(how: str, rows: Sequence[Row]) -> Ended:
    priced = [row for row in rows if row.usd is not None]
    return Ended(
        ended=how,
        runs=len(rows),
        hours=sum(row.hours for row in rows),
        usd=sum(row.usd or 0.0 for row in priced) if priced else None,
        useful_usd=sum(row.dollars.get("useful", 0.0) for row in priced),
    )


def beside(report: Report) -> list[Beside]:
    """What machines cost outside runs by state, the most expensive first; hours without a price have own rows."""
    outside, whole = report.outside, sum(report.fleet.usd.values())
    rows = [
        Beside(state, hours, usd := outside.usd.get(state), usd / whole if usd is not None and whole else None)
        for state, hours in outside.hours.items()
        if outside.usd.get(state) or (state != LATE and hours > 0)
    ]
    rows += [
        Beside(state, hours, None, None) for state, hours in outside.unpriced.items() if state != LATE and hours > 0
    ]
    return sorted(rows, key=lambda row: (row.state == LATE, -(row.usd or 0.0)))


def told_apart(columns: Sequence[Column[Row]], rows: Sequence[Row]) -> list[Column[Row]]:
    """With the provider before the instance type, where two providers have types of one name."""
    providers: dict[str, set[str]] = {}
    for row in rows:
        providers.setdefault(row.instance_type, set()).add(row.provider)
    if all(len(names) == 1 for names in providers.values()):
        return list(columns)
    both = _words(_TYPE.title, lambda r: f"{r.provider} {r.instance_type}".strip() or UNKNOWN)
    return [both if column is _TYPE else column for column in columns]
