"""The Fleet dashboard: what everything costs now, how much of it is wasted, by whom, and on which nodes."""

# ruff: noqa: FBT003 - the setters of the SDK take a lone boolean
from __future__ import annotations

from alert_table import alerts
from board import Grid, Heading, query_variable, to_json
from fleet_tables import RUNS_CHOSEN, nodes, runs
from grafana_foundation_sdk.builders.dashboard import QueryVariable
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.common import VizOrientation
from grafana_foundation_sdk.models.dashboard import Panel
from guard_panels import guard_bands
from panels import (
    AMBER,
    BLUE,
    GREEN,
    PLAIN,
    RATIO,
    RED,
    USD,
    USD_PER_HOUR,
    About,
    Legend,
    LineStyle,
    Query,
    always,
    bars,
    figures,
    lines,
    share_of_budget,
    stacked,
    worse_when_higher,
)
from selection import MACHINE, RUN, once
from states import STATE_COLOURS, WASTED

UID = "epochcost-fleet"
NO_PRICE = "No price is known, or no agent reports"
NODES = 'label_values(node:epochcost_node_info:max{cluster=~"$cluster"}, node)'
OWNED = "owner_state:epochcost_cost_usd_per_hour:rate5m"
SHOWN = 'team=~"$team", owner=~"$owner", experiment=~"$experiment"'
SPENT = "sum(sum_over_time(cluster:epochcost_spent_usd:step[$__range])) > 0"
"""Dollars of the panel's time range, of every machine that was there."""
WASTE = f"sum({OWNED}{{{SHOWN}, {WASTED}}})"
BY_STATE = f"sum by (state) ({OWNED}{{{SHOWN}}})"
EVER = "sum by (state) (max_over_time(cluster_state:epochcost_cost_usd_per_hour:rate5m[$__range])) > 0"
"""States that cost nothing in the whole time range are left out of a legend."""


def fleet() -> str:
    """The dashboard as JSON text."""
    grid = Grid()
    grid.band(4, (5, _spend_now()), (4, _wasted()), (3, _today()), (3, _month()), (5, _budget()), (4, _machines()))
    grid.band(9, (5, _states()), (19, alerts()))
    grid.band(
        8,
        (4, _spend("cluster")),
        (5, _spend("team")),
        (5, _waste("team")),
        (5, _waste("owner")),
        (5, _waste("experiment")),
    )
    grid.band(9, (14, _spend_over_time()), (5, _ratios()), (5, _epochs()))
    grid.band(10, (24, nodes()))
    grid.band(9, (24, runs()))
    grid.folded("Guard: pending actions, keeps, ended work", *guard_bands())
    return to_json(
        Heading(
            UID,
            "epochcost / Fleet",
            "What the training fleet costs now, how much of it is wasted, by whom, and on which nodes.",
        ),
        grid,
        [
            *(_chosen(label) for label in ("team", "owner", "experiment")),
            query_variable("node", "Nodes in the table", NODES, all_values=True),
        ],
    )


def _chosen(label: str) -> QueryVariable:
    values = f'label_values({OWNED}{{cluster=~"$cluster"}}, {label})'
    return query_variable(label, label.capitalize(), values, all_values=True)


def _spend_now() -> Builder[Panel]:
    unpriced = (
        "node:epochcost_node_info:max unless on (cluster, epochcost_machine) node:epochcost_price_usd_per_hour:unified"
    )
    return figures(
        About(
            "Spend now",
            "Cost per hour of everything selected at the top; with nothing selected, the sum of the prices of all "
            "nodes that report. Nodes whose price is not known are not included, and are counted next to it.",
            USD,
            empty=NO_PRICE,
        ),
        Query(f"sum({OWNED}{{{SHOWN}}})", "Per hour"),
        Query(f"count({unpriced}) > 0", "Nodes without price"),
        overrides={
            "Nodes without price": {
                "unit": "none",
                "decimals": 0,
                "thresholds": {"mode": "absolute", "steps": [{"value": None, "color": RED}]},
            }
        },
    )


def _today() -> Builder[Panel]:
    about = About(
        "Today",
        "Dollars since midnight of every machine that was present, including those that are gone: the increase of the "
        "agents' exact integrals; for a node whose agent knows no price, its seconds x the poller's price.",
        USD,
    )
    return figures(about, Query(SPENT, "Today")).time_from("now/d").hide_time_override(True)


def _month() -> Builder[Panel]:
    about = About(
        "Forecast",
        "Projected cost of this month (UTC): the dollars of its whole hours so far, plus the mean of the last 24 hours "
        "for every hour left.",
        USD,
    )
    return figures(about, Query("sum(cluster:epochcost_cost_usd:month_projected) > 0", "This month"), named=True)


def _wasted() -> Builder[Panel]:
    share = f"{WASTE} / (sum({BY_STATE}) > 0)"
    return figures(
        About(
            "Wasted now",
            "Cost per hour not spent on useful training (last 5 minutes), and its share of the spend: every state "
            "except useful, unattributed (busy, but no run was reported) and unknown.",
            USD,
            empty=NO_PRICE,
        ),
        Query(WASTE, "Per hour"),
        Query(share, "Share"),
        colour=AMBER,
        overrides={
            "Share": worse_when_higher(RATIO, 0, amber=0.25, red=0.5),
        },
    )


def _machines() -> Builder[Panel]:
    return figures(
        About(
            "Machines",
            "Nodes that report, their GPUs, and the runs in progress on them.",
            PLAIN,
            empty="No agent reports",
        ),
        Query("count(node:epochcost_node_info:max)", "Nodes"),
        Query(f"sum({once(MACHINE, 'epochcost_node_gpus')})", "GPUs"),
        Query(
            f"count(count by ({RUN}) (epochcost_run_node_share_ratio > 0)) or 0 * count(node:epochcost_node_info:max)",
            "Runs",
        ),
    )


def _states() -> Builder[Panel]:
    return bars(
        About(
            "Spend by state",
            "Cost per hour by state over the last 5 minutes. The states of a node always add up to its price.",
            USD_PER_HOUR,
            empty=NO_PRICE,
        ),
        "state",
        always(f"{BY_STATE} > 0", f"sum({BY_STATE})"),
        colours=STATE_COLOURS,
    )


def _epochs() -> Builder[Panel]:
    return bars(
        About(
            "Cost per epoch",
            "Mean over the finished epochs of each run, top six by cost. Runs without a finished epoch are not shown. "
            "Epochs of different experiments are not comparable.",
            USD,
            empty="No run has finished an epoch with a known price",
        ),
        "run",
        f"topk(6, run:epochcost_epoch_cost_usd:mean {RUNS_CHOSEN})",
    )


def _spend_over_time() -> Builder[Panel]:
    return stacked(
        About(
            "Spend by state over time",
            "Cost per hour of each state. Green is useful training; the rest is start-up, waiting, lost work and "
            "machines left on.",
            USD_PER_HOUR,
            empty=NO_PRICE,
        ),
        Query(f"{BY_STATE}\nand\n{EVER}", "{{state}}"),
        STATE_COLOURS,
    )


def _ratios() -> Builder[Panel]:
    return lines(
        About(
            "Waste and utilisation",
            "Share of the spend that is wasted, mean utilisation of all GPUs (sampled once a second), and the mean "
            "share of their memory in use.",
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
        style=LineStyle(top=1, points=200),
        legend=Legend.LINE,
    )


NOT_GIVEN = {
    "cluster": "no cluster",
    "team": "no team",
    "owner": "no owner known",
    "experiment": "no run, or no experiment",
}


def _by(label: str, expr: str) -> str:
    summed = f"sum by ({label}) (\n  {expr}\n)"
    return f'topk(6, label_replace({summed}, "{label}", "{NOT_GIVEN[label]}", "{label}", "") > 0)'


def _spend(label: str) -> Builder[Panel]:
    return bars(
        About(
            "Clusters" if label == "cluster" else f"Spend by {label}",
            f"Current cost per hour of each {label}, top six. The cost of a run counts for the {label} of the run, "
            f"the rest of a machine for the {label} of the machine. All of them sum to the spend.",
            USD_PER_HOUR,
            empty=NO_PRICE,
        ),
        label,
        _by(label, f"{OWNED}{{{SHOWN}}}"),
    )


def _waste(label: str) -> Builder[Panel]:
    return bars(
        About(
            f"Wasted by {label}",
            f"Cost per hour of each {label} not spent on useful training (last 5 minutes), top six: start-up, waiting, "
            "repeated work, and machines without a run.",
            USD_PER_HOUR,
            empty="Nothing is wasted, or no price is known",
        ),
        label,
        _by(label, f"{OWNED}{{{SHOWN}, {WASTED}}}"),
    )


def _budget() -> Builder[Panel]:
    budget = "cluster:epochcost_budget_usd:month"
    spent = f"(sum(cluster:epochcost_cost_usd:month and {budget}) > 0)"
    share = share_of_budget()
    # Of an hour: above 1 the budget does not last for the month, from 14.4 on the alert on an hour is about it.
    burn = worse_when_higher("suffix:x", 1, amber=1, red=14.4)
    return figures(
        About(
            "Budget of the month",
            "Share of the budget that is spent, share that is projected for the end of the month (UTC) at the mean "
            "rate of the last day, and burn rate: spend of the last hour over an even spend of the budget. Budgets "
            "are set in epochcost-thresholds.yml.",
            RATIO,
            0,
            empty="No budget is set in epochcost-thresholds.yml",
        ),
        Query(f"{spent} / sum({budget})", "Spent"),
        Query(f"(sum(cluster:epochcost_cost_usd:month_projected and {budget}) > 0) / sum({budget})", "Projected"),
        Query("max(cluster:epochcost_budget_burn_ratio:rate1h) > 0", "Burn rate"),
        overrides={"Spent": share, "Projected": share, "Burn rate": burn},
    ).orientation(VizOrientation.VERTICAL)  # beside each other, however narrow
