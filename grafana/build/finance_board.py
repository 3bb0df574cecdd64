"""The Finance dashboard: the month in dollars, against its budget, by team, and what of it was lost."""

from __future__ import annotations

from board import Grid, Heading, query_variable, to_json
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.common import BarAlignment, GraphDrawStyle
from grafana_foundation_sdk.models.dashboard import Panel
from panels import (
    AMBER,
    BLUE,
    GREEN,
    PLAIN,
    RATIO,
    RED,
    USD,
    VIOLET,
    About,
    Legend,
    LineStyle,
    Query,
    always,
    bars,
    figures,
    lines,
    share_of_budget,
)
from selection import RUN, row
from states import RUN_STATE_COLOURS, STATE_COLOURS, WASTED, coloured_text
from tables import CLUSTER, Column, link_to_experiment, link_to_run, name, rows

UID = "epochcost-finance"
SPENT, FORECAST = "cluster:epochcost_cost_usd:month", "cluster:epochcost_cost_usd:month_projected"
BUDGET = "cluster:epochcost_budget_usd:month"
LEFT = "(24 * (days_in_month() - day_of_month() + 1) - hour())"
LOST = "failed|lost|preempted"
OWNED, BY_STATE = "owner_state:epochcost_spent_usd:day", "cluster_state:epochcost_spent_usd:step"
SHOWN = 'team=~"$team"'
NOT_YET = "No whole hour of this month is known yet"
ENDED = "run:epochcost_ended_cost_usd:last"


def finance() -> str:
    """The dashboard as JSON text."""
    grid = Grid()
    grid.band(4, (4, _month()), (6, _forecast()), (4, _budget()), (5, _wasted()), (5, _spot()))
    grid.band(8, (16, _days()), (8, _by("purchase_option", "purchase option", "purchase:epochcost_spent_usd:step")))
    grid.band(6, (4, _failed()), (20, _ended()))
    grid.band(
        11,
        (6, _by("team", "team", OWNED, SHOWN)),
        (6, _by("experiment", "experiment", OWNED, SHOWN)),
        (6, _by("owner", "owner", OWNED, SHOWN)),
        (6, _states()),
    )
    return to_json(
        Heading(
            UID,
            "epochcost / Finance",
            "What this month costs, against its budget, by team, and what of it was lost.",
            since="now/M",
            timezone="utc",
        ),
        grid,
        [query_variable("team", "Team", f'label_values({OWNED}{{cluster=~"$cluster"}}, team)', all_values=True)],
        annotations=(),
    )


def of_month(step: str, by: str = "", matchers: str = "") -> str:
    """Dollars of the whole hours of this month (UTC), summed by labels."""
    return f"""sum{f" by ({by})" if by else ""} (
  sum_over_time({step}{{{matchers}}}[31d])
  and on (month) utc:epochcost_calendar:running
  unless on (month, day, hour) utc:epochcost_calendar:running
)"""


def of_days(day: str, by: str = "", matchers: str = "") -> str:
    """The same from dollars that are recorded by the day: the largest value of a day is all of it."""
    return f"""sum{f" by ({by})" if by else ""} (
  max_over_time({day}{{{matchers}}}[31d])
  and on (month) utc:epochcost_calendar:running
)"""


def share(by: str, recorded: str, matchers: str = "") -> str:
    """The month's exact dollars, split as recorded, so the parts sum to the headline."""
    of = of_days if recorded == OWNED else of_month
    return f"""{of(recorded, by, matchers)}
/ on () group_left () {of(recorded)}
* on () group_left () sum({SPENT})"""


def _month() -> Builder[Panel]:
    return figures(
        About(
            "This month",
            "Dollars of the whole hours of this month (UTC), of every machine that was present; and the budget.",
            USD,
            empty=NOT_YET,
        ),
        Query(f"sum({SPENT}) > 0", "Spent"),
        Query(f"sum({BUDGET})", "Budget"),
        overrides={"Budget": {"color": {"mode": "fixed", "fixedColor": GREEN}}},
    )


def _forecast() -> Builder[Panel]:
    def at(rate: str) -> str:
        return f"sum({SPENT} + {rate}(cluster:epochcost_cost_usd_per_hour:day[7d]) * on () group_left () {LEFT}) > 0"

    return figures(
        About(
            "Forecast",
            "The month so far, plus for every hour left the mean of the last 24 hours (expected), or the lowest or "
            "highest such mean of the last seven days (at least, at most). On the first day the mean covers the hours "
            "that are known.",
            USD,
            empty=NOT_YET,
        ),
        Query(at("min_over_time"), "At least"),
        Query(f"sum({FORECAST}) > 0", "Expected"),
        Query(at("max_over_time"), "At most"),
        colour=VIOLET,
    )


def _budget() -> Builder[Panel]:
    return figures(
        About(
            "Budget used",
            "Spent so far, and projected for the end of the month. Budgets are set in epochcost-thresholds.yml.",
            RATIO,
            0,
            empty="No budget is set, or no whole hour is known yet",
        ),
        Query(f"(sum({SPENT} and {BUDGET}) > 0) / sum({BUDGET})", "Spent"),
        Query(f"(sum({FORECAST} and {BUDGET}) > 0) / sum({BUDGET})", "Projected"),
        overrides={"Spent": share_of_budget(), "Projected": share_of_budget()},
    )


def _wasted() -> Builder[Panel]:
    part = f"{of_month(BY_STATE, '', WASTED)} / {of_month(BY_STATE)}"
    return figures(
        About(
            "Wasted",
            "Dollars of this month not spent on useful training: start-up, waiting, lost work, machines left on.",
            USD,
            empty=NOT_YET,
        ),
        Query(f"{part} * sum({SPENT})", "Dollars"),
        Query(part, "Share"),
        colour=AMBER,
        overrides={"Share": {"unit": RATIO, "decimals": 0}},
    )


def _spot() -> Builder[Panel]:
    return figures(
        About(
            "Spot",
            "Saved: how much more this month's spot hours would have cost on demand; lost work is not subtracted. "
            "Missed: how much less this month's on-demand hours would have cost on the cheapest spot machines of "
            "their region.",
            USD,
            empty="No spot price, or no whole hour, is known",
        ),
        Query(of_month("cluster:epochcost_spot_saved_usd:step"), "Saved"),
        Query(of_month("cluster:epochcost_spot_missed_usd:step"), "Missed"),
        colour=GREEN,
        overrides={"Missed": {"thresholds": {"mode": "absolute", "steps": [{"value": None, "color": AMBER}]}}},
    )


def _ended_as(states: str) -> str:
    """The dollars of runs whose last state in the time range was one of ``states``."""
    last = f'last_over_time({ENDED}{{state=~"{states}", {SHOWN}}}[$__range])'
    again = f'last_over_time({ENDED}{{state="finished"}}[$__range])'
    return f"{last}\nunless on ({RUN}) {again}\nunless on ({RUN}) epochcost_run_node_share_ratio > 0"


def _failed() -> Builder[Panel]:
    lost = f"""{of_month(BY_STATE, "", 'state="replay"')} / {of_month(BY_STATE)} * sum({SPENT})"""
    return figures(
        About(
            "Lost dollars",
            "Failed: all dollars of runs that failed in the time range. Repeated: dollars of work done again after a "
            "crash or a preemption, this month.",
            USD,
            empty="No run failed",
        ),
        Query(f"sum({_ended_as('failed')}) or 0 * (sum({SPENT}) > 0)", "Failed"),
        Query(lost, "Repeated"),
        colour=RED,
    )


def _days() -> Builder[Panel]:
    day = "sum(sum_over_time(cluster:epochcost_spent_usd:step[23h59m59s] offset -1d)) > 0"
    wasted = f"{of_day(WASTED)} / {of_day()} * {day}"
    even = f"sum(max_over_time({BUDGET}[2d] @ end() offset -1d)) / on () days_in_month()"
    return (
        lines(
            About(
                "Days",
                "Dollars of each day (UTC), today's so far; the part of them that was wasted; and what a day may cost "
                "if the current budget is spent evenly.",
                USD,
                empty=NOT_YET,
            ),
            Query(day, "Spent"),
            Query(wasted, "Wasted"),
            Query(even, "Even budget"),
            colours={"Spent": BLUE, "Wasted": AMBER, "Even budget": GREEN},
            overrides={
                "Even budget": {
                    "custom.drawStyle": "line",
                    "custom.fillOpacity": 0,
                    "custom.lineInterpolation": "stepAfter",
                }
            },
            style=LineStyle(fill=70),
            legend=Legend.LINE,
        )
        .draw_style(GraphDrawStyle.BARS)
        .bar_alignment(BarAlignment.AFTER)
        .interval("1d")
    )


def of_day(matchers: str = "") -> str:
    """Dollars of the day that begins at each step."""
    return f"sum(sum_over_time({BY_STATE}{{{matchers}}}[23h59m59s] offset -1d))"


def _by(label: str, what: str, step: str, matchers: str = "") -> Builder[Panel]:
    whose = {
        "team": "The cost of a run counts for its team, the rest of a machine for the machine's team.",
        "experiment": "Dollars outside runs, and of runs without an experiment, are one bar.",
        "owner": "The cost of a run counts for its user, that of a machine without a run for the one user of its GPUs.",
        "purchase_option": "Each hour counts for the option that the machine had at the time.",
    }[label]
    named = f'label_replace(\n{share(label, step, matchers)},\n"{label}", "no {what}", "{label}", "")'
    return bars(
        About(
            f"This month by {what}",
            f"Dollars of the whole hours of this month, top seven. {whose} All of them sum to what is spent.",
            USD,
            empty=NOT_YET,
        ),
        label,
        f"topk(7, {named} > 0)",
    )


def _states() -> Builder[Panel]:
    return bars(
        About("This month by state", "Dollars of this month by state; only useful ones trained.", USD, empty=NOT_YET),
        "state",
        always(f"{share('state', OWNED, SHOWN)} > 0", f"(sum({SPENT}) > 0)"),
        colours=STATE_COLOURS,
    )


def _ended() -> Builder[Panel]:
    return rows(
        About(
            "Runs that failed or were lost",
            "Runs that ended failed, lost or preempted in the time range, and have neither resumed nor finished since: "
            "all their dollars, including those of earlier months.",
            PLAIN,
            empty="No run failed or was lost",
        ),
        "row",
        [
            CLUSTER,
            Column("Run", "run", properties=name(link_to_run())),
            Column("Experiment", "experiment", properties=name(link_to_experiment())),
            Column("Team", "team", width=100, properties=name()),
            Column("User", "owner_user", width=100, properties=name()),
            Column("Ended", "state", width=90, properties=coloured_text(RUN_STATE_COLOURS)),
            Column("Dollars", "A", row(_ended_as(LOST), "run"), USD, 100),
        ],
        sort_by="Dollars",
    )
