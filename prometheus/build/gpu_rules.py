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
                    "machine:epochcost_held_idle_ratio:max30m",
                    "max by (MACHINE) (max_over_time(gpu:epochcost_held_idle_ratio:rate30m[30m]))",
                    "Whoever loads and frees memory every few minutes holds it for all of that time, ",
                ),
                record(
                    "machine:epochcost_unattributed_ratio:max30m",
                    """
                    max by (MACHINE) (max_over_time(node_state:epochcost_time_ratio:rate5m{state="unattributed"}[30m]))
                    """,
                    "and whoever computes on it every few minutes uses it for all of that time.",
                ),
                record(
                    "gpu:epochcost_halted_ratio:rate5m",
                    f"""
                    max by ({GPU}) (
                      sum without (state) (rate(epochcost_gpu_seconds_total{{state=~"stalled|startup"}}[5m]))
                    ) > 0
                    """,
                    "Of a run that does no step. It has an alert of its own.",
                ),
                record(
                    "node:epochcost_idle_usd_per_hour:rate5m",
                    """
                    sum by (MACHINE, node) (node_state:epochcost_cost_usd_per_hour:rate5m{state=~"idle|unallocated"})
                    """,
                    "What is idle while a run trains on the machine, once a minute: alerts read an hour of it.",
                ),
                record(
                    "machine:epochcost_idle_ratio:mean1h",
                    """
                    sum by (MACHINE) (
                      avg_over_time(node_state:epochcost_time_ratio:rate5m{state=~"idle|unallocated"}[1h])
                    )
                    """,
                    "Means of long times change little within a minute: alerts read them here.",
                ),
                record(
                    "machine:epochcost_unused_ratio:mean30m",
                    """
                    sum by (MACHINE) (
                      avg_over_time(node_state:epochcost_time_ratio:rate5m{state=~"vacant|finished"}[30m])
                    )
                    """,
                ),
                record(
                    "machine:epochcost_finished_ratio:min45m",
                    """
                    max by (MACHINE) (min_over_time(node_state:epochcost_time_ratio:rate5m{state="finished"}[45m]))
                    """,
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
                    "run:epochcost_gpu_utilization_ratio:rate5m",
                    """
                    avg by (RUN) (
                      (part:epochcost_active:now >= bool 0)
                      * on (MACHINE) group_left () node:epochcost_gpu_utilization_ratio:rate5m
                    )
                    """,
                    "Of the machines that the run is on.",
                ),
                record(
                    "run:epochcost_unused_usd_per_hour:rate5m",
                    """
                    (
                      sum by (RUN) (run_state:epochcost_cost_usd_per_hour:rate5m{state="idle"})
                      or on (RUN)
                      0 * sum by (RUN) (run_state:epochcost_cost_usd_per_hour:rate5m)
                    )
                    + on (RUN)
                    (
                      sum by (RUN) (
                        max by (PART) (rate(epochcost_run_useful_seconds_total{sm="rest"}[5m]))
                        * on (MACHINE) group_left () node:epochcost_price_usd_per_hour:unified
                      )
                      or on (RUN)
                      0 * sum by (RUN) (run_state:epochcost_cost_usd_per_hour:rate5m)
                    )
                    """,
                    "What of a training run's dollars its GPUs do not work for: idle, and where it is known, the part "
                    "of their multiprocessors that did nothing.",
                ),
                record(
                    "run:epochcost_underfill_usd_per_hour:potential",
                    """
                    (run:epochcost_batch_saving_ratio:measured * on (RUN) run:epochcost_cost_usd_per_hour:sum)
                    or on (RUN)
                    (
                      (
                        sum by (RUN) (run_state:epochcost_cost_usd_per_hour:rate5m{state="useful"})
                        * clamp_min(
                          1 - run:epochcost_memory_fill_ratio:max / on () group_left ()
                          epochcost:threshold:memory_target_ratio,
                          0
                        )
                      )
                      <= on (RUN) run:epochcost_unused_usd_per_hour:rate5m
                    )
                    or on (RUN)
                    (run:epochcost_unused_usd_per_hour:rate5m and on (RUN) run:epochcost_memory_fill_ratio:max)
                    """,
                    "A potential, never part of the waste: what a larger batch might save. As measured with other "
                    "batches of the experiment; else by the empty memory, and at most what is not busy.",
                ),
                record(
                    "run:epochcost_smaller_gpu_memory_bytes:needed",
                    """
                    1.1 * (
                      max by (MACHINE, run) (
                        part:epochcost_memory_fill_ratio:max and on (PART) part:epochcost_active:now
                      )
                      * on (MACHINE) group_left () min by (MACHINE) (epochcost_gpu_memory_total_bytes)
                      and on (MACHINE) max by (MACHINE) (epochcost_node_gpus) == 1
                      unless on (RUN) count by (RUN) (part:epochcost_active:now) > 1
                    )
                    * on (MACHINE) group_left (provider, region, purchase_option) machine:epochcost_node_info:max
                    """,
                    "Of a run on one machine with one GPU, what it needs of its memory and a tenth more; and where it "
                    "is bought.",
                ),
            ],
            interval="1m",
        ),
        Group(
            "epochcost-work",
            [
                record(
                    "run:epochcost_stalled_ratio:mean1h",
                    """
                    max by (RUN) (avg_over_time(epochcost_run_state{state="stalled"}[1h]))
                    and on (RUN) max by (RUN) (changes(epochcost_run_state{state="stalled"}[1h])) > 2
                    """,
                    "Of a run that stood still again and again within an hour.",
                ),
                record(
                    "run:epochcost_network_received_bytes_per_second:rate10m",
                    """
                    max by (RUN) (
                      (part:epochcost_active:now >= bool 0)
                      * on (MACHINE) group_left ()
                      max by (MACHINE) (rate(epochcost_node_network_receive_bytes_total[10m]))
                    )
                    """,
                ),
                record(
                    "run:epochcost_cpu_utilization_ratio:rate10m",
                    """
                    max by (RUN) (
                      (part:epochcost_active:now >= bool 0)
                      * on (MACHINE) group_left ()
                      max by (MACHINE) (avg_over_time(epochcost_node_cpu_utilization_ratio[10m]))
                    )
                    """,
                ),
            ],
            interval="1m",
            comment="What the machines of a run do: of several, the one that does most.",
        ),
    ],
)
