"""Whose a run is, and where: its experiment, team, machine, and Slurm's account, partition and user."""

from __future__ import annotations

from price_rules import own
from rule_text import record


def or_nothing(info: str) -> str:
    """``info`` of each run, and of those without it a series without its label."""
    return f"{info} or on (RUN) run:epochcost_seen:now"


SLURM_PARTS = """
topk by (PART) (1,
  max by (PART, slurm_account, slurm_partition, owner_user) (epochcost_run_info{launcher="slurm"})
)
""".strip()
AS_SLURM = {"account": "slurm_account", "partition": "slurm_partition", "user": "owner_user"}


def named_as_slurm(expr: str) -> str:
    """``expr`` with labels as Slurm's exporters call them."""
    for theirs, ours in AS_SLURM.items():
        expr = f'label_replace(\n{expr},\n"{theirs}", "$1", "{ours}", "(.*)"\n)'
    return expr


OWNERS = [
    record(
        "node_run:epochcost_cost_usd:last",
        """
        sum by (MACHINE, run) (part:epochcost_state_cost_usd:kept)
        * on (MACHINE) group_left (node)
        (
          node:epochcost_node_info:max
          or on (MACHINE)
          topk by (MACHINE) (1, last_over_time(node:epochcost_node_info:archive[1d]))
        )
        and on (RUN) run:epochcost_reported:now
        """,
        "Of it, the dollars on each machine.",
    ),
    record(
        "run:epochcost_experiment:info",
        """
        topk by (RUN) (1, max by (RUN, experiment) (epochcost_run_info{experiment!=""}))
        """,
    ),
    record(
        "run:epochcost_seen:now",
        """
        max by (RUN) (epochcost_run_info)
        or on (RUN) 0 * max by (RUN) (epochcost_run_state) + 1
        or on (RUN) run:epochcost_reported:now
        """,
        "1 for each run that any machine exports.",
    ),
    record(
        "run:epochcost_team:info",
        f"""
        topk by (RUN) (1, max by (RUN, team) ({own('epochcost_run_info{team!=""}', "team")}))
        or on (RUN)
        topk by (RUN) (1,
          max by (RUN, team) (
            (max by (PART) (epochcost_run_info) and on (PART) part:epochcost_active:now)
            * on (MACHINE) group_left (team) machine:epochcost_team:info
          )
        )
        """,
        "The team that a run is paid for: as it says, else its machine's.",
    ),
    record(
        "run:epochcost_place:info",
        """
        max by (RUN, node, epochcost_machine) (
          (max by (PART) (part:epochcost_active:now) >= bool 0)
          * on (MACHINE) group_left (node) node:epochcost_node_info:max
        )
        unless on (RUN) count by (RUN) (max by (RUN, epochcost_machine) (part:epochcost_active:now)) > 1
        """,
        "Where a run is that is on one machine.",
    ),
    record(
        "run:epochcost_owner:info",
        f"""
        run:epochcost_seen:now
        * on (RUN) group_left (experiment) ({or_nothing("run:epochcost_experiment:info")})
        * on (RUN) group_left (team) ({or_nothing("run:epochcost_team:info")})
        * on (RUN) group_left (owner_user) (
          {or_nothing('topk by (RUN) (1, max by (RUN, owner_user) (epochcost_run_info{owner_user!=""}))')}
        )
        * on (RUN) group_left (node, epochcost_machine) ({or_nothing("run:epochcost_place:info")})
        """,
        "Whose every run is, and where it is; what is not known is an empty label.",
    ),
    record(
        "part:epochcost_slurm:info",
        f"max by (PART, account, partition, user) (\n{named_as_slurm(SLURM_PARTS)}\n)",
        """
        Slurm's account, partition and user of each part of a run, in labels as Slurm's exporters call them. Components
        of a job may be in several partitions, each machine is in one.
        """,
    ),
]
