"""The Run dashboard: what one training run costs, per epoch and in all, and what its hardware does for it."""

from __future__ import annotations

from board import EPOCHS_OF_A_RUN, OF_A_RUN, PRICE_CHANGES_OF_A_RUN, Grid, preemptions, query_variable, to_json
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel
from panels import (
    AMBER,
    BLUE,
    GREEN,
    PLAIN,
    RATIO,
    SECONDS,
    USD,
    USD_PER_HOUR,
    VIOLET,
    About,
    Column,
    Legend,
    Query,
    always,
    bars,
    figures,
    first_said,
    gauge_cell,
    lines,
    link_to_node,
    rows,
    stacked,
    which_machine,
)
from run_headline import RUN, money, newest, of, pace, totals
from selection import MACHINE, PART, cell, once, row
from states import COST_COLOURS, STATE_COLOURS

UID = "epochcost-run"
ITS_NODES = f"on ({MACHINE}) group_left () {once(MACHINE, f'epochcost_run_node_share_ratio{RUN} > 0')}"
ON_THE_RIGHT = {"custom.axisPlacement": "right", "custom.fillOpacity": 0}


def run() -> str:
    """The dashboard as JSON text."""
    grid = Grid()
    money(grid)
    totals(grid)
    pace(grid)
    grid.band(9, (15, _epochs()), (9, _totals()))
    grid.band(8, (8, _reported()), (8, _speed()), (8, _batch()))
    grid.band(8, (12, _spend()), (6, _useful()), (6, _phases()))
    grid.band(8, (12, _hardware()), (6, _multiprocessors()), (6, _energy()))
    grid.band(7, (24, _nodes()))
    return to_json(
        UID,
        "epochcost / Run",
        "What one training run costs: per epoch, so far, to the end.",
        grid,
        [
            query_variable("experiment", "Experiment", "label_values(epochcost_run_info, experiment)", all_values=True),
            query_variable(
                "run", "Run", 'label_values(epochcost_run_info{experiment=~"$experiment"}, run)', all_values=False
            ),
        ],
        cluster_of='epochcost_run_info{run="$run"}',
        annotations=[preemptions(OF_A_RUN), PRICE_CHANGES_OF_A_RUN, EPOCHS_OF_A_RUN],
    )


def _epochs() -> Builder[Panel]:
    return lines(
        About(
            "Cost per epoch, and the price of its hours",
            "The newest finished epoch (exact), the mean of the epochs finished within the hour, and on the right what "
            "the run costs an hour: a dearer epoch is either a dearer hour or a slower epoch.",
            USD,
            empty="No epoch has finished with a known price",
        ),
        Query(of("run:epochcost_epoch_cost_usd:last"), "Last epoch"),
        Query(of("run:epochcost_epoch_cost_usd:mean1h"), "Mean of the last hour"),
        Query(of("run:epochcost_cost_usd_per_hour:sum"), "Price per hour"),
        colours={"Last epoch": GREEN, "Mean of the last hour": BLUE, "Price per hour": AMBER},
        overrides={
            "Last epoch": {"custom.lineInterpolation": "stepAfter"},
            "Price per hour": {**ON_THE_RIGHT, "unit": USD_PER_HOUR, "custom.lineInterpolation": "stepAfter"},
        },
    )


def _totals() -> Builder[Panel]:
    return bars(
        About("Where its dollars went", "All dollars of the run so far by state.", USD, empty="No price is known"),
        "state",
        always(f"max by (state) (run_state:epochcost_cost_usd:sum{RUN}) > 0", of("run:epochcost_cost_usd:sum")),
        colours=COST_COLOURS,
    )


def _spend() -> Builder[Panel]:
    rate = "run_state:epochcost_cost_usd_per_hour:rate5m" + RUN
    return stacked(
        About(
            "Spend by state over time",
            "What the run cost an hour, by what its GPUs did with it.",
            USD_PER_HOUR,
            empty="No price is known",
        ),
        Query(
            f"max by (state) ({rate})\nand\nmax by (state) (max_over_time({rate}[$__range])) > 0",
            "{{state}}",
        ),
        STATE_COLOURS,
    )


def _useful() -> Builder[Panel]:
    done, executed = of("run:epochcost_epochs:useful"), of("run:epochcost_epochs:executed")
    return lines(
        About(
            "Useful against lost",
            "Epochs executed on every machine that the run was on, and those of them that count. What lies between was "
            "lost to a crash or a preemption and done again; on the same machine its dollars are the state replay.",
            "suffix:epochs",
            empty="The run has reported no progress",
        ),
        Query(executed, "Executed"),
        Query(done, "Useful"),
        Query(f"{of('run:epochcost_epochs:lost')} > 0", "Lost"),
        colours={"Executed": BLUE, "Useful": STATE_COLOURS["useful"], "Lost": STATE_COLOURS["replay"]},
        fill=15,
        legend=Legend.LINE,
    )


def _phases() -> Builder[Panel]:
    return bars(
        About("Time by phase", "Seconds of the run so far by what the training process said it was doing.", SECONDS),
        "phase",
        f"max by (phase) (run_phase:epochcost_seconds:sum{RUN}) > 0",
    )


def _hardware() -> Builder[Panel]:
    return lines(
        About(
            "Utilisation and memory",
            "Of the nodes of the run: mean GPU utilisation from the 1 Hz integral, mean memory fill, and the highest "
            "fill that the run reached. A node without GPU has only its CPUs.",
            RATIO,
            0,
        ),
        Query(f"avg(gpu:epochcost_gpu_utilization_ratio:rate5m * {ITS_NODES})", "GPU"),
        Query(f"avg(gpu:epochcost_memory_fill_ratio:rate5m * {ITS_NODES})", "GPU memory"),
        Query(of("run:epochcost_memory_fill_ratio:max"), "Memory peak"),
        Query(f"avg({once(MACHINE, 'epochcost_node_cpu_utilization_ratio')} * {ITS_NODES})", "CPU"),
        colours={"GPU": GREEN, "GPU memory": BLUE, "Memory peak": VIOLET, "CPU": AMBER},
        overrides={"Memory peak": {"custom.lineStyle": {"fill": "dash", "dash": [8, 6]}, "custom.fillOpacity": 0}},
        top=1,
        legend=Legend.LINE,
    )


def _multiprocessors() -> Builder[Panel]:
    return bars(
        About(
            "Useful dollars by SM activity",
            "Of the run's useful dollars on machines that report now, those in which multiprocessors were active, the "
            "rest in which they waited although a kernel ran, and those of which nothing is known.",
            USD,
            empty="No GPU tells its activity, or no price is known",
        ),
        "sm",
        f"sum by (sm) (max by (part, epochcost_machine, sm) (epochcost_run_useful_cost_usd{RUN})) > 0",
        colours={"active": GREEN, "rest": AMBER, "unknown": STATE_COLOURS["unknown"]},
    )


def _energy() -> Builder[Panel]:
    epoch = About(
        "Energy of an epoch",
        "What the run's GPUs drew so far / epochs executed. Dollars where --energy.usd-per-kwh is set (a part of what "
        "an owned machine costs, not added to it), grams of CO2 where --grid.grams-per-kwh or --grid.listed is.",
        "kwatth",
        empty="Not every GPU tells its power",
    )
    return figures(
        epoch,
        Query(of("run:epochcost_epoch_energy_kwh:mean"), "Energy"),
        Query(of("run:epochcost_epoch_energy_usd:mean"), "Electricity"),
        Query(of("run:epochcost_epoch_grid_grams:mean"), "CO2"),
        colour=AMBER,
        overrides={"Electricity": {"unit": USD}, "CO2": {"unit": "massg"}},
    )


def _speed() -> Builder[Panel]:
    def rate(what: str) -> str:
        return f"sum({once(PART, f'rate(epochcost_run_{what}_total{RUN}[$__rate_interval])')})"

    return lines(
        About(
            "Speed",
            "Optimiser steps and, on the right, samples and tokens a second, of the whole run.",
            "suffix:steps/s",
        ),
        Query(rate("steps"), "Steps"),
        Query(rate("samples"), "Samples"),
        Query(rate("tokens"), "Tokens"),
        colours={"Steps": BLUE, "Samples": VIOLET, "Tokens": GREEN},
        overrides={name: {**ON_THE_RIGHT, "unit": "suffix:/s"} for name in ("Samples", "Tokens")},
        legend=Legend.LINE,
    )


def _reported() -> Builder[Panel]:
    return lines(
        About(
            "What it reports, and its dollars",
            "Loss, or whatever else the training reports by name; on the right the dollars that it took to get there.",
            "none",
            empty="The run reports no loss and no other figure",
        ),
        Query(f"max by (metric) ({newest('epochcost_run_reported_value')})", "{{metric}}"),
        Query(
            f"{of('run:epochcost_cost_usd:sum')}\nand on ()\nmax({newest('epochcost_run_reported_value')}) > -Inf",
            "Dollars so far",
        ),
        colours={"Dollars so far": AMBER},
        overrides={"Dollars so far": {**ON_THE_RIGHT, "unit": USD}},
        fill=0,
        legend=Legend.LINE,
    )


def _batch() -> Builder[Panel]:
    return lines(
        About(
            "Batch size and length of an epoch",
            "A larger batch fills the memory and usually shortens the epoch, on the right.",
            "none",
        ),
        Query(f"max({newest('epochcost_run_batch_size')})", "Batch size"),
        Query(f"max(part:epochcost_last_epoch_seconds:now{RUN})", "Last epoch took"),
        colours={"Batch size": BLUE, "Last epoch took": GREEN},
        stepped=True,
        overrides={"Last epoch took": {**ON_THE_RIGHT, "unit": SECONDS}},
        legend=Legend.LINE,
    )


def _nodes() -> Builder[Panel]:
    def of_its(expr: str) -> str:
        return cell(f"{once(MACHINE, expr)} * {ITS_NODES}", "epochcost_machine")

    paid = f"node_run:epochcost_cost_usd:last{RUN}"
    info = f"""{first_said("machine:epochcost_node_info:max", "place", "zone", "region")}
and on ({MACHINE})
{paid}"""
    kind = cell(info, "epochcost_machine", more="provider, place, instance_type, purchase_option")
    share = once(MACHINE, f"epochcost_run_node_share_ratio{RUN}")
    return rows(
        About(
            "Nodes of the run",
            "The machines that this run is or was on: what each costs, how much of it the run pays now, what it has "
            "paid there, and how busy it is. One that is gone keeps what was paid.",
            PLAIN,
            empty="No node reports this run",
        ),
        "row",
        [
            Column("Node", "node", row(f"max by ({MACHINE}, node) ({paid})", "epochcost_machine"), ref="E",
                   properties=(link_to_node(),)),
            Column("Type", "instance_type", kind, ref="A", width=198),
            Column("Provider", "provider", width=72),
            Column("Zone, region", "place", width=102),
            Column("Bought", "purchase_option", width=92),
            Column("GPUs", "B", of_its("epochcost_node_gpus"), width=50),
            Column("Price", "C", of_its("node:epochcost_price_usd_per_hour:unified"), USD_PER_HOUR, 80),
            Column("Pays", "D", cell(share, "epochcost_machine"), RATIO, 85, gauge_cell(BLUE)),
            Column("So far", "H", cell(paid, "epochcost_machine"), USD, 80),
            Column("GPU busy", "F", of_its("node:epochcost_gpu_utilization_ratio:rate5m"), RATIO, 85,
                   gauge_cell(GREEN)),
            Column("CPU busy", "G", of_its("epochcost_node_cpu_utilization_ratio"), RATIO, 85, gauge_cell(AMBER)),
            which_machine(),
        ],
        sort_by="So far",
    )  # fmt: skip
