"""A report: what was read, made into rows, with every limit of it as a note."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from epochcost.reports import runs as of_run
from epochcost.reports.billed import Billed, billed
from epochcost.reports.billed import notes as billed_notes
from epochcost.reports.history import History, NodeHistory, NodeKey
from epochcost.reports.history_loader import MOST_RUNS_SHOWN, HistoryLoader
from epochcost.reports.money import Prices, node_money
from epochcost.reports.pieces import Charged, Outside, Split, identity, outside, split
from epochcost.reports.price_parts import price_parts
from epochcost.reports.report_settings import PrometheusSettings, ReportSettings
from epochcost.reports.rows import Row, grouped, merged, with_frontier
from epochcost.reports.runs import row
from epochcost.reports.span import Span, clock
from epochcost.reports.tracks import Reader, increments
from epochcost.reports.trials import compared
from epochcost.store.promql_client import Store

_NAMED = 5
_ROWS_AT_ONCE = 500
"""Rows between two signs of life."""
_MEANINGS = {
    of_run.BEFORE: "Only what falls into the period is counted. If the run's start is not stored, its first sample is "
    "the baseline.",
    of_run.EARLIER: "Earlier epochs were done on another machine or under a lost ledger, which is not stored here or "
    "not in the period: their cost is not included.",
    of_run.COUNTER_RESET: "An agent lost its state, or a run was restarted under the same id. What came before "
    "is counted too, except for what was never scraped.",
    of_run.PRICED: "The agent had no dollars, so its seconds are multiplied by the mean stored price of each window; "
    "a price that changes together with the load within a window is slightly off.",
    of_run.CARRIED: "For a part of the time no price is stored: the nearest one is used.",
    of_run.LATE: "The agent received the price within the period and then added the cost of the time before.",
    of_run.LOWER: "The agent could not price a part of its seconds yet: the dollars are a lower bound.",
    of_run.SIZES: "The last one is shown; the figures cover all of them.",
    of_run.TYPES: "The figures cover all of them.",
    of_run.OPTIONS: "The figures cover all of them.",
    of_run.GAP: "The agents' counters include what happened meanwhile, but within such a gap it is spread evenly.",
}


@dataclass(frozen=True, slots=True)
class Fleet:
    """The bill of all nodes, whether or not a run paid: hours and dollars by state.

    Attributes:
        nodes: how many were seen.
        unpriced: names of those without a known price; their dollars are not in the sums.
        ended: those that were booted and ended in the span, and how long they are billed for.
        parts: components of their prices, in dollars by part; empty if no price has several.
    """

    nodes: int
    hours: dict[str, float]
    usd: dict[str, float]
    unpriced: tuple[str, ...] = ()
    ended: tuple[Billed, ...] = ()
    parts: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a page or a table shows.

    Attributes:
        groups: experiments by instance type, purchase option and batch size; the efficient frontier is marked.
        runs: each run.
        notes: limits of these figures, as sentences.
        simulated: whether an agent reports that its figures are simulated.
        power_watts: mean power of the GPUs while a node of these runs was seen, by node.
        outside: what machines cost outside of their runs; empty if only some runs were read.
        by: what the bill is split by, if requested, and its rows.
    """

    url: str
    span: Span
    made_ts: float
    groups: list[Row]
    runs: list[Row]
    fleet: Fleet
    notes: list[str] = field(default_factory=list)
    simulated: bool = False
    power_watts: dict[str, float] = field(default_factory=dict)
    outside: Outside = field(default_factory=Outside)
    by: str = ""
    split: list[Split] = field(default_factory=list)


def make(
    store: Store, settings: PrometheusSettings, span: Span, now: float, progress: Callable[[str, int, int], None]
) -> Report:
    """Query ``store`` and compute the report for ``span``.

    Raises:
        ReportError: when a request fails, or it has none of our series.
    """
    reader = Reader(store, span, progress)
    keep_labels = tuple(name.strip() for name in settings.keep_labels.split(",") if name.strip())
    by, metrics = (settings.by, settings.metric) if isinstance(settings, ReportSettings) else ("", ())
    owners = by in ("owner", "namespace")
    on_cut = getattr(progress, "print_note", lambda _: None)
    selection = settings.matchers, settings.experiment, settings.run
    history = HistoryLoader(reader, *selection, keep_labels, owners, settings.most_runs, on_cut).read()
    prices = Prices(history)
    charged: dict[NodeKey, Charged] = {}
    rows, unclear = compared(list(_rows(history, prices, charged, progress)), metrics)
    fleet, beside = _fleet(history, prices), outside(history, prices, charged)
    versions = reader.folded("build_info", settings.matchers, "last_over_time", max)
    return Report(
        url=store.url,
        span=span,
        made_ts=now,
        groups=with_frontier(grouped(rows)),
        runs=with_frontier(rows),
        fleet=fleet,
        notes=[
            *_notes(history, rows, fleet.unpriced, settings),
            *unclear,
            *billed_notes(fleet.ended),
            *sorted(f"Warning from the store: {warning}" for warning in store.warnings),
        ],
        simulated=any("simulated" in dict(labels).get("version", "") for labels in versions),
        power_watts=_power(history),
        outside=beside,
        by=by,
        split=split(by, [*(piece for r in rows for piece in r.pieces), *beside.pieces]) if by else [],
    )


def _rows(
    history: History, prices: Prices, charged: dict[NodeKey, Charged], progress: Callable[[str, int, int], None]
) -> Iterator[Row]:
    with_parts = [(key, run) for key, run in history.runs.items() if run.members]
    for done, (key, run) in enumerate(with_parts):
        if done % _ROWS_AT_ONCE == 0:
            progress("rows", done, len(with_parts))
        yield row(key, run, history, prices, charged)


def _fleet(history: History, prices: Prices) -> Fleet:
    hours: list[dict[str, float]] = []
    usd: list[dict[str, float]] = []
    unpriced = []
    for key, node in history.nodes.items():
        new = node.begins_in(history.span)
        grown = {state: sum(increments(t, from_zero=new).values()) for state, t in node.seconds.items()}
        hours.append({state: seconds / 3600 for state, seconds in grown.items()})
        money = node_money(node, prices.paid(key), from_zero=new)
        if money is None:
            unpriced.append(history.called(key))
        else:
            usd.append(money.states)
    return Fleet(
        len(history.nodes),
        merged(hours),
        merged(usd),
        tuple(sorted(unpriced)),
        tuple(billed(history, prices)),
        price_parts(history),
    )


def _power(history: History) -> dict[str, float]:
    """Of the nodes that the rows are about."""
    used = {key.node for run in history.runs.values() for key in run.members if key.node in history.nodes}
    measured = ((identity(key.name, key.context), _watts(history.nodes[key])) for key in used)
    return {name: watts for name, watts in measured if watts is not None}


def _watts(node: NodeHistory) -> float | None:
    values = [value for _, value in node.power_watts.items()]
    return sum(values) / len(values) if values else None


def _notes(history: History, rows: list[Row], unpriced: tuple[str, ...], settings: PrometheusSettings) -> list[str]:
    span, notes = history.span, []
    first = min((node.seen.first for node in history.nodes.values() if node.seen.values), default=0)
    if first > 1:
        notes.append(f"Nothing is stored before {clock(span.at(first - 1))}: the period begins at {clock(span.begin)}.")
    notes.extend(
        f"{_count(len(labels), 'run')}: {note} ({_some(labels)}). {meaning}"
        for note, meaning in _MEANINGS.items()
        if (labels := [r.label for r in rows if note in r.notes])
    )
    notes.extend(_runs_notes(rows))
    notes.extend(_price_notes(history, unpriced))
    if history.cut:
        notes.append(f"{history.cut}.")
    if not history.whole:
        notes.append("Only some of the runs were requested: the cost of machines outside runs is not computed.")
    gaps = sorted(history.called(key) for key, node in history.nodes.items() if node.seen.gaps())
    if gaps:
        minutes = f"{span.step_seconds / 60:.0f} min or more"
        notes.append(f"{_count(len(gaps), 'node')} not scraped for {minutes} at a time ({_some(gaps)}).")
    if history.crowded:
        crowded = f"{_count(len(history.crowded), 'node')} showed {MOST_RUNS_SHOWN} runs or more within one window"
        notes.append(
            f"{crowded} ({_some(sorted(history.crowded))}). No agent exports more at once: some may be missing."
        )
    if history.nameless:
        notes.append(
            f"Agents without epochcost_node_info are listed by their address ({_some(sorted(history.nameless))})."
        )
    if not rows:
        filters = [
            f"{name} {text!r}" for name, text in (("experiment", settings.experiment), ("run", settings.run)) if text
        ]
        notes.append(f"No run {'matches ' + ' and '.join(filters) if filters else 'was reported'} in this period.")
    return notes


def _price_notes(history: History, unpriced: tuple[str, ...]) -> list[str]:
    """Machines with dollars that are in no sum, or only in part."""
    notes = []
    if unpriced:
        notes.append(f"{_count(len(unpriced), 'node')} without a price ({_some(unpriced)}): not in any sum of dollars.")
    step = history.span.step_seconds
    late = {
        history.called(key): node.unpriced_seconds
        for key, node in history.nodes.items()
        if node.dollars and node.unpriced_seconds > step
    }
    if late:
        hours = sum(late.values()) / 3600
        subject = f"{_count(len(late), 'node')} with hours that had no price when last seen ({_some(sorted(late))})"
        notes.append(f"{subject}: {hours:,.1f} h are not in any sum of dollars.")
    return notes


def _runs_notes(rows: list[Row]) -> list[str]:
    notes = []
    if many := [r.label for r in rows if r.nodes > 1]:
        head = f"{_count(len(many), 'run')} on several nodes"
        notes.append(f"{head} ({_some(many)}). Dollars are summed, progress is counted once.")
    if unpriced := [r.label for r in rows if r.usd is None]:
        notes.append(
            f"{_count(len(unpriced), 'run')} without dollars: the price of a node is not known ({_some(unpriced)})."
        )
    if young := [r.label for r in rows if not r.epochs]:
        notes.append(f"{_count(len(young), 'run')} finished no epoch within the period ({_some(young)}).")
    return notes


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _some(names: Iterable[str]) -> str:
    all_names = list(names)
    more = len(all_names) - _NAMED
    return ", ".join(all_names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
