"""Prints the summary of a run once the agent has counted the run to its end; the training does not wait for it.

The agent writes its figures once a second: when a run ends they are a second old, which is most of a short run.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable

from epochcost.training.cost import CostFile

LONGEST_WAIT_SECONDS = 2.0
LOOK_SECONDS = 0.1

_threads: list[threading.Thread] = []


def summarize_when_counted(costs: CostFile, ended_ts: float, summarize: Callable[[], None]) -> None:
    """Call ``summarize`` when the figures are as of ``ended_ts`` or later; from a thread where that is not yet so."""
    costs.refresh()
    if not costs.is_behind(ended_ts):
        summarize()
        return
    thread = threading.Thread(target=_wait, args=(costs, ended_ts, summarize), name="epochcost-end", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the interpreter is ending
        _wait(costs, ended_ts, summarize)
        return
    if not _threads:
        atexit.register(wait_for_summaries)
    _threads[:] = [thread for thread in _threads if thread.is_alive()] + [thread]


def _wait(costs: CostFile, ended_ts: float, summarize: Callable[[], None]) -> None:
    until = time.monotonic() + LONGEST_WAIT_SECONDS
    while costs.is_behind(ended_ts) and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
        costs.refresh()
    summarize()


def wait_for_summaries() -> None:
    """Wait for the summaries that are still to be printed: the interpreter ends."""
    for thread in _threads:
        thread.join(LONGEST_WAIT_SECONDS + 1.0)
