"""The tables of the Fleet dashboard: nodes and runs."""

from __future__ import annotations

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel
from panels import AMBER, BLUE, GREEN, PLAIN, RATIO, USD, USD_PER_HOUR, About
from selection import MACHINE, RUN, cell, once, row
from states import RUN_STATE_COLOURS, STATE_COLOURS, coloured_text
from tables import (
    CLUSTER,
    Column,
    gauge_cell,
    link_to_experiment,
    link_to_node,
    link_to_run,
    name,
    rows,
    which_machine,
)
from verdicts import times_usual

OF_WHOM = 'team=~"$team", experiment=~"$experiment"'
RUNS_CHOSEN = f'and on ({RUN}) run:epochcost_owner:info{{{OF_WHOM}, owner_user=~"$owner"}}'
CHOSEN = f"""and on ({MACHINE}) node:epochcost_node_info:max{{node=~"$node"}}
and on ({MACHINE}) (
  machine:epochcost_owner:info{{{OF_WHOM}, owner=~"$owner"}}
  or on ({MACHINE}) (epochcost_run_node_share_ratio > 0 {RUNS_CHOSEN})
)"""
"""Machines of the chosen teams and owners, and those that their runs are on."""


def nodes() -> Builder[Panel]:
    """Every node, those with the most wasted dollars first."""

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
            "Every node that reports, sorted by wasted dollars. Busy is the mean GPU utilisation of the last 5 "
            "minutes (CPU utilisation on nodes without a GPU); Mostly is the state that took most of that time.",
            PLAIN,
            empty="No agent reports to this Prometheus, or the recording rules are not loaded",
        ),
        "row",
        [
            CLUSTER,
            Column("Node", "node", row(info, "epochcost_machine"), ref="A", properties=name(link_to_node())),
            Column("Team", "team", width=86, properties=name()),
            Column("Type", "instance_type", width=204, properties=name(whole=24)),
            Column("Bought", "purchase_option", width=88),
            Column("GPUs", "B", of("epochcost_node_gpus"), "none", 50),
            Column("Wasted", "D", of("node:epochcost_waste_usd_per_hour:rate5m"), USD_PER_HOUR, 84),
            Column("Price", "C", of("node:epochcost_price_usd_per_hour:unified"), USD_PER_HOUR, 74),
            Column("Mostly", "state", cell(mostly, "epochcost_machine", more="state"), ref="E", width=90,
                   properties=coloured_text(STATE_COLOURS)),
            Column("Useful", "F", of(useful), RATIO, 65, gauge_cell(GREEN)),
            Column("Busy", "G", of(busy), RATIO, 65, gauge_cell(BLUE)),
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
    mean, last = "run:epochcost_epoch_cost_usd:mean", "run:epochcost_epoch_cost_usd:last"
    finished = "run:epochcost_epochs:finished"
    usual = f"{last} / (({mean} * {finished} - {last}) / ({finished} - 1 >= 1))"
    return rows(
        About(
            "Runs",
            "Every run that an agent reports, and for 15 minutes those that have finished. Last epoch: its cost over "
            "the mean of the epochs before it. Projected: cost so far plus the mean cost per epoch for every epoch "
            "left. Click a run to open it, or its experiment to compare machines.",
            PLAIN,
            empty="No run is reported",
        ),
        "row",
        [
            CLUSTER,
            Column("Run", "run", row(info, "run"), ref="A", properties=name(link_to_run(), whole=16)),
            Column("Experiment", "experiment", properties=name(link_to_experiment(), whole=16)),
            Column("Team", "team", width=78, properties=name()),
            Column("State", "state", cell(state, "run", more="state"), ref="B", width=88,
                   properties=coloured_text(RUN_STATE_COLOURS)),
            Column("Done", "E", cell(done, "run"), RATIO, 62, gauge_cell(GREEN)),
            Column("Now", "F", of("run:epochcost_cost_usd_per_hour:sum"), USD_PER_HOUR, 76),
            Column("So far", "G", of("run:epochcost_cost_usd:sum"), USD, 66),
            Column("Mean epoch", "I", of(mean), USD, 92),
            Column("Last epoch", "M", of(usual), "suffix:x usual", 91,
                   (*times_usual("suffix:x usual").items(), ("custom.cellOptions", {"type": "color-text"}))),
            Column("Projected", "J", of("run:epochcost_cost_usd:projected"), USD, 79),
            Column("Wasted", "K", of("run:epochcost_waste_ratio:life"), RATIO, 62, gauge_cell(AMBER)),
        ],
        sort_by="So far",
    )  # fmt: skip
