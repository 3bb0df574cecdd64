"""What keeps the poller small, and its scrapes quick, while it reads whole catalogues in several threads."""

from __future__ import annotations

import ctypes
import gc
import sys

from epochcost.prices.collector_pause import set_aside

SWITCH_SECONDS = 1e-4
"""How long a thread that parses may run before one that serves has its turn; Python's own is fifty times it."""
COLLECTIONS = (700, 10, 1000)
"""How often garbage in cycles is looked for among young, middle-aged and old objects. The last is a hundred times as
rare as Python's own: it stops every thread for 30 to 120 ms to go through all prices, and these are in no cycle. At ten
times four refreshes of everything had one; at a hundred they have none, and take 2 MiB more."""
_M_ARENA_MAX = -8
_ARENAS = 2


def keep_small() -> None:
    """Set up this process; call it before its threads start. Where the C library is not glibc, only the turns are set.

    Each thread otherwise gets a heap of its own, and memory that a catalogue took is not returned to the others.
    Modules imported so far are left out of collections of garbage.
    """
    set_aside("epochcost")
    gc.set_threshold(*COLLECTIONS)
    sys.setswitchinterval(SWITCH_SECONDS)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)
