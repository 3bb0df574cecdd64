"""What is paid for and trains nothing: of nodes, runs, teams and Slurm's accounts, and within a day."""

from __future__ import annotations

from rule_text import Group, RuleFile, record

from epochcost.model import NOT_WASTED

WASTE = f'state!~"{"|".join(NOT_WASTED)}"'
TELL_OF_RUNS = "EpochcostRunStalled|EpochcostStartupLong|EpochcostLostWork"
TELL_OF_WASTE = (
    "EpochcostIdleCost|EpochcostIdleShare|EpochcostGpuHeldIdle|EpochcostNodeVacant|EpochcostNodeUpAfterRun|"
    f"{TELL_OF_RUNS}"
)
"""Alerts that tell of all that a machine wastes; EpochcostGpuIdle tells of one GPU."""
WASTE_FILE = RuleFile(
    """
    What is paid for and trains nothing. Waste is every state but useful, unattributed (busy for somebody who reported
    no
    run), unknown (nobody looked) and unsettled (dollars whose price may still change). Every rule is explained in
    docs/rules.md.
    """,
    [
        Group(
            "epochcost-waste",
            [
                record(
                    "node:epochcost_waste_ratio:rate5m",
                    f"sum by (MACHINE) (node_state:epochcost_time_ratio:rate5m{{{WASTE}}})",
                ),
                record(
                    "node:epochcost_waste_usd_per_hour:rate5m",
                    f"sum by (MACHINE, node) (node_state:epochcost_cost_usd_per_hour:rate5m{{{WASTE}}})",
                ),
                record(
                    "cluster:epochcost_waste_usd_per_hour:rate5m",
                    "sum by (KEEP) (node:epochcost_waste_usd_per_hour:rate5m)",
                ),
                record(
                    "cluster:epochcost_waste_ratio:rate5m",
                    """
                    cluster:epochcost_waste_usd_per_hour:rate5m
                    / (cluster:epochcost_cost_usd_per_hour:rate5m > 0)
                    """,
                ),
                record(
                    "part_state:epochcost_cost_usd_per_hour:rate5m",
                    """
                    max by (PART, state) (rate(epochcost_run_state_seconds_total[5m]))
                    / on (MACHINE) group_left ()
                    (
                      clamp_min(sum by (MACHINE) (node_state:epochcost_seconds:rate5m) > 0, 0.01)
                      or on (MACHINE) 0 * max by (MACHINE) (node:epochcost_price_usd_per_hour:unified) + 1
                    )
                    * on (MACHINE) group_left () node:epochcost_price_usd_per_hour:unified
                    """,
                    "Of each machine that a run is on. Divided by the machine's own seconds, for an agent may book "
                    "minutes at once, or none.",
                ),
                record(
                    "run_state:epochcost_cost_ratio:rate5m",
                    """
                    sum by (RUN, state) (part_state:epochcost_cost_usd_per_hour:rate5m)
                    / on (RUN) group_left ()
                    (sum by (RUN) (part_state:epochcost_cost_usd_per_hour:rate5m) > 0)
                    """,
                ),
                record(
                    "run_state:epochcost_cost_usd_per_hour:rate5m",
                    """
                    run_state:epochcost_cost_ratio:rate5m
                    * on (RUN) group_left () run:epochcost_cost_usd_per_hour:sum
                    """,
                ),
                record(
                    "run:epochcost_waste_usd_per_hour:rate5m",
                    f"sum by (RUN) (run_state:epochcost_cost_usd_per_hour:rate5m{{{WASTE}}})",
                ),
                record(
                    "run:epochcost_waste_ratio:life",
                    f"""
                    sum by (RUN) (run_state:epochcost_cost_usd:sum{{{WASTE}}})
                    / (run:epochcost_cost_usd:sum > 0)
                    """,
                    "Share of all that the run has cost so far, on every machine that it was on.",
                ),
                record(
                    "machine_state:epochcost_cost_usd_per_hour:unclaimed",
                    """
                    clamp_min(
                      (
                        node_state:epochcost_cost_usd_per_hour:rate5m
                        - on (MACHINE, state) group_left ()
                        sum by (MACHINE, state) (part_state:epochcost_cost_usd_per_hour:rate5m)
                      )
                      or on (MACHINE, state) node_state:epochcost_cost_usd_per_hour:rate5m,
                      0
                    )
                    """,
                    "What no run pays for on a machine.",
                ),
                record(
                    "team_state:epochcost_cost_usd_per_hour:rate5m",
                    """
                    sum by (KEEP, team, state) (
                      part_state:epochcost_cost_usd_per_hour:rate5m
                      * on (RUN) group_left (team) run:epochcost_owner:info
                      or
                      machine_state:epochcost_cost_usd_per_hour:unclaimed
                      * on (MACHINE) group_left (team)
                      (machine:epochcost_team:info or on (MACHINE) machine:epochcost_node_info:max)
                    )
                    """,
                    """
                    A run's dollars are its team's, the rest of a machine is the machine's team's; what belongs to no
                    team has an empty one, so that the teams sum to the cluster.
                    """,
                ),
                record(
                    "team:epochcost_waste_usd_per_hour:rate5m",
                    f"sum by (KEEP, team) (team_state:epochcost_cost_usd_per_hour:rate5m{{{WASTE}}})",
                ),
                record(
                    "slurm:epochcost_cost_usd_per_hour:rate5m",
                    """
                    sum by (KEEP, account, partition, user) (
                      part_state:epochcost_cost_usd_per_hour:rate5m
                      * on (PART) group_left (account, partition, user) part:epochcost_slurm:info
                    )
                    """,
                    "What jobs of Slurm cost; joins with what Slurm's exporters say by these labels.",
                ),
                record(
                    "experiment_state:epochcost_cost_usd_per_hour:rate5m",
                    """
                    sum by (KEEP, experiment, state) (
                      run_state:epochcost_cost_usd_per_hour:rate5m
                      * on (RUN) group_left (experiment) run:epochcost_experiment:info
                    )
                    """,
                ),
            ],
        ),
        Group(
            "epochcost-day",
            [
                record(
                    "machine:epochcost_waste_usd:archive",
                    f"sum by (MACHINE) (max by (MACHINE, state) (epochcost_node_cost_usd_total{{{WASTE}}}))",
                ),
                record("machine:epochcost_cost_usd:archive", "machine:epochcost_cost_usd:settled"),
                record(
                    "node:epochcost_waste_usd:day",
                    """
                    (
                      machine:epochcost_waste_usd:archive
                      - on (MACHINE) min_over_time(machine:epochcost_waste_usd:archive[1d])
                    )
                    * on (MACHINE) group_left (node) node:epochcost_node_info:max
                    """,
                ),
                record(
                    "machine:epochcost_unalerted_waste_usd_per_hour:offset90m",
                    f"""
                    clamp_min(
                      sum by (MACHINE) (node:epochcost_waste_usd_per_hour:rate5m offset 90m)
                      - on (MACHINE)
                      (
                        max by (MACHINE) (
                          label_replace(
                            count by (MACHINE) (
                              last_over_time(ALERTS{{alertname="EpochcostGpuIdle", alertstate="firing"}}[90m])
                            )
                            * on (MACHINE) max by (MACHINE) (node:epochcost_price_usd_per_hour:unified)
                            / on (MACHINE) max by (MACHINE) (epochcost_node_gpus > 0),
                            "of", "gpus", "", ""
                          )
                          or
                          label_replace(
                            sum by (MACHINE) (
                              part_state:epochcost_cost_usd_per_hour:rate5m{{state="idle"}} offset 90m
                              and on (RUN)
                              last_over_time(ALERTS{{alertname="EpochcostGpuUnderfilled", alertstate="firing"}}[90m])
                            ),
                            "of", "runs", "", ""
                          )
                        )
                        or on (MACHINE) 0 * sum by (MACHINE) (node:epochcost_waste_usd_per_hour:rate5m offset 90m)
                      ),
                      0
                    )
                    unless on (MACHINE)
                    last_over_time(
                      ALERTS{{alertname=~"{TELL_OF_WASTE}", alertstate="firing", epochcost_machine!=""}}[90m]
                    )
                    unless on (MACHINE)
                    (
                      part:epochcost_active:now
                      and on (RUN) last_over_time(ALERTS{{alertname=~"{TELL_OF_RUNS}", alertstate="firing"}}[90m])
                    )
                    """,
                    """
                    Waste has an alert where one of the machine, or of a run on it, told of it within 90 minutes, which
                    is longer than any of them waits. One that only ever waits tells nobody. An idle GPU's alert tells
                    of what that GPU idles away, one of an underfilled run of what its GPUs do.
                    """,
                ),
                record(
                    "node:epochcost_unalerted_waste_usd:day",
                    "sum_over_time(machine:epochcost_unalerted_waste_usd_per_hour:offset90m[1d]) * 5 / 60",
                    "Five minutes of each evaluation, which is what this group's interval is.",
                ),
                record(
                    "node:epochcost_waste_ratio:day",
                    """
                    node:epochcost_waste_usd:day
                    / on (MACHINE) group_left ()
                    (
                      machine:epochcost_cost_usd:archive
                      - on (MACHINE) min_over_time(machine:epochcost_cost_usd:archive[1d])
                      > 0
                    )
                    """,
                ),
            ],
            interval="5m",
            comment="What each machine wasted within a day, by its own counters: of a younger one, since it was seen.",
        ),
    ],
)
