"""Dollars and epochs of training runs: everything is a sum over the parts that the first layer makes."""

from __future__ import annotations

from owner_rules import OWNERS
from part_rules import ARCHIVE, HISTORY, KEPT, SEEN, TRAININGS, WHO_COUNTS
from rule_text import Group, RuleFile, record

ONE_LEADER = "unless on (RUN) run:epochcost_leaders:unclear"


def added(name: str, labels: str = "") -> str:
    """A kept figure, summed over the parts of each run that somebody reports now."""
    return f"""
    (
      sum by (RUN{labels}) (part:{name}:kept)
      and on (RUN) run:epochcost_reported:now
      unless on (RUN) run:epochcost_history:pending
    )"""


def newest(metric: str) -> str:
    """A raw figure of the parts that train now; after the end, of those that ended it."""
    return f"max by (PART) ({metric}) and on (PART) part:epochcost_active:now"


DONE_OF_IT = f"max by (RUN) ({newest('epochcost_run_current_epoch_ratio')})"
"""The part of the epoch that runs which is done."""


def since(name: str, window: str) -> str:
    """What a part has added to a figure within ``window``: no counter of a part ever falls, so two samples tell."""
    return f"{name} - on (PART) {name} offset {window} or on (PART) {name}"


def pace(window: str, seconds: int) -> str:
    """Epochs a second over ``window``, where the newest epoch took at most ``seconds``."""
    return f"""
    (
      sum by (RUN) (
        ({since("part:epochcost_epochs:kept", window)})
        / on (PART)
        (({since("part:epochcost_run_seconds:kept", window)}) > 0)
        and on (PART) part:epochcost_active:now
      )
      and on (RUN) part:epochcost_last_epoch_seconds:now <= {seconds}
    )"""


RUN = [
    record(
        "part:epochcost_cost_usd_per_hour:now",
        """
        max by (PART) (epochcost_run_node_share_ratio)
        * on (MACHINE) group_left (node) node:epochcost_price_usd_per_hour:unified
        """,
    ),
    record(
        "run:epochcost_cost_usd_per_hour:sum",
        """
        sum by (RUN) (part:epochcost_cost_usd_per_hour:now)
        unless on (RUN)
        (epochcost_run_node_share_ratio unless on (PART) part:epochcost_cost_usd_per_hour:now)
        """,
    ),
    record(
        "run_state:epochcost_cost_usd:sum",
        f"""
        {added("epochcost_state_cost_usd", ", state")}
        unless on (RUN)
        (part:epochcost_run_seconds:kept unless on (PART) part:epochcost_state_cost_usd:kept)
        """,
        """
        Cost so far by state, on every machine that the run was on. A sum that lacks the money of one of them is not
        shown. What the run has cost is made of it, so that the two cannot differ.
        """,
    ),
    record("run:epochcost_cost_usd:sum", "sum by (RUN) (run_state:epochcost_cost_usd:sum)"),
    record(
        "run:epochcost_saving_ratio:realised",
        f"""
        1 -
        run:epochcost_cost_usd:sum
        / (
          {added("epochcost_on_demand_usd")}
          > 0
        )
        unless on (RUN)
        (part:epochcost_run_seconds:kept unless on (PART) part:epochcost_on_demand_usd:kept)
        """,
        "Realised, unlike the saving of the price: start-up, idle and lost work are paid too.",
    ),
]
EPOCHS = [
    record("run:epochcost_epochs:executed", f"{added('epochcost_epochs')}\n{ONE_LEADER}"),
    record(
        "run:epochcost_epochs:useful",
        f"""
        (
          (
            (
              run:epochcost_training_epochs:useful + on (RUN) run:epochcost_finished_epochs:useful
              or on (RUN) run:epochcost_finished_epochs:useful
            )
            < on (RUN) run:epochcost_epochs:executed
          )
          or on (RUN)
          (run:epochcost_epochs:executed and on (RUN) run:epochcost_finished_epochs:useful)
          or on (RUN)
          (run:epochcost_training_epochs:useful unless on (RUN) run:epochcost_finished_epochs:useful)
        )
        and on (RUN) run:epochcost_reported:now
        {ONE_LEADER}
        """,
        "From where each training under the id began to the highest position that it reached: no history is needed. "
        "Never more than was done.",
    ),
    record("run:epochcost_epochs:lost", "clamp_min(run:epochcost_epochs:executed - run:epochcost_epochs:useful, 0)"),
    record("run:epochcost_epochs:finished", f"{added('epochcost_epochs_finished')}\n{ONE_LEADER}"),
]
COST_OF_EPOCHS = [
    record(
        "run_phase:epochcost_seconds:sum",
        f"""
        {added("epochcost_phase_seconds", ", phase")}
        {ONE_LEADER}
        """,
    ),
    record(
        "run:epochcost_epoch_seconds:mean",
        f"""
        ({added("epochcost_epoch_seconds")})
        / (run:epochcost_epochs:finished > 0)
        """,
    ),
    record("part:epochcost_last_epoch_seconds:now", newest("epochcost_run_last_epoch_seconds")),
    record(
        "run:epochcost_epochs_per_hour:rate",
        f"""
        3600 * (
          {pace("5m", 150)}
          or
          {pace("30m", 900)}
          or
          {pace("3h", 5400)}
          or 1 / (run:epochcost_epoch_seconds:mean > 0)
        )
        {ONE_LEADER}
        """,
        """
        Over a window of two epochs or more, chosen by how long the last one took; above 1.5 hours, all epochs so far.
        Divided by the run's own seconds in that window, so that a run younger than the window is not called slow.
        """,
    ),
    record(
        "run:epochcost_epoch_cost_usd:live",
        """
        (run:epochcost_cost_usd_per_hour:sum > 0)
        / (run:epochcost_epochs_per_hour:rate > 0)
        """,
    ),
    record(
        "run:epochcost_epoch_cost_usd:mean",
        f"""
        ({added("epochcost_epoch_cost_usd")})
        / (run:epochcost_epochs:finished > 0)
        and on (RUN) run:epochcost_cost_usd:sum
        {ONE_LEADER}
        """,
        "Exact: the agents' own integrals, not a rate. Money of every machine, epochs counted once.",
    ),
    record(
        "run:epochcost_epoch_cost_usd:mean1h",
        f"""
        (
          sum by (RUN) (max by (PART) (increase(epochcost_run_epoch_cost_usd_sum[1h])))
          / (sum by (RUN) (max by (PART) (increase(epochcost_run_epoch_cost_usd_count[1h]))) > 0)
          and on (RUN) run:epochcost_epoch_cost_usd:mean
          unless on (RUN) (part:epochcost_run_seconds:now unless on (PART) epochcost_run_epoch_cost_usd_sum)
        )
        or
        (
          sum by (RUN) (max by (PART) (increase(epochcost_run_epoch_seconds_sum[1h])))
          / (sum by (RUN) (max by (PART) (increase(epochcost_run_epoch_seconds_count[1h]))) > 0)
          / 3600 * (run:epochcost_cost_usd_per_hour:sum > 0)
        )
        {ONE_LEADER}
        """,
        """
        The trend: epochs finished within the hour, on whatever machine. Where an agent has no money: their mean
        length x the
        run's dollars an hour of now.
        """,
    ),
    record(
        "part:epochcost_last_epoch_cost_usd:now",
        f"""
        ({newest("epochcost_run_last_epoch_cost_usd")})
        or
        (
          sum by (PART) (part:epochcost_state_cost_usd:kept unless on (PART) epochcost_run_state_cost_usd_total)
          / on (PART) (part:epochcost_run_seconds:now > 0)
          * on (RUN) group_left () max by (RUN) (part:epochcost_last_epoch_seconds:now)
          and on (PART) part:epochcost_active:now
        )
        """,
    ),
    record(
        "run:epochcost_epoch_cost_usd:last",
        f"""
        sum by (RUN) (part:epochcost_last_epoch_cost_usd:now)
        and on (RUN) part:epochcost_last_epoch_seconds:now
        unless on (RUN) (part:epochcost_active:now unless on (PART) part:epochcost_last_epoch_cost_usd:now)
        {ONE_LEADER}
        """,
    ),
    record(
        "run:epochcost_useful_epoch_cost_usd:mean",
        """
        run:epochcost_cost_usd:sum / (run:epochcost_epochs:useful >= 1)
        unless on (RUN) run:epochcost_epochs:missing
        """,
        "All dollars of the run, every attempt and every wasted hour, over the epochs that did not have to be done "
        "again. Of a run whose earlier part is not known it would be too low.",
    ),
    *(
        record(
            f"run:epochcost_{name}_cost_usd:mean",
            f"""
            {factor} * run:epochcost_cost_usd:sum
            / ({added(f"epochcost_{of}")} > 0)
            {ONE_LEADER}
            """,
        )
        for name, factor, of in (("kilostep", "1e3", "steps"), ("megatoken", "1e6", "tokens"))
    ),
]
PROJECTION = [
    record(
        "run:epochcost_epochs_left:now",
        f"""
        clamp_min(
          max by (RUN) (max by (PART) (epochcost_run_epochs_planned) and on (PART) epochcost_run_node_share_ratio > 0)
          - on (RUN)
          max by (RUN) (max by (PART) (epochcost_run_epoch) and on (PART) epochcost_run_node_share_ratio > 0),
          0
        )
        {ONE_LEADER}
        """,
        "Of the machine that trains now: one that was left may report its last position for a while.",
    ),
    record(
        "run:epochcost_epoch_cost_usd:estimate",
        f"""
        (
          sum by (RUN) ({newest("epochcost_run_current_epoch_cost_usd")})
          / on (RUN)
          ({DONE_OF_IT} >= 0.01)
          and on (RUN) run:epochcost_cost_usd:sum
          unless on (RUN) (part:epochcost_active:now unless on (PART) epochcost_run_current_epoch_cost_usd)
          or
          sum by (RUN) (run_state:epochcost_cost_usd:sum{{state!="startup"}})
          / (run:epochcost_epochs:executed >= 0.01)
        )
        unless on (RUN) run:epochcost_epoch_cost_usd:mean
        {ONE_LEADER}
        """,
        "Before one epoch is done: what the one that runs has cost so far, taken for a whole one by the part that is "
        "done. Where agents have no dollars: those of the run, start-up apart.",
    ),
    record(
        "run:epochcost_epoch_seconds:estimate",
        f"""
        (
          max by (RUN) ({newest("epochcost_run_current_epoch_seconds")})
          / on (RUN)
          ({DONE_OF_IT} >= 0.01)
          or
          sum by (RUN) (run_phase:epochcost_seconds:sum{{phase!="startup"}})
          / (run:epochcost_epochs:executed >= 0.01)
        )
        unless on (RUN) run:epochcost_epoch_seconds:mean
        {ONE_LEADER}
        """,
    ),
    record(
        "run:epochcost_cost_to_finish_usd:projected",
        """
        run:epochcost_epochs_left:now
        * (run:epochcost_epoch_cost_usd:mean or run:epochcost_epoch_cost_usd:estimate)
        """,
    ),
    record(
        "run:epochcost_cost_usd:projected",
        """
        run:epochcost_cost_usd:sum + run:epochcost_cost_to_finish_usd:projected
        unless on (RUN) run:epochcost_epochs:missing
        """,
    ),
    record(
        "run:epochcost_eta_seconds:projected",
        """
        run:epochcost_epochs_left:now
        * (run:epochcost_epoch_seconds:mean or run:epochcost_epoch_seconds:estimate)
        """,
    ),
    record(
        "run:epochcost_projection:estimate",
        """
        run:epochcost_epoch_cost_usd:estimate > bool 0
        and on (RUN) run:epochcost_epochs_left:now
        """,
        "1 while a projection stands on the fraction of one epoch.",
    ),
]
RUNS = RuleFile(
    """
    Dollars of training runs: per hour, per epoch, so far, to come. Everything about a run is a sum over its parts
    (what one
    machine's ledger knows of it): money counts on every machine, progress where global rank 0 is. A sum that lacks a
    part is not
    shown. Every rule is explained in docs/rules.md.
    """,
    [
        Group("epochcost-parts", KEPT),
        Group("epochcost-run", [*WHO_COUNTS, *TRAININGS, *HISTORY, *RUN, *EPOCHS]),
        Group("epochcost-owner", OWNERS),
        Group("epochcost-epoch", [*COST_OF_EPOCHS, *PROJECTION]),
        Group(
            "epochcost-archive",
            ARCHIVE,
            interval="5m",
            comment="The last figures of what has gone away, kept in few samples so that a day back stays cheap.",
        ),
        Group("epochcost-seen", SEEN, interval="5m", comment="The same of machines, and of what was scraped where."),
    ],
)
