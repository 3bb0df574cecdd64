"""The Compare dashboard: time and cost of an epoch of one experiment on every machine type it was trained on."""

from __future__ import annotations

from board import Grid, Heading, most_first, to_json
from charts import Axis, Points, plane
from grafana_foundation_sdk.builders import dashboard as sdk
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel, VariableOption
from panels import AMBER, BLUE, GREEN, GREY, PLAIN, RATIO, SECONDS, USD, USD_PER_HOUR, About, Query, bars, figures
from selection import RUN, once
from tables import CLUSTER, Column, gauge_cell, link_to_experiment, link_to_run, name, rows

UID = "epochcost-compare"
SETUP = "provider, instance_type, purchase_option, nodes, batch_size"
MEASURED = '{experiment="$experiment"}[$__range]'
FRONTIER_POINTS = 4
FIRST = 1e12
"""Dollars that no experiment costs: what puts some before all others."""
NO_EPOCH = "No run of this experiment has finished an epoch in this time range"


def _median(metric: str) -> str:
    """Mean over the runs of a setup of their medians within the time range: runs that have ended count."""
    return f"avg by ({SETUP}) (quantile_over_time(0.5, run_setup:epochcost_{metric}{MEASURED}))"


TIME, COST = _median("epoch_seconds:last"), _median("epoch_cost_usd:last")
RATE = f"3600 * {COST} / {TIME}"
EVER = f"max_over_time(run_setup:epochcost_epoch_seconds:last{MEASURED})"
STEP, SAMPLE, BATCH = (_median(name) for name in ("step_seconds:now", "sample_cost_usd:last", "batch_size:now"))
ENERGY = f"({_median('epoch_energy_kwh:mean')} and {TIME})"
FILL = f"({_median('memory_fill_ratio:max')} and {TIME})"
"""Of setups that finished an epoch: memory is measured from the first second on."""


def compare() -> str:
    """The dashboard as JSON text."""
    grid = Grid()
    _headline(grid)
    grid.band(12, (12, _plane()), (12, _hours_and_time()))
    grid.band(9, (24, _table()))
    grid.band(9, (8, _samples()), (8, _steps()), (8, _memory()))
    grid.band(8, (24, _runs()))
    grid.band(8, (24, _best()))
    return to_json(
        Heading(
            UID, "epochcost / Compare", "Measured time and cost of an epoch of one experiment on every machine type."
        ),
        grid,
        [
            most_first("experiment", "Experiment", _worth_comparing(), "experiment"),
            sdk.CustomVariable("epochs")
            .label("Epochs to train")
            .values("1,10,25,50,100,300")
            .current(VariableOption(selected=True, text="25", value="25")),
        ],
    )


def _worth_comparing() -> str:
    """Experiments by their dollars, those that ran on several setups before all others; the runs reported now last."""
    seen = 'last_over_time(run_setup:epochcost_epoch_seconds:last{experiment!=""}[$__range])'
    setups = f"count by (experiment) (count by (experiment, {SETUP}) ({seen}))"
    paid = f"""(
    max by ({RUN}) (run:epochcost_cost_usd:sum)
    or max by ({RUN}) (last_over_time(run:epochcost_ended_cost_usd:last[$__range]))
  )"""
    dollars = f"""sum by (experiment) (
  0 * max by ({RUN}, experiment) ({seen}) + on ({RUN}) group_left () {paid}
)"""
    first = f"{FIRST:.0f} * ({setups} > bool 1)"
    reported = 'count by (experiment) (epochcost_run_info{experiment!=""})'
    return f"({first} + {dollars})\nor {first}\nor 0 * {reported}"


def _named(expr: str) -> str:
    """Adds labels ``machine``, such as `2 x p4d.24xlarge`, and ``setup``, with purchase option and batch size."""
    machine = f'label_join(\n  {expr},\n  "machine", " x ", "nodes", "instance_type"\n)'
    batch = f'label_replace({machine}, "batch", ", batch $1", "batch_size", "(.+)")'
    bought = f'label_join({batch}, "bought", ", ", "machine", "purchase_option")'
    return f'label_join({bought}, "setup", "", "bought", "batch")'


def _by_setup(expr: str) -> str:
    return f"max by (setup) ({_named(expr)})"


def frontier(cost: str = COST) -> str:
    """The cheapest setup; the cheapest of those that are faster; of those the cheapest that is faster still; ..."""
    queries = [f"bottomk(1, {cost})"]
    while len(queries) < FRONTIER_POINTS:
        queries.append(f"bottomk(1, {cost} and {TIME} < on () group_left () max({TIME} and {queries[-1]}))")
    return "\nor\n".join(f"({point})" for point in queries)


def _headline(grid: Grid) -> None:
    grid.band(
        4,
        (
            7,
            figures(
                About("Cheapest epoch", "The setup with the lowest cost per epoch.", USD, empty=NO_EPOCH),
                Query(_named(f"bottomk(1, {COST})"), "{{setup}}"),
                colour=GREEN,
                named=True,
            ),
        ),
        (
            7,
            figures(
                About("Fastest epoch", "The setup with the shortest epoch.", SECONDS, empty=NO_EPOCH),
                Query(_named(f"bottomk(1, {TIME})"), "{{setup}}"),
                named=True,
            ),
        ),
        (
            5,
            figures(
                About(
                    "Spread",
                    "Cost per epoch of the most expensive setup over that of the cheapest.",
                    "suffix:x",
                ),
                Query(f"max({COST}) / min({COST})", "Factor"),
                colour=AMBER,
            ),
        ),
        (5, _measured()),
    )


def _measured() -> Builder[Panel]:
    runs = f"count(count by ({RUN}) (max_over_time(run_setup:epochcost_epoch_seconds:last{MEASURED})))"
    return figures(
        About("Measured", "Setups and runs that finished an epoch of this experiment.", PLAIN),
        Query(f"count({TIME})", "Setups"),
        Query(runs, "Runs"),
    )


def _plane() -> Builder[Panel]:
    return plane(
        About(
            "Cost per epoch",
            "Each point is a setup (machine type and number, purchase option, batch size) with its median epoch in the "
            "time range. For a point on the frontier (up to four, from the cheapest on), no other is both cheaper and "
            "faster.",
            USD,
            empty=NO_EPOCH,
        ),
        "setup",
        Axis(Query(_by_setup(TIME), "Time per epoch"), SECONDS),
        "Cost per epoch",
        [
            Points("Every setup", _by_setup(COST), GREY),
            Points("On the frontier", _by_setup(frontier()), GREEN),
        ],
    )


def _hours_and_time() -> Builder[Panel]:
    return plane(
        About(
            "Cost per hour against time to train",
            "The same setups: cost per hour, and the time for the number of epochs selected at the top. Lower left is "
            "cheap and fast; for a point on the frontier, no other is both cheaper per hour and faster. The cost of "
            "training is the product of both.",
            USD_PER_HOUR,
            empty=NO_EPOCH,
        ),
        "setup",
        Axis(Query(_by_setup(f"$epochs * {TIME}"), "Time to train"), SECONDS),
        "Cost per hour",
        [
            Points("Every setup", _by_setup(RATE), GREY),
            Points("On the frontier", _by_setup(frontier(RATE)), GREEN),
        ],
    )


def _table() -> Builder[Panel]:
    yes = {"type": "value", "options": {"1": {"text": "frontier", "color": GREEN, "index": 0}}}
    return rows(
        About(
            "Cost of training by machine",
            "The median epoch of each setup in the time range, and its cost per hour as measured. The last columns are "
            "for the number of epochs selected at the top, without start-up.",
            PLAIN,
            empty=NO_EPOCH,
        ),
        "setup",
        [
            Column("Setup", "setup", properties=name()),
            Column("Cost per epoch", "C", _by_setup(COST), USD, 132),
            Column("Time per epoch", "A", _by_setup(TIME), SECONDS, 124),
            Column("Per hour", "B", _by_setup(RATE), USD_PER_HOUR, 84),
            Column(
                "Vs. cheapest", "D", _by_setup(f"{COST} / on () group_left () min({COST})"), "suffix:x", 104,
                (("decimals", 2),),
            ),
            Column("Energy", "I", _by_setup(ENERGY), "kwatth", 84),
            Column("Frontier", "F", _by_setup(f"({frontier()}) >= bool 0"), "none", 80, (("mappings", [yes]),)),
            Column("Total time", "G", _by_setup(f"$epochs * {TIME}"), SECONDS, 92),
            Column("Total cost", "H", _by_setup(f"$epochs * {COST}"), USD, 90),
        ],
        sort_by="Cost per epoch",
        rising="Cost per epoch",
    )  # fmt: skip


def _samples() -> Builder[Panel]:
    cost = f"(1e6 * {SAMPLE} and {BATCH})"
    return plane(
        About(
            "Cost of a million samples by batch size",
            "Cost of a million samples against the reported batch size; the line joins the cheapest setup of each "
            "batch size. A larger batch is usually cheaper until the GPU is full; these figures do not show whether "
            "the model learns as well.",
            USD,
            empty="No run of this experiment reports its batch size and counts its samples",
        ),
        "setup",
        Axis(Query(_by_setup(f"({BATCH} and {SAMPLE})"), "Batch size"), "none"),
        "Cost of a million samples",
        [
            Points("Every setup", _by_setup(cost), GREY),
            Points("Cheapest of each batch size", _by_setup(f"bottomk by (batch_size) (1, {cost})"), BLUE, joined=True),
        ],
    )


def _steps() -> Builder[Panel]:
    return bars(
        About(
            "Time per step by machine",
            "Median of each setup in the time range, with evaluation and checkpoints: the time of a run in ten minutes "
            "over the optimiser steps done in them.",
            SECONDS,
            empty="No run of this experiment counts its steps",
        ),
        "setup",
        _by_setup(STEP),
    )


def _memory() -> Builder[Panel]:
    return bars(
        About(
            "Memory fill",
            "Peak memory of the runs over the memory of the GPU, for the same setups.",
            RATIO,
            0,
            empty="No run of this experiment used a GPU",
        ),
        "setup",
        _by_setup(FILL),
    ).max(1)


def _best() -> Builder[Panel]:
    of_all = MEASURED.replace('experiment="$experiment"', 'experiment!=""')
    each = f"experiment, {SETUP}"
    cost = f"avg by ({each}) (quantile_over_time(0.5, run_setup:epochcost_epoch_cost_usd:last{of_all}))"
    time = f"avg by ({each}) (quantile_over_time(0.5, run_setup:epochcost_epoch_seconds:last{of_all}))"
    best = f"bottomk by (experiment) (1, {cost})"
    return rows(
        About(
            "Best of every experiment",
            "For each experiment the setup with the cheapest epoch in the time range, the number of setups measured, "
            "and the spread: cost per epoch of the most expensive one over the cheapest. Epochs of different "
            "experiments are not comparable.",
            PLAIN,
            empty="No run has finished an epoch with a known price in this time range",
        ),
        "experiment",
        [
            Column("Experiment", "experiment", properties=name(link_to_experiment())),
            Column("Setup", "setup", properties=name()),
            Column("Cost per epoch", "A", _named(best), USD, 132),
            Column("Time per epoch", "B", f"max by (experiment) ({time} and {best})", SECONDS, 120),
            Column("Setups", "C", f"count by (experiment) ({cost})", "none", 78),
            Column("Spread", "D", f"max by (experiment) ({cost}) / min by (experiment) ({cost})", "suffix:x", 80,
                   (("decimals", 1),)),
        ],
        sort_by=("Setups", "Spread"),
    )  # fmt: skip


def _runs() -> Builder[Panel]:
    def of(metric: str) -> str:
        return f"quantile_over_time(0.5, run_setup:epochcost_{metric}{MEASURED})"

    def keyed(expr: str) -> str:
        return f'max by (row) (label_join({_named(expr)}, "row", " ", "cluster", "run", "setup"))'

    def of_the_run(metric: str) -> str:
        known = of("epoch_seconds:last")
        return keyed(f"{known} * 0 + on ({RUN}) group_left () {once(RUN, f'last_over_time({metric}[$__range])')}")

    timed = f'label_join({_named(of("epoch_seconds:last"))}, "row", " ", "cluster", "run", "setup")'
    return rows(
        About(
            "Runs behind these figures",
            "Every run of this experiment that finished an epoch in the time range, with a row for each setup that it "
            "used. Epochs and the last three columns are of the whole run. Useful epoch: all dollars of the run over "
            "the epochs that count in the end. Click a run to open it.",
            PLAIN,
            empty=NO_EPOCH,
        ),
        "row",
        [
            CLUSTER,
            Column("Run", "run", properties=name(link_to_run())),
            Column("Setup", "setup", properties=name()),
            Column("Epochs", "B", of_the_run("run:epochcost_epochs:useful"), "none", 62, (("decimals", 1),)),
            Column("Time per epoch", "A", timed, SECONDS, 118),
            Column("Cost per epoch", "C", keyed(of("epoch_cost_usd:last")), USD, 112),
            Column("Useful epoch", "D", of_the_run("run:epochcost_useful_epoch_cost_usd:mean"), USD, 100),
            Column("Cost", "E", of_the_run("run:epochcost_cost_usd:sum"), USD, 70),
            Column("Wasted", "F", of_the_run("run:epochcost_waste_ratio:life"), RATIO, 85, gauge_cell(AMBER)),
        ],
        sort_by="Cost",
    )
