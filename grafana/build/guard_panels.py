"""Guards of the fleet: pending actions, keeps, and what was ended."""

from __future__ import annotations

from board import Band
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel
from panels import GREEN, PLAIN, SECONDS, USD, USD_PER_HOUR, About, Query, figures
from selection import MACHINE, cell, once, row
from tables import Column, link_to_run, name, rows

SUBJECT = f"{MACHINE}, policy, run"


def guard_bands() -> tuple[Band, ...]:
    """What is shown when the row is opened."""
    return (7, [(24, _waiting())]), (7, [(17, _keeps()), (7, _ended())])


def _waiting() -> Builder[Panel]:
    labels = ("epochcost_machine", "policy", "run")
    held = row(once(f"{SUBJECT}, condition", "epochcost_guard_waiting_seconds"), *labels)
    following = once(f"{SUBJECT}, step, dry_run", "epochcost_guard_next_step_timestamp_seconds")
    return rows(
        About(
            "Guard: pending actions",
            "Conditions of guard policies that are met now, for how long without a gap, and the next step. An empty "
            "run means the whole machine. A dry run only reports what it would do.",
            PLAIN,
            empty="No guard condition is met, or no policy is set",
        ),
        "row",
        [
            Column("Machine", "epochcost_machine", properties=name()),
            Column("Policy", "policy", width=110, properties=name()),
            Column("Run", "run", properties=name(link_to_run())),
            Column("Condition", "condition", width=90),
            Column("For", "A", held, SECONDS, 76),
            Column("Next", "step", cell(following, *labels, more="step"), ref="B", width=86),
            Column("In", "C", cell(f"{following} - time()", *labels), SECONDS, 76),
            Column("Dry run", "dry_run", cell(following, *labels, more="dry_run"), ref="D", width=70),
            Column("Gave up", "E", cell(once(SUBJECT, "epochcost_guard_gave_up"), *labels), "none", 70),
        ],
        sort_by="For",
    )


def _keeps() -> Builder[Panel]:
    keeps = once(f"{MACHINE}, run, by, why", "epochcost_guard_keep_until_timestamp_seconds - time()")
    return rows(
        About(
            "Guard: kept",
            "Users who postponed the guard's actions, for how much longer, and why. An empty run means all runs of "
            "this user.",
            SECONDS,
            empty="No keep is active",
        ),
        "row",
        [
            Column("Machine", "epochcost_machine", properties=name()),
            Column("Run", "run", properties=name(link_to_run())),
            Column("By", "by", width=80, properties=name()),
            Column("Why", "why", properties=name()),
            Column("Left", "A", row(keeps, "epochcost_machine", "run", "by", "why"), SECONDS, 76),
        ],
        sort_by="Left",
    )


def _ended() -> Builder[Panel]:
    def most(metric: str, result: str) -> str:
        # What was ended is no longer scraped: its last value within the time range counts.
        ended = f'max_over_time({metric}{{result="{result}"}}[$__range])'
        return f"sum({once(f'{MACHINE}, policy', ended)})"

    taken = 'sum(max_over_time(epochcost_guard_actions_total{step="stop", result="done"}[$__range]))'
    return figures(
        About(
            "Guard: ended",
            "Cost per hour of what the guards ended, and of what they would have ended in dry runs; the dollars wasted "
            "before; the number of stops, and of policies in force.",
            USD_PER_HOUR,
            2,
            empty="No guard is set",
        ),
        Query(most("epochcost_guard_ended_usd_per_hour_total", "done"), "Ended"),
        Query(most("epochcost_guard_ended_usd_per_hour_total", "dry_run"), "Would have"),
        Query(most("epochcost_guard_wasted_usd_total", "done"), "Wasted before"),
        Query(taken, "Stops"),
        Query(f"count({once(f'{MACHINE}, policy, dry_run', 'epochcost_guard_policy_info')})", "Policies"),
        colour=GREEN,
        overrides={
            "Wasted before": {"unit": USD, "decimals": 2},
            "Stops": {"unit": "none", "decimals": 0},
            "Policies": {"unit": "none", "decimals": 0},
        },
    )
