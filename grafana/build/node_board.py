"""The Node dashboard: what one machine costs and could cost, what its GPUs do, and who uses them."""

from __future__ import annotations

from board import OF_A_NODE, PRICE_CHANGES_OF_A_NODE, Grid, Heading, machine_variable, preemptions, to_json
from charts import most_of, state_lanes, word
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel
from hardware_panels import driver, electricity, energy, errors, multiprocessors, throttling, useful_by_activity
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
    lines,
    middle_cut,
    stacked,
)
from selection import RUN, cell, once, row
from states import STATE_COLOURS
from tables import Column, gauge_cell, link_to_experiment, link_to_run, name, rows
from terms_panels import endings, parts, purses

UID = "epochcost-node"
CHOSEN = 'epochcost_machine="$machine"'
NODE = f"{{{CHOSEN}}}"
WATTS, CELSIUS, BYTES_PER_SECOND = "watt", "celsius", "Bps"


def node() -> str:
    """The dashboard as JSON text."""
    grid = Grid()
    _headline(grid)
    grid.band(8, (12, _prices()), (12, _spend()))
    grid.band(8, (24, _states()))
    grid.band(8, (8, _utilisation()), (8, _memory()), (8, _power()))
    grid.band(8, (6, _machine()), (6, _input()), (6, _heat()), (6, _totals()))
    grid.band(8, (8, useful_by_activity()), (6, multiprocessors()), (6, energy()), (4, electricity()))
    grid.band(8, (8, throttling()), (8, errors()), (8, driver()))
    grid.band(9, (8, _owners_over_time()), (16, _owners()))
    grid.band(7, (24, _runs()))
    grid.folded("Parts of the price, sessions and credit", (6, [(12, parts()), (6, endings()), (6, purses())]))
    return to_json(
        Heading(
            UID, "epochcost / Node", "What one machine costs, what it could cost, what its GPUs do, and who uses them."
        ),
        grid,
        [machine_variable("Node")],
        annotations=[preemptions(OF_A_NODE), PRICE_CHANGES_OF_A_NODE],
    )


def of(metric: str) -> str:
    """The figure of the chosen node, from a rule that knows its name."""
    return f"max({metric}{NODE})"


def _label(label: str) -> str:
    """The node's ``label`` where it has one: of a series without labels Grafana would show the query as its name."""
    return f'max by ({label}) (machine:epochcost_node_info:max{{{CHOSEN}, {label}!=""}})'


def _spent() -> Query:
    """Dollars of the time range."""
    unsettled = f"max by (state) (epochcost_node_provisional_cost_usd{NODE})"
    before = f"max by (state) (epochcost_node_provisional_cost_usd{NODE} offset $__range)"
    spent = f"""sum(max by (state) (increase(epochcost_node_cost_usd_total{NODE}[$__range])))
+ (sum({unsettled}) or vector(0))
- (sum({before}) or vector(0))
or
sum(max by (state) (increase(epochcost_node_seconds_total{NODE}[$__range]))) / 3600
* {of("node:epochcost_price_usd_per_hour:unified")}"""
    return Query(spent, "Spent")


def _headline(grid: Grid) -> None:
    price = About(
        "Price",
        "Current price per hour of this machine: the agent's, else the poller's; and the time since its source last "
        "confirmed it.",
        USD_PER_HOUR,
        empty="No price is known",
    )
    machine = About("Machine", "The machine type, as the provider names it.", PLAIN, empty="Not known")
    bought = About("Bought", "Purchase option: on_demand, spot, reserved or owned.", PLAIN, empty="Not known")
    saved = About("Saved", "1 - price / on-demand price. Empty for an owned machine.", RATIO, 0)
    used = About(
        "In this range",
        "Dollars of this machine in the time range: the agent's exact integral; if it knows no price, its seconds x "
        "the current price.",
        USD,
    )
    wasted = About("Wasted now", "Cost per hour not spent on useful training (last 5 minutes).", USD_PER_HOUR)
    now = Query(of("node:epochcost_price_usd_per_hour:unified"), "Now")
    age = Query(of("node:epochcost_price_age_seconds:now"), "Age")
    kind = Query(_label("instance_type"), "{{instance_type}}")
    option = Query(_label("purchase_option"), "{{purchase_option}}")
    saving = Query(of("node:epochcost_price_saving_ratio:now"), "Saved")
    waste = Query(of("node:epochcost_waste_usd_per_hour:rate5m"), "Wasted")
    grid.band(
        4,
        (5, figures(price, now, age, overrides={"Age": {"unit": SECONDS, "decimals": 0}})),
        (5, word(machine, kind)),
        (3, word(bought, option)),
        (3, figures(saved, saving, colour=GREEN)),
        (4, figures(used, _spent(), colour=VIOLET)),
        (4, figures(wasted, waste, colour=AMBER)),
    )


def _prices() -> Builder[Panel]:
    here = f"max by (provider, region, instance_type) (machine:epochcost_node_info:max{NODE})"
    market = f"""max by (purchase_option, zone) (
  market:epochcost_price_usd_per_hour:max
  * on (provider, region, instance_type) group_left () {here}
)"""
    return lines(
        About(
            "Price by purchase option",
            "Price per hour of this machine, and of the same type in its region for every purchase option and zone "
            "that the poller knows. A line ends where the price is no longer known.",
            USD_PER_HOUR,
            empty="No price is known",
        ),
        Query(of("node:epochcost_price_usd_per_hour:unified"), "this machine"),
        Query(market, "{{purchase_option}} {{zone}}"),
        colours={"this machine": VIOLET},
        overrides={"this machine": {"custom.lineWidth": 4}},
        style=LineStyle(stepped=True, fill=0),
        legend=Legend.BESIDE,
    )


def _spend() -> Builder[Panel]:
    rate = f"node_state:epochcost_cost_usd_per_hour:rate5m{NODE}"
    return stacked(
        About(
            "Spend by state over time",
            "Cost per hour of this machine by state. The states always add up to its price.",
            USD_PER_HOUR,
            empty="No price is known",
        ),
        Query(f"max by (state) ({rate})\nand\nmax by (state) (max_over_time({rate}[$__range])) > 0", "{{state}}"),
        STATE_COLOURS,
    )


def _states() -> Builder[Panel]:
    whole = f"max by (state) (rate(epochcost_node_seconds_total{NODE}[$__rate_interval]))"
    each = f"max by (gpu, state) (rate(epochcost_gpu_seconds_total{NODE}[$__rate_interval]))"
    return state_lanes(
        About(
            "State of the machine and of each GPU",
            "The state that took most of the time. A GPU in training is green where it computed for more than half of "
            "the time, and shown as idle elsewhere. A machine without GPUs has one row.",
            PLAIN,
            empty="The agent of this machine does not report",
        ),
        Query(most_of(whole), "machine"),
        Query(most_of(each, "gpu"), "GPU {{gpu}}"),
    )


def _utilisation() -> Builder[Panel]:
    return lines(
        About(
            "Utilisation",
            "Mean over 5 minutes of each GPU, sampled by the agent once a second.",
            RATIO,
            0,
            empty="No GPU is reported",
        ),
        Query(f"max by (gpu) (gpu:epochcost_gpu_utilization_ratio:rate5m{NODE})", "GPU {{gpu}}"),
        style=LineStyle(top=1, fill=0),
        legend=Legend.LINE,
    )


def _memory() -> Builder[Panel]:
    return lines(
        About(
            "Memory fill",
            "Share of each GPU's memory in use, mean over 5 minutes. What is free may hold a larger batch.",
            RATIO,
            0,
            empty="No GPU is reported",
        ),
        Query(f"max by (gpu) (gpu:epochcost_memory_fill_ratio:rate5m{NODE})", "GPU {{gpu}}"),
        style=LineStyle(top=1, fill=0),
        legend=Legend.LINE,
    )


def _power() -> Builder[Panel]:
    return lines(
        About(
            "Power",
            "Power draw of each GPU. For owned machines, energy is a part of the price.",
            WATTS,
            0,
            empty="No GPU reports its power",
        ),
        Query(f"max by (gpu) (epochcost_gpu_power_watts{NODE})", "GPU {{gpu}}"),
        style=LineStyle(fill=0),
        legend=Legend.LINE,
    )


def _machine() -> Builder[Panel]:
    return lines(
        About(
            "CPU and main memory",
            "Share of all CPUs in use, and of the main memory. If GPUs wait while the CPUs are fully used, data "
            "loading is the likely bottleneck.",
            RATIO,
            0,
            empty="The agent of this machine does not report",
        ),
        Query(f"max(epochcost_node_cpu_utilization_ratio{NODE})", "CPU"),
        Query(f"max(epochcost_node_memory_used_bytes{NODE} / epochcost_node_memory_total_bytes{NODE})", "Main memory"),
        colours={"CPU": AMBER, "Main memory": BLUE},
        style=LineStyle(top=1),
        legend=Legend.LINE,
    )


def _input() -> Builder[Panel]:
    def per_second(way: str) -> str:
        return f"max(rate(epochcost_node_{way}_bytes_total{NODE}[$__rate_interval]))"

    return lines(
        About(
            "Disk and network",
            "Bytes per second over all physical disks and network interfaces. If GPUs wait while one of them is at its "
            "limit, reading input is the likely bottleneck.",
            BYTES_PER_SECOND,
            empty="The agent reports no disks and no network",
        ),
        Query(per_second("disk_read"), "Read"),
        Query(per_second("disk_written"), "Written"),
        Query(per_second("network_receive"), "Received"),
        Query(per_second("network_transmit"), "Sent"),
        colours={"Read": BLUE, "Written": VIOLET, "Received": GREEN, "Sent": AMBER},
        style=LineStyle(fill=0),
        legend=Legend.LINE,
    )


def _heat() -> Builder[Panel]:
    return lines(
        About(
            "Temperature",
            "Core temperature of each GPU as reported by the driver.",
            CELSIUS,
            0,
            empty="No GPU reports its temperature",
        ),
        Query(f"max by (gpu) (epochcost_gpu_temperature_celsius{NODE})", "GPU {{gpu}}"),
        style=LineStyle(fill=0),
        legend=Legend.LINE,
    )


def _totals() -> Builder[Panel]:
    lived = f"max by (state) (increase(epochcost_node_seconds_total{NODE}[$__range]))"
    return bars(
        About(
            "Hours by state",
            "Time of the machine in the time range by state, whatever it cost.",
            SECONDS,
            empty="The agent of this machine does not report",
        ),
        "state",
        always(f"{lived} > 0", f"sum({lived})"),
        colours=STATE_COLOURS,
    )


def _owners_over_time() -> Builder[Panel]:
    share = f"sum by (owner) (max by (gpu, owner_kind, owner) (epochcost_gpu_owner_share_ratio{NODE}))"
    return lines(
        About(
            "GPUs by owner",
            "Number of GPUs that each run, pod, job or user held. GPUs above the areas were not in use.",
            "suffix:GPUs",
            empty="No use of a GPU of this machine is known",
        ),
        Query(middle_cut(share, "owner"), "{{short}}"),
        style=LineStyle(areas=True, stepped=True),
        legend=Legend.LINE,
    )


def _owners() -> Builder[Panel]:
    labels = ("gpu", "owner_kind", "owner", "owner_namespace", "owner_container", "owner_user")
    share = f"""label_join(
  max by ({", ".join(labels)}) (epochcost_gpu_owner_share_ratio{NODE}),
  "use", " ", {", ".join(f'"{label}"' for label in labels)}
)"""
    return rows(
        About(
            "Owners",
            "Current users of each GPU and their share: the run if it reports, else the pod, Slurm job, container or "
            "user, as far as the agent can see them.",
            PLAIN,
            empty="No use of a GPU of this machine is known",
        ),
        "use",
        [
            Column("GPU", "gpu", width=50),
            Column("Kind", "owner_kind", width=90),
            Column("Owner", "owner", properties=name()),
            Column("Namespace", "owner_namespace", width=98, properties=name()),
            Column("User", "owner_user", width=86, properties=name()),
            Column("Share", "A", share, RATIO, 90, gauge_cell(BLUE)),
        ],
        sort_by="Share",
    )


def _runs() -> Builder[Panel]:
    return rows(
        About(
            "Runs on this machine",
            "Runs that the agent of this machine reports: the share of the price that each pays now, and its dollars "
            "so far on this machine. Click a run to open it.",
            PLAIN,
            empty="No run is reported",
        ),
        "row",
        [
            Column("Run", "run", row(f"max by ({RUN}, experiment) (epochcost_run_info{NODE})", "run"), ref="A",
                   properties=name(link_to_run())),
            Column("Experiment", "experiment", properties=name(link_to_experiment())),
            Column("Pays", "B", _of_its(once(RUN, f"epochcost_run_node_share_ratio{NODE}")), RATIO, 90,
                   gauge_cell(BLUE)),
            Column("So far", "C", _of_its(once(RUN, f"node_run:epochcost_cost_usd:last{NODE}")), USD, 90),
            Column("Mean epoch", "D", _of_its(_mean_epoch()), USD, 95),
        ],
        sort_by="So far",
    )  # fmt: skip


def _of_its(expr: str) -> str:
    return cell(expr, "run")


def _mean_epoch() -> str:
    return f"run:epochcost_epoch_cost_usd:mean and on ({RUN}) epochcost_run_info{NODE}"
