"""Dollars of nodes and of the fleet: an hour, by state, and what counters did between two instants."""

from __future__ import annotations

from rule_text import Group, RuleFile, record

SPENT_NOW = """
    sum by (MACHINE) (
      label_replace(machine:epochcost_cost_usd:settled, "of", "settled", "", "")
      or
      label_replace(
        sum by (MACHINE) (max by (MACHINE, state) (last_over_time(epochcost_node_provisional_cost_usd[2m]))),
        "of", "provisional", "", ""
      )
      or
      label_replace(
        max by (MACHINE) (last_over_time(epochcost_node_unpriced_seconds[2m])) / 3600
        * on (MACHINE) max by (MACHINE) (last_over_time(node:epochcost_price_usd_per_hour:unified[5m])),
        "of", "unpriced", "", ""
      )
      or
      label_replace(0 * machine:epochcost_accounted_seconds:last, "of", "nothing", "", "")
    )
    """
DAY, MONTH = "scalar(utc:epochcost_day_seconds:last)", "scalar(utc:epochcost_month_seconds:last)"


def calendar(at: str) -> str:
    """The hour, day and month (UTC) of an instant, as labels."""
    return f"""
    count_values("month", month(vector({at})))
    * on () group_left (day) count_values("day", day_of_month(vector({at})))
    * on () group_left (hour) count_values("hour", hour(vector({at})))
    """


def within(seconds: str) -> str:
    """The part of a machine's step that lies in the last ``seconds``."""
    return f"clamp_max({seconds} / clamp_min(machine:epochcost_spent_seconds:step, 1), 1)"


def since_before(step: str, whole: str) -> str:
    """``step`` of machines that were there before; ``whole`` of those whose ledger is new, and 0 of others."""
    return f"""
    (
      {step}
      unless on (MACHINE)
      machine:epochcost_cost_usd:settled
      < on (MACHINE) 0.999 * last_over_time(machine:epochcost_cost_usd:settled[1d] offset 1s)
    )
    or
    (
      {whole}
      and on (MACHINE)
      machine:epochcost_accounted_seconds:last
      <= on () group_left ()
      (
        3600 + (
          time() - last_over_time(utc:epochcost_evaluation_timestamp_seconds:last[1d] offset 1s)
          or vector(0)
        )
      )
    )
    or
    0 * {whole}
    """


NOW = "on () group_left (month, day, hour) utc:epochcost_calendar:last"
PRICE = "max by (MACHINE) (node:epochcost_price_usd_per_hour:unified > 0)"
HOW_BOUGHT = [
    record(
        "purchase:epochcost_spent_usd:step",
        f"""
        sum by (KEEP, purchase_option) (
          machine:epochcost_spent_usd:step
          * on (MACHINE) group_left (purchase_option)
          (
            machine:epochcost_node_info:max
            or on (MACHINE) topk by (MACHINE) (1, last_over_time(machine:epochcost_node_info:max[10m]))
            or on (MACHINE) 0 * machine:epochcost_spent_usd:step + 1
          )
        )
        * {NOW}
        """,
        "By purchase option; a machine that has just gone counts as what it was.",
    ),
    record(
        "cluster:epochcost_spot_saved_usd:step",
        f"""
        sum by (KEEP) (
          machine:epochcost_spent_usd:step
          * on (MACHINE) (
            max by (MACHINE) (node:epochcost_on_demand_price_usd_per_hour:unified) / on (MACHINE) {PRICE} - 1
          )
          and on (MACHINE) machine:epochcost_node_info:max{{purchase_option="spot"}}
        )
        * {NOW}
        """,
        "What the same hours of spot machines would have cost more on demand.",
    ),
    record(
        "cluster:epochcost_spot_missed_usd:step",
        f"""
        sum by (KEEP) (
          machine:epochcost_spent_usd:step
          * on (MACHINE) clamp_min(
            1 - max by (MACHINE) (node:epochcost_spot_price_usd_per_hour:cheapest) / on (MACHINE) {PRICE}, 0
          )
        )
        * {NOW}
        """,
        "What the same hours of machines on demand would have cost less as the cheapest spot machines of their region.",
    ),
]
COST = RuleFile(
    "Dollars of nodes and of the fleet, by state. Every rule is explained in docs/rules.md.",
    [
        Group(
            "epochcost-cost",
            [
                record(
                    "node_state:epochcost_seconds:rate5m",
                    "max by (MACHINE, state) (rate(epochcost_node_seconds_total[5m]))",
                ),
                record(
                    "node_state:epochcost_time_ratio:rate5m",
                    """
                    node_state:epochcost_seconds:rate5m
                    / on (MACHINE) group_left ()
                    (sum by (MACHINE) (node_state:epochcost_seconds:rate5m) > 0)
                    """,
                    """
                    Divided by their sum, so that a node's states always sum to its price, also when the agent books
                    minutes at
                    once.
                    """,
                ),
                record(
                    "node_state:epochcost_cost_usd_per_hour:rate5m",
                    """
                    node_state:epochcost_time_ratio:rate5m
                    * on (MACHINE) group_left (node) node:epochcost_price_usd_per_hour:unified
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
                    """
                    Of each machine that a run is on. Divided by the machine's own seconds, for an agent may book
                    minutes at once, or none; in one group with them, for those of an evaluation earlier would be too
                    few where an agent has just started.
                    """,
                ),
                record(
                    "cluster_state:epochcost_cost_usd_per_hour:rate5m",
                    "sum by (KEEP, state) (node_state:epochcost_cost_usd_per_hour:rate5m)",
                ),
                record(
                    "cluster:epochcost_cost_usd_per_hour:rate5m",
                    "sum by (KEEP) (cluster_state:epochcost_cost_usd_per_hour:rate5m)",
                ),
                record(
                    "cluster:epochcost_price_usd_per_hour:sum",
                    "sum by (KEEP) (node:epochcost_price_usd_per_hour:unified)",
                ),
            ],
        ),
        Group(
            "epochcost-spend",
            [
                record(
                    "machine:epochcost_accounted_seconds:last",
                    "sum by (MACHINE) (max by (MACHINE, state) (last_over_time(epochcost_node_seconds_total[2m])))",
                    "The last sample of a machine that has just gone counts, hence two minutes.",
                ),
                record(
                    "machine:epochcost_cost_usd:settled",
                    "sum by (MACHINE) (max by (MACHINE, state) (last_over_time(epochcost_node_cost_usd_total[2m])))",
                ),
                record(
                    "machine:epochcost_cost_usd:now",
                    SPENT_NOW,
                    """
                    All dollars in the ledger of a machine: settled, provisional, and seconds that have no price there
                    x the price of
                    now.
                    """,
                ),
                record(
                    "utc:epochcost_calendar:last",
                    calendar("time() - 1"),
                    "The hour, day and month (UTC) that have just passed: at a full hour, the one that ends then.",
                ),
                record("utc:epochcost_evaluation_timestamp_seconds:last", "vector(time())"),
                record("utc:epochcost_day_seconds:last", "vector((time() - 1) % 86400 + 1)"),
                record(
                    "utc:epochcost_month_seconds:last",
                    "utc:epochcost_day_seconds:last + 86400 * (day_of_month(vector(time() - 1)) - 1)",
                ),
                record(
                    "utc:epochcost_calendar:before_day",
                    calendar(f"time() - 1 - {DAY}"),
                    "The last hour of yesterday, and of the month before.",
                ),
                record("utc:epochcost_calendar:before_month", calendar(f"time() - 1 - {MONTH}")),
                record(
                    "machine:epochcost_priced_seconds:last",
                    """
                    machine:epochcost_accounted_seconds:last
                    - on (MACHINE)
                    (
                      max by (MACHINE) (last_over_time(epochcost_node_unpriced_seconds[2m]))
                      unless on (MACHINE) last_over_time(node:epochcost_price_usd_per_hour:unified[5m])
                    )
                    or
                    machine:epochcost_accounted_seconds:last
                    """,
                    "The seconds whose dollars are known: when a price comes late, as many more as it is for.",
                ),
                record(
                    "machine:epochcost_spent_usd:step",
                    since_before(
                        """
                        machine:epochcost_cost_usd:now
                        - on (MACHINE) last_over_time(machine:epochcost_cost_usd:now[1d] offset 1s)
                        """,
                        "machine:epochcost_cost_usd:now",
                    ),
                    """
                    What each ledger did since the evaluation before. One that was not seen for a day counts from now
                    on; one that is younger than an hour, or than the time in which nobody evaluated, counts as a
                    whole, and so does one that began anew.
                    """,
                ),
                record(
                    "machine:epochcost_spent_seconds:step",
                    since_before(
                        """
                        machine:epochcost_priced_seconds:last
                        - on (MACHINE) last_over_time(machine:epochcost_priced_seconds:last[1d] offset 1s)
                        """,
                        "machine:epochcost_priced_seconds:last",
                    ),
                    "And the seconds in which it spent that: the ones before now.",
                ),
                record(
                    "cluster:epochcost_spent_usd:step",
                    f"""
                    sum by (KEEP) (machine:epochcost_spent_usd:step * on (MACHINE) {within(DAY)})
                    * on () group_left (month, day, hour) utc:epochcost_calendar:last
                    or
                    (
                      sum by (KEEP) (
                        machine:epochcost_spent_usd:step
                        * on (MACHINE)
                        ({within(MONTH)} - on (MACHINE) {within(DAY)})
                      ) != 0
                    )
                    * on () group_left (month, day, hour) utc:epochcost_calendar:before_day
                    or
                    (
                      sum by (KEEP) (machine:epochcost_spent_usd:step * on (MACHINE) (1 - {within(MONTH)})) != 0
                    )
                    * on () group_left (month, day, hour) utc:epochcost_calendar:before_month
                    """,
                    """
                    What the ledgers of all machines did since the evaluation before. Where that was before midnight or
                    in another month (nobody evaluated, a price came late), each has its part by time.
                    """,
                ),
                record(
                    "cluster:epochcost_step_start_timestamp_seconds:last",
                    """
                    time() - max by (KEEP) (machine:epochcost_spent_seconds:step)
                    """,
                ),
                *HOW_BOUGHT,
            ],
            interval="1m",
            comment="""
            Days, months and budgets are what the machines' own counters did, of every machine that was there: each
            evaluation
            adds what they did since the one before, however long ago that was, and no machine has to be there still
            when the sum
            is made.
            """,
        ),
    ],
)
