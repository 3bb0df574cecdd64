"""The policies that are ready to use (``use: NAME`` in ``guard.yml``): written as a file is, read by the same code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

READY: Mapping[str, Mapping[str, Any]] = {
    "forgotten-machine": {
        "when": {"states": ["vacant", "finished", "held-idle"], "for": "45m", "from_usd": 0.5},
        "except": {"interactive": "45m", "busy_cpu": 0.25, "busy_cores": 0.9, "busy_io": 5},
        "ladder": ["tell", {"step": "ask", "wait": "30m"}, {"step": "stop"}],
    },
    "budget": {
        "when": {"states": ["over-budget"], "for": "1m"},
        "ladder": ["tell", {"step": "checkpoint", "wait": "30m"}, {"step": "stop"}],
    },
    "hung-run": {
        "when": {"states": ["stalled"], "for": "30m", "from_usd": 0.5},
        "ladder": ["tell", {"step": "ask", "wait": "15m"}, {"step": "checkpoint", "wait": "5m"}, {"step": "stop"}],
    },
}
ABOUT: Mapping[str, str] = {
    "forgotten-machine": "Ends a machine on which nothing runs: no run was ever reported, or the last one has ended, "
    "or a process holds the memory of GPUs that do nothing. All of its GPUs must have been seen to do nothing, by two "
    "witnesses where the hardware has them, for 45 minutes without a gap; nobody may have typed on a terminal "
    "meanwhile, its CPUs must be idle too, and nothing be fetched or copied. It tells, asks, waits half an hour for a "
    "`keep`, and then runs your command.",
    "budget": "Ends a run that has cost its budget. The whole run's confirmed dollars must have reached `budget_usd` "
    "for a minute; a part of a run is never compared. The training is asked to stop at its next checkpoint or epoch; "
    "what has not ended after half an hour is stopped, `epochcost exec` by signals.",
    "hung-run": "Ends a run that makes no progress. Its process lives, its event file is read to the end, it has "
    "reported steps before, and for 30 minutes (after the two in which a run is not yet called stalled) nothing came. "
    "It tells, asks, waits a quarter of an hour, and then stops it: `epochcost exec` by signals, others by your "
    "command.",
}
"""One paragraph about each."""
