"""The Fleet dashboard: what everything costs now, where it goes, which nodes and runs it goes to."""

# ruff: noqa: FBT003 - the setters of the SDK take a lone boolean
from __future__ import annotations

from board import Grid, query_variable, to_json
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.common import VizOrientation
from grafana_foundation_sdk.models.dashboard import Panel
from guard_panels import guard_band
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
    Query,
    always,
    bars,
    figures,
    first_said,
    gauge_cell,
    lines,
    link_to_experiment,
    link_to_node,
    link_to_run,
    rows,
    share_of_budget,
    stacked,
    which_machine,
    without_prefix,
)
from selection import MACHINE, RUN, cell, once, row
from states import RUN_STATE_COLOURS, STATE_COLOURS, coloured_text

UID = "epochcost-fleet"
CHOSEN = 'and on (cluster, epochcost_machine) node:epochcost_node_info:max{node=~"$node"}'
NODES = 'label_values(node:epochcost_node_info:max{cluster=~"$cluster"}, node)'
SPENT = "sum(sum_over_time(cluster:epochcost_spent_usd:step[$__range])) > 0"
"""Dollars of the panel's time range, of every machine that was there."""
WASTE = "sum(cluster:epochcost_waste_usd_per_hour:rate5m)"
BY_STATE = "sum by (state) (cluster_state:epochcost_cost_usd_per_hour:rate5m)"

EVER = "sum by (state) (max_over_time(cluster_state:epochcost_cost_usd_per_hour:rate5m[$__range])) > 0"
"""States that cost nothing in the whole time range are left out of a legend."""


def fleet() -> str:
    """The dashboard as JSON text."""
    grid = Grid()
    _headline(grid)
    _breakdown(grid)
    _history(grid)
    _who_pays(grid)
    grid.band(10, (24, _nodes()))
    grid.band(9, (24, _runs()))
    grid.band(7, *guard_band())
    return to_json(
        UID,
        "epochcost / Fleet",
        "What the training fleet costs now, what of it is wasted, and on which node.",
        grid,
        [query_variable("node", "Nodes in the table", NODES, all_values=True)],
    )


def _headline(grid: Grid) -> None:
    grid.band(
        4,
        (4, _spend_now()),
        (4, _today()),
        (4, _month()),
        (4, _wasted()),
        (4, _machines()),
        (4, _cheapest()),
    )


def _spend_now() -> Builder[Panel]:
    return figures(
        About(
            "Spend now",
            "Prices of all nodes that report, added up. A node whose price nobody knows is missing here "
            "and listed below without a price.",
            USD_PER_HOUR,
            2,
        ),
        Query("sum(cluster:epochcost_price_usd_per_hour:sum)", "Spend now"),
    )


def _today() -> Builder[Panel]:
    about = About(
        "Today so far",
        "Dollars since midnight of every machine that was there, also of those that are gone: what the agents' own "
        "exact integrals did; for a node whose agent knows no price, its seconds x the poller's price.",
        USD,
        2,
    )
    return figures(about, Query(SPENT, "Today so far")).time_from("now/d").hide_time_override(True)


def _month() -> Builder[Panel]:
    about = About(
        "Forecast",
        "What this month (UTC) will have cost: the dollars of its whole hours so far, plus the mean of the last 24 "
        "hours for every hour that it still has.",
        USD,
        0,
    )
    return figures(about, Query("sum(cluster:epochcost_cost_usd:month_projected) > 0", "End of the month"), named=True)


def _wasted() -> Builder[Panel]:
    share = f"{WASTE} / (sum({BY_STATE}) > 0)"
    return figures(
        About(
            "Wasted now",
            "What is paid and trains nothing, over the last 5 minutes: every state but useful, unattributed (busy for "
            "somebody who reported no run) and unknown. Beside it its share of the spend.",
            USD,
        ),
        Query(WASTE, "Per hour"),
        Query(share, "Share"),
        colour=AMBER,
        overrides={
            "Share": {
                "unit": RATIO,
                "decimals": 0,
                "thresholds": {
                    "mode": "absolute",
                    "steps": [
                        {"value": None, "color": GREEN},
                        {"value": 0.25, "color": AMBER},
                        {"value": 0.5, "color": RED},
                    ],
                },
            }
        },
    )


def _machines() -> Builder[Panel]:
    return figures(
        About("Machines", "Nodes that report, their GPUs, and the runs that are open on them.", PLAIN),
        Query("count(node:epochcost_node_info:max)", "Nodes"),
        Query(f"sum({once(MACHINE, 'epochcost_node_gpus')})", "GPUs"),
        Query(
            f"count(count by ({RUN}) (epochcost_run_node_share_ratio > 0)) or 0 * count(node:epochcost_node_info:max)",
            "Runs",
        ),
    )


def _cheapest() -> Builder[Panel]:
    return figures(
        About(
            "Cheapest run",
            "The run with the lowest mean cost per finished epoch. Compare only runs of one experiment: an epoch of "
            "another model is another thing.",
            USD,
        ),
        Query("bottomk(1, run:epochcost_epoch_cost_usd:mean)", "{{run}}"),
        colour=GREEN,
        named=True,
    )


def _breakdown(grid: Grid) -> None:
    states = bars(
        About(
            "Spend by state",
            "Where the dollars of the last 5 minutes went. The states of a node always add up to its price.",
            USD_PER_HOUR,
            empty="No price is known, or no agent reports",
        ),
        "state",
        always(f"{BY_STATE} > 0", f"sum({BY_STATE})"),
        colours=STATE_COLOURS,
    )
    epochs = bars(
        About(
            "Cost per epoch",
            "Mean of all finished epochs of each run: the top six by cost. Runs without a finished epoch are "
            "not shown.",
            USD,
            empty="No run has finished an epoch with a known price",
        ),
        "run",
        "topk(6, run:epochcost_epoch_cost_usd:mean)",
        long_names=True,
    )
    grid.band(8, (7, states), (7, epochs), (10, _alerts()))


def _alerts() -> Builder[Panel]:
    alerts = """(
  (time() - ALERTS_FOR_STATE{alertname=~"Epochcost.+"})
  and ignoring (alertstate)
  ALERTS{alertname=~"Epochcost.+", alertstate="firing"}
)"""
    # Where a reader can go and look.
    where = first_said(alerts, "where", "run", "node", "epochcost_machine", "source")
    firing = f"max by (alertname, severity, where) ({where})"
    severities = coloured_text({"critical": RED, "warning": AMBER, "info": BLUE})
    return rows(
        About(
            "Firing alerts",
            "Alerts of epochcost that fire now, where, and for how long it has been so.",
            SECONDS,
            empty="No alert is firing",
        ),
        "alertname",
        [
            Column("Severity", "severity", width=74, properties=severities),
            Column("Alert", "alertname", properties=(without_prefix("Epochcost"),)),
            Column("Where", "where"),
            Column("For", "A", firing, SECONDS, 85),
        ],
        sort_by="For",
    )


def _history(grid: Grid) -> None:
    states = stacked(
        About(
            "Spend by state over time",
            "What every state cost an hour. Green is training; everything else is the price of start-up, waiting, "
            "lost work and machines left on.",
            USD_PER_HOUR,
            empty="No price is known, or no agent reports",
        ),
        Query(f"{BY_STATE}\nand\n{EVER}", "{{state}}"),
        STATE_COLOURS,
    )
    ratios = lines(
        About(
            "Waste and utilisation",
            "Share of the spend that is wasted; mean utilisation of all GPUs from the 1 Hz integral; how full their "
            "memory is.",
            RATIO,
            0,
            empty="No GPU and no price is known",
        ),
        Query(
            "sum(node:epochcost_gpu_utilization_ratio:rate5m * node:epochcost_gpu_weight:sum)\n"
            "/ sum(node:epochcost_gpu_weight:sum and node:epochcost_gpu_utilization_ratio:rate5m)",
            "GPU utilisation",
        ),
        Query("avg(gpu:epochcost_memory_fill_ratio:rate5m)", "GPU memory fill"),
        Query(f"{WASTE} / (sum({BY_STATE}) > 0)", "Wasted share"),
        colours={"GPU utilisation": GREEN, "GPU memory fill": BLUE, "Wasted share": AMBER},
        top=1,
    )
    grid.band(9, (15, states), (9, ratios))


def _who_pays(grid: Grid) -> None:
    spend = bars(
        About(
            "Spend by experiment",
            "What the runs of each experiment cost an hour now, the six dearest first. Runs that name no experiment "
            "and machines without a run, are not in it.",
            USD_PER_HOUR,
            empty="No run of a named experiment has a known price",
        ),
        "experiment",
        _by_experiment("run:epochcost_cost_usd_per_hour:sum > 0"),
        long_names=True,
    )
    waste = bars(
        About(
            "Wasted by experiment",
            "Cost per hour not spent on useful training over the last 5 minutes: start-up, waiting, repeated work.",
            USD_PER_HOUR,
            empty="No run of a named experiment has a known price",
        ),
        "experiment",
        _by_experiment("run:epochcost_waste_usd_per_hour:rate5m"),
        long_names=True,
    )
    grid.band(8, (8, spend), (8, waste), (8, _budget()))


def _by_experiment(expr: str) -> str:
    named = f"({expr})\n  * on ({RUN}) group_left (experiment) run:epochcost_experiment:info"
    return f"topk(6, sum by (experiment) (\n  {named}\n))"


def _budget() -> Builder[Panel]:
    budget = "cluster:epochcost_budget_usd:month"
    spent = f"(sum(cluster:epochcost_cost_usd:month and {budget}) > 0)"
    share = share_of_budget()
    return figures(
        About(
            "Budget of the month",
            "Share of the fleet's budget that is spent, that will be by the end of the month (UTC) at the mean price "
            "of the last day, and how many times as fast as evenly it was spent in the last hour. Budgets stand in "
            "epochcost-thresholds.yml.",
            RATIO,
            0,
            empty="No budget is set in epochcost-thresholds.yml",
        ),
        Query(f"{spent} / sum({budget})", "Spent"),
        Query(f"(sum(cluster:epochcost_cost_usd:month_projected and {budget}) > 0) / sum({budget})", "At its end"),
        Query("max(cluster:epochcost_budget_burn_ratio:rate1h) > 0", "Pace"),
        overrides={"Spent": share, "At its end": share, "Pace": {"unit": "suffix:x", "decimals": 1}},
    ).orientation(VizOrientation.VERTICAL)  # beside each other, however narrow


def _nodes() -> Builder[Panel]:
    def of(expr: str) -> str:
        return cell(f"{once(MACHINE, expr)} {CHOSEN}", "epochcost_machine")

    cpu = f"{once(MACHINE, 'epochcost_node_cpu_utilization_ratio')} and on ({MACHINE}) epochcost_node_gpus == 0"
    busy = f"node:epochcost_gpu_utilization_ratio:rate5m or {cpu}"
    useful = 'node_state:epochcost_time_ratio:rate5m{state="useful"}'
    fill = f"avg by ({MACHINE}) (gpu:epochcost_memory_fill_ratio:rate5m) {CHOSEN}"
    mostly = f"topk by ({MACHINE}) (1, node_state:epochcost_time_ratio:rate5m) {CHOSEN}"
    info = f"machine:epochcost_node_info:max {CHOSEN}"
    return rows(
        About(
            "Nodes",
            "Every node that reports. Busy is the GPUs' mean utilisation of the last 5 minutes (the CPUs' where there "
            "is no GPU); Mostly is the state that most of that time went to.",
            PLAIN,
            empty="No agent reports to this Prometheus",
        ),
        "row",
        [
            CLUSTER,
            Column("Node", "node", row(info, "epochcost_machine"), ref="A", properties=(link_to_node(),)),
            Column("Type", "instance_type", width=206),
            Column("Provider", "provider", width=66),
            Column("Bought", "purchase_option", width=86),
            Column("GPUs", "B", of("epochcost_node_gpus"), "none", 46),
            Column("Price", "C", of("node:epochcost_price_usd_per_hour:unified"), USD_PER_HOUR, 76),
            Column("Wasted", "D", of("node:epochcost_waste_usd_per_hour:rate5m"), USD_PER_HOUR, 80),
            Column(
                "Mostly",
                "state",
                cell(mostly, "epochcost_machine", more="state"),
                ref="E",
                width=94,
                properties=coloured_text(STATE_COLOURS),
            ),
            Column("Useful", "F", of(useful), RATIO, 76, gauge_cell(GREEN)),
            Column("Busy", "G", of(busy), RATIO, 76, gauge_cell(BLUE)),
            Column("Memory", "H", cell(fill, "epochcost_machine"), RATIO, 76, gauge_cell(BLUE)),
            which_machine(),
        ],
        sort_by="Price",
    )


def _runs() -> Builder[Panel]:
    def of(metric: str) -> str:
        return cell(metric, "run")

    state = cell(f"topk by ({RUN}) (1, {once(f'{RUN}, state', 'epochcost_run_state == 1')})", "run", more="state")
    done = cell(f"{once(RUN, 'epochcost_run_epoch')} / {once(RUN, 'epochcost_run_epochs_planned')}", "run")
    named = row(f"topk by ({RUN}) (1, {once(f'{RUN}, experiment', 'epochcost_run_info')})", "run")
    return rows(
        About(
            "Runs",
            "Every run that an agent still reports (a finished one for 15 minutes). Projected: cost so far, plus the "
            "mean cost per epoch for every epoch that is left. Click a run to open it.",
            PLAIN,
            empty="No run is reported",
        ),
        "row",
        [
            CLUSTER,
            Column("Run", "run", named, ref="A", properties=(link_to_run("Run"),)),
            Column("Experiment", "experiment", width=128, properties=(link_to_experiment("Experiment"),)),
            Column("State", "state", state, ref="B", width=104, properties=coloured_text(RUN_STATE_COLOURS)),
            Column("Epoch", "C", of("epochcost_run_epoch"), "none", 55, (("decimals", 1),)),
            Column("Done", "E", done, RATIO, 76, gauge_cell(GREEN)),
            Column("Now", "F", of("run:epochcost_cost_usd_per_hour:sum"), USD_PER_HOUR, 76),
            Column("So far", "G", of("run:epochcost_cost_usd:sum"), USD, 72),
            Column("Mean epoch", "I", of("run:epochcost_epoch_cost_usd:mean"), USD, 95),
            Column("Projected", "J", of("run:epochcost_cost_usd:projected"), USD, 88),
            Column("Wasted", "K", of("run:epochcost_waste_ratio:life"), RATIO, 76, gauge_cell(AMBER)),
            Column("Left", "L", of("run:epochcost_eta_seconds:projected"), SECONDS, 84),
        ],
        sort_by="So far",
    )
