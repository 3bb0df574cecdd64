"""A report as one HTML page that needs nothing else: no script, no font, no external address."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from epochcost.palette import PALETTE
from epochcost.reports.format import UNKNOWN, cents, dollars, length, percent
from epochcost.reports.plots import frontier_plot, state_bar
from epochcost.reports.report import Report
from epochcost.reports.rows import Row
from epochcost.reports.span import clock
from epochcost.reports.style import STYLE
from epochcost.reports.tables import STATES, Column, Table, tables
from epochcost.reports.text import SIMULATED, parts

MOST_PLOTS = 12
MOST_BARS = 40
MOST_ROWS = 1000
"""Of one table: a browser has to lay them out."""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(report: Report) -> str:
    """The whole page."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<title>What training cost</title>\n'
        f"<style>\n{_colours()}{STYLE}</style>\n</head>\n<body>\n"
        f"{''.join(f'{part}' + chr(10) for part in _body(report))}</body>\n</html>\n"
    )


def _colours() -> str:
    return f":root {{ {''.join(f'--{state.value}: {colour}; ' for state, colour in PALETTE.items())}}}\n"


def _body(report: Report) -> Iterator[str]:
    if report.simulated:
        yield f'<p id="simulated">{SIMULATED}</p>'
    yield "<main>"
    yield (
        f"<header><h1>What training cost</h1><p>{clock(report.span.begin)} to {clock(report.span.end)}</p>"
        f'<p class="soft">from {escape(report.url)}, made {clock(report.made_ts)}</p></header>'
    )
    yield from _figures(report)
    if report.groups:
        yield from _plots(report.groups)
        yield from _bars(report.groups)
    yield from map(_table, tables(report))
    if report.notes:
        notes = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
        yield f'<section class="card"><h2>Limits of these figures</h2><ul class="notes">{notes}</ul></section>'
    yield "</main>"


def _figures(report: Report) -> Iterator[str]:
    fleet = report.fleet
    spent = sum(fleet.usd.values()) if fleet.usd else None
    known = [row.usd for row in report.runs if row.usd is not None]
    useful = fleet.usd.get("useful", 0.0) / spent if spent else None
    figures = (
        ("All nodes", dollars(spent), f"{fleet.nodes} seen"),
        ("Runs", dollars(sum(known)) if known else UNKNOWN, f"{len(report.runs)} seen"),
        ("Useful", percent(useful), "of the dollars of all nodes"),
    )
    cards = "".join(
        f'<div><dt>{name}</dt><dd>{value}</dd><dd class="soft">{more}</dd></div>' for name, value, more in figures
    )
    bar = state_bar(fleet.usd, money=True) + _legend(fleet.usd) if spent else ""
    made = f'<p class="soft">Price components: {escape(parts(report))}.</p>' if fleet.parts else ""
    yield f'<section class="card"><dl class="figures">{cards}</dl>{bar}{made}</section>'


def _legend(amounts: dict[str, float]) -> str:
    whole = sum(amounts.values())
    items = "".join(
        f'<li><i style="background:var(--{state.value})"></i>{state.value} '
        f"{dollars(amounts[state.value])} <span>{percent(amounts[state.value] / whole)}</span></li>"
        for state in PALETTE
        if amounts.get(state.value, 0.0) > 0
    )
    return f'<ul class="legend">{items}</ul>'


def _plots(groups: Sequence[Row]) -> Iterator[str]:
    experiments: dict[str, list[Row]] = {}
    for row in groups:
        if (row.seconds_per_epoch or 0) > 0 and (row.usd_per_epoch or 0) > 0:
            experiments.setdefault(row.experiment, []).append(row)
    several = {name: rows for name, rows in experiments.items() if len(rows) > 1}
    yield "<section><h2>Cost per epoch over time per epoch</h2>"
    if several:
        yield '<p class="soft">Better is lower and further left. Filled and joined: the efficient frontier. '
        yield 'Both axes are logarithmic.</p><div class="plots">'
        yield from (_figure(name, rows) for name, rows in list(several.items())[:MOST_PLOTS])
        yield "</div>"
    if len(several) > MOST_PLOTS:
        yield f'<p class="soft">The {MOST_PLOTS} most expensive of {len(several)} experiments.</p>'
    if single := len(experiments) - len(several):
        counted = f"{single} of {len(experiments)} experiments"
        yield f'<p class="soft">Run in one way only, so nothing to compare: {counted}.</p>'
    yield "</section>"


def _figure(name: str, rows: Sequence[Row]) -> str:
    items = "".join(f"<li>{_choice(row)}</li>" for row in rows)
    return f'<figure class="card"><h3>{escape(name)}</h3>{frontier_plot(rows, name)}<ol>{items}</ol></figure>'


def _choice(row: Row) -> str:
    what = escape(_way(row))
    mark = " ★" if row.frontier else ""
    return f"{what}{mark} <span>{length(row.seconds_per_epoch)}, {cents(row.usd_per_epoch)}</span>"


def _way(row: Row) -> str:
    """How an experiment was run."""
    batch = f", batch {row.batch_size}" if row.batch_size else ""
    return f"{row.instance_type or UNKNOWN} {row.option.replace('_', ' ')}{batch}"


def _bars(groups: Sequence[Row]) -> Iterator[str]:
    first = groups[:MOST_BARS]
    yield '<section class="card"><h2>Cost by state</h2><ul class="bars">'
    for row in first:
        money = bool(row.dollars)
        amounts = dict(row.dollars if money else row.seconds)
        total = dollars(row.usd) if money else f"{length(sum(amounts.values()))}, no price"
        what = escape(f"{row.experiment}, {_way(row)}")
        yield f"<li><p>{what}<span>{total}</span></p>{state_bar(amounts, money=money)}{_shares(amounts)}</li>"
    yield "</ul>"
    states = {s.value for s in PALETTE for row in first if row.seconds.get(s.value, 0) > 0}
    keys = "".join(
        f'<li><i style="background:var(--{s.value})"></i>{s.value}</li>' for s in PALETTE if s.value in states
    )
    yield f'<ul class="legend">{keys}</ul>'
    if len(groups) > MOST_BARS:
        yield f'<p class="soft">The first {MOST_BARS} of {len(groups)}.</p>'
    yield "</section>"


def _shares(amounts: dict[str, float]) -> str:
    whole = sum(amounts.values())
    known = [(s.value, amounts[s.value] / whole) for s in PALETTE if whole and amounts.get(s.value, 0.0) > 0]
    return f'<small class="soft">{", ".join(f"{state} {percent(share)}" for state, share in known)}</small>'


def _table(table: Table) -> str:
    columns = _without_states(table.columns) if table.key in ("groups", "runs") else list(table.columns)
    head = "".join(f'<th scope="col"{_side(c)}>{_title(c)}</th>' for c in columns)
    rows = table.rows[:MOST_ROWS]
    cells = zip(*([_cell(column, text) for text in column.cells(rows)] for column in columns), strict=True)
    lines = "".join(f"<tr>{''.join(row)}</tr>" for row in cells)
    cut = (
        f"The first {MOST_ROWS:,} of {len(table.rows):,} rows; --format csv has all. " if table.rows[MOST_ROWS:] else ""
    )
    below = f'<p class="soft">{escape(cut + table.caption)}</p>' if cut or table.caption else ""
    return (
        f'<section class="card"><h2>{escape(table.title)}</h2><div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{lines}</tbody></table></div>{below}</section>"
    )


def _cell(column: Column[Any], text: str) -> str:
    return f'<td{_side(column)} data-title="{escape(column.title or "frontier", quote=True)}">{_unbroken(text)}</td>'


def _unbroken(text: str) -> str:
    """A figure keeps its unit beside it."""
    return escape(text).replace(" %", "&nbsp;%").replace(" ¢", "&nbsp;¢")


def _title(column: Column[Any]) -> str:
    """It may break after a slash; the star is a cell of its own."""
    return escape(column.title).replace("/", "/<wbr>") or '<span title="efficient frontier">★</span>'


def _without_states(columns: Sequence[Column[Any]]) -> list[Column[Any]]:
    """The bars show them."""
    return [column for column in columns if column.title not in STATES]


def _side(column: Column[Any]) -> str:
    return ' class="figure"' if column.figure else ""
