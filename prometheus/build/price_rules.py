"""What an hour of each machine costs."""

from __future__ import annotations

from collections.abc import Sequence

from rule_text import Group, RuleFile, record

ZONE = "provider, region, zone, instance_type, purchase_option"
REGION = "provider, region, instance_type, purchase_option"
OWNED = "provider, instance_type"
TYPE = "provider, region, instance_type"
ON_DEMAND = '{purchase_option="on_demand"}'
OVERWRITTEN = ("provider", "region", "zone", "instance_type")
"""What some scrape configurations add under the same names; the program's own is then kept as ``exported_NAME``."""


def own(selector: str, *names: str) -> str:
    """``selector`` with the labels of the program that said it, whatever target labels stand beside them."""
    text = selector
    if "zone" in names:  # a price of a whole region has none: beside an overwritten region, that of the target is none
        text = f'label_replace({text}, "zone", "", "exported_region", ".+")'
    for name in names:
        text = f'label_replace({text}, "{name}", "$1", "exported_{name}", "(.+)")'
    return text


def _joined(cluster: str, offers: str, key: str, machines: str, group: str) -> str:
    known = f"max by ({cluster}{key}) ({offers})"
    if group:
        known = f"topk by ({cluster}{key}) (1, max by ({cluster}{key}, {group}) ({offers}))"
    return f"""
        machine:epochcost_node_info:max{machines}
        * on ({cluster}{key}) group_left ({group})
        {known}"""


def at_poller(rule: str, keep: str, keys: Sequence[tuple[str, str, str]], group: str = "") -> str:
    """What pollers say of each machine by the first of ``keys`` that they know.

    Those of its own cluster come first, then those of clusters without machines.
    """
    own_cluster = [
        f"max by ({keep}) ({_joined('KEEP, ', rule + offers, key, machines, group)}\n)"
        for key, machines, offers in keys
    ]
    shared = [
        f"""max by ({keep}) ({
            _joined("", f"{rule}{offers} unless on (KEEP) machine:epochcost_node_info:max", key, machines, group)
        }\n)"""
        for key, machines, offers in keys
    ]
    return "\nor on (MACHINE)\n".join([*own_cluster, *shared])


OFFERED = (
    (ZONE, '{zone!=""}', '{zone!=""}'),
    (REGION, "", '{zone=""}'),
    (OWNED, '{purchase_option="owned"}', '{purchase_option="owned"}'),
)
"""By what a machine is found at a poller: the key, which machines, which offers."""

PRICE = RuleFile(
    "What an hour of each node costs. Every rule is explained in docs/rules.md.",
    [
        Group(
            "epochcost-price",
            [
                record(
                    "machine:epochcost_node_info:max",
                    f"""
                    topk by (MACHINE) (1,
                      max by (MACHINE, node, provider, region, zone, instance_type, purchase_option) (
                        {own("epochcost_node_info", "node", *OVERWRITTEN)}
                      )
                    )
                    """,
                    "Each machine once, whoever scrapes it under whatever target labels.",
                ),
                record(
                    "machine:epochcost_team:info",
                    f"""
                    topk by (MACHINE) (1, max by (MACHINE, team) ({own('epochcost_node_info{team!=""}', "team")}))
                    """,
                    "The team that a machine is paid for: as its agent says, else as its scrape configuration does.",
                ),
                record("node:epochcost_node_info:max", "max by (MACHINE, node) (machine:epochcost_node_info:max)"),
                record(
                    "market:epochcost_price_usd_per_hour:max",
                    f"""
                    max by (KEEP, provider, region, zone, instance_type, purchase_option) (
                      {own("epochcost_instance_price_usd_per_hour", *OVERWRITTEN)}
                    )
                    """,
                    "Each offer once, whichever poller says so.",
                ),
                record(
                    "market:epochcost_price_timestamp_seconds:max",
                    f"""
                    max by (KEEP, provider, region, zone, instance_type, purchase_option, source) (
                      {own("epochcost_instance_price_timestamp_seconds", *OVERWRITTEN)}
                    )
                    """,
                ),
                record(
                    "node:epochcost_poller_price_usd_per_hour:now",
                    at_poller("market:epochcost_price_usd_per_hour:max", "MACHINE, node", OFFERED),
                    """
                    The poller's price of what a machine is: of the zone, else of the region, else of an owned machine
                    of that
                    name. Pollers of its cluster count; where there is none, those of clusters without machines.
                    """,
                ),
                record(
                    "node:epochcost_poller_price_timestamp_seconds:now",
                    at_poller(
                        "market:epochcost_price_timestamp_seconds:max",
                        "MACHINE, node, purchase_option, source",
                        OFFERED,
                        "source",
                    ),
                ),
                record(
                    "machine:epochcost_own_price_behind_seconds:now",
                    """
                    (
                      max by (MACHINE) (node:epochcost_poller_price_timestamp_seconds:now)
                      - on (MACHINE)
                      max by (MACHINE) (epochcost_node_price_timestamp_seconds)
                    )
                    > on () group_left () epochcost:threshold:own_price_behind_seconds
                    unless on (MACHINE) epochcost_node_price_info{source="configured"}
                    """,
                    """
                    Agents that have not heard of a newer price: cut off from the poller, which goes on confirming it.
                    What people
                    configured stays.
                    """,
                ),
                record(
                    "node:epochcost_price_usd_per_hour:unified",
                    """
                    (
                      max by (MACHINE) (epochcost_node_price_usd_per_hour)
                      * on (MACHINE) group_left (node) node:epochcost_node_info:max
                      unless on (MACHINE) machine:epochcost_own_price_behind_seconds:now
                    )
                    or on (MACHINE)
                    node:epochcost_poller_price_usd_per_hour:now
                    """,
                    "The agent's own price, unless the poller confirmed one long after it; else the poller's.",
                ),
                record(
                    "node:epochcost_on_demand_price_usd_per_hour:unified",
                    f"""
                    (
                      max by (MACHINE) (epochcost_node_on_demand_price_usd_per_hour)
                      * on (MACHINE) group_left (node) node:epochcost_node_info:max
                    )
                    or on (MACHINE)
                    {at_poller("market:epochcost_price_usd_per_hour:max", "MACHINE, node", [(TYPE, "", ON_DEMAND)])}
                    """,
                ),
                record(
                    "node:epochcost_price_saving_ratio:now",
                    """
                    1 -
                      node:epochcost_price_usd_per_hour:unified
                      / (node:epochcost_on_demand_price_usd_per_hour:unified > 0)
                    """,
                ),
                record(
                    "node:epochcost_price_age_seconds:now",
                    """
                    (
                      (
                        (time() - max by (MACHINE) (epochcost_node_price_timestamp_seconds))
                        * on (MACHINE) group_left (source)
                        topk by (MACHINE) (1, max by (MACHINE, source) (epochcost_node_price_info))
                      )
                      * on (MACHINE) group_left (node, purchase_option) machine:epochcost_node_info:max
                      unless on (MACHINE) machine:epochcost_own_price_behind_seconds:now
                    )
                    or on (MACHINE)
                    (time() - node:epochcost_poller_price_timestamp_seconds:now)
                    """,
                    "Seconds since the source of the node's price last confirmed it. Of two pollers, the fresher "
                    "one counts.",
                ),
            ],
        )
    ],
)
PLACE = RuleFile(
    "Where the same machine is cheapest. Every rule is explained in docs/rules.md.",
    [
        Group(
            "epochcost-place",
            [
                record(
                    "market:epochcost_cheapest_zone_price_usd_per_hour:now",
                    """
                    max without (zone) (
                      label_replace(
                        bottomk by (KEEP, provider, region, instance_type, purchase_option) (1,
                          market:epochcost_price_usd_per_hour:max{zone!=""}
                        ),
                        "cheapest_zone", "$1", "zone", "(.*)"
                      )
                    )
                    """,
                ),
                record(
                    "node:epochcost_cheapest_zone_price_usd_per_hour:now",
                    at_poller(
                        "market:epochcost_cheapest_zone_price_usd_per_hour:now",
                        "MACHINE, node, provider, region, zone, instance_type, purchase_option, cheapest_zone",
                        [(REGION, '{zone!="", purchase_option="spot"}', "")],
                        "cheapest_zone",
                    ),
                    "What a spot machine of the same type costs where it is cheapest in its region, and in which zone.",
                ),
                record(
                    "node:epochcost_spot_price_usd_per_hour:cheapest",
                    at_poller(
                        "market:epochcost_cheapest_zone_price_usd_per_hour:now",
                        "MACHINE, node, provider, region, instance_type, cheapest_zone",
                        [(TYPE, ON_DEMAND, '{purchase_option="spot"}')],
                        "cheapest_zone",
                    )
                    + "\nor on (MACHINE)\n"
                    + at_poller(
                        "market:epochcost_price_usd_per_hour:max",
                        "MACHINE, node, provider, region, instance_type",
                        [(TYPE, ON_DEMAND, '{zone="", purchase_option="spot"}')],
                    ),
                    "What a machine on demand would cost as a spot machine, where that is cheapest in its region. Some "
                    "providers have one spot price for all of it.",
                ),
                record(
                    "machine:epochcost_moving_cost_usd:now",
                    """
                    sum by (MACHINE) (
                      (
                        max by (PART) (epochcost_run_state_cost_usd_total{state="startup"})
                        and on (PART) epochcost_run_node_share_ratio > 0
                      )
                      + on (PART)
                      (
                        max by (PART) (epochcost_run_current_epoch_cost_usd)
                        or on (PART) 0 * max by (PART) (epochcost_run_node_share_ratio)
                      )
                    )
                    """,
                    "What is lost where the runs of a machine are moved away now: the epochs under way, where a "
                    "checkpoint is written at their ends, and starting up as it was measured.",
                ),
                record(
                    "machine:epochcost_left_seconds:now",
                    """
                    max by (MACHINE) (
                      (max by (PART) (epochcost_run_node_share_ratio) > bool 0)
                      * on (RUN) group_left () run:epochcost_eta_seconds:projected
                    )
                    """,
                    "How long the runs of a machine go on, where they have said how many epochs they plan.",
                ),
                *(
                    record(
                        f"machine:epochcost_{name}_gain_usd:left",
                        f"""
                        (
                          max by (MACHINE) (node:epochcost_price_usd_per_hour:unified)
                          - on (MACHINE) max by (MACHINE) ({cheaper})
                        )
                        * on (MACHINE) machine:epochcost_left_seconds:now / 3600
                        """,
                    )
                    for name, cheaper in (
                        ("spot", "node:epochcost_spot_price_usd_per_hour:cheapest"),
                        ("zone", "node:epochcost_cheapest_zone_price_usd_per_hour:now"),
                    )
                ),
            ],
            interval="1m",
        )
    ],
)
MARKET = RuleFile(
    "What the price poller knows, compared. Every rule is explained in docs/rules.md.",
    [
        Group(
            "epochcost-market",
            [
                record(
                    "market:epochcost_spot_saving_ratio:now",
                    """
                    1 -
                      max without (purchase_option) (
                        market:epochcost_price_usd_per_hour:max{purchase_option="spot"}
                      )
                      / on (KEEP, provider, region, instance_type) group_left ()
                      (
                        max by (KEEP, provider, region, instance_type) (
                          market:epochcost_price_usd_per_hour:max{purchase_option="on_demand"}
                        ) > 0
                      )
                    """,
                ),
                record(
                    "market:epochcost_gpu_price_usd_per_hour:now",
                    """
                    market:epochcost_price_usd_per_hour:max
                    / on (KEEP, provider, instance_type) group_left (gpu_model)
                    topk by (KEEP, provider, instance_type) (1,
                      max by (KEEP, provider, instance_type, gpu_model) (epochcost_instance_gpus) > 0
                    )
                    """,
                ),
            ],
            interval="1m",
        )
    ],
)
