"""How busy and how full the GPUs are."""

from __future__ import annotations

from rule_text import Group, RuleFile, record

GPU = "MACHINE, gpu, uuid"

GPUS = RuleFile(
    "How busy and how full the GPUs are. Every rule is explained in docs/rules.md.",
    [
        Group(
            "epochcost-gpu",
            [
                record(
                    "gpu:epochcost_gpu_seen_ratio:rate5m",
                    f"""
                    max by ({GPU}) (
                      sum without (state) (rate(epochcost_gpu_seconds_total{{state!~"unknown|boot"}}[5m]))
                    ) > 0
                    """,
                ),
                record(
                    "gpu:epochcost_gpu_utilization_ratio:rate5m",
                    f"""
                    clamp_max(
                      max by ({GPU}) (rate(epochcost_gpu_utilization_seconds_total[5m]))
                      / gpu:epochcost_gpu_seen_ratio:rate5m,
                      1
                    )
                    """,
                    """
                    Over the seconds in which the GPU was seen: an agent that was away, or a GPU that cannot be read, is
                    not "idle".
                    """,
                ),
                record(
                    "node:epochcost_gpu_weight:sum",
                    f"""
                    sum by (MACHINE) (
                      (max by ({GPU}) (epochcost_gpu_mig_slice_ratio) and gpu:epochcost_gpu_utilization_ratio:rate5m)
                      or gpu:epochcost_gpu_utilization_ratio:rate5m * 0 + 1
                    )
                    """,
                    "A slice of a GPU counts for the part that it is.",
                ),
                record(
                    "node:epochcost_gpu_utilization_ratio:rate5m",
                    f"""
                    sum by (MACHINE) (
                      gpu:epochcost_gpu_utilization_ratio:rate5m * max by ({GPU}) (epochcost_gpu_mig_slice_ratio)
                      or gpu:epochcost_gpu_utilization_ratio:rate5m
                    )
                    / node:epochcost_gpu_weight:sum
                    """,
                ),
                record(
                    "cluster:epochcost_gpu_utilization_ratio:rate5m",
                    """
                    sum by (KEEP) (
                      node:epochcost_gpu_utilization_ratio:rate5m * node:epochcost_gpu_weight:sum
                    )
                    / sum by (KEEP) (
                      node:epochcost_gpu_weight:sum and node:epochcost_gpu_utilization_ratio:rate5m
                    )
                    """,
                ),
                record(
                    "gpu:epochcost_held_idle_ratio:rate30m",
                    f"max by ({GPU}) (rate(epochcost_gpu_held_idle_seconds_total[30m]))",
                    "Somebody's process holds its memory while it does nothing: it is theirs, and not vacant.",
                ),
                record(
                    "gpu:epochcost_memory_fill_ratio:rate5m",
                    f"""
                    clamp_max(
                      max by ({GPU}) (rate(epochcost_gpu_memory_used_byte_seconds_total[5m]))
                      / gpu:epochcost_gpu_seen_ratio:rate5m
                      / (max by ({GPU}) (epochcost_gpu_memory_total_bytes) > 0),
                      1
                    )
                    """,
                ),
            ],
            interval="1m",
            comment="""
            The largest groups of series there are: eight GPUs a node, eleven states a GPU. Over five minutes, so once
            a minute is
            enough.
            """,
        ),
        Group(
            "epochcost-memory",
            [
                record(
                    "part:epochcost_memory_fill_ratio:max",
                    """
                    (
                      max by (PART) (epochcost_run_memory_peak_bytes)
                      or
                      (
                        max by (PART) (epochcost_run_node_share_ratio == 1)
                        * on (MACHINE) group_left ()
                        max by (MACHINE) (max_over_time(epochcost_gpu_memory_used_bytes[1h]))
                      )
                    )
                    / on (MACHINE) group_left ()
                    (min by (MACHINE) (epochcost_gpu_memory_total_bytes) > 0)
                    """,
                    "What the run reports; else, where it has the node to itself, the most that the driver showed "
                    "within the hour.",
                ),
                record(
                    "run:epochcost_memory_fill_ratio:max",
                    "max by (RUN) (part:epochcost_memory_fill_ratio:max and on (PART) part:epochcost_active:now)",
                ),
                record(
                    "run:epochcost_underfill_usd_per_hour:potential",
                    """
                    sum by (RUN) (run_state:epochcost_cost_usd_per_hour:rate5m{state="useful"})
                    * clamp_min(
                      1 - run:epochcost_memory_fill_ratio:max / on () group_left ()
                      epochcost:threshold:memory_target_ratio,
                      0
                    )
                    """,
                    "A potential, never part of the waste: what a larger batch might save while the run does useful "
                    "work.",
                ),
            ],
            interval="1m",
        ),
    ],
)
