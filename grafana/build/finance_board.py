"""The Finance dashboard: the month in dollars, against its budget, for whom, and what of it bought nothing."""

from __future__ import annotations

from board import Grid, query_variable, to_json
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.common import BarAlignment, GraphDrawStyle
from grafana_foundation_sdk.models.dashboard import Panel
from panels import (
    AMBER,
    BLUE,
    CLUSTER,
    GREEN,
    PLAIN,
    RATIO,
    RED,
    USD,
    VIOLET,
    About,
    Column,
    Legend,
    Query,
    bars,
    figures,
    lines,
    link_to_run,
    rows,
    share_of_budget,
)
from selection import RUN, row
from states import RUN_STATE_COLOURS, STATE_COLOURS, WASTED, coloured_text

UID = "epochcost-finance"
SPENT, FORECAST = "cluster:epochcost_cost_usd:month", "cluster:epochcost_cost_usd:month_projected"
BUDGET = "cluster:epochcost_budget_usd:month"
LEFT = "(24 * (days_in_month() - day_of_month() + 1) - hour())"
BOUGHT_NOTHING = "failed|lost|preempted"
OWNED = "owner_state:epochcost_spent_usd:step"
SHOWN = 'team=~"$team"'
NOT_YET = "No whole hour of this month is known yet"
ENDED = "run:epochcost_ended_cost_usd:last"


def finance() -> str:
    """The dashboard as JSON text."""
    grid = Grid()
    grid.band(4, (4, _month()), (6, _forecast()), (4, _budget()), (3, _wasted()), (4, _spot()), (3, _failed()))
    grid.band(9, (16, _days()), (8, _by("purchase_option", "purchase option", "purchase:epochcost_spent_usd:step")))
    grid.band(
        9,
        (8, _by("team", "team", OWNED, SHOWN)),
        (8, _by("experiment", "experiment", OWNED, SHOWN)),
        (8, _by("owner", "owner", OWNED, SHOWN)),
    )
    grid.band(9, (8, _states()), (16, _ended()))
    return to_json(
        UID,
        "epochcost / Finance",
        "What this month costs, against its budget, for whom, and what of it bought nothing.",
        grid,
        [query_variable("team", "Team", f'label_values({OWNED}{{cluster=~"$cluster"}}, team)', all_values=True)],
        annotations=(),
        since="now/M",
        timezone="utc",
    )


def of_month(step: str, by: str = "", matchers: str = "") -> str:
    """Dollars of the whole hours of this month (UTC), summed by labels."""
    return f"""sum{f" by ({by})" if by else ""} (
  sum_over_time({step}{{{matchers}}}[31d])
  and on (month) utc:epochcost_calendar:running
  unless on (month, day, hour) utc:epochcost_calendar:running
)"""


def share(by: str, step: str, matchers: str = "") -> str:
    """The month's exact dollars, split as ``step`` splits them: so the parts sum to what the headline says."""
    return f"""{of_month(step, by, matchers)}
/ on () group_left () {of_month(step)}
* on () group_left () sum({SPENT})"""


def _month() -> Builder[Panel]:
    return figures(
        About(
            "This month",
            "Dollars of the whole hours of this month (UTC), of every machine that was there; and the budget.",
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
            "The month so far, plus for every hour that it still has: the mean of the last 24 hours (expected), the "
            "lowest and the highest such mean of the last seven days. On the first day the mean is over the hours that "
            "are known, and the range is as wide as they differ.",
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
            "Of the budget",
            "Spent so far, and at the end of the month as expected. Budgets stand in epochcost-thresholds.yml.",
            RATIO,
            0,
            empty="No budget is set",
        ),
        Query(f"(sum({SPENT} and {BUDGET}) > 0) / sum({BUDGET})", "Spent"),
        Query(f"(sum({FORECAST} and {BUDGET}) > 0) / sum({BUDGET})", "At its end"),
        overrides={"Spent": share_of_budget(), "At its end": share_of_budget()},
    )


def _wasted() -> Builder[Panel]:
    part = f"{of_month(OWNED, '', WASTED)} / {of_month(OWNED)}"
    return figures(
        About("Wasted", "What trained nothing this month: start-up, waiting, lost work, machines left on.", USD),
        Query(f"{part} * sum({SPENT})", "Dollars"),
        Query(part, "Share"),
        colour=AMBER,
        overrides={"Share": {"unit": RATIO, "decimals": 0}},
    )


def _spot() -> Builder[Panel]:
    return figures(
        About(
            "Spot",
            "Saved: what this month's hours of spot machines would have cost more on demand, before the work that was "
            "lost. Missed: what its hours on demand would have cost less as the cheapest spot machines of their "
            "region.",
            USD,
            empty="No spot price is known",
        ),
        Query(of_month("cluster:epochcost_spot_saved_usd:step"), "Saved"),
        Query(of_month("cluster:epochcost_spot_missed_usd:step"), "Missed"),
        colour=GREEN,
        overrides={"Missed": {"thresholds": {"mode": "absolute", "steps": [{"value": None, "color": AMBER}]}}},
    )


def _last_word(states: str) -> str:
    """The dollars of runs whose last word in the time range was one of ``states``."""
    last = f'last_over_time({ENDED}{{state=~"{states}", {SHOWN}}}[$__range])'
    again = f'last_over_time({ENDED}{{state="finished"}}[$__range])'
    return f"{last}\nunless on ({RUN}) {again}\nunless on ({RUN}) epochcost_run_node_share_ratio > 0"


def _failed() -> Builder[Panel]:
    lost = f"""{of_month(OWNED, "", 'state="replay"')} / {of_month(OWNED)} * sum({SPENT})"""
    return figures(
        About(
            "Failed, lost",
            "All dollars of runs that ended failed in the time range; and of work done again after a crash or a "
            "preemption, this month.",
            USD,
            empty="Nothing failed",
        ),
        Query(f"sum({_last_word('failed')}) or 0 * (sum({SPENT}) > 0)", "Failed"),
        Query(lost, "Lost work"),
        colour=RED,
    )


def _days() -> Builder[Panel]:
    day = "sum(sum_over_time(cluster:epochcost_spent_usd:step[23h59m59s] offset -1d)) > 0"
    wasted = f"{of_day(WASTED)} / {of_day()} * {day}"
    even = f"sum(max_over_time({BUDGET}[1d] offset -1d)) / on () days_in_month()"
    return (
        lines(
            About(
                "Days",
                "Dollars of each day (UTC), the last one so far; of them those that trained nothing; and what a day "
                "may cost if the budget is spent evenly.",
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
            fill=70,
            legend=Legend.LINE,
        )
        .draw_style(GraphDrawStyle.BARS)
        .bar_alignment(BarAlignment.AFTER)
        .interval("1d")
    )


def of_day(matchers: str = "") -> str:
    """Dollars of the day that begins at each step."""
    return f"sum(sum_over_time({OWNED}{{{matchers}}}[23h59m59s] offset -1d))"


def _by(label: str, what: str, step: str, matchers: str = "") -> Builder[Panel]:
    whose = {
        "team": "A run's dollars are its team's, the rest of a machine is the machine's team's.",
        "experiment": "Dollars of no run, and of runs that name no experiment, are one bar.",
        "owner": "A run's dollars are its user's; of a machine without a run its holder's, if it has one alone.",
        "purchase_option": "A machine that changed counts as what it was at the time.",
    }[label]
    named = f'label_replace(\n{share(label, step, matchers)},\n"{label}", "no {what}", "{label}", "")'
    return bars(
        About(
            f"This month by {what}",
            f"Dollars of the whole hours of this month, the seven largest. {whose} All of them sum to what is spent.",
            USD,
            empty=NOT_YET,
        ),
        label,
        f"topk(7, {named} > 0)",
        long_names=True,
    )


def _states() -> Builder[Panel]:
    return bars(
        About("This month by state", "What the month's dollars did. Only useful ones trained.", USD, empty=NOT_YET),
        "state",
        f"{share('state', OWNED, SHOWN)} > 0",
        colours=STATE_COLOURS,
    )


def _ended() -> Builder[Panel]:
    return rows(
        About(
            "Runs that bought nothing",
            "Runs that ended failed, lost or preempted in the time range and neither train again nor finished since: "
            "all their dollars, also those of months before.",
            PLAIN,
            empty="No run has ended so",
        ),
        "row",
        [
            CLUSTER,
            Column("Run", "run", properties=(link_to_run("Run"),)),
            Column("Experiment", "experiment"),
            Column("Team", "team", width=110),
            Column("User", "owner_user", width=110),
            Column("Ended", "state", width=90, properties=coloured_text(RUN_STATE_COLOURS)),
            Column("Dollars", "A", row(_last_word(BOUGHT_NOTHING), "run"), USD, 100),
        ],
        sort_by="Dollars",
    )
