"""Metrics of the machine and its money."""

from __future__ import annotations

from collections.abc import Mapping

from epochcost.agent.collectors.family import Family, Row, one
from epochcost.agent.snapshot import NodeView
from epochcost.model import State

NODE: tuple[Family, ...] = (
    Family(
        "node_info",
        "What this machine is; join it on instance.",
        ("node", "provider", "region", "zone", "instance_type", "purchase_option"),
        lambda n, _: [(_identity(n), 1)],
    ),
    Family(
        "node_price_usd_per_hour",
        "What an hour of this machine costs now.",
        (),
        lambda n, _: one(n.price_usd_per_hour),
    ),
    Family(
        "node_on_demand_price_usd_per_hour",
        "What an hour of this machine would cost on demand.",
        (),
        lambda n, _: one(n.on_demand_usd_per_hour),
    ),
    Family(
        "node_price_timestamp_seconds",
        "When its source last confirmed the price (for a dated list: the date of the row).",
        (),
        lambda n, _: one(n.price_ts),
    ),
    Family(
        "node_price_info",
        "Where the price comes from.",
        ("source",),
        lambda n, _: [((n.price_source,), 1 if n.price_source else None)],
    ),
    Family(
        "node_seconds_total",
        "Device-mean seconds of this machine by what they went into.",
        ("state",),
        lambda n, _: _by_state(n.totals.seconds),
    ),
    Family(
        "node_cost_usd_total",
        "Dollars of this machine by what they went into, of the time up to which its price is confirmed.",
        ("state",),
        lambda n, _: _by_state(n.settled.states),
    ),
    Family(
        "node_provisional_cost_usd",
        "Dollars of this machine beside those, whose price may still change; both over all states sum to the bill.",
        ("state",),
        lambda n, _: _by_state(n.settled.provisional),
    ),
    Family(
        "node_unpriced_seconds",
        "Accounted seconds whose price is not known (yet); their dollars are added when it is.",
        (),
        lambda n, _: one(n.unpriced_seconds),
    ),
    Family("node_gpus", "GPUs of this machine.", (), lambda n, _: one(n.gpus)),
    Family("node_boot_time_seconds", "When this machine was booted.", (), lambda n, _: one(n.boot_ts)),
    Family("node_power_watts", "What the GPUs of this machine draw together.", (), lambda n, _: one(n.power_watts)),
    Family(
        "node_preemption_notice_timestamp_seconds",
        "When the provider was first heard to say that it takes this machine away (interruption) or may (rebalance).",
        ("kind",),
        lambda n, _: [((n.preemption.kind,), n.preemption.seen_ts)] if n.preemption else [],
    ),
    Family(
        "node_preemption_deadline_timestamp_seconds",
        "When the provider will take this machine away, where it says so.",
        (),
        lambda n, _: one(n.preemption.at_ts if n.preemption else None),
    ),
    Family(
        "node_cpu_seconds_total",
        "CPU-seconds since boot by state, summed over CPUs.",
        ("state",),
        lambda n, _: [((state,), value) for state, value in (n.host.cpu_seconds if n.host else {}).items()],
    ),
    Family(
        "node_cpu_utilization_ratio",
        "Share of all CPUs in use over the last sample period.",
        (),
        lambda n, _: one(n.host.cpu_utilization_ratio if n.host else None),
    ),
    Family(
        "node_memory_used_bytes",
        "Main memory that is not available to others.",
        (),
        lambda n, _: one(n.host.memory_used_bytes if n.host else None),
    ),
    Family(
        "node_memory_total_bytes",
        "Main memory.",
        (),
        lambda n, _: one(n.host.memory_total_bytes if n.host else None),
    ),
    Family(
        "node_disk_read_bytes_total",
        "Bytes read from all physical disks since the agent's start.",
        (),
        lambda n, _: one(n.host.disk_read_bytes if n.host else None),
    ),
    Family(
        "node_disk_written_bytes_total",
        "Bytes written to all physical disks since the agent's start.",
        (),
        lambda n, _: one(n.host.disk_written_bytes if n.host else None),
    ),
    Family(
        "node_network_receive_bytes_total",
        "Bytes received by all physical network interfaces since the agent's start.",
        (),
        lambda n, _: one(n.host.network_received_bytes if n.host else None),
    ),
    Family(
        "node_network_transmit_bytes_total",
        "Bytes sent by all physical network interfaces since the agent's start.",
        (),
        lambda n, _: one(n.host.network_sent_bytes if n.host else None),
    ),
)


def _identity(node: NodeView) -> tuple[str, ...]:
    n = node.node
    return (
        n.node, n.provider, n.region, n.zone, n.instance_type, n.purchase_option.value if n.purchase_option else ""
    )  # fmt: skip


def _by_state(values: Mapping[State, float]) -> list[Row]:
    return [((state.value,), value) for state, value in values.items()]
