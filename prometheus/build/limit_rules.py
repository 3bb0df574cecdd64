"""Limits of `epochcost-thresholds.yml` that stand there for some machines or runs alone."""

from __future__ import annotations

from rule_text import Group, Rule, RuleFile, record

OF_MACHINES = ("critical_usd_per_hour", "idle_usd_per_hour", "idle_share_ratio")
OF_RUNS = ("critical_usd_per_hour", "underfill_ratio", "lost_work_ratio", "epoch_cost_increase_ratio")


RUN_LABELS, MACHINE_LABELS = ("experiment", "team", "node", "cluster"), ("node", "team", "cluster")


def _fits(by: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Every set of ``by``, those with the earliest labels first; one with a label more is before that without it."""
    sets: list[tuple[str, ...]] = [()]
    for label in reversed(by):
        sets = [*((label, *rest) for rest in sets), *sets]
    return [labels for labels in sets if labels]


def _row(rows: str, labels: tuple[str, ...]) -> str:
    """The rows that have just these labels: one of two labels holds where both fit."""
    having = ", ".join(f'{label}{"!=" if label in labels else "="}""' for label in RUN_LABELS)
    names = ", ".join(labels)
    every = names if "cluster" in labels else f"{names}, cluster"
    return f"on ({names}) group_left () max by ({every}) ({rows}{{{having}}})"


def _rows(names: tuple[str, ...], label: str) -> str:
    """Every row that has ``label``."""
    return "(" + " or ".join(f'epochcost:limit:{name}{{{label}!=""}}' for name in names) + ")"


def _with_rows(whose: str, names: tuple[str, ...], by: tuple[str, ...]) -> str:
    """Of ``whose``, those that have a label of a row: mostly nobody, so that what follows costs nothing."""
    return "\nor\n".join(f"{whose} and on ({label}) {_rows(names, label)}" for label in by)


def _limit(level: str, name: str, by: tuple[str, ...]) -> Rule:
    low, rows = level.lower(), f"epochcost:limit:{name}"
    expressions = (f"max by ({level}) ({low}:epochcost_limited:info * {_row(rows, labels)})" for labels in _fits(by))
    return record(f"{low}:epochcost_limit:{name}", f"\nor on ({level})\n".join(expressions))


LIMITED = [
    record(
        "machine:epochcost_limited:info",
        f"""
        (
          node:epochcost_node_info:max
          and on (MACHINE)
          (
            {_with_rows("node:epochcost_node_info:max", OF_MACHINES, ("node", "cluster"))}
            or
            {_with_rows("machine:epochcost_team:info", OF_MACHINES, ("team",))}
          )
        )
        * on (MACHINE) group_left (team)
        (machine:epochcost_team:info or on (MACHINE) max by (MACHINE) (machine:epochcost_node_info:max))
        """,
        "The machines and runs that a row may be for: where there is no row, nobody.",
    ),
    record(
        "run:epochcost_limited:info",
        _with_rows("run:epochcost_owner:info", OF_RUNS, RUN_LABELS),
    ),
]
LIMITS = RuleFile(
    """
    Limits that hold for some machines or runs alone: rows of epochcost-thresholds.yml with a label. Every rule is
    explained in docs/rules.md.
    """,
    [
        Group(
            "epochcost-limits",
            [
                *LIMITED,
                *(_limit("MACHINE", name, MACHINE_LABELS) for name in OF_MACHINES),
                *(_limit("RUN", name, RUN_LABELS) for name in OF_RUNS),
            ],
        )
    ],
)
