"""Metrics of what is known beside a machine's price."""

from __future__ import annotations

from epochcost.agent.collectors.family import Family

TERMS: tuple[Family, ...] = (
    Family(
        "node_price_part_usd_per_hour",
        "A part of what an hour of this machine costs now: published, an adjustment, an extra; they sum to it.",
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
        "When the provider ends this machine by a limit of its sessions.",
        ("limit",),
        lambda s: [((name,), end) for name, end in s.node.terms.session_ends],
    ),
    Family(
        "node_free_end_timestamp_seconds",
        "Until when hours of this machine cost nothing, charged extras apart; absent while they do.",
        ("limit",),
        lambda s: [((name,), end) for name, end in s.node.terms.free_ends],
    ),
    Family(
        "node_credit_usd",
        "Credit of the account that pays this machine, as its provider or the configuration last said.",
        ("credit",),
        lambda s: [((purse.name,), purse.usd) for purse in s.node.terms.purses],
    ),
    Family(
        "node_credit_end_timestamp_seconds",
        "When that credit is empty at what its account spends now, or void; absent where neither is known.",
        ("credit",),
        lambda s: [((purse.name,), purse.empty_ts) for purse in s.node.terms.purses],
    ),
)
