"""Says the line at the end of a run once the agent has counted the run to its end; the training does not wait for it.

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

_waiting: list[threading.Thread] = []


def say_when_counted(costs: CostFile, ended_ts: float, say: Callable[[], None]) -> None:
    """Call ``say`` when the figures are as of ``ended_ts`` or later; from a thread where that is not yet so."""
    costs.refresh()
    if not costs.is_behind(ended_ts):
        say()
        return
    waiting = threading.Thread(target=_wait, args=(costs, ended_ts, say), name="epochcost-end", daemon=True)
    try:
        waiting.start()
    except RuntimeError:  # the interpreter is ending
        _wait(costs, ended_ts, say)
        return
    if not _waiting:
        atexit.register(let_them_say)
    _waiting[:] = [thread for thread in _waiting if thread.is_alive()] + [waiting]


def _wait(costs: CostFile, ended_ts: float, say: Callable[[], None]) -> None:
    until = time.monotonic() + LONGEST_WAIT_SECONDS
    while costs.is_behind(ended_ts) and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
        costs.refresh()
    say()


def let_them_say() -> None:
    """Wait for the lines that are still to be said: the interpreter ends."""
    for thread in _waiting:
        thread.join(LONGEST_WAIT_SECONDS + 1.0)
