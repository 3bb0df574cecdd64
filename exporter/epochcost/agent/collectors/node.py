"""Metrics of the machine and its money."""

from __future__ import annotations

from collections.abc import Mapping

from epochcost.agent.collectors.family import Family, Row, one
from epochcost.agent.snapshot import NodeView
from epochcost.model import State

NODE: tuple[Family, ...] = (
    Family(
        "node_info",
        "Identity, type and team of this machine; value is always 1.",
        ("node", "provider", "region", "zone", "instance_type", "purchase_option", "team"),
        lambda s: [(_identity(s.node), 1)],
    ),
    Family(
        "node_price_usd_per_hour",
        "Current price of this machine, in US dollars per hour.",
        (),
        one(lambda s: s.node.price_usd_per_hour),
    ),
    Family(
        "node_on_demand_price_usd_per_hour",
        "Current on-demand price of this machine's type, in US dollars per hour.",
        (),
        one(lambda s: s.node.on_demand_usd_per_hour),
    ),
    Family(
        "node_price_timestamp_seconds",
        "Time at which the price was last confirmed by its source (for a dated list, the date of the row).",
        (),
        one(lambda s: s.node.price_ts),
    ),
    Family(
        "node_price_info",
        "Source of the price; value is always 1.",
        ("source",),
        lambda s: [((s.node.price_source,), 1 if s.node.price_source else None)],
    ),
    Family(
        "node_seconds_total",
        "Seconds of node time by state, averaged over the node's devices.",
        ("state",),
        lambda s: _by_state(s.node.totals.seconds),
    ),
    Family(
        "node_cost_usd_total",
        "Cost of this node in US dollars by state, up to the time for which its price is confirmed.",
        ("state",),
        lambda s: _by_state(s.node.settled.states),
    ),
    Family(
        "node_provisional_cost_usd",
        "Cost of this node in US dollars that is not settled yet; together with node_cost_usd_total, over all "
        "states, it is the node's total cost.",
        ("state",),
        lambda s: _by_state(s.node.settled.provisional),
    ),
    Family(
        "node_unpriced_seconds",
        "Accounted seconds whose price is not known yet; their cost is added once it is.",
        (),
        one(lambda s: s.node.unpriced_seconds),
    ),
    Family(
        "node_useful_seconds_total",
        "Useful seconds of this node by activity of the streaming multiprocessors (active, rest, unknown); "
        "they sum to the state useful.",
        ("sm",),
        lambda s: [((part.value,), seconds) for part, seconds in s.node.useful.seconds.items()],
    ),
    Family(
        "node_useful_cost_usd",
        "Cost of useful time of this node in US dollars, as currently known, by activity of the streaming "
        "multiprocessors.",
        ("sm",),
        lambda s: [((part.value,), usd) for part, usd in s.node.useful.cost_usd.items()],
    ),
    Family(
        "node_energy_usd_per_kwh",
        "Configured price of electricity, in US dollars per kWh.",
        (),
        one(lambda s: s.node.energy_usd_per_kwh),
    ),
    Family(
        "node_grid_grams_per_kwh",
        "Carbon intensity of the grid in grams of CO2 per kWh, configured or from the dated list named by source.",
        ("source",),
        lambda s: [((s.node.grid[1],), s.node.grid[0])],
    ),
    Family("node_gpus", "Number of GPUs of this machine.", (), one(lambda s: s.node.gpus)),
    Family("node_boot_time_seconds", "Time at which this machine was booted.", (), one(lambda s: s.node.boot_ts)),
    Family(
        "node_power_watts", "Total power draw of this machine's GPUs, in watts.", (), one(lambda s: s.node.power_watts)
    ),
    Family(
        "node_preemption_notice_timestamp_seconds",
        "Time at which a preemption notice was first seen; kind is interruption or rebalance.",
        ("kind",),
        lambda s: [((s.node.preemption.kind,), s.node.preemption.seen_ts)] if s.node.preemption else [],
    ),
    Family(
        "node_preemption_deadline_timestamp_seconds",
        "Time at which the provider will reclaim this machine, if announced, by this machine's clock.",
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
        "Used system memory (total minus available).",
        (),
        one(lambda s: s.node.host.memory_used_bytes if s.node.host else None),
    ),
    Family(
        "node_memory_total_bytes",
        "Total system memory.",
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
    option = n.purchase_option.value if n.purchase_option else ""
    return n.node, n.provider, n.region, n.zone, n.instance_type, option, n.team


def _by_state(values: Mapping[State, float]) -> list[Row]:
    return [((state.value,), value) for state, value in values.items()]
