"""The Health dashboard: whether the figures of epochcost can be trusted, and what it costs to run."""

from __future__ import annotations

from board import Grid, Heading, to_json
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel
from panels import (
    AMBER,
    BLUE,
    GREEN,
    MINUTES,
    PLAIN,
    RED,
    SECONDS,
    About,
    Legend,
    LineStyle,
    Query,
    bars,
    figures,
    lines,
    steps,
)
from selection import MACHINE, cell, once, row
from tables import CLUSTER, Column, link_to_node, name, rows, which_machine

UID = "epochcost-health"
HERE = "node:epochcost_node_info:max"
AGENT = f"{HERE} or 0 * last_over_time({HERE}[$__range])"
"""1 for each machine whose agent is scraped, 0 for those that were within the time range; no job name is needed."""
ITS_TARGET = "and on (cluster, job, instance)"
AGENT_TARGETS = f"{ITS_TARGET} epochcost_node_info"
POLLER_TARGETS = f"{ITS_TARGET} epochcost_price_source_success"
GROUPS = '{rule_group=~".*epochcost-.+"}'
NO_AGENT = "No agent is scraped"
NOT_ITSELF = "Prometheus does not scrape itself"
POLLER_SERIES = "epochcost_price_source_success"
BY_TARGET = "count by (cluster, job, instance)"
POLLER = f"{BY_TARGET} ({POLLER_SERIES})"
OURS = f"(scrape_duration_seconds {AGENT_TARGETS} or scrape_duration_seconds {POLLER_TARGETS})"
TARGETS = f"topk by (cluster, job, instance) (1, {once(f'{MACHINE}, job, instance', 'epochcost_node_info')})"
VERSIONS = 'epochcost_build_info{epochcost_machine!=""}'
REFUSED = 'epochcost_progress_events_total{result!~"accepted|ignored", epochcost_machine!=""}'
EACH = f"{MACHINE}, result"
OF_ALL = 200
"""Points of graphs that read a series or more of every agent."""
FINE_AT_ZERO = ((None, GREEN), (1, AMBER))


def health() -> str:
    """The dashboard as JSON text."""
    grid = Grid()
    _headline(grid)
    grid.band(9, (24, _agents()))
    grid.band(8, (15, _sources()), (9, _answers()))
    grid.band(8, (8, _collectors()), (8, _events()), (8, _lag()))
    grid.band(8, (6, _scrapes()), (6, _series()), (6, _rules()), (6, _strange()))
    about = "Whether the figures of epochcost can be trusted, and what it costs to run."
    return to_json(Heading(UID, "epochcost / Health", about), grid)


def _headline(grid: Grid) -> None:
    grid.band(
        4,
        (4, _agents_up()),
        (4, _pollers_up()),
        (4, _failing()),
        (4, _failing_gpus()),
        (4, _rejected_events()),
        (4, _clock_jumps()),
    )


def _no_more_than_none(about: About, *queries: Query) -> Builder[Panel]:
    """Figures that are fine at 0 alone."""
    return figures(about, *queries, colour=steps(*FINE_AT_ZERO))


def _agents_up() -> Builder[Panel]:
    return _up(
        "Agents",
        "Machines whose agent is scraped, and those whose agent was scraped within the time range but no "
        "longer is: the machine is gone, or its agent does not respond.",
        f"count({HERE})",
        f"count(last_over_time({HERE}[$__range]) unless on ({MACHINE}) {HERE}) or 0 * count({HERE})",
    )


def _pollers_up() -> Builder[Panel]:
    return _up(
        "Price pollers",
        "Price pollers that are scraped, and those that were within the time range but no longer are.",
        f"count({POLLER})",
        f"count({BY_TARGET} (last_over_time({POLLER_SERIES}[$__range]) unless {POLLER_SERIES}))\n"
        f"or 0 * count({POLLER})",
    )


def _failing() -> Builder[Panel]:
    return _no_more_than_none(
        About(
            "Failing",
            "Collectors of agents and price sources whose last run failed. An agent that cannot reach the "
            "poller fails its price collector and continues to count seconds.",
            PLAIN,
            empty="No agent and no poller is scraped",
        ),
        Query(f"sum(1 - min by ({MACHINE}, collector) (epochcost_collector_success))", "Collectors"),
        Query("sum(1 - max by (source) (epochcost_price_source_success))", "Sources"),
    )


def _failing_gpus() -> Builder[Panel]:
    return _no_more_than_none(
        About(
            "Failing GPUs",
            "GPUs whose driver does not respond: their time has the state unknown.",
            PLAIN,
            empty="No GPU is reported",
        ),
        Query(f"sum(1 - min by ({MACHINE}, gpu) (epochcost_gpu_readable))", "GPUs"),
    )


def _rejected_events() -> Builder[Panel]:
    return _no_more_than_none(
        About(
            "Rejected events",
            "Event lines of training processes that were rejected in this time range: malformed, too long, of "
            "an unknown version, or of more runs than an agent follows.",
            PLAIN,
            0,
            empty=NO_AGENT,
        ),
        Query(
            f"sum({once(EACH, f'increase({REFUSED}[$__range])')}) or 0 * sum(epochcost_progress_events_total)",
            "Events",
        ),
    )


def _clock_jumps() -> Builder[Panel]:
    return _no_more_than_none(
        About(
            "Clock jumps",
            "Jumps of the wall clock that agents detected since they started. They change no duration.",
            PLAIN,
            0,
            empty=NO_AGENT,
        ),
        Query(f"sum({once(MACHINE, 'epochcost_clock_jumps_total')})", "Jumps"),
    )


def _up(title: str, text: str, up: str, gone: str) -> Builder[Panel]:
    some = [{"value": None, "color": GREEN}, {"value": 1, "color": AMBER}]
    return figures(
        About(title, text, PLAIN, empty="None is scraped"),
        Query(up, "Up"),
        Query(gone, "Gone"),
        colour=GREEN,
        overrides={"Gone": {"thresholds": {"mode": "absolute", "steps": some}}},
    )


def _agents() -> Builder[Panel]:
    def of(metric: str) -> str:
        return cell(metric, "epochcost_machine")

    def by_target(metric: str) -> str:
        return of(f"{metric} * on (cluster, job, instance) group_left (epochcost_machine) {TARGETS}")

    refused = f"sum by ({MACHINE}) ({once(EACH, f'increase({REFUSED}[$__range])')})"
    failing = f"sum by ({MACHINE}) (1 - min by ({MACHINE}, collector) (epochcost_collector_success))"
    states = {"0": {"text": "gone", "color": AMBER, "index": 0}, "1": {"text": "up", "color": GREEN, "index": 1}}
    up = (("mappings", [{"type": "value", "options": states}]), ("custom.cellOptions", {"type": "color-text"}))
    return rows(
        About(
            "Every agent",
            "Every machine whose agent is scraped, or was within the time range. Sample age: age of its newest sample "
            "of the machine. Unpriced: seconds without a known price; their dollars are added once it is known. "
            "Rejected: events in this time range. Click a node to open it.",
            PLAIN,
            empty=NO_AGENT,
        ),
        "row",
        [
            CLUSTER,
            Column("Node", "node", properties=name(link_to_node())),
            Column("Agent", "A", row(f"max by ({MACHINE}, node) ({AGENT})", "epochcost_machine"), "none", 60, up),
            Column("Version", "version", cell(VERSIONS, "epochcost_machine", more="version"), ref="C", width=112,
                   properties=name()),
            Column("Sample age", "D", of("time() - epochcost_sample_timestamp_seconds"), SECONDS, 96),
            Column("Price age", "E", of("node:epochcost_price_age_seconds:now"), SECONDS, 86),
            Column("Unpriced", "F", of("epochcost_node_unpriced_seconds"), SECONDS, 88),
            Column("Failing", "G", cell(failing, "epochcost_machine"), "none", 78),
            Column("Rejected", "H", cell(refused, "epochcost_machine"), "none", 74, (("decimals", 0),)),
            Column("Jumps", "I", of("epochcost_clock_jumps_total"), "none", 56),
            Column("Scrape", "J", by_target("scrape_duration_seconds"), SECONDS, 70),
            Column("Series", "K", by_target("scrape_samples_scraped"), "none", 58),
            which_machine(),
        ],
        sort_by="Failing",
    )  # fmt: skip


def _sources() -> Builder[Panel]:
    def of(metric: str) -> str:
        return f"max by (source) ({metric})"

    words = {"0": {"text": "failed", "color": RED, "index": 0}, "1": {"text": "ok", "color": GREEN, "index": 1}}
    state = (("mappings", [{"type": "value", "options": words}]), ("custom.cellOptions", {"type": "color-text"}))
    return rows(
        About(
            "Price sources",
            "Each source of the price poller: result of its last refresh, time since the last complete one and its "
            "duration, failures in this time range, number of prices.",
            PLAIN,
            empty="No price poller is scraped",
        ),
        "source",
        [
            Column("Source", "source", properties=name()),
            Column("Last refresh", "A", of("epochcost_price_source_success"), "none", 110, state),
            Column("Complete", "B", of("time() - epochcost_price_source_last_success_timestamp_seconds"), SECONDS, 110),
            Column("Duration", "C", of("epochcost_price_source_duration_seconds"), SECONDS, 95),
            Column(
                "Failures", "D", of("increase(epochcost_price_source_failures_total[$__range])"), "none", 90,
                (("decimals", 0),),
            ),
            Column("Prices", "E", of("epochcost_price_source_prices"), "none", 90),
        ],
        sort_by="Failures",
    )  # fmt: skip


def _answers() -> Builder[Panel]:
    return lines(
        About(
            "Time since the last complete refresh",
            "Time since each price source last returned all its prices.",
            MINUTES,
            empty="No price poller is scraped",
        ),
        Query("max by (source) (time() - epochcost_price_source_last_success_timestamp_seconds) / 60", "{{source}}"),
        style=LineStyle(fill=0),
        legend=Legend.LINE,
    )  # fmt: skip


def _collectors() -> Builder[Panel]:
    return bars(
        About(
            "Slowest run by collector",
            "Duration of the last run of each agent collector, on the slowest node. Collectors run in the background, "
            "not during the scrape.",
            SECONDS,
            empty=NO_AGENT,
        ),
        "collector",
        "max by (collector) (epochcost_collector_duration_seconds)",
    )


def _events() -> Builder[Panel]:
    return lines(
        About(
            "Training events by result",
            "Event lines of training processes per second, by result; and those refused because their user exceeds a "
            "limit.",
            "suffix:events/s",
            empty=NO_AGENT,
        ),
        Query(
            f"sum by (result) ({once(EACH, 'rate(epochcost_progress_events_total[$__rate_interval])')})", "{{result}}"
        ),
        Query(
            f"sum by (reason) ({once(EACH, 'rate(epochcost_progress_refused_total[$__rate_interval])')})",
            "over a limit: {{reason}}",
        ),
        style=LineStyle(fill=0, points=OF_ALL),
        legend=Legend.LINE,
    )


def _strange() -> Builder[Panel]:
    return lines(
        About(
            "Unrecognised GPU owners",
            "GPU processes and devices whose control group or name has an unknown form, by source. Their time is "
            "attributed to a user, or to no owner. A change of a format by Slurm or Kubernetes shows here.",
            PLAIN,
            0,
            empty="All GPU owners are recognised",
        ),
        Query(f"sum by (source, form) ({once(EACH, 'epochcost_gpu_owner_not_understood')})", "{{source}}: {{form}}"),
        style=LineStyle(fill=0),
        legend=Legend.LINE,
    )


def _lag() -> Builder[Panel]:
    age = "timestamp(epochcost_sample_timestamp_seconds) - epochcost_sample_timestamp_seconds"
    return lines(
        About(
            "Age of the newest sample",
            "Age of the newest sample that an agent took of its machine: the oldest of all agents, and the median. "
            "Agents sample once a second.",
            SECONDS,
            empty=NO_AGENT,
        ),
        Query(f"max({age})", "Oldest"),
        Query(f"quantile(0.5, {age})", "Median"),
        colours={"Oldest": AMBER, "Median": BLUE},
        legend=Legend.LINE,
        style=LineStyle(points=OF_ALL),
    )


def _scrapes() -> Builder[Panel]:
    return lines(
        About(
            "Scrape duration", "Scrapes of agents and pollers: the slowest, and the median.", SECONDS, empty=NO_AGENT
        ),
        Query(f"max({OURS})", "Slowest"),
        Query(f"quantile(0.5, {OURS})", "Median"),
        colours={"Slowest": AMBER, "Median": BLUE},
        legend=Legend.LINE,
        style=LineStyle(points=OF_ALL),
    )


def _series() -> Builder[Panel]:
    return lines(
        About("Series scraped", "Samples of one scrape of all agents, and of all pollers.", "none", empty=NO_AGENT),
        Query(f"sum(scrape_samples_scraped {AGENT_TARGETS})", "Agents"),
        Query(f"sum(scrape_samples_scraped {POLLER_TARGETS})", "Pollers"),
        colours={"Agents": BLUE, "Pollers": AMBER},
        legend=Legend.LINE,
        style=LineStyle(points=OF_ALL),
    )


def _rules() -> Builder[Panel]:
    group = f"""label_replace(
  max by (rule_group) (prometheus_rule_group_last_duration_seconds{GROUPS}),
  "group", "$1", "rule_group", ".*epochcost-(.+)"
)"""
    return bars(
        About(
            "Rule evaluation by group",
            "Duration of the last evaluation of each rule group of epochcost. It has to stay far below the interval of "
            "the group, 15 seconds to 5 minutes. Needs a Prometheus that scrapes itself.",
            SECONDS,
            empty=NOT_ITSELF,
        ),
        "group",
        f"topk(8, {group})",
    )
