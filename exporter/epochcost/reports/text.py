"""A report as a table for the terminal, or for Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from epochcost.reports.format import UNKNOWN, breadth, cents, dollars, length, name, number, percent
from epochcost.reports.report import Report
from epochcost.reports.rows import Row
from epochcost.reports.span import clock

SIMULATED = "These figures are SIMULATED: an agent says so of itself."
FRONTIER = "★: efficient frontier; no other way to run this experiment is both cheaper and quicker by epoch."
_APART = 2
STATES = ("useful", "idle", "stalled", "replay", "startup")


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its title, what stands in it, and whether that is a figure."""

    title: str
    cell: Callable[[Row], str]
    figure: bool = True


FIGURES: tuple[Column, ...] = (
    Column("epochs", lambda r: number(r.epochs)),
    Column("time/epoch", lambda r: length(r.seconds_per_epoch)),
    Column("$/h", lambda r: dollars(r.usd_per_hour)),
    Column("cost/epoch", lambda r: cents(r.usd_per_epoch)),
    Column("cost/useful epoch", lambda r: cents(r.usd_per_useful_epoch)),
    Column("", lambda r: "★" if r.frontier else "", figure=False),
    Column("total", lambda r: dollars(r.usd)),
    Column("memory", lambda r: percent(r.fill)),
    Column("busy", lambda r: percent(r.utilization)),
    *(Column(state, lambda r, s=state: percent(r.share(s))) for state in STATES),  # type: ignore[misc]
    Column("saved", lambda r: percent(r.price_saving)),
    Column("realised", lambda r: percent(r.realised_saving)),
)
_KIND: tuple[Column, ...] = (
    Column("instance type", lambda r: r.instance_type or UNKNOWN, figure=False),
    Column("paid", lambda r: r.option.replace("_", " ") or UNKNOWN, figure=False),
    Column("batch", lambda r: r.batch_size or UNKNOWN),
)
GROUPS: tuple[Column, ...] = (
    Column("experiment", lambda r: r.experiment, figure=False),
    *_KIND,
    Column("runs", lambda r: number(r.runs)),
    *FIGURES,
)
RUNS: tuple[Column, ...] = (
    Column("run", lambda r: f"{r.label} ({r.context})" if r.context else r.label, figure=False),
    Column("experiment", lambda r: r.experiment or UNKNOWN, figure=False),
    *_KIND,
    Column("nodes", lambda r: number(r.nodes)),
    Column("hours", lambda r: number(r.hours)),
    *FIGURES,
)


def told_apart(columns: Sequence[Column], rows: Sequence[Row]) -> list[Column]:
    """With the provider before the instance type, where two providers have types of one name."""
    providers: dict[str, set[str]] = {}
    for row in rows:
        providers.setdefault(row.instance_type, set()).add(row.provider)
    if all(len(names) == 1 for names in providers.values()):
        return list(columns)
    both = replace(_KIND[0], cell=lambda r: f"{r.provider} {r.instance_type}".strip() or UNKNOWN)
    return [both if column is _KIND[0] else column for column in columns]


LEGEND = (
    "cost/epoch: exact mean of finished epochs. cost/useful epoch: all dollars, start-up and lost work included, over "
    "epochs not done twice. memory: highest peak. busy: share of training time with work on the device. "
    "saved: against the same hours on demand. realised: against the useful hours alone."
)


def heading(report: Report) -> str:
    """Which span, and from where."""
    return f"{clock(report.span.begin)} to {clock(report.span.end)}, from {report.url}"


def summary(report: Report) -> str:
    """The bill of all nodes, and the runs' part."""
    fleet = report.fleet
    spent = sum(fleet.usd.values()) if fleet.usd else None
    known = [row.usd for row in report.runs if row.usd is not None]
    part = dollars(sum(known)) if known else UNKNOWN
    useful = fleet.usd.get("useful", 0.0) / spent if spent else None
    said = f"All nodes ({fleet.nodes}): {dollars(spent)}, of which useful {percent(useful)}. Runs: {part}."
    return " ".join([said, *([f"Of what prices are made: {parts(report)}."] if fleet.parts else [])])


def parts(report: Report) -> str:
    """Dollars by the parts of prices, the largest first."""
    ordered = sorted(report.fleet.parts.items(), key=lambda part: -part[1])
    return ", ".join(f"{name(part)} {dollars(usd)}" for part, usd in ordered)


def terminal(report: Report, width: int | None = None) -> str:
    """Tables in plain text: as wide as they are, or cut into pieces that fit a terminal of ``width`` columns."""
    lines = [f"epochcost: {heading(report)}", *([SIMULATED] if report.simulated else []), summary(report), ""]
    for title, columns, rows in (("Experiments", GROUPS, report.groups), ("Runs", RUNS, report.runs)):
        if rows:
            lines += [title, *_aligned(told_apart(columns, rows), rows, width), ""]
    if report.groups:
        lines += [*_wrapped(FRONTIER, width), *_wrapped(LEGEND, width), ""]
    if report.notes:
        notes = (_wrapped(f"- {name(note)}", width, "  ") for note in report.notes)
        lines += ["Limits of these figures", *(line for note in notes for line in note), ""]
    return "\n".join(lines)


def _wrapped(text: str, width: int | None, indent: str = "") -> list[str]:
    return textwrap.wrap(text, max(width, 40), subsequent_indent=indent) if width else [text]


def _aligned(columns: Sequence[Column], rows: Sequence[Row], width: int | None) -> list[str]:
    cells = [[column.title, *(name(column.cell(row)) for row in rows)] for column in columns]
    widths = [max(map(breadth, column)) for column in cells]
    numbers = ["#", *map(str, range(1, len(rows) + 1))]
    pieces = _pieces(widths, width, len(numbers[-1]))
    out: list[str] = []
    for piece in pieces:
        shown = [(cells[i], widths[i], columns[i].figure) for i in piece]
        if len(pieces) > 1:
            shown = [(numbers, len(numbers[-1]), True), *shown]
        out += [*([""] if out else []), *_lines(shown)]
    return out


def _pieces(widths: Sequence[int], width: int | None, number: int) -> list[list[int]]:
    """Which columns stand side by side; where they do not all fit, each piece begins with the rows' numbers."""
    if width is None or sum(widths) + _APART * (len(widths) - 1) <= width:
        return [list(range(len(widths)))]
    pieces: list[list[int]] = [[]]
    left = width - number
    for i, wide in enumerate(widths):
        if pieces[-1] and wide + _APART > left:
            pieces.append([])
            left = width - number
        pieces[-1].append(i)
        left -= wide + _APART
    return pieces


def _lines(columns: Sequence[tuple[Sequence[str], int, bool]]) -> list[str]:
    """Cells, breadth and whether they are figures -> title, rule, rows."""
    padded = [[_padded(cell, width, right=figure) for cell in cells] for cells, width, figure in columns]
    gap = " " * _APART
    lines = [gap.join(line).rstrip() for line in zip(*padded, strict=True)]
    return [lines[0], gap.join("-" * width for _, width, _ in columns), *lines[1:]]


def _padded(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - breadth(text))
    return space + text if right else text + space


def markdown(report: Report) -> str:
    """Tables in Markdown."""
    lines = ["# What training cost", "", heading(report) + "."]
    lines += ["", f"**{SIMULATED}**"] if report.simulated else []
    lines += ["", _safe(summary(report)), ""]
    for title, columns, rows in (("Experiments", GROUPS, report.groups), ("Runs", RUNS, report.runs)):
        if rows:
            lines += [f"## {title}", "", *_piped(told_apart(columns, rows), rows), ""]
    if report.groups:
        lines += [FRONTIER, "", LEGEND, ""]
    if report.notes:
        lines += ["## Limits of these figures", "", *(f"* {_safe(note)}" for note in report.notes), ""]
    return "\n".join(lines)


def _piped(columns: Sequence[Column], rows: Sequence[Row]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    rule = line(["---:" if column.figure else "---" for column in columns])
    return [
        line([column.title for column in columns]),
        rule,
        *(line([_safe(column.cell(row)) for column in columns]) for row in rows),
    ]


def _safe(text: str) -> str:
    """Names come from training code: nothing in them ends a cell or becomes a tag."""
    plain = name(text).replace("\\", "\\\\").replace("<", "&lt;")
    for mark in "|`*[":
        plain = plain.replace(mark, f"\\{mark}")
    return plain
