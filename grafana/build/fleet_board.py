"""The Fleet dashboard: what everything costs now, where it goes, which nodes and runs it goes to."""

# ruff: noqa: FBT003 - the setters of the SDK take a lone boolean
from __future__ import annotations

from board import Grid, query_variable, to_json
from fleet_tables import RUNS_CHOSEN, alerts, nodes, runs
from grafana_foundation_sdk.builders.dashboard import QueryVariable
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.common import VizOrientation
from grafana_foundation_sdk.models.dashboard import Panel
from guard_panels import guard_band
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
    Query,
    always,
    bars,
    figures,
    lines,
    share_of_budget,
    stacked,
)
from selection import MACHINE, RUN, once
from states import STATE_COLOURS, WASTED

UID = "epochcost-fleet"
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
    grid.band(4, (4, _spend_now()), (4, _wasted()), (4, _today()), (3, _month()), (5, _budget()), (4, _machines()))
    grid.band(9, (6, _states()), (12, alerts()), (6, _epochs()))
    grid.band(9, (15, _spend_over_time()), (9, _ratios()))
    grid.band(8, (6, _spend("team")), (6, _waste("team")), (6, _waste("owner")), (6, _waste("experiment")))
    grid.band(10, (24, nodes()))
    grid.band(9, (24, runs()))
    grid.folded("Guard: what it waits for, who keeps what, what it ended", 7, *guard_band())
    return to_json(
        UID,
        "epochcost / Fleet",
        "What the training fleet costs now, what of it is wasted, by whom, and on which node.",
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
            "What everything that is chosen costs an hour: without a choice, the prices of all nodes that report, "
            "added up. A node whose price nobody knows is missing in it, and counted beside it.",
            USD_PER_HOUR,
            2,
        ),
        Query(f"sum({OWNED}{{{SHOWN}}})", "Spend now"),
        Query(f"count({unpriced}) > 0", "Without a price"),
        overrides={
            "Without a price": {
                "unit": "none",
                "decimals": 0,
                "thresholds": {"mode": "absolute", "steps": [{"value": None, "color": RED}]},
            }
        },
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


def _states() -> Builder[Panel]:
    return bars(
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


def _epochs() -> Builder[Panel]:
    return bars(
        About(
            "Cost per epoch",
            "Mean of all finished epochs of each run: the top six by cost. Runs without a finished epoch are "
            "not shown. An epoch of one model is not one of another.",
            USD,
            empty="No run has finished an epoch with a known price",
        ),
        "run",
        f"topk(6, run:epochcost_epoch_cost_usd:mean {RUNS_CHOSEN})",
        long_names=True,
    )


def _spend_over_time() -> Builder[Panel]:
    return stacked(
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


def _ratios() -> Builder[Panel]:
    return lines(
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


NOBODY = {
    "team": "no team",
    "owner": "nobody known",
    "experiment": "no run, or no experiment",
}


def _by(label: str, expr: str) -> str:
    summed = f"sum by ({label}) (\n  {expr}\n)"
    return f'topk(6, label_replace({summed}, "{label}", "{NOBODY[label]}", "{label}", "") > 0)'


def _spend(label: str) -> Builder[Panel]:
    return bars(
        About(
            f"Spend by {label}",
            f"What each {label} costs an hour now, the six dearest first: the runs are theirs that they belong to, the "
            "rest of a machine is the machine's. All of them sum to the spend.",
            USD_PER_HOUR,
            empty="No price is known",
        ),
        label,
        _by(label, f"{OWNED}{{{SHOWN}}}"),
        long_names=True,
    )


def _waste(label: str) -> Builder[Panel]:
    return bars(
        About(
            f"Wasted by {label}",
            "Dollars an hour that train nothing, over the last 5 minutes, the six largest: start-up, waiting, repeated "
            "work, and machines without a run.",
            USD_PER_HOUR,
            empty="Nothing is wasted, or no price is known",
        ),
        label,
        _by(label, f"{OWNED}{{{SHOWN}, {WASTED}}}"),
        long_names=True,
    )


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
