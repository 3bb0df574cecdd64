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
        lambda s: [(_identity(s.node), 1)],
    ),
    Family(
        "node_price_usd_per_hour",
        "What an hour of this machine costs now.",
        (),
        one(lambda s: s.node.price_usd_per_hour),
    ),
    Family(
        "node_on_demand_price_usd_per_hour",
        "What an hour of this machine would cost on demand.",
        (),
        one(lambda s: s.node.on_demand_usd_per_hour),
    ),
    Family(
        "node_price_timestamp_seconds",
        "When its source last confirmed the price (for a dated list: the date of the row).",
        (),
        one(lambda s: s.node.price_ts),
    ),
    Family(
        "node_price_info",
        "Where the price comes from.",
        ("source",),
        lambda s: [((s.node.price_source,), 1 if s.node.price_source else None)],
    ),
    Family(
        "node_seconds_total",
        "Device-mean seconds of this machine by what they went into.",
        ("state",),
        lambda s: _by_state(s.node.totals.seconds),
    ),
    Family(
        "node_cost_usd_total",
        "Dollars of this machine by what they went into, of the time up to which its price is confirmed.",
        ("state",),
        lambda s: _by_state(s.node.settled.states),
    ),
    Family(
        "node_provisional_cost_usd",
        "Dollars of this machine beside those, whose price may still change; both over all states sum to the bill.",
        ("state",),
        lambda s: _by_state(s.node.settled.provisional),
    ),
    Family(
        "node_unpriced_seconds",
        "Accounted seconds whose price is not known (yet); their dollars are added when it is.",
        (),
        one(lambda s: s.node.unpriced_seconds),
    ),
    Family(
        "node_useful_seconds_total",
        "Useful seconds of this machine by what the multiprocessors did: active, rest, unknown; they sum to `useful`.",
        ("sm",),
        lambda s: [((part.value,), seconds) for part, seconds in s.node.useful.seconds.items()],
    ),
    Family(
        "node_useful_cost_usd",
        "Useful dollars of this machine, as exact as known now, by what the multiprocessors did.",
        ("sm",),
        lambda s: [((part.value,), usd) for part, usd in s.node.useful.cost_usd.items()],
    ),
    Family(
        "node_energy_usd_per_kwh",
        "What a kWh of electricity costs here, as configured.",
        (),
        one(lambda s: s.node.energy_usd_per_kwh),
    ),
    Family(
        "node_grid_grams_per_kwh",
        "Grams of CO2 that the grid emits for a kWh, as configured or by the dated list of `source`.",
        ("source",),
        lambda s: [((s.node.grid[1],), s.node.grid[0])],
    ),
    Family("node_gpus", "GPUs of this machine.", (), one(lambda s: s.node.gpus)),
    Family("node_boot_time_seconds", "When this machine was booted.", (), one(lambda s: s.node.boot_ts)),
    Family("node_power_watts", "What the GPUs of this machine draw together.", (), one(lambda s: s.node.power_watts)),
    Family(
        "node_preemption_notice_timestamp_seconds",
        "When the provider was first heard to say that it takes this machine away (interruption) or may (rebalance).",
        ("kind",),
        lambda s: [((s.node.preemption.kind,), s.node.preemption.seen_ts)] if s.node.preemption else [],
    ),
    Family(
        "node_preemption_deadline_timestamp_seconds",
        "When the provider will take this machine away, where it says so, by this machine's clock.",
        (),
        one(lambda s: s.node.preemption.at_t if s.node.preemption else None),
    ),
    Family(
        "node_cpu_seconds_total",
        "CPU-seconds since boot by state, summed over CPUs.",
        ("state",),
        lambda s: [((state,), value) for state, value in (s.node.host.cpu_seconds if s.node.host else {}).items()],
    ),
    Family(
        "node_cpu_utilization_ratio",
        "Share of all CPUs in use over the last sample period.",
        (),
        one(lambda s: s.node.host.cpu_utilization_ratio if s.node.host else None),
    ),
    Family(
        "node_memory_used_bytes",
        "Main memory that is not available to others.",
        (),
        one(lambda s: s.node.host.memory_used_bytes if s.node.host else None),
    ),
    Family(
        "node_memory_total_bytes",
        "Main memory.",
        (),
        one(lambda s: s.node.host.memory_total_bytes if s.node.host else None),
    ),
    Family(
        "node_disk_read_bytes_total",
        "Bytes read from all physical disks since the agent's start.",
        (),
        one(lambda s: s.node.host.disk_read_bytes if s.node.host else None),
    ),
    Family(
        "node_disk_written_bytes_total",
        "Bytes written to all physical disks since the agent's start.",
        (),
        one(lambda s: s.node.host.disk_written_bytes if s.node.host else None),
    ),
    Family(
        "node_network_receive_bytes_total",
        "Bytes received by all physical network interfaces since the agent's start.",
        (),
        one(lambda s: s.node.host.network_received_bytes if s.node.host else None),
    ),
    Family(
        "node_network_transmit_bytes_total",
        "Bytes sent by all physical network interfaces since the agent's start.",
        (),
        one(lambda s: s.node.host.network_sent_bytes if s.node.host else None),
    ),
)


def _identity(node: NodeView) -> tuple[str, ...]:
    n = node.node
    return (
        n.node, n.provider, n.region, n.zone, n.instance_type, n.purchase_option.value if n.purchase_option else ""
    )  # fmt: skip


def _by_state(values: Mapping[State, float]) -> list[Row]:
    return [((state.value,), value) for state, value in values.items()]
