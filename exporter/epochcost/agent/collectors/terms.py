"""Metrics of what is known beside a machine's price."""

from __future__ import annotations

from epochcost.agent.collectors.family import Family

TERMS: tuple[Family, ...] = (
    Family(
        "node_price_part_usd_per_hour",
        "Component of this machine's current hourly price: published, an adjustment or an extra; they sum to the "
        "price.",
        ("part",),
        lambda s: [((name,), usd) for name, usd in s.node.terms.parts.items()],
    ),
    Family(
        "node_egress_bytes_total",
        "Bytes sent by the network interfaces named by --node.egress-interfaces.",
        ("interface",),
        lambda s: [((name,), count) for name, count in s.node.terms.egress_bytes.items()],
    ),
    Family(
        "node_egress_cost_usd_total",
        "Cost of sent traffic in US dollars by extra, as counted; not part of node_cost_usd or of a run's cost.",
        ("extra",),
        lambda s: [((name,), usd) for name, usd in s.node.terms.egress_usd.items()],
    ),
    Family(
        "node_session_end_timestamp_seconds",
        "Time at which the provider will end this machine because of a session limit.",
        ("limit",),
        lambda s: [((name,), end) for name, end in s.node.terms.session_ends],
    ),
    Family(
        "node_free_end_timestamp_seconds",
        "Time until which hours of this machine are free, except for charged extras; absent while they are not. scope: "
        "whether the hours of all machines of the account are known, or only this machine's.",
        ("limit", "scope"),
        lambda s: [((name, s.node.terms.free_scope), end) for name, end in s.node.terms.free_ends],
    ),
    Family(
        "node_free_used_seconds",
        "Free seconds of the current period that this machine has used.",
        ("limit", "account"),
        lambda s: [((name, s.node.terms.free_account), used) for name, used in s.node.terms.free_used],
    ),
    Family(
        "node_credit_usd",
        "Credit of the account that pays for this machine: as last reported by its provider (scope account), or as "
        "configured minus what this machine alone has cost since (scope machine).",
        ("credit", "scope"),
        lambda s: [((purse.name, purse.scope), purse.usd) for purse in s.node.terms.purses],
    ),
    Family(
        "node_credit_end_timestamp_seconds",
        "Time at which that credit expires, or is used up at the current spend of its account (scope machine: of this "
        "machine alone); absent if neither is known.",
        ("credit", "scope"),
        lambda s: [((purse.name, purse.scope), purse.empty_ts) for purse in s.node.terms.purses],
    ),
)
