"""Which series a dashboard asks for: those of the chosen clusters, of one machine or one run, each counted once.

No label that a scrape configuration makes is needed to know whose a series is: a machine says its own name
(`epochcost_machine`), the rules keep the cluster.
"""

from __future__ import annotations

import re

MACHINE = "cluster, epochcost_machine"
RUN = "cluster, run"
PART = "cluster, run, part, epochcost_machine"
OF_A_CLUSTER = 'cluster=~"$cluster"'
EVERYWHERE = ("market:", "epochcost:", "utc:", "epochcost_instance", "epochcost_price_source")
"""Prices and thresholds are no cluster's: its poller may be another one's."""
_SERIES = re.compile(
    r"(?<![\w:\"$])(?!epochcost_machine\b)"  # a name, not within another one nor in quotes
    r"((?:[a-z_]+:)?epochcost_\w+(?::\w+)?|ALERTS\w*|scrape_\w+)"
    r"(\{[^}]*\})?"
)


def in_clusters(expr: str) -> str:
    """``expr`` with the chosen clusters in every selector that a cluster can have."""
    return _SERIES.sub(_chosen, expr)


def _chosen(match: re.Match[str]) -> str:
    name, matchers = match[1], (match[2] or "{}")[1:-1]
    if name.startswith(EVERYWHERE):
        return match[0]
    return f"{name}{{{', '.join(filter(None, (matchers, OF_A_CLUSTER)))}}}"


def once(by: str, expr: str) -> str:
    """Each ``by`` once, by however many replicas and under whatever target labels it is scraped."""
    return f"max by ({by}) ({expr})"


def row(expr: str, *labels: str) -> str:
    """Adds label ``row``, by which a table joins its queries: machines and runs of two clusters may share a name."""
    names = ", ".join(f'"{label}"' for label in ("cluster", *labels))
    return f'label_join(\n  {expr},\n  "row", "/", {names}\n)'


def cell(expr: str, *labels: str, more: str = "") -> str:
    """As `row`, with no other label but ``more``: a table takes each of those from one query alone."""
    return f"max by (row{', ' if more else ''}{more}) ({row(expr, *labels)})"
