"""Panels of the Node dashboard about the hardware itself: how much of it works, what it draws, what goes wrong."""

from __future__ import annotations

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel
from panels import (
    AMBER,
    BLUE,
    GREEN,
    PLAIN,
    RATIO,
    RED,
    SECONDS,
    USD_PER_HOUR,
    VIOLET,
    About,
    Legend,
    Query,
    figures,
    lines,
)
from states import STATE_COLOURS

CHOSEN = 'epochcost_machine="$machine"'
NODE = f"{{{CHOSEN}}}"
WATTS = "watt"


def multiprocessors() -> Builder[Panel]:
    """How much of the GPUs works while they count as busy."""

    def mean(part: str) -> str:
        return f"avg(max by (gpu) (epochcost_gpu_{part}_active_ratio{NODE}))"

    return lines(
        About(
            "Activity of SMs, tensor cores and memory",
            "Mean over the GPUs, by their own counters (Hopper and later, or DCGM's profiling fields). Utilisation "
            "says only that some kernel ran; this says how much of the GPU it used.",
            RATIO,
            0,
            empty="No GPU tells its activity",
        ),
        Query(mean("sm"), "SMs"),
        Query(mean("tensor"), "Tensor cores"),
        Query(mean("dram"), "Memory bandwidth"),
        colours={"SMs": GREEN, "Tensor cores": VIOLET, "Memory bandwidth": BLUE},
        top=1,
        fill=0,
        legend=Legend.LINE,
    )


def useful_by_activity() -> Builder[Panel]:
    """The dollars of useful time by what the multiprocessors did."""
    price = f"max(node:epochcost_price_usd_per_hour:unified{NODE})"
    share = f"max by (sm) (rate(epochcost_node_useful_seconds_total{NODE}[$__rate_interval]))"
    return lines(
        About(
            "Useful dollars by SM activity",
            "Dollars an hour of useful time: those in which multiprocessors were active, the rest in which they waited "
            "although a kernel ran, and those of which nothing is known. They sum to the state useful.",
            USD_PER_HOUR,
            empty="No GPU tells its activity, or no price is known",
        ),
        Query(f"{share} * on () group_left () {price}", "{{sm}}"),
        colours={"active": GREEN, "rest": AMBER, "unknown": STATE_COLOURS["unknown"]},
        areas=True,
        legend=Legend.LINE,
    )


def energy() -> Builder[Panel]:
    """What the GPUs draw together, in watts."""
    watts = f"max(epochcost_node_power_watts{NODE})"
    joules = f"sum(max by (gpu, uuid) (rate(epochcost_gpu_energy_joules_total{NODE}[$__rate_interval])))"
    return lines(
        About(
            "Energy",
            "What the GPUs draw together now, and by their counters of energy over the interval.",
            WATTS,
            0,
            empty="No GPU tells its power",
        ),
        Query(watts, "Power"),
        Query(joules, "By the energy counters"),
        colours={"Power": AMBER, "By the energy counters": BLUE},
        fill=0,
        legend=Legend.LINE,
    )


def electricity() -> Builder[Panel]:
    """What the energy costs and emits, where people say what a kWh does."""
    return figures(
        About(
            "Electricity",
            "What its GPUs draw costs an hour (--energy.usd-per-kwh; of an owned machine a part of its price) and the "
            "CO2 of it (--grid.grams-per-kwh, or --grid.listed).",
            USD_PER_HOUR,
            empty="Nobody says what a kWh costs or emits here",
        ),
        Query(f"max(node:epochcost_energy_usd_per_hour:rate5m{NODE})", "Cost"),
        Query(f"max(node:epochcost_grid_grams_per_hour:rate5m{NODE})", "CO2"),
        colour=AMBER,
        overrides={"CO2": {"unit": "suffix:g/h", "decimals": 0}},
    )


def throttling() -> Builder[Panel]:
    """The part of time in which clocks were held down."""
    held = f"rate(epochcost_gpu_throttle_seconds_total{NODE}[$__rate_interval])"
    return lines(
        About(
            "Clocks held down",
            "Part of the time in which the clocks of the GPUs were held down, by reason; reasons overlap. power_cap is "
            "usual under full load; hw_thermal and power_brake are not.",
            RATIO,
            0,
            empty="No GPU tells why its clocks are held down",
        ),
        Query(
            f"avg by (reason) (max by (gpu, reason) ({held}))",
            "{{reason}}",
        ),
        top=1,
        fill=0,
        legend=Legend.LINE,
    )


def errors() -> Builder[Panel]:
    """What the driver reports of faults."""

    def events(metric: str, label: str) -> str:
        increase = f"increase(epochcost_gpu_{metric}_errors_total{NODE}[$__rate_interval])"
        return f"sum by ({label}) (max by (gpu, {label}) ({increase}))"

    failures = f"max by (call) (increase(epochcost_gpu_call_failures_total{NODE}[$__rate_interval]))"
    return lines(
        About(
            "Errors of GPUs",
            "Memory errors, Xids (critical errors that the driver reports) and calls of the driver that failed, in "
            "each interval. An uncorrected memory error ends the program on it.",
            PLAIN,
            0,
            empty="No GPU counts its errors",
        ),
        Query(events("ecc", "type"), "memory, {{type}}"),
        Query(events("xid", "xid"), "Xid {{xid}}"),
        Query(failures, "{{call}} failed"),
        colours={"memory, uncorrected": RED},
        fill=0,
        legend=Legend.LINE,
    )


def driver() -> Builder[Panel]:
    """How the driver itself does."""
    return lines(
        About(
            "Driver",
            "How long the driver takes for the figures of its slowest GPU, which are as old as that.",
            SECONDS,
            empty="No GPU is read",
        ),
        Query(f"max(epochcost_gpu_read_seconds{NODE})", "Reading"),
        colours={"Reading": BLUE},
        legend=Legend.LINE,
    )
