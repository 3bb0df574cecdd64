"""The Run dashboard: what one training run costs, per epoch and in total, and what its hardware does."""

from __future__ import annotations

from alert_table import alerts_of_a_run
from board import EPOCHS_OF_A_RUN, OF_A_RUN, PRICE_CHANGES_OF_A_RUN, Grid, Heading, preemptions, query_variable, to_json
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
    Legend,
    LineStyle,
    Query,
    always,
    bars,
    figures,
    first_set,
    lines,
    stacked,
)
from run_headline import RUN, money, newest, of, pace, totals
from selection import MACHINE, PART, cell, once, row
from states import COST_COLOURS, STATE_COLOURS
from tables import Column, gauge_cell, link_to_node, name, rows, which_machine

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
    grid.band(5, (24, alerts_of_a_run()))
    grid.band(8, (8, _reported()), (8, _speed()), (8, _batch()))
    grid.band(8, (12, _spend()), (6, _useful()), (6, _phases()))
    grid.band(8, (12, _hardware()), (6, _multiprocessors()), (6, _energy()))
    grid.band(7, (24, _nodes()))
    return to_json(
        Heading(UID, "epochcost / Run", "What one training run costs: per epoch, so far, and in the end."),
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
            "Cost per epoch and per hour",
            "The newest finished epoch (exact), the mean of the epochs finished within the last hour, and on the right "
            "the cost per hour of the run: an epoch costs more if its hours do or if it is slower.",
            USD,
            empty="No epoch has finished with a known price",
        ),
        Query(of("run:epochcost_epoch_cost_usd:last"), "Last epoch"),
        Query(of("run:epochcost_epoch_cost_usd:mean1h"), "Mean of the last hour"),
        Query(of("run:epochcost_cost_usd_per_hour:sum"), "Cost per hour"),
        colours={"Last epoch": GREEN, "Mean of the last hour": BLUE, "Cost per hour": AMBER},
        overrides={
            "Last epoch": {"custom.lineInterpolation": "stepAfter"},
            "Cost per hour": {**ON_THE_RIGHT, "unit": USD_PER_HOUR, "custom.lineInterpolation": "stepAfter"},
        },
    )


def _totals() -> Builder[Panel]:
    return bars(
        About("Cost by state", "All dollars of the run so far by state.", USD, empty="No price is known"),
        "state",
        always(f"max by (state) (run_state:epochcost_cost_usd:sum{RUN}) > 0", of("run:epochcost_cost_usd:sum")),
        colours=COST_COLOURS,
    )


def _spend() -> Builder[Panel]:
    rate = "run_state:epochcost_cost_usd_per_hour:rate5m" + RUN
    return stacked(
        About(
            "Spend by state over time",
            "Cost per hour of the run by state.",
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
            "Useful and lost epochs",
            "Epochs executed on all machines of the run, and those that count in the end. The difference was lost to a "
            "crash or a preemption and done again; on the same machine its dollars are the state replay.",
            "suffix:epochs",
            empty="The run has reported no progress",
        ),
        Query(executed, "Executed"),
        Query(done, "Useful"),
        Query(f"{of('run:epochcost_epochs:lost')} > 0", "Lost"),
        colours={"Executed": BLUE, "Useful": STATE_COLOURS["useful"], "Lost": STATE_COLOURS["replay"]},
        style=LineStyle(fill=15),
        legend=Legend.LINE,
    )


def _phases() -> Builder[Panel]:
    return bars(
        About(
            "Time by phase",
            "Seconds of the run so far by reported phase.",
            SECONDS,
            empty="The run reports no phase",
        ),
        "phase",
        f"max by (phase) (run_phase:epochcost_seconds:sum{RUN}) > 0",
    )


def _hardware() -> Builder[Panel]:
    return lines(
        About(
            "Utilisation and memory",
            "Nodes of the run: mean GPU utilisation (sampled once a second), mean share of GPU memory in use, peak "
            "memory of the run, and CPU utilisation.",
            RATIO,
            0,
            empty="No node reports this run",
        ),
        Query(f"avg(gpu:epochcost_gpu_utilization_ratio:rate5m * {ITS_NODES})", "GPU"),
        Query(f"avg(gpu:epochcost_memory_fill_ratio:rate5m * {ITS_NODES})", "GPU memory"),
        Query(of("run:epochcost_memory_fill_ratio:max"), "Memory peak"),
        Query(f"avg({once(MACHINE, 'epochcost_node_cpu_utilization_ratio')} * {ITS_NODES})", "CPU"),
        colours={"GPU": GREEN, "GPU memory": BLUE, "Memory peak": VIOLET, "CPU": AMBER},
        overrides={"Memory peak": {"custom.lineStyle": {"fill": "dash", "dash": [8, 6]}, "custom.fillOpacity": 0}},
        style=LineStyle(top=1, points=200),
        legend=Legend.LINE,
    )


def _multiprocessors() -> Builder[Panel]:
    return bars(
        About(
            "Useful dollars by SM activity",
            "Useful dollars of the run on machines that report now: active multiprocessors, the rest in which they "
            "waited although a kernel ran, and time whose activity is not known.",
            USD,
            empty="No GPU reports its activity, or no price is known",
        ),
        "sm",
        f"sum by (sm) (max by (part, epochcost_machine, sm) (epochcost_run_useful_cost_usd{RUN})) > 0",
        colours={"active": GREEN, "rest": AMBER, "unknown": STATE_COLOURS["unknown"]},
    )


def _energy() -> Builder[Panel]:
    epoch = About(
        "Energy per epoch",
        "Energy of the run's GPUs so far / epochs executed. Electricity if --energy.usd-per-kwh is set (for owned "
        "machines a part of the price), CO2 if --grid.grams-per-kwh or --grid.listed is.",
        "kwatth",
        empty="Not every GPU reports its power",
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
            "Optimiser steps per second of the whole run and, on the right, samples and tokens per second.",
            "suffix:steps/s",
            empty="The run reports no steps, samples or tokens",
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
            "Reported metrics and cost",
            "Loss and other metrics that the training process reports; on the right the dollars spent so far.",
            "none",
            empty="The run reports no loss and no other metric",
        ),
        Query(f"max by (metric) ({newest('epochcost_run_reported_value')})", "{{metric}}"),
        Query(
            f"{of('run:epochcost_cost_usd:sum')}\nand on ()\nmax({newest('epochcost_run_reported_value')}) > -Inf",
            "Dollars so far",
        ),
        colours={"Dollars so far": AMBER},
        overrides={"Dollars so far": {**ON_THE_RIGHT, "unit": USD}},
        style=LineStyle(fill=0),
        legend=Legend.LINE,
    )


def _batch() -> Builder[Panel]:
    return lines(
        About(
            "Batch size and epoch duration",
            "Reported batch size and, on the right, the duration of the last epoch.",
            "none",
            empty="The run reports no batch size and has finished no epoch",
        ),
        Query(f"max({newest('epochcost_run_batch_size')})", "Batch size"),
        Query(f"max(part:epochcost_last_epoch_seconds:now{RUN})", "Last epoch"),
        colours={"Batch size": BLUE, "Last epoch": GREEN},
        style=LineStyle(stepped=True),
        overrides={"Last epoch": {**ON_THE_RIGHT, "unit": SECONDS}},
        legend=Legend.LINE,
    )


def _nodes() -> Builder[Panel]:
    def of_its(expr: str) -> str:
        return cell(f"{once(MACHINE, expr)} * {ITS_NODES}", "epochcost_machine")

    paid = f"node_run:epochcost_cost_usd:last{RUN}"
    info = f"""{first_set("machine:epochcost_node_info:max", "place", "zone", "region")}
and on ({MACHINE})
{paid}"""
    kind = cell(info, "epochcost_machine", more="provider, place, instance_type, purchase_option")
    share = once(MACHINE, f"epochcost_run_node_share_ratio{RUN}")
    return rows(
        About(
            "Nodes of the run",
            "Current and former machines of this run: price, share of it that the run pays now, dollars of the run on "
            "it so far, and utilisation.",
            PLAIN,
            empty="No node reports this run",
        ),
        "row",
        [
            Column("Node", "node", row(f"max by ({MACHINE}, node) ({paid})", "epochcost_machine"), ref="E",
                   properties=name(link_to_node())),
            Column("Type", "instance_type", kind, ref="A", width=198, properties=name(whole=24)),
            Column("Provider", "provider", width=78),
            Column("Zone, region", "place", width=102, properties=name()),
            Column("Bought", "purchase_option", width=90),
            Column("GPUs", "B", of_its("epochcost_node_gpus"), width=50),
            Column("Price", "C", of_its("node:epochcost_price_usd_per_hour:unified"), USD_PER_HOUR, 80),
            Column("Pays", "D", cell(share, "epochcost_machine"), RATIO, 76, gauge_cell(BLUE)),
            Column("So far", "H", cell(paid, "epochcost_machine"), USD, 74),
            Column("GPU busy", "F", of_its("node:epochcost_gpu_utilization_ratio:rate5m"), RATIO, 82,
                   gauge_cell(GREEN)),
            Column("CPU busy", "G", of_its("epochcost_node_cpu_utilization_ratio"), RATIO, 82, gauge_cell(AMBER)),
            which_machine(),
        ],
        sort_by="So far",
    )  # fmt: skip
