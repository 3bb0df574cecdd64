"""Electricity of training runs: kWh, and what people say that a kWh costs and emits where it is drawn."""

from __future__ import annotations

from part_rules import archived, kept
from rule_text import Group, Rule, RuleFile, record
from run_rules import added

MOST_UNTOLD = 0.1
"""A run of whose time so much was without a reading of the power has no energy that is its own."""
KWH = f"""
    max by (PART) (epochcost_run_energy_joules_total) / 3.6e6
    * on (PART) max by (PART) (epochcost_run_seconds_total)
    / on (PART) (
      max by (PART) (epochcost_run_energy_seconds_total)
      > on (PART) ({1 - MOST_UNTOLD} * max by (PART) (epochcost_run_seconds_total))
    )
    """


def by_tariff(metric: str) -> str:
    """Energy of each part that reports now at what its machine is told of a kWh."""
    return f"""
    part:epochcost_energy_kwh:kept
    * on (MACHINE) group_left () max by (MACHINE) ({metric})
    and on (PART) part:epochcost_run_seconds:now
    """


WHAT_THEY_DREW = """
    What the GPUs of a part drew for it. Seconds in which not all of them told their power count as the others; where
    that is more than a tenth, nothing is said.
    """
FIGURES = {
    "epochcost_energy_kwh": (KWH, WHAT_THEY_DREW),
    "epochcost_energy_usd": (by_tariff("epochcost_node_energy_usd_per_kwh"), ""),
    "epochcost_grid_grams": (by_tariff("epochcost_node_grid_grams_per_kwh"), ""),
}


def of_run(name: str) -> Rule:
    """The sum over all parts; one that lacks a part is not shown."""
    return record(
        f"run:{name}:sum",
        f"""
        {added(name)}
        unless on (RUN)
        (part:epochcost_run_seconds:kept unless on (PART) part:{name}:kept)
        """,
    )


def of_epoch(name: str) -> Rule:
    """For each epoch that was executed."""
    epoch = name.replace("epochcost_", "epochcost_epoch_")
    return record(f"run:{epoch}:mean", f"run:{name}:sum / (run:epochcost_epochs:executed >= 1)")


def of_node(name: str, metric: str) -> Rule:
    """What all GPUs of a machine draw costs or emits an hour."""
    return record(
        f"node:{name}_per_hour:rate5m",
        f"""
        sum by (MACHINE) (max by (MACHINE, gpu, uuid) (rate(epochcost_gpu_energy_joules_total[5m]))) / 1000
        * on (MACHINE) max by (MACHINE) ({metric})
        """,
    )


ENERGY = RuleFile(
    """
    Electricity: kWh of training runs, and dollars and grams of CO2 where people, or a dated list that they chose, say
    what a kWh costs and emits. Of an owned machine the dollars are a part of its price, and not added to it. Every
    rule is explained in docs/rules.md.
    """,
    [
        Group(
            "epochcost-energy",
            [
                *(kept(name, raw, comment) for name, (raw, comment) in FIGURES.items()),
                *map(of_run, FIGURES),
                *map(of_epoch, FIGURES),
                of_node("epochcost_energy_usd", "epochcost_node_energy_usd_per_kwh"),
                of_node("epochcost_grid_grams", "epochcost_node_grid_grams_per_kwh"),
            ],
            interval="1m",
        ),
        Group("epochcost-energy-archive", [archived(name) for name in FIGURES], interval="5m"),
    ],
)
