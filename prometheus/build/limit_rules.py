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
    return f"on ({names}) group_left () max by ({names}) ({rows}{{{having}}})"


def _machines(labels: tuple[str, ...]) -> str:
    """Every machine that has these labels, with them."""
    if "team" not in labels:
        return "machine:epochcost_node_info:max"
    if "node" not in labels:
        return "machine:epochcost_team:info"
    return "(machine:epochcost_team:info * on (MACHINE) group_left (node) machine:epochcost_node_info:max)"


def _machine(name: str) -> Rule:
    rows = f"epochcost:limit:{name}"
    found = (f"max by (MACHINE) ({_machines(labels)} * {_row(rows, labels)})" for labels in _fits(MACHINE_LABELS))
    return record(f"machine:epochcost_limit:{name}", "\nor on (MACHINE)\n".join(found))


def _run(name: str) -> Rule:
    rows = f"epochcost:limit:{name}"
    found = (f"max by (RUN) (run:epochcost_owner:info * {_row(rows, labels)})" for labels in _fits(RUN_LABELS))
    return record(f"run:epochcost_limit:{name}", "\nor on (RUN)\n".join(found))


LIMITS = RuleFile(
    """
    Limits that hold for some machines or runs alone: rows of epochcost-thresholds.yml with a label. Every rule is
    explained in docs/rules.md.
    """,
    [Group("epochcost-limits", [*map(_machine, OF_MACHINES), *map(_run, OF_RUNS)])],
)
