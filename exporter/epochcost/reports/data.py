"""A report for programs: CSV and JSON, figures unrounded, unknown ones empty or null."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from epochcost.model import State
from epochcost.reports.pieces import Split
from epochcost.reports.report import Report
from epochcost.reports.rows import Row
from epochcost.reports.tables import beside, ended
from epochcost.reports.trials import trials
from epochcost.shown_text import csv_text

_PLAIN = (
    "experiment", "provider", "instance_type", "batch_size", "framework", "runs", "nodes", "gpus_per_node", "hours",
    "node_hours", "epochs", "epochs_executed", "useful_epochs",
)  # fmt: skip


def _figures(row: Row) -> dict[str, Any]:
    plain: dict[str, Any] = {name: getattr(row, name) for name in _PLAIN}
    return plain | {
        "purchase_option": row.option,
        "seconds_per_epoch": row.seconds_per_epoch,
        "usd_per_hour": row.usd_per_hour,
        "usd_per_epoch": row.usd_per_epoch,
        "usd_per_useful_epoch": row.usd_per_useful_epoch,
        "cost_usd": row.usd,
        "memory_fill_ratio": row.fill,
        "utilization_ratio": row.utilization,
        "price_saving_ratio": row.price_saving,
        "realised_saving_ratio": row.realised_saving,
        "on_demand_usd": row.on_demand_usd,
        "efficient_frontier": row.frontier,
        "cost_source": row.source,
        "team": row.team,
        "owner": row.owner,
        "ended": row.ended,
        "trial": row.trial,
        "metric": row.metric,
        "metric_value": row.value,
    }


def as_json(report: Report) -> str:
    """One object: the span, ``groups``, ``runs``, ``ended``, ``trials``, ``outside``, ``by``, ``fleet``, ``notes``."""
    document = {
        "version": 1,
        "simulated": report.simulated,
        "from": report.span.begin,
        "to": report.span.end,
        "made": report.made_ts,
        "store": report.url,
        "groups": [_object(row) for row in report.groups],
        "runs": [_object(row) for row in report.runs],
        "ended": [asdict(row) for row in ended(report.runs)],
        "trials": [asdict(row) for row in trials(report.runs)],
        "outside": [asdict(row) for row in beside(report)],
        "by": {"what": report.by, "rows": [asdict(row) for row in report.split]} if report.by else None,
        "fleet": {
            "nodes": report.fleet.nodes,
            "hours": report.fleet.hours,
            "cost_usd": report.fleet.usd,
            "price_parts_usd": report.fleet.parts,
            "unpriced_nodes": report.fleet.unpriced,
            "ended_nodes": [asdict(node) for node in report.fleet.ended],
        },
        "notes": report.notes,
    }
    return json.dumps(_finite(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    """``value`` with null for what no number is: a quotient of two figures of a store may be beyond all."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, (list, tuple)) else value


def _object(row: Row) -> dict[str, Any]:
    labels = {"run": row.label or None, "labels": row.context or None}
    states = {"seconds": dict(row.seconds), "state_cost_usd": dict(row.dollars)}
    return {**labels, **_figures(row), "reported": dict(row.reported), **states, "notes": row.notes}


def as_csv(report: Report) -> str:
    """A line for each run, with seconds and dollars by state; or one for each row of the bill if it is split.

    Column ``simulated`` is set on each line with simulated figures.
    """
    if report.by:
        return csv_text([report.by, *_SPLIT, "simulated"], [_split_line(row, report) for row in report.split])
    known = set(_columns())
    return csv_text(_columns(), [_line(row, known, simulated=report.simulated) for row in report.runs])


_SPLIT = [each.name for each in fields(Split) if each.name != "name"]


def _split_line(row: Split, report: Report) -> Mapping[str, Any]:
    return {report.by: row.name, **{name: getattr(row, name) for name in _SPLIT}, "simulated": report.simulated}


def _columns() -> list[str]:
    head = ["run", "labels", *_figures(Row("")), "simulated", "notes"]
    return [*head, *(f"{state.value}_{unit}" for unit in ("seconds", "usd") for state in State)]


def _line(row: Row, columns: set[str], *, simulated: bool) -> Mapping[str, Any]:
    states = {f"{state}_seconds": value for state, value in row.seconds.items()}
    states |= {f"{state}_usd": value for state, value in row.dollars.items()}
    known = {name: value for name, value in states.items() if name in columns}
    labels = {"run": row.label, "labels": row.context}
    return {**labels, **_figures(row), **known, "simulated": simulated, "notes": "; ".join(row.notes)}
