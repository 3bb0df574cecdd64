"""Spending against budgets: of the fleet, of a run, and against what an experiment cost before."""

from __future__ import annotations

from rule_text import Group, Rule, RuleFile, record

RUNNING = """
    count_values("month", month(vector(time())))
    * on () group_left (day) count_values("day", day_of_month(vector(time())))
    * on () group_left (hour) count_values("hour", hour(vector(time())))
    """
"""The hour that runs, as labels: at a full hour, the one that begins then."""


def whole_hours(window: str, of: str) -> str:
    """Dollars of the whole hours within ``window`` that lie in the same ``of`` (day, month) as now."""
    return f"""
    sum by (KEEP) (
      sum_over_time(cluster:epochcost_spent_usd:step[{window}])
      and on ({of}) utc:epochcost_calendar:running
      unless on (month, day, hour) utc:epochcost_calendar:running
    )"""


def burn(name: str, dollars: str) -> Rule:
    """How many times as fast as the budget allows money went."""
    return record(
        f"cluster:epochcost_budget_burn_ratio:{name}", f"{dollars} / cluster:epochcost_budget_usd_per_hour:even"
    )


def spent(seconds: str, hours: int) -> str:
    """Dollars an hour over the last ``hours``: a second less, so that the evaluation at their start is not in it."""
    return f"sum by (KEEP) (sum_over_time(cluster:epochcost_spent_usd:step[{seconds}])) / {hours}"


WEEK_AGO = "max_over_time(cluster:epochcost_cost_usd:increase1h[3h] offset 166h30m)"
TWO_WEEKS_AGO = "max_over_time(cluster:epochcost_cost_usd:increase1h[3h] offset 334h30m)"
"""The dearest hour of those around this time of the week."""
BUDGETS = [
    record("cluster:epochcost_cost_usd:increase1h", spent("59m59s", 1).removesuffix(" / 1")),
    record(
        "cluster:epochcost_budget_usd:month",
        """
        (
          cluster:epochcost_cost_usd:increase1h * 0
          + on (cluster) group_left () epochcost:threshold:budget_usd_per_month{cluster!=""}
          or
          cluster:epochcost_cost_usd:increase1h * 0
          + on () group_left () epochcost:threshold:budget_usd_per_month{cluster=""}
        ) > 0
        """,
    ),
    record(
        "cluster:epochcost_budget_usd_per_hour:even",
        "cluster:epochcost_budget_usd:month / on () group_left () (24 * days_in_month())",
        "Dollars an hour that spend the budget evenly.",
    ),
    burn("rate5m", "cluster:epochcost_cost_usd_per_hour:rate5m"),
    burn("rate30m", "avg_over_time(cluster:epochcost_cost_usd_per_hour:rate5m[30m])"),
    burn("rate1h", "cluster:epochcost_cost_usd:increase1h"),
    burn("rate2h", spent("1h59m59s", 2)),
    burn("rate6h", spent("5h59m59s", 6)),
]
CALENDAR = [
    record("utc:epochcost_calendar:running", RUNNING),
    record("cluster:epochcost_cost_usd:today", whole_hours("1d", "month, day")),
    record("cluster:epochcost_cost_usd:month", whole_hours("31d", "month")),
    record(
        "cluster:epochcost_cost_usd_per_hour:day",
        """
        sum by (KEEP) (
          sum_over_time(cluster:epochcost_spent_usd:step[23h59m59s])
          unless on (month, day, hour) utc:epochcost_calendar:running
        )
        / (
          clamp_max(
            time() - time() % 3600
            - min_over_time(cluster:epochcost_step_start_timestamp_seconds:last[23h59m59s]),
            86400
          ) / 3600
          >= 0.5
        )
        """,
        """
        Mean of the whole hours of a day, or of those that there have been: on the first day, six known hours are not
        divided by 24. A step may have begun days ago, where a price came late: the day has no more than 24 for that.
        """,
    ),
    record(
        "cluster:epochcost_cost_usd:month_projected",
        """
        cluster:epochcost_cost_usd:month
        + cluster:epochcost_cost_usd_per_hour:day
        * on () group_left () (24 * (days_in_month() - day_of_month() + 1) - hour())
        """,
    ),
    record(
        "cluster:epochcost_budget_ratio:month",
        "cluster:epochcost_cost_usd:month / cluster:epochcost_budget_usd:month",
    ),
    record("cluster:epochcost_cost_usd_per_hour:rate1d", spent("23h59m59s", 24)),
    burn("rate1d", "cluster:epochcost_cost_usd_per_hour:rate1d"),
    burn("rate3d", spent("71h59m59s", 72)),
    record(
        "cluster:epochcost_cost_usd_per_hour:usual",
        f"""
        max by (KEEP) (
          label_replace(
            quantile_over_time(0.9, cluster:epochcost_cost_usd:increase1h[13d] offset 1d), "of", "hours", "", ""
          )
          or
          label_replace(
            {WEEK_AGO} < on (KEEP) {TWO_WEEKS_AGO}
            or on (KEEP) ({TWO_WEEKS_AGO} and on (KEEP) {WEEK_AGO}),
            "of", "weeks", "", ""
          )
        )
        and on (KEEP) last_over_time(cluster:epochcost_cost_usd:increase1h[9d] offset 4d)
        """,
        "Nine of ten hours of the two weeks before today cost at most this: what happens every night is usual, and so "
        "is what happened at this time a week ago and two weeks ago. Not known before the fourth day.",
    ),
]
RUN_BUDGET = [
    record("run:epochcost_budget_usd:max", "max by (RUN) (epochcost_run_budget_usd) > 0"),
    record(
        "run:epochcost_budget_ratio:spent",
        """
        run:epochcost_cost_usd:sum / run:epochcost_budget_usd:max > 1
        or
        run:epochcost_cost_usd:sum / run:epochcost_budget_usd:max
        unless on (RUN) run:epochcost_epochs:missing
        """,
        "Where an earlier part is not known, it is only known when that much is already too much.",
    ),
    record("run:epochcost_budget_ratio:projected", "run:epochcost_cost_usd:projected / run:epochcost_budget_usd:max"),
    record(
        "run:epochcost_lost_work_ratio:life",
        "run:epochcost_epochs:lost / (run:epochcost_epochs:executed > 0)",
        "Of all epochs that were done, those that had to be done again.",
    ),
    record(
        "run:epochcost_lost_work_usd:life",
        "run:epochcost_epochs:lost * run:epochcost_epoch_cost_usd:mean",
    ),
]
EXPERIMENTS = [
    record(
        "experiment_run:epochcost_epoch_cost_usd:mean",
        """
        run:epochcost_epoch_cost_usd:mean
        * on (RUN) group_left (experiment) run:epochcost_experiment:info
        """,
    ),
    record(
        "experiment:epochcost_epoch_cost_usd:previous",
        """
        avg by (KEEP, experiment) (
          last_over_time(experiment_run:epochcost_epoch_cost_usd:mean[14d])
          unless experiment_run:epochcost_epoch_cost_usd:mean
        )
        """,
    ),
    record(
        "experiment_run:epochcost_epoch_cost_ratio:previous",
        """
        experiment_run:epochcost_epoch_cost_usd:mean
        / on (KEEP, experiment) group_left ()
        (experiment:epochcost_epoch_cost_usd:previous > 0)
        """,
    ),
]
BUDGET = RuleFile(
    """
    Spending against budgets: of the fleet, of a run, and against what an experiment cost before. Every rule is
    explained in
    docs/rules.md.
    """,
    [
        Group("epochcost-budget", BUDGETS, interval="1m"),
        Group(
            "epochcost-calendar",
            CALENDAR,
            interval="5m",
            comment="Days and months are those of UTC, and made of whole hours.",
        ),
        Group("epochcost-run-budget", RUN_BUDGET),
        Group(
            "epochcost-experiment",
            EXPERIMENTS,
            interval="5m",
            comment="Runs that are no longer exported are the experiment's last runs.",
        ),
    ],
)
