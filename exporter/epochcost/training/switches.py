"""What the environment keeps out of loggers and out of events."""

from __future__ import annotations

import os


def logging_allowed() -> bool:
    """Whether dollars may go to loggers and trackers: not where ``EPOCHCOST_LOG_COSTS`` is 0."""
    return _on("EPOCHCOST_LOG_COSTS")


def metrics_allowed() -> bool:
    """Whether what a training logs may be reported: not where ``EPOCHCOST_REPORT_METRICS`` is 0."""
    return _on("EPOCHCOST_REPORT_METRICS")


def _on(name: str) -> bool:
    return os.environ.get(name, "").strip().lower() not in ("0", "false", "no", "off")
