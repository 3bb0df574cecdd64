"""Panels of the Node dashboard about the hardware: activity, power, throttling, errors."""

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
    LineStyle,
    Query,
    figures,
    lines,
)
from states import STATE_COLOURS

CHOSEN = 'epochcost_machine="$machine"'
NODE = f"{{{CHOSEN}}}"
WATTS = "watt"


def multiprocessors() -> Builder[Panel]:
    """How much of the GPUs is active while they count as busy."""

    def mean(part: str) -> str:
        return f"avg(max by (gpu) (epochcost_gpu_{part}_active_ratio{NODE}))"

    return lines(
        About(
            "SM and tensor activity",
            "Mean over the GPUs, from their own counters (Hopper and later, or DCGM's profiling fields). Utilisation "
            "only means that some kernel ran; activity shows how much of the GPU it used.",
            RATIO,
            0,
            empty="No GPU reports its activity",
        ),
        Query(mean("sm"), "SMs"),
        Query(mean("tensor"), "Tensor cores"),
        Query(mean("dram"), "Memory bandwidth"),
        colours={"SMs": GREEN, "Tensor cores": VIOLET, "Memory bandwidth": BLUE},
        style=LineStyle(top=1, fill=0),
        legend=Legend.LINE,
    )


def useful_by_activity() -> Builder[Panel]:
    """The dollars of useful time by activity of the multiprocessors."""
    price = f"max(node:epochcost_price_usd_per_hour:unified{NODE})"
    share = f"max by (sm) (rate(epochcost_node_useful_seconds_total{NODE}[$__rate_interval]))"
    return lines(
        About(
            "Useful dollars by SM activity",
            "Cost per hour of useful time: active multiprocessors, the rest in which they waited although a kernel "
            "ran, and time whose activity is not known. They sum to the state useful.",
            USD_PER_HOUR,
            empty="No GPU reports its activity, or no price is known",
        ),
        Query(f"{share} * on () group_left () {price}", "{{sm}}"),
        colours={"active": GREEN, "rest": AMBER, "unknown": STATE_COLOURS["unknown"]},
        style=LineStyle(areas=True),
        legend=Legend.LINE,
    )


def energy() -> Builder[Panel]:
    """Power draw of all GPUs, in watts."""
    watts = f"max(epochcost_node_power_watts{NODE})"
    joules = f"sum(max by (gpu, uuid) (rate(epochcost_gpu_energy_joules_total{NODE}[$__rate_interval])))"
    return lines(
        About(
            "Energy",
            "Power draw of all GPUs: the current reading, and the mean of the interval from their energy counters.",
            WATTS,
            0,
            empty="No GPU reports its power",
        ),
        Query(watts, "Power"),
        Query(joules, "From energy counters"),
        colours={"Power": AMBER, "From energy counters": BLUE},
        style=LineStyle(fill=0),
        legend=Legend.LINE,
    )


def electricity() -> Builder[Panel]:
    """Cost and CO2 of the energy, if a price and an intensity are configured."""
    return figures(
        About(
            "Electricity",
            "Cost of the energy of its GPUs (--energy.usd-per-kwh; for owned machines a part of the price) and its CO2 "
            "(--grid.grams-per-kwh, or --grid.listed).",
            USD_PER_HOUR,
            empty="No energy price and no grid CO2 is configured",
        ),
        Query(f"max(node:epochcost_energy_usd_per_hour:rate5m{NODE})", "Cost"),
        Query(f"max(node:epochcost_grid_grams_per_hour:rate5m{NODE})", "CO2"),
        colour=AMBER,
        overrides={"CO2": {"unit": "suffix:g/h", "decimals": 0}},
    )


def throttling() -> Builder[Panel]:
    """Share of time in which clocks were throttled."""
    held = f"rate(epochcost_gpu_throttle_seconds_total{NODE}[$__rate_interval])"
    return lines(
        About(
            "Throttling",
            "Share of time in which the clocks of the GPUs were throttled, by reason; reasons overlap. power_cap is "
            "usual under full load; hw_thermal and power_brake are not.",
            RATIO,
            0,
            empty="No GPU reports throttling",
        ),
        Query(
            f"avg by (reason) (max by (gpu, reason) ({held}))",
            "{{reason}}",
        ),
        style=LineStyle(top=1, fill=0),
        legend=Legend.LINE,
    )


def errors() -> Builder[Panel]:
    """Faults that the driver reports."""

    def events(metric: str, label: str) -> str:
        increase = f"increase(epochcost_gpu_{metric}_errors_total{NODE}[$__rate_interval])"
        return f"sum by ({label}) (max by (gpu, {label}) ({increase}))"

    failures = f"max by (call) (increase(epochcost_gpu_call_failures_total{NODE}[$__rate_interval]))"
    return lines(
        About(
            "Errors of GPUs",
            "ECC memory errors, Xids (critical errors reported by the driver) and failed driver calls in each "
            "interval. An uncorrected memory error ends the program on that GPU.",
            PLAIN,
            0,
            empty="No GPU reports errors",
        ),
        Query(events("ecc", "type"), "ECC, {{type}}"),
        Query(events("xid", "xid"), "Xid {{xid}}"),
        Query(failures, "{{call}} failed"),
        colours={"ECC, uncorrected": RED},
        style=LineStyle(fill=0),
        legend=Legend.LINE,
    )


def driver() -> Builder[Panel]:
    """How fast the driver responds."""
    return lines(
        About(
            "Driver response time",
            "Time that the driver takes to report on its slowest GPU. Its readings are that old.",
            SECONDS,
            empty="No driver response time is reported",
        ),
        Query(f"max(epochcost_gpu_read_seconds{NODE})", "Reading"),
        colours={"Reading": BLUE},
        legend=Legend.LINE,
    )
