"""What an epoch of an experiment takes and costs on each machine type, as measured."""

from __future__ import annotations

from rule_text import Group, Rule, RuleFile, record
from run_rules import newest, since

PLACE = "provider, instance_type, purchase_option"


def of_setup(name: str, figure: str) -> Rule:
    """A figure of each run, with the setup that it was measured on."""
    return record(
        name,
        f"""
        run:epochcost_run_setup:info
        * on (RUN) group_left ()
        {figure}
        """,
    )


COMPARE = RuleFile(
    """
    What an epoch of an experiment takes and costs on each machine type, as measured. Every rule is explained in
    docs/rules.md.
    """,
    [
        Group(
            "epochcost-compare",
            [
                record(
                    "run_place:epochcost_node_share_ratio:sum",
                    f"""
                    sum by (RUN, experiment, {PLACE}) (
                      max by (PART) (epochcost_run_node_share_ratio and on (PART) part:epochcost_active:now)
                      * on (MACHINE) group_left ({PLACE}) machine:epochcost_node_info:max
                      * on (RUN) group_left (experiment) run:epochcost_experiment:info
                    )
                    """,
                    "How many whole machines of each kind a run pays for.",
                ),
                record(
                    "run:epochcost_run_place:info",
                    """
                    topk by (RUN) (1, run_place:epochcost_node_share_ratio:sum)
                    >= bool 0
                    unless on (RUN)
                    count by (RUN) (run_place:epochcost_node_share_ratio:sum) > 1
                    """,
                    """
                    Where a run trains; after its end, where it did. One that pays for machines of two kinds at once
                    is of neither.
                    """,
                ),
                record(
                    "run:epochcost_run_setup:info",
                    """
                    run:epochcost_run_place:info
                    * on (RUN) group_left (nodes, batch_size)
                    topk by (RUN) (1,
                      (
                        max by (RUN, nodes) (epochcost_run_info and on (PART) part:epochcost_active:now)
                        * on (RUN) group_left (batch_size)
                        count_values by (RUN) ("batch_size", max by (RUN) (epochcost_run_batch_size))
                      )
                      or on (RUN)
                      max by (RUN, nodes) (epochcost_run_info and on (PART) part:epochcost_active:now)
                    )
                    """,
                    "The place, on how many nodes, and with which batch: what has to be equal for two epochs to be "
                    "comparable.",
                ),
                of_setup(
                    "run_setup:epochcost_epoch_seconds:last", "max by (RUN) (part:epochcost_last_epoch_seconds:now)"
                ),
                of_setup("run_setup:epochcost_epoch_cost_usd:last", "run:epochcost_epoch_cost_usd:last"),
                of_setup("run_setup:epochcost_epoch_energy_kwh:mean", "run:epochcost_epoch_energy_kwh:mean"),
                of_setup("run_setup:epochcost_memory_fill_ratio:max", "run:epochcost_memory_fill_ratio:max"),
                of_setup("run_setup:epochcost_batch_size:now", "max by (RUN) (epochcost_run_batch_size)"),
                of_setup(
                    "run_setup:epochcost_step_seconds:now",
                    f"""
                    max by (RUN) (
                      ({since("part:epochcost_run_seconds:kept", "10m")})
                      / on (PART)
                      (({since("part:epochcost_steps:kept", "10m")}) > 0)
                      and on (PART) part:epochcost_active:now
                    )
                    """,
                ),
                of_setup(
                    "run_setup:epochcost_sample_cost_usd:last",
                    f"""
                    (
                      run:epochcost_epoch_cost_usd:last
                      / on (RUN)
                      (
                        max by (RUN) ({newest("epochcost_run_samples_total")})
                        / on (RUN)
                        (max by (RUN) ({newest("epochcost_run_epochs_total")}) > 0.1)
                        > 0
                      )
                    )
                    """,
                ),
            ],
            interval="1m",
        ),
        Group(
            "epochcost-batch",
            [
                record(
                    "run:epochcost_batch_saving_ratio:measured",
                    f"""
                    1 - max by (RUN) (
                      (
                        0 * run_setup:epochcost_epoch_seconds:last
                        + on (KEEP, experiment, {PLACE}, nodes) group_left ()
                        (
                          min by (KEEP, experiment, {PLACE}, nodes) (
                            last_over_time(run_setup:epochcost_epoch_seconds:last[14d])
                          )
                          and on (KEEP, experiment, {PLACE}, nodes)
                          count by (KEEP, experiment, {PLACE}, nodes) (
                            count by (KEEP, experiment, {PLACE}, nodes, batch_size) (
                              last_over_time(run_setup:epochcost_epoch_seconds:last[14d])
                            )
                          ) > 1
                        )
                      )
                      / on (RUN) run_setup:epochcost_epoch_seconds:last
                    )
                    """,
                    "What the fastest batch of the experiment on machines of this kind, of 14 days, would save of an "
                    "epoch: by its length, since prices change.",
                ),
            ],
            interval="5m",
        ),
    ],
)
