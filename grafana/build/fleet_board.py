"""The Fleet dashboard: what everything costs now, where it goes, which nodes and runs it goes to."""

# ruff: noqa: FBT003 - the setters of the SDK take a lone boolean
from __future__ import annotations

from board import Grid, query_variable, to_json
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.common import VizOrientation
from grafana_foundation_sdk.models.dashboard import Panel
from panels import (
    AMBER,
    BLUE,
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
    without_prefix,
)
from states import RUN_STATE_COLOURS, STATE_COLOURS, coloured_text

UID = "epochcost-fleet"
CHOSEN = '{node=~"$node"}'
NAMED = f"* on (job, instance) group_left (node) node:epochcost_node_info:max{CHOSEN}"
"""Gives a series of an agent the name of its node."""

SPENT = """sum(
  sum by (job, instance) (increase(epochcost_node_cost_usd_total[$__range]))
  or
  sum by (job, instance) (increase(epochcost_node_seconds_total[$__range])) / 3600
  * max by (job, instance) (node:epochcost_price_usd_per_hour:unified)
)"""
"""Dollars of the panel's time range: the agents' own; where an agent has none, seconds x the price of now."""

PACE = "avg_over_time(sum(cluster:epochcost_price_usd_per_hour:sum)[1d:5m])"
HOURS_LEFT = "(24 * (days_in_month() - day_of_month() + 1) - hour() - minute() / 60)"
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
    return to_json(
        UID,
        "epochcost / Fleet",
        "What the training fleet costs now, what of it is wasted, and on which node.",
        grid,
        [query_variable("node", "Nodes in the table", "label_values(epochcost_node_info, node)", all_values=True)],
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
        "Dollars since midnight: the agents' own exact integrals; for a node whose agent knows no price, "
        "its seconds x the poller's price of now.",
        USD,
        2,
    )
    return figures(about, Query(SPENT, "Today so far")).time_from("now/d").hide_time_override(True)


def _month() -> Builder[Panel]:
    about = About(
        "Forecast",
        "What this month will have cost: dollars since its first day, plus the mean spend of the last 24 hours for "
        "every hour that the month (UTC) still has.",
        USD,
        0,
    )
    query = Query(f"{SPENT}\n+ {PACE}\n* {HOURS_LEFT}", "End of the month")
    return figures(about, query, named=True).time_from("now/M").hide_time_override(True)


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
        Query("count(epochcost_node_info)", "Nodes"),
        Query("sum(epochcost_node_gpus)", "GPUs"),
        Query("count(count by (run) (epochcost_run_node_share_ratio > 0)) or 0 * count(epochcost_node_info)", "Runs"),
    )


def _cheapest() -> Builder[Panel]:
    return figures(
        About(
            "Cheapest run",
            "The run with the lowest mean cost per finished epoch. Compare only runs of one experiment: an epoch of "
            "another model is another thing.",
            USD,
        ),
        Query("bottomk(1, max by (run) (run:epochcost_epoch_cost_usd:mean))", "{{run}}"),
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
            "Mean of all finished epochs of each run, the six dearest first. No epoch, no bar.",
            USD,
            empty="No run has finished an epoch with a known price",
        ),
        "run",
        "topk(6, max by (run) (run:epochcost_epoch_cost_usd:mean))",
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
    firing = f"max by (alertname, severity, where) ({first_said(alerts, 'where', 'run', 'node', 'source')})"
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
        Query("avg(cluster:epochcost_gpu_utilization_ratio:rate5m)", "GPU utilisation"),
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
            "What of it trains nothing, over the last 5 minutes: start-up, waiting, lost work done again.",
            USD_PER_HOUR,
            empty="No run of a named experiment has a known price",
        ),
        "experiment",
        _by_experiment("run:epochcost_waste_usd_per_hour:rate5m"),
        long_names=True,
    )
    grid.band(8, (8, spend), (8, waste), (8, _budget()))


def _by_experiment(expr: str) -> str:
    experiment = 'max by (run, experiment) (epochcost_run_info{experiment!=""})'
    return f"topk(6, sum by (experiment) (max by (run) ({expr}) * on (run) group_left (experiment) {experiment}))"


def _budget() -> Builder[Panel]:
    budget = "cluster:epochcost_budget_usd:month"
    spent = f"sum(cluster:epochcost_cost_usd:month and {budget})"
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
        Query(
            f"({spent} + {PACE.replace(':sum)', f':sum and {budget})')} * {HOURS_LEFT}) / sum({budget})", "At its end"
        ),
        Query("max(cluster:epochcost_budget_burn_ratio:rate1h)", "Pace"),
        overrides={"Spent": share, "At its end": share, "Pace": {"unit": "suffix:x", "decimals": 1}},
    ).orientation(VizOrientation.VERTICAL)  # beside each other, however narrow


def _nodes() -> Builder[Panel]:
    busy = f"""max by (node) (
  (node:epochcost_gpu_utilization_ratio:rate5m {NAMED})
  or
  ((epochcost_node_cpu_utilization_ratio and epochcost_node_gpus == 0) {NAMED})
)"""
    mostly = f"topk by (node) (1, max by (node, state) (node_state:epochcost_time_ratio:rate5m {NAMED}))"
    useful = f'max by (node) (node_state:epochcost_time_ratio:rate5m{{state="useful"}} {NAMED})'
    fill = f"max by (node) (avg by (job, instance) (gpu:epochcost_memory_fill_ratio:rate5m) {NAMED})"
    info = f"max by (node, provider, instance_type, purchase_option) (epochcost_node_info{CHOSEN})"
    return rows(
        About(
            "Nodes",
            "Every node that reports. Busy is the GPUs' mean utilisation of the last 5 minutes (the CPUs' where there "
            "is no GPU); Mostly is the state that most of that time went to.",
            PLAIN,
            empty="No agent reports to this Prometheus",
        ),
        "node",
        [
            Column("Node", "node", properties=(link_to_node("Node"),)),
            Column("Type", "instance_type", info, ref="A", width=206),
            Column("Provider", "provider", width=66),
            Column("Bought", "purchase_option", width=86),
            Column("GPUs", "B", f"max by (node) (epochcost_node_gpus {NAMED})", "none", 46),
            Column(
                "Price", "C", f"max by (node) (node:epochcost_price_usd_per_hour:unified{CHOSEN})", USD_PER_HOUR, 76
            ),
            Column(
                "Wasted", "D", f"max by (node) (node:epochcost_waste_usd_per_hour:rate5m{CHOSEN})", USD_PER_HOUR, 80
            ),
            Column("Mostly", "state", mostly, ref="E", width=94, properties=coloured_text(STATE_COLOURS)),
            Column("Useful", "F", useful, RATIO, 76, gauge_cell(GREEN)),
            Column("Busy", "G", busy, RATIO, 76, gauge_cell(BLUE)),
            Column("Memory", "H", fill, RATIO, 76, gauge_cell(BLUE)),
        ],
        sort_by="Price",
    )


def _runs() -> Builder[Panel]:
    def of(metric: str) -> str:
        return f"max by (run) ({metric})"

    state = "topk by (run) (1, max by (run, state) (epochcost_run_state == 1))"
    done = f"{of('epochcost_run_epoch')} / {of('epochcost_run_epochs_planned')}"
    return rows(
        About(
            "Runs",
            "Every run that an agent still reports (a finished one for 15 minutes). Projected: cost so far, plus the "
            "mean cost per epoch for every epoch that is left. Click a run to open it.",
            PLAIN,
            empty="No run is reported",
        ),
        "run",
        [
            Column("Run", "run", properties=(link_to_run("Run"),)),
            Column(
                "Experiment",
                "experiment",
                "max by (run, experiment) (epochcost_run_info)",
                ref="A",
                width=128,
                properties=(link_to_experiment("Experiment"),),
            ),
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
