"""Panels of the Node dashboard about the terms of its price: parts, limits of sessions, credit."""

from __future__ import annotations

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel
from panels import PLAIN, SECONDS, USD, USD_PER_HOUR, About, Query, figures
from tables import Column, name, rows

CHOSEN = 'epochcost_machine="$machine"'
NODE = f"{{{CHOSEN}}}"


def parts() -> Builder[Panel]:
    """The price of the machine by part, and the dollars of each part in the range."""
    counted = f"epochcost_node_egress_cost_usd_total{NODE}"
    named = '"part", "$1 (traffic counted)", "extra", "(.*)"'
    part = f"""max by (part) (epochcost_node_price_part_usd_per_hour{NODE})
or
label_replace(3600 * max by (extra) (rate({counted}[$__range])), {named})"""
    spent = f"""max by (part) (avg_over_time(epochcost_node_price_part_usd_per_hour{NODE}[$__range]))
* on () group_left ()
sum(max by (state) (increase(epochcost_node_seconds_total{NODE}[$__range]))) / 3600
or
label_replace(max by (extra) (increase({counted}[$__range])), {named})"""
    return rows(
        About(
            "Parts of the price",
            "Parts that sum to the price of this machine: published price, discounts (negative), taxes, and extras "
            "such as disks, addresses and licences. In this range: mean of the part x hours of the machine. Counted "
            "traffic is paid in addition to the price and is in no other figure; per hour it is the mean of the range.",
            PLAIN,
            empty="The agent knows no parts of the price",
        ),
        "part",
        [
            Column("Part", "part", properties=name()),
            Column("Per hour", "A", part, USD_PER_HOUR, 110),
            Column("In this range", "B", spent, USD, 110),
        ],
        sort_by="Per hour",
    )


def endings() -> Builder[Panel]:
    """How long the session, the free hours and the credit last."""
    session = f"min(epochcost_node_session_end_timestamp_seconds{NODE}) - time()"
    free = f"max(epochcost_node_free_end_timestamp_seconds{NODE}) - time()"
    credit = f"min(epochcost_node_credit_end_timestamp_seconds{NODE}) - time()"
    return figures(
        About(
            "Ends in",
            "Time until the provider ends this machine because of a session limit, until its free hours are used up, "
            "and until the credit that pays for it is used up at the current spend, or expires.",
            SECONDS,
            0,
            empty="No session limit, free hours or credit is known",
        ),
        Query(session, "Session"),
        Query(free, "Free hours"),
        Query(credit, "Credit"),
    )


def purses() -> Builder[Panel]:
    """Credit of the account that pays for the machine."""
    here = f"max by (provider) (machine:epochcost_node_info:max{NODE})"
    left, balance = "credit:epochcost_credit_usd:left", f"epochcost_node_credit_usd{NODE}"
    return figures(
        About(
            "Credit left",
            "Credit left at this machine's provider: as the provider reports it, else the configured amount minus what "
            "machines have cost since. This is an upper limit: machines that are not scraped are not subtracted.",
            USD,
            empty="No credit is known",
        ),
        Query(f"max by (credit) ({left} and on (provider) {here}) or max by (credit) ({balance})", "{{credit}}"),
        named=True,
    )
