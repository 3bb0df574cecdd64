"""A report as a table for the terminal, or for Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from epochcost.reports.format import UNKNOWN, breadth, dollars, name, percent
from epochcost.reports.report import Report
from epochcost.reports.span import clock
from epochcost.reports.tables import Column, tables

SIMULATED = "These figures are SIMULATED: an agent reports simulated data."
_APART = 2


def heading(report: Report) -> str:
    """Which span, and from where."""
    return f"{clock(report.span.begin)} to {clock(report.span.end)}, from {report.url}"


def summary(report: Report) -> str:
    """The bill of all nodes, and the runs' part."""
    fleet = report.fleet
    spent = sum(fleet.usd.values()) if fleet.usd else None
    known = [row.usd for row in report.runs if row.usd is not None]
    part = dollars(sum(known)) if known else UNKNOWN
    beside = sum(report.outside.usd.values()) if report.outside.usd else None
    useful = fleet.usd.get("useful", 0.0) / spent if spent else None
    sentence = f"All nodes ({fleet.nodes}): {dollars(spent)}, of which useful {percent(useful)}. Runs: {part}."
    if beside is not None:
        sentence += f" Outside runs: {dollars(beside)}."
    return " ".join([sentence, *([f"Price components: {parts(report)}."] if fleet.parts else [])])


def parts(report: Report) -> str:
    """Dollars by the parts of prices, the largest first."""
    ordered = sorted(report.fleet.parts.items(), key=lambda part: -part[1])
    return ", ".join(f"{name(part)} {dollars(usd)}" for part, usd in ordered)


def terminal(report: Report, width: int | None = None) -> str:
    """Tables in plain text: as wide as they are, or cut into pieces that fit a terminal of ``width`` columns."""
    lines = [f"epochcost: {heading(report)}", *([SIMULATED] if report.simulated else []), summary(report), ""]
    for table in tables(report):
        lines += [table.title, *_aligned(table.columns, table.rows, width), ""]
        lines += [*_wrapped(table.caption, width), ""] if table.caption else []
    if report.notes:
        notes = (_wrapped(f"- {name(note)}", width, "  ") for note in report.notes)
        lines += ["Limits of these figures", *(line for note in notes for line in note), ""]
    return "\n".join(lines)


def _wrapped(text: str, width: int | None, indent: str = "") -> list[str]:
    return textwrap.wrap(text, max(width, 40), subsequent_indent=indent) if width else [text]


def _aligned(columns: Sequence[Column[Any]], rows: Sequence[Any], width: int | None) -> list[str]:
    cells = [[column.title, *map(name, column.cells(rows))] for column in columns]
    widths = [max(map(breadth, column)) for column in cells]
    numbers = ["#", *map(str, range(1, len(rows) + 1))]
    pieces = _pieces(widths, width, len(numbers[-1]))
    out: list[str] = []
    for piece in pieces:
        columns_of_piece = [(cells[i], widths[i], columns[i].figure) for i in piece]
        if len(pieces) > 1:
            columns_of_piece = [(numbers, len(numbers[-1]), True), *columns_of_piece]
        out += [*([""] if out else []), *_lines(columns_of_piece)]
    return out


def _pieces(widths: Sequence[int], width: int | None, number: int) -> list[list[int]]:
    """Which columns are side by side; if they do not all fit, each piece begins with the rows' numbers."""
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
    for table in tables(report):
        lines += [f"## {table.title}", "", *_piped(table.columns, table.rows), ""]
        lines += [table.caption, ""] if table.caption else []
    if report.notes:
        lines += ["## Limits of these figures", "", *(f"* {_safe(note)}" for note in report.notes), ""]
    return "\n".join(lines)


def _piped(columns: Sequence[Column[Any]], rows: Sequence[Any]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    rule = line(["---:" if column.figure else "---" for column in columns])
    cells = zip(*([_safe(cell) for cell in column.cells(rows)] for column in columns), strict=True)
    return [line([column.title for column in columns]), rule, *(line(row) for row in cells)]


def _safe(text: str) -> str:
    """Names come from training code: nothing in them ends a cell or becomes a tag."""
    plain = name(text).replace("\\", "\\\\").replace("<", "&lt;")
    for mark in "|`*[":
        plain = plain.replace(mark, f"\\{mark}")
    return plain
