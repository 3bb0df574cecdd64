"""What the guards of the fleet wait for, who keeps what, and what was ended."""

from __future__ import annotations

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel
from panels import (
    GREEN,
    PLAIN,
    SECONDS,
    USD,
    USD_PER_HOUR,
    About,
    Column,
    Query,
    figures,
    rows,
)
from selection import MACHINE, cell, once, row

SUBJECT = f"{MACHINE}, policy, run"


def guard_band() -> tuple[tuple[int, Builder[Panel]], ...]:
    """Panels of one row, and their widths."""
    return (12, _waiting()), (6, _keeps()), (6, _ended())


def _waiting() -> Builder[Panel]:
    labels = ("epochcost_machine", "policy", "run")
    held = row(once(f"{SUBJECT}, condition", "epochcost_guard_waiting_seconds"), *labels)
    following = once(f"{SUBJECT}, step, dry_run", "epochcost_guard_next_step_timestamp_seconds")
    return rows(
        About(
            "Guard: waiting",
            "Conditions of the guards' policies that hold now, for how long without a gap, and which step follows. An "
            "empty run is the whole machine. A dry run says what would be done and does nothing.",
            PLAIN,
            empty="No guard waits for anything, or none is set",
        ),
        "row",
        [
            Column("Machine", "epochcost_machine"),
            Column("Policy", "policy", width=130),
            Column("Run", "run"),
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
    kept = once(f"{MACHINE}, run, by, why", "epochcost_guard_keep_until_timestamp_seconds - time()")
    return rows(
        About(
            "Guard: kept",
            "Who has put the guard's actions off, for how long still, and why. An empty run: all of this user's.",
            SECONDS,
            empty="Nobody keeps anything",
        ),
        "row",
        [
            Column("Machine", "epochcost_machine"),
            Column("Run", "run"),
            Column("By", "by"),
            Column("Why", "why"),
            Column("Left", "A", row(kept, "epochcost_machine", "run", "by", "why"), SECONDS, 76),
        ],
        sort_by="Left",
    )


def _ended() -> Builder[Panel]:
    def most(metric: str, result: str) -> str:
        # What was ended is not scraped any more: its last word within the time range counts.
        ended = f'max_over_time({metric}{{result="{result}"}}[$__range])'
        return f"sum({once(f'{MACHINE}, policy', ended)})"

    taken = 'sum(max_over_time(epochcost_guard_actions_total{step="stop", result="done"}[$__range]))'
    return figures(
        About(
            "Guard: ended",
            "What an hour cost of all that the guards ended, or in a dry run would have, and what that had cost for "
            "nothing until then; how many stops were taken, and how many policies are in force.",
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
