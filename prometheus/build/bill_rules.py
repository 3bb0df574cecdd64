"""Whose the dollars are: by team, experiment, owner and purchase option, now and by the calendar."""

from __future__ import annotations

from rule_text import Group, RuleFile, record

OWNER, HOLDER = "team, experiment, owner, state", 'owner_kind!="run"'
ENDED = "finished|failed|preempted|lost"


def first_of(info: str, *labels: str) -> str:
    """``info`` with label ``owner``: the first of ``labels`` that it has."""
    for label in reversed(labels):
        info = f'label_replace(\n{info},\n"owner", "$1", "{label}", "(.+)"\n)'
    return info


HELD = f"max by (MACHINE, owner, owner_namespace, owner_user) (epochcost_gpu_owner_info{{{HOLDER}}})"
NOW = [
    record(
        "machine:epochcost_holder:info",
        f"""
        max by (MACHINE, owner) ({first_of(HELD, "owner_user", "owner_namespace")})
        unless on (MACHINE) count by (MACHINE) ({HELD}) > 1
        and on (MACHINE)
        count by (MACHINE) (max by (MACHINE, gpu) (epochcost_gpu_owner_info{{{HOLDER}}}))
        == on (MACHINE) max by (MACHINE) (epochcost_node_gpus)
        """,
        "Who holds every GPU of a machine and reports no run: the user, else the namespace, else what is known. Where "
        "some GPUs are held and some not, or by several, nobody is named.",
    ),
    record(
        "machine:epochcost_owner:info",
        """
        max by (MACHINE) (machine:epochcost_node_info:max)
        * on (MACHINE) group_left (team)
        (machine:epochcost_team:info or on (MACHINE) machine:epochcost_node_info:max)
        * on (MACHINE) group_left (owner)
        (machine:epochcost_holder:info or on (MACHINE) max by (MACHINE) (machine:epochcost_node_info:max))
        """,
        "Whose what no run pays for is, on every machine.",
    ),
    record(
        "owner_state:epochcost_cost_usd_per_hour:rate5m",
        f"""
        sum by (KEEP, {OWNER}) (
          part_state:epochcost_cost_usd_per_hour:rate5m
          * on (RUN) group_left (team, experiment, owner)
          {first_of("run:epochcost_owner:info", "owner_user")}
          or
          machine_state:epochcost_cost_usd_per_hour:unclaimed
          * on (MACHINE) group_left (team, owner) machine:epochcost_owner:info
        )
        """,
        "A run's dollars are its team's, experiment's and user's; the rest of a machine is its team's, and its "
        "holder's where somebody holds it. All of them sum to the cluster.",
    ),
]
BY_CALENDAR = [
    record(
        "owner_state:epochcost_spent_usd:step",
        f"""
        sum by (KEEP, {OWNER}) (sum_over_time(owner_state:epochcost_cost_usd_per_hour:rate5m[4m59s]))
        / on (KEEP) group_left ()
        (sum by (KEEP) (sum_over_time(owner_state:epochcost_cost_usd_per_hour:rate5m[4m59s])) > 0)
        * on (KEEP) group_left ()
        sum by (KEEP) (sum_over_time(cluster:epochcost_spent_usd:step[4m59s]))
        * on () group_left (month, day, hour) utc:epochcost_calendar:last
        """,
        "What the ledgers did in five minutes, split as the dollars an hour of that time were. After an outage of "
        "Prometheus all of it is split as the time after it.",
    ),
    record(
        "owner_state:epochcost_spent_usd:day",
        f"""
        sum by (KEEP, {OWNER}, month, day) (
          sum_over_time(owner_state:epochcost_spent_usd:step[26h])
          unless on (month, day, hour) utc:epochcost_calendar:running
          and on (month, day)
          (utc:epochcost_calendar:running or utc:epochcost_calendar:running offset 2h)
        )
        """,
        "The whole hours of today, and for two hours of yesterday: the largest value of a day is its total. Reading a "
        "month by the hour would take twenty times as many series.",
    ),
    record(
        "cluster_state:epochcost_spent_usd:step",
        "sum by (KEEP, state, month, day, hour) (owner_state:epochcost_spent_usd:step)",
    ),
    record(
        "run:epochcost_ended_cost_usd:last",
        f"""
        run:epochcost_cost_usd:sum
        * on (RUN) group_left (state)
        topk by (RUN) (1,
          max by (RUN, state) (
            epochcost_run_state{{state=~"{ENDED}"}} == 1 and on (PART) part:epochcost_active:now
          )
        )
        * on (RUN) group_left (team, experiment, owner_user) run:epochcost_owner:info
        unless on (RUN) epochcost_run_node_share_ratio > 0
        """,
        "What each run that has ended cost, and how it ended.",
    ),
]
BILL = RuleFile(
    """
    Whose the dollars are: by team, experiment and owner, now and by the calendar. Every rule is explained in
    docs/rules.md.
    """,
    [
        Group("epochcost-bill", NOW, interval="1m"),
        Group("epochcost-bill-calendar", BY_CALENDAR, interval="5m"),
    ],
)
