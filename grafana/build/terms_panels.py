"""Panels of the Node dashboard about what stands beside its price: of what it is made, and what ends when."""

from __future__ import annotations

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel
from panels import PLAIN, SECONDS, USD, USD_PER_HOUR, About, Column, Query, figures, rows

CHOSEN = 'epochcost_machine="$machine"'
NODE = f"{{{CHOSEN}}}"


def parts() -> Builder[Panel]:
    """The price of the machine cut into what it is made of, and the dollars of each part in the range."""
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
            "Of what the price of this machine is made: what is published, discounts (below 0), taxes, and extras that "
            "are charged with it: disks, addresses, licences. They sum to the price. In this range: "
            "the mean of the part x the machine's hours. Traffic that is counted is paid beside the price, and in no "
            "other figure: an hour of it is the mean of the range.",
            PLAIN,
            empty="Its agent knows no parts of the price",
        ),
        "part",
        [
            Column("Part", "part"),
            Column("An hour", "A", part, USD_PER_HOUR, 110),
            Column("In this range", "B", spent, USD, 110),
        ],
        sort_by="An hour",
    )


def endings() -> Builder[Panel]:
    """How long the session, the free hours and the credit last."""
    session = f"min(epochcost_node_session_end_timestamp_seconds{NODE}) - time()"
    free = f"max(epochcost_node_free_end_timestamp_seconds{NODE}) - time()"
    credit = f"min(epochcost_node_credit_end_timestamp_seconds{NODE}) - time()"
    return figures(
        About(
            "Ends in",
            "How long until the provider ends this machine by a limit of its sessions, until its free hours are used "
            "up, and until the credit that pays it is empty at what its account spends now, or void.",
            SECONDS,
            0,
            empty="Nothing is known to end",
        ),
        Query(session, "Session"),
        Query(free, "Free hours"),
        Query(credit, "Credit"),
    )


def purses() -> Builder[Panel]:
    """What the account that pays the machine has left."""
    here = f"max by (provider) (machine:epochcost_node_info:max{NODE})"
    left, said = "credit:epochcost_credit_usd:left", f"epochcost_node_credit_usd{NODE}"
    return figures(
        About(
            "Credit left",
            "Credit at this machine's provider: as the provider says, else what was configured less what machines have "
            "cost since. At most so much: what is not scraped is not in it.",
            USD,
            empty="No credit is known",
        ),
        Query(f"max by (credit) ({left} and on (provider) {here}) or max by (credit) ({said})", "{{credit}}"),
        named=True,
    )
