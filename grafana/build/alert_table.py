"""The table of firing alerts: what each is about in dollars, where it is, and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from advice import in_place_of_the_name
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import DataTransformerConfig, Panel
from panels import AMBER, BLUE, PLAIN, RED, SECONDS, USD_PER_HOUR, About, first_set
from selection import MACHINE, RUN, cell, row
from states import coloured_text
from tables import Column, name, rows, without_prefix

ALERTMANAGER = Path(__file__).resolve().parents[2] / "prometheus" / "alertmanager.yml"
OURS = 'alertname=~"Epochcost.+"'
FIRING = 'alertstate="firing"'
WASTEFUL = (
    "Epochcost(IdleCost|IdleShare|GpuIdle|GpuHeldIdle|NodeVacant|NodeUpAfterRun|OwnedNodeIdle|DayWasted|RunStalled|"
    "StartupLong|LostWork)"
)
"""Alerts about time that trains nothing; the others are about all that a run or a node costs."""
PLACES = ("run", "node", "epochcost_machine", "source", "instance_type", "cluster")
TYPE = "cluster, provider, region, instance_type"


def _firing(*matchers: str) -> str:
    return f"ALERTS{{{', '.join((OURS, FIRING, *matchers))}}}"


def _gap(cheapest: str, labels: str) -> str:
    """What machines cost more than they would elsewhere."""
    price = f"max by ({MACHINE}) (node:epochcost_price_usd_per_hour:unified)"
    return f"-1 * sum by ({labels}) ({cheapest} - on ({MACHINE}) group_left () {price})"


def _dollars() -> str:
    """Dollars an hour of what each firing alert is about, the first that is known."""
    of_run, of_node = f"* on ({RUN}) group_left () ", f"* on ({MACHINE}) group_left () "
    wasteful = f'alertname=~"{WASTEFUL}"'
    zone = f"{TYPE}, zone"
    return "\n  or\n  ".join((
        _firing('run!=""', wasteful) + of_run + "run:epochcost_waste_usd_per_hour:rate5m",
        _firing('run!=""', 'alertname="EpochcostGpuUnderfilled"') + of_run
        + "run:epochcost_underfill_usd_per_hour:potential",
        _firing('run!=""') + of_run + "run:epochcost_cost_usd_per_hour:sum",
        _firing('run=""', 'epochcost_machine!=""', wasteful) + of_node
        + f"max by ({MACHINE}) (node:epochcost_waste_usd_per_hour:rate5m)",
        _firing('run=""', 'epochcost_machine!=""') + of_node
        + f"max by ({MACHINE}) (node:epochcost_price_usd_per_hour:unified)",
        _firing('alertname="EpochcostSpotCheaper"') + f" * on ({TYPE}) group_left () "
        + f"({_gap('node:epochcost_spot_price_usd_per_hour:cheapest', TYPE)})",
        _firing('alertname="EpochcostCheaperZone"') + f" * on ({zone}) group_left () "
        + f"({_gap('node:epochcost_cheapest_zone_price_usd_per_hour:now', zone)})",
        _firing('alertname=~"Epochcost(BudgetBurn|SpendUnusual)"') + " * on (cluster) group_left () "
        + "cluster:epochcost_cost_usd_per_hour:rate5m",
    ))  # fmt: skip


def _placed(expr: str) -> str:
    """Adds label ``where``: the place to go and look at."""
    return first_set(f"(\n  {expr}\n)", "where", *PLACES)


def _inhibited() -> str:
    """Alerts that Alertmanager does not send, because another one about the same thing fires."""
    rules: list[dict[str, Any]] = yaml.safe_load(ALERTMANAGER.read_text(encoding="utf-8"))["inhibit_rules"]
    return "\n  or\n".join(f"({_held_back(rule)})" for rule in rules)


def _held_back(rule: dict[str, Any]) -> str:
    target, source = _firing(*rule["target_matchers"]), _firing(*rule["source_matchers"])
    return f"{target} and on ({', '.join(rule.get('equal', ()))}) {source}"


LABELS = ("alertname", "severity", "where")
SEVERITIES = coloured_text({"critical": RED, "warning": AMBER, "info": BLUE})


def _since(firing: str) -> str:
    """For how long each of ``firing`` has been so, if Alertmanager does not hold it back."""
    since = f"""(
  (time() - ALERTS_FOR_STATE{{{OURS}}})
  and ignoring (alertstate)
  ({firing} unless ({_inhibited()}))
)"""
    newest = f"max by (cluster, {', '.join(LABELS)}) ({_placed(since)})"
    return f'label_replace({row(newest, *LABELS)}, "todo", "$1", "alertname", "(.*)")'


def _columns(firing: str) -> list[Column]:
    return [
        Column("Severity", "severity", width=72, properties=SEVERITIES),
        Column("Alert", "alertname", width=152, properties=(without_prefix("Epochcost"),)),
        Column("Where", "where", properties=name()),
        Column("For", "A", _since(firing), SECONDS, 84),
        Column("What to do", "todo", width=290, properties=in_place_of_the_name()),
    ]


def alerts() -> Builder[Panel]:
    """What fires now, the most dollars first."""
    *first, since, to_do = _columns(_firing())
    panel = rows(
        About(
            "Firing alerts",
            "Alerts of epochcost that fire now, by the dollars an hour that are wasted there or that moving would "
            "save; for other alerts, what the run or the node costs. Alerts that Alertmanager holds back because a "
            "larger one has the same cause are left out. What to do links to the runbook.",
            PLAIN,
            empty="No alert is firing",
        ),
        "row",
        [*first, Column("Dollars", "B", cell(_placed(_dollars()), *LABELS), USD_PER_HOUR, 84), since, to_do],
        sort_by="Dollars",
    )
    # Dollars are asked of every alert that fires: rows of those that are not shown have nothing else.
    is_shown = {"fieldName": "For", "config": {"id": "isNotNull", "options": {}}}
    options = {"type": "include", "match": "all", "filters": [is_shown]}
    return panel.with_transformation(DataTransformerConfig(id_val="filterByValue", options=options))


def alerts_of_a_run() -> Builder[Panel]:
    """What fires now about the chosen run and its machines."""
    its_nodes = f'on ({MACHINE}) epochcost_run_node_share_ratio{{run="$run"}} > 0'
    firing = f"""({_firing('run!="", run="$run"')} or {_firing('run=""')} and {its_nodes})"""
    return rows(
        About(
            "Alerts about this run",
            "Alerts that fire now about this run and the machines that it is on. Alerts that Alertmanager holds back "
            "because a larger one has the same cause are left out. What to do links to the runbook.",
            PLAIN,
            empty="No alert is firing about this run",
        ),
        "row",
        _columns(firing),
        sort_by="For",
    )
