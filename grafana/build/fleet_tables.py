"""The tables of the Fleet dashboard: alerts with what they are about in dollars, nodes, and runs."""

from __future__ import annotations

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel
from panels import (
    AMBER,
    BLUE,
    CLUSTER,
    GREEN,
    PLAIN,
    RATIO,
    RED,
    SECONDS,
    USD,
    USD_PER_HOUR,
    About,
    Column,
    first_said,
    gauge_cell,
    link_to_experiment,
    link_to_node,
    link_to_run,
    middle_cut,
    rows,
    which_machine,
    whole,
    without_prefix,
)
from selection import MACHINE, RUN, cell, once, row
from states import RUN_STATE_COLOURS, STATE_COLOURS, coloured_text
from verdicts import times_usual

OF_WHOM = 'team=~"$team", experiment=~"$experiment"'
RUNS_CHOSEN = f'and on ({RUN}) run:epochcost_owner:info{{{OF_WHOM}, owner_user=~"$owner"}}'
CHOSEN = f"""and on ({MACHINE}) node:epochcost_node_info:max{{node=~"$node"}}
and on ({MACHINE}) (
  machine:epochcost_owner:info{{{OF_WHOM}, owner=~"$owner"}}
  or on ({MACHINE}) (epochcost_run_node_share_ratio > 0 {RUNS_CHOSEN})
)"""
"""Machines of the chosen teams and owners, and those that their runs are on."""
WASTEFUL = (
    "Epochcost(IdleCost|IdleShare|GpuIdle|GpuHeldIdle|NodeVacant|NodeUpAfterRun|OwnedNodeIdle|DayWasted|RunStalled|"
    "StartupLong|LostWork)"
)
"""Alerts about what trains nothing; the others are about all that a run or a node costs."""
PLACES = ("run", "node", "epochcost_machine", "source", "instance_type", "cluster")
TYPE = "cluster, provider, region, instance_type"


def _firing(matchers: str) -> str:
    return f'ALERTS{{alertname=~"Epochcost.+", alertstate="firing", {matchers}}}'


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
        _firing(f'run!="", {wasteful}') + of_run + "run:epochcost_waste_usd_per_hour:rate5m",
        _firing('run!="", alertname="EpochcostGpuUnderfilled"') + of_run
        + "run:epochcost_underfill_usd_per_hour:potential",
        _firing('run!=""') + of_run + "run:epochcost_cost_usd_per_hour:sum",
        _firing(f'run="", epochcost_machine!="", {wasteful}') + of_node
        + f"max by ({MACHINE}) (node:epochcost_waste_usd_per_hour:rate5m)",
        _firing('run="", epochcost_machine!=""') + of_node
        + f"max by ({MACHINE}) (node:epochcost_price_usd_per_hour:unified)",
        _firing('alertname="EpochcostSpotCheaper"') + f" * on ({TYPE}) group_left () "
        + f"({_gap('node:epochcost_spot_price_usd_per_hour:cheapest', TYPE)})",
        _firing('alertname="EpochcostCheaperZone"') + f" * on ({zone}) group_left () "
        + f"({_gap('node:epochcost_cheapest_zone_price_usd_per_hour:now', zone)})",
        _firing('alertname=~"Epochcost(BudgetBurn|SpendUnusual)"') + " * on (cluster) group_left () "
        + "cluster:epochcost_cost_usd_per_hour:rate5m",
    ))  # fmt: skip


def alerts() -> Builder[Panel]:
    """What fires now, the dearest first."""
    since = """(
  (time() - ALERTS_FOR_STATE{alertname=~"Epochcost.+"})
  and ignoring (alertstate)
  ALERTS{alertname=~"Epochcost.+", alertstate="firing"}
)"""
    labels = ("alertname", "severity", "where")

    def placed(expr: str) -> str:
        # Where a reader can go and look.
        return first_said(f"(\n  {expr}\n)", "where", *PLACES)

    # Of an alert with two severities the graver one stands for both.
    critical = _firing('severity="critical"')
    graver = placed(f'label_replace({critical}, "severity", "warning", "", "")')
    by = f"cluster, {', '.join(labels)}"
    shown = f"max by ({by}) ({placed(since)}) unless on ({by}) {graver}"
    severities = coloured_text({"critical": RED, "warning": AMBER, "info": BLUE})
    return rows(
        About(
            "Firing alerts",
            "Alerts of epochcost that fire now, the dearest first: the dollars an hour that are wasted there, or that "
            "moving would save; of other alerts, what the run or the node costs. And for how long it has been so.",
            PLAIN,
            empty="No alert is firing",
        ),
        "row",
        [
            Column("Severity", "severity", width=72, properties=severities),
            Column("Alert", "alertname", properties=(without_prefix("Epochcost"),)),
            Column("Where", "short"),
            Column("Dollars", "B", cell(f"{placed(_dollars())} unless on ({by}) {graver}", *labels), USD_PER_HOUR, 88),
            Column("For", "A", row(middle_cut(shown, "where"), *labels), SECONDS, 84),
        ],
        sort_by="Dollars",
    )


def nodes() -> Builder[Panel]:
    """Every node, the most wasteful first."""

    def of(expr: str) -> str:
        return cell(f"{once(MACHINE, expr)} {CHOSEN}", "epochcost_machine")

    cpu = f"{once(MACHINE, 'epochcost_node_cpu_utilization_ratio')} and on ({MACHINE}) epochcost_node_gpus == 0"
    busy = f"node:epochcost_gpu_utilization_ratio:rate5m or {cpu}"
    useful = 'node_state:epochcost_time_ratio:rate5m{state="useful"}'
    mostly = f"topk by ({MACHINE}) (1, node_state:epochcost_time_ratio:rate5m) {CHOSEN}"
    whose = f"machine:epochcost_owner:info or on ({MACHINE}) machine:epochcost_node_info:max"
    info = f"machine:epochcost_node_info:max * on ({MACHINE}) group_left (team) ({whose}) {CHOSEN}"
    return rows(
        About(
            "Nodes",
            "Every node that reports, the most wasteful first. Busy is the GPUs' mean utilisation of the last 5 "
            "minutes (the CPUs' where there is no GPU); Mostly is the state that most of that time went to.",
            PLAIN,
            empty="No agent reports to this Prometheus",
        ),
        "row",
        [
            CLUSTER,
            Column("Node", "short", middle_cut(row(info, "epochcost_machine"), "node"), ref="A",
                   properties=(link_to_node(),)),
            Column("Team", "team", width=86),
            Column("Type", "instance_type", width=190),
            Column("Bought", "purchase_option", width=86),
            Column("GPUs", "B", of("epochcost_node_gpus"), "none", 46),
            Column("Price", "C", of("node:epochcost_price_usd_per_hour:unified"), USD_PER_HOUR, 76),
            Column("Wasted", "D", of("node:epochcost_waste_usd_per_hour:rate5m"), USD_PER_HOUR, 80),
            Column("Mostly", "state", cell(mostly, "epochcost_machine", more="state"), ref="E", width=94,
                   properties=coloured_text(STATE_COLOURS)),
            Column("Useful", "F", of(useful), RATIO, 76, gauge_cell(GREEN)),
            Column("Busy", "G", of(busy), RATIO, 76, gauge_cell(BLUE)),
            which_machine(),
        ],
        sort_by=("Wasted", "Price"),
    )  # fmt: skip


def runs() -> Builder[Panel]:
    """Every run that is reported."""

    def of(metric: str) -> str:
        return cell(f"{metric} {RUNS_CHOSEN}", "run")

    state = f"topk by ({RUN}) (1, {once(f'{RUN}, state', 'epochcost_run_state == 1')}) {RUNS_CHOSEN}"
    done = f"{once(RUN, 'epochcost_run_epoch')} / {once(RUN, 'epochcost_run_epochs_planned')} {RUNS_CHOSEN}"
    info = f"max by ({RUN}, experiment, team) (run:epochcost_owner:info {RUNS_CHOSEN})"
    named = middle_cut(middle_cut(row(info, "run"), "run"), "experiment", 8, 5, "in_short")
    mean, last = "run:epochcost_epoch_cost_usd:mean", "run:epochcost_epoch_cost_usd:last"
    finished = "run:epochcost_epochs:finished"
    usual = f"{last} / (({mean} * {finished} - {last}) / ({finished} - 1 >= 1))"
    return rows(
        About(
            "Runs",
            "Every run that an agent still reports (a finished one for 15 minutes). Last epoch: how many times as dear "
            "as the mean of those before it. Projected: cost so far, plus the mean cost per epoch for every epoch that "
            "is left. Click a run to open it.",
            PLAIN,
            empty="No run is reported",
        ),
        "row",
        [
            CLUSTER,
            Column("Run", "short", named, ref="A", properties=(link_to_run("RunName"),)),
            Column("Experiment", "in_short", width=116, properties=(link_to_experiment("ExperimentName"),)),
            Column("Team", "team", width=78),
            Column("State", "state", cell(state, "run", more="state"), ref="B", width=90,
                   properties=coloured_text(RUN_STATE_COLOURS)),
            Column("Done", "E", cell(done, "run"), RATIO, 68, gauge_cell(GREEN)),
            Column("Now", "F", of("run:epochcost_cost_usd_per_hour:sum"), USD_PER_HOUR, 76),
            Column("So far", "G", of("run:epochcost_cost_usd:sum"), USD, 68),
            Column("Mean epoch", "I", of(mean), USD, 95),
            Column("Last epoch", "M", of(usual), "suffix:x usual", 90,
                   (*(pair for pair in times_usual().items()), ("custom.cellOptions", {"type": "color-text"}))),
            Column("Projected", "J", of("run:epochcost_cost_usd:projected"), USD, 82),
            Column("Wasted", "K", of("run:epochcost_waste_ratio:life"), RATIO, 68, gauge_cell(AMBER)),
            whole("RunName", "run"),
            whole("ExperimentName", "experiment"),
        ],
        sort_by="So far",
    )  # fmt: skip
