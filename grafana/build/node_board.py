"""The Node dashboard: what one machine costs against what it could cost, what its GPUs do, and for whom."""

from __future__ import annotations

from board import OF_A_NODE, PRICE_CHANGES_OF_A_NODE, Grid, machine_variable, preemptions, to_json
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
    Column,
    Legend,
    Query,
    always,
    bars,
    figures,
    gauge_cell,
    lines,
    link_to_run,
    middle_cut,
    rows,
    stacked,
)
from selection import RUN, cell, once, row
from states import STATE_COLOURS
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
    grid.band(9, (8, _owners_over_time()), (8, _owners()), (8, _runs()))
    grid.folded("Parts of the price, sessions and credit", 6, (12, parts()), (6, endings()), (6, purses()))
    return to_json(
        UID,
        "epochcost / Node",
        "What one machine costs, what it could cost, what its GPUs do, and for whom.",
        grid,
        [machine_variable("Node", all_values=False)],
        annotations=[preemptions(OF_A_NODE), PRICE_CHANGES_OF_A_NODE],
    )


def of(metric: str) -> str:
    """The figure of the chosen node, from a rule that knows its name."""
    return f"max({metric}{NODE})"


def _said(label: str) -> str:
    """The node's ``label`` where it has one: of a series without labels Grafana would show the query as its name."""
    return f'max by ({label}) (machine:epochcost_node_info:max{{{CHOSEN}, {label}!=""}})'


def _headline(grid: Grid) -> None:
    unsettled = f"max by (state) (epochcost_node_provisional_cost_usd{NODE})"
    before = f"max by (state) (epochcost_node_provisional_cost_usd{NODE} offset $__range)"
    spent = f"""sum(max by (state) (increase(epochcost_node_cost_usd_total{NODE}[$__range])))
+ (sum({unsettled}) or vector(0))
- (sum({before}) or vector(0))
or
sum(max by (state) (increase(epochcost_node_seconds_total{NODE}[$__range]))) / 3600
* {of("node:epochcost_price_usd_per_hour:unified")}"""
    price = About(
        "Price",
        "What an hour of this machine costs now: the agent's price, else the poller's; and how long ago its source "
        "last confirmed it.",
        USD_PER_HOUR,
    )
    machine = About("Machine", "The machine type, as its provider calls it.", PLAIN, empty="not known")
    bought = About("Bought", "How it is paid: on_demand, spot, reserved or owned.", PLAIN, empty="not known")
    saved = About("Saved", "1 - price / on-demand price. Nothing for an owned machine.", RATIO, 0)
    used = About(
        "In this range",
        "Dollars of this machine in the dashboard's time range: the agent's own exact integral, else its seconds x the "
        "price of now.",
        USD,
    )
    wasted = About("Wasted now", "Dollars an hour that train nothing, over the last 5 minutes.", USD_PER_HOUR)
    now = Query(of("node:epochcost_price_usd_per_hour:unified"), "Now")
    age = Query(of("node:epochcost_price_age_seconds:now"), "Age")
    kind = Query(_said("instance_type"), "{{instance_type}}")
    option = Query(_said("purchase_option"), "{{purchase_option}}")
    saving = Query(of("node:epochcost_price_saving_ratio:now"), "Saved")
    waste = Query(of("node:epochcost_waste_usd_per_hour:rate5m"), "Wasted")
    grid.band(
        4,
        (5, figures(price, now, age, overrides={"Age": {"unit": SECONDS, "decimals": 0}})),
        (5, word(machine, kind)),
        (3, word(bought, option)),
        (3, figures(saved, saving, colour=GREEN)),
        (4, figures(used, Query(spent, "Spent"), colour=VIOLET)),
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
            "What this machine costs an hour, and what the same type costs in its region by every purchase option and "
            "zone that the poller knows. Where a line ends, the poller no longer knows the price.",
            USD_PER_HOUR,
            empty="No price is known",
        ),
        Query(of("node:epochcost_price_usd_per_hour:unified"), "this machine"),
        Query(market, "{{purchase_option}} {{zone}}"),
        colours={"this machine": VIOLET},
        overrides={"this machine": {"custom.lineWidth": 4}},
        stepped=True,
        fill=0,
        legend=Legend.BESIDE,
    )


def _spend() -> Builder[Panel]:
    rate = f"node_state:epochcost_cost_usd_per_hour:rate5m{NODE}"
    return stacked(
        About(
            "Spend by state over time",
            "What the machine cost an hour by what it was used for. The states always add up to its price.",
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
            "What the machine and each GPU did",
            "The state that most of the time went to. A GPU that trains is green where it computed for more than half "
            "of the time, and idle where it rather waited. A machine without GPU has the one lane.",
            PLAIN,
            empty="Its agent does not report",
        ),
        Query(most_of(whole), "machine"),
        Query(most_of(each, "gpu"), "GPU {{gpu}}"),
    )


def _utilisation() -> Builder[Panel]:
    return lines(
        About(
            "Utilisation",
            "Mean over 5 minutes of each GPU, from the integral that the agent sums up every second.",
            RATIO,
            0,
            empty="No GPU is seen",
        ),
        Query(f"max by (gpu) (gpu:epochcost_gpu_utilization_ratio:rate5m{NODE})", "GPU {{gpu}}"),
        top=1,
        fill=0,
        legend=Legend.LINE,
    )


def _memory() -> Builder[Panel]:
    return lines(
        About(
            "Memory fill",
            "Device memory in use of what each GPU has, mean over 5 minutes. Room above the line is room for a larger "
            "batch.",
            RATIO,
            0,
            empty="No GPU is seen",
        ),
        Query(f"max by (gpu) (gpu:epochcost_memory_fill_ratio:rate5m{NODE})", "GPU {{gpu}}"),
        top=1,
        fill=0,
        legend=Legend.LINE,
    )


def _power() -> Builder[Panel]:
    return lines(
        About(
            "Power",
            "What each GPU draws. The energy of owned machines is a part of their price.",
            WATTS,
            0,
            empty="No GPU tells its power",
        ),
        Query(f"max by (gpu) (epochcost_gpu_power_watts{NODE})", "GPU {{gpu}}"),
        fill=0,
        legend=Legend.LINE,
    )


def _machine() -> Builder[Panel]:
    return lines(
        About(
            "CPU and main memory",
            "Share of all CPUs in use, and of the main memory. A GPU that waits while the CPUs are full waits for "
            "its input.",
            RATIO,
            0,
            empty="Its agent does not report",
        ),
        Query(f"max(epochcost_node_cpu_utilization_ratio{NODE})", "CPU"),
        Query(f"max(epochcost_node_memory_used_bytes{NODE} / epochcost_node_memory_total_bytes{NODE})", "Main memory"),
        colours={"CPU": AMBER, "Main memory": BLUE},
        top=1,
        legend=Legend.LINE,
    )


def _input() -> Builder[Panel]:
    def per_second(way: str) -> str:
        return f"max(rate(epochcost_node_{way}_bytes_total{NODE}[$__rate_interval]))"

    return lines(
        About(
            "Disk and network",
            "Bytes a second over all physical disks and network interfaces. A GPU that waits while one of them stands "
            "at its limit waits for its input.",
            BYTES_PER_SECOND,
            empty="Its agent does not see disks or network",
        ),
        Query(per_second("disk_read"), "Read"),
        Query(per_second("disk_written"), "Written"),
        Query(per_second("network_receive"), "Received"),
        Query(per_second("network_transmit"), "Sent"),
        colours={"Read": BLUE, "Written": VIOLET, "Received": GREEN, "Sent": AMBER},
        fill=0,
        legend=Legend.LINE,
    )


def _heat() -> Builder[Panel]:
    return lines(
        About(
            "Temperature",
            "Core temperature of each GPU as reported by the driver.",
            CELSIUS,
            0,
            empty="No GPU tells its temperature",
        ),
        Query(f"max by (gpu) (epochcost_gpu_temperature_celsius{NODE})", "GPU {{gpu}}"),
        fill=0,
        legend=Legend.LINE,
    )


def _totals() -> Builder[Panel]:
    lived = f"max by (state) (increase(epochcost_node_seconds_total{NODE}[$__range]))"
    return bars(
        About(
            "Hours by state",
            "Where the machine's time of the time range went, whatever it cost.",
            SECONDS,
            empty="Its agent does not report",
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
            "How many GPUs each run, pod, job or user held, over time. What is above belonged to nobody.",
            "suffix:GPUs",
            empty="Nobody is known to use a GPU of this machine",
        ),
        Query(middle_cut(share, "owner"), "{{short}}"),
        areas=True,
        stepped=True,
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
            "Who uses each GPU, and which part of it. A run that reports is known by name; else the pod, the Slurm "
            "job, the container or the user, where the agent may see them.",
            PLAIN,
            empty="Nobody is known to use a GPU of this machine",
        ),
        "use",
        [
            Column("GPU", "gpu", width=50),
            Column("Kind", "owner_kind", width=90),
            Column("Owner", "owner"),
            Column("Namespace", "owner_namespace", width=95),
            Column("User", "owner_user", width=90),
            Column("Share", "A", share, RATIO, 90, gauge_cell(BLUE)),
        ],
        sort_by="Share",
    )


def _runs() -> Builder[Panel]:
    return rows(
        About(
            "Runs on this machine",
            "Runs that its agent reports: the part of the price that each pays now, and its dollars so far on this "
            "machine. Click a run to open it.",
            PLAIN,
            empty="No run is reported",
        ),
        "row",
        [
            Column("Run", "run", row(f"max by ({RUN}, experiment) (epochcost_run_info{NODE})", "run"), ref="A",
                   properties=(link_to_run("Run"),)),
            Column("Experiment", "experiment", width=110),
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
