"""Limits of `epochcost-thresholds.yml` that stand there for some machines or runs alone."""

from __future__ import annotations

from rule_text import Group, Rule, RuleFile, record

OF_MACHINES = ("critical_usd_per_hour", "idle_usd_per_hour", "idle_share_ratio")
OF_RUNS = ("critical_usd_per_hour", "underfill_ratio", "lost_work_ratio", "epoch_cost_increase_ratio")


def _machine(name: str) -> Rule:
    rows = f"epochcost:limit:{name}"
    return record(
        f"machine:epochcost_limit:{name}",
        f"""
        max by (MACHINE) (machine:epochcost_node_info:max * on (node) group_left () {rows}{{node!=""}})
        or on (MACHINE)
        max by (MACHINE) (machine:epochcost_team:info * on (team) group_left () {rows}{{team!=""}})
        or on (MACHINE)
        max by (MACHINE) (machine:epochcost_node_info:max * on (cluster) group_left () {rows}{{cluster!=""}})
        """,
    )


def _run(name: str) -> Rule:
    rows, whose = f"epochcost:limit:{name}", "run:epochcost_owner:info"
    by = ("experiment", "team", "node", "cluster")
    found = (f'max by (RUN) ({whose} * on ({label}) group_left () {rows}{{{label}!=""}})' for label in by)
    return record(f"run:epochcost_limit:{name}", "\nor on (RUN)\n".join(found))


LIMITS = RuleFile(
    """
    Limits that hold for some machines or runs alone: rows of epochcost-thresholds.yml with a label. Every rule is
    explained in docs/rules.md.
    """,
    [Group("epochcost-limits", [*map(_machine, OF_MACHINES), *map(_run, OF_RUNS)])],
)
