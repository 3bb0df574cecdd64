"""What keeps the poller small, and its scrapes quick, while it reads whole catalogues in several threads."""

from __future__ import annotations

import ctypes
import sys

SWITCH_SECONDS = 5e-4
"""How long a thread that parses may go on before one that answers has its turn; Python's own is ten times it."""
_M_ARENA_MAX = -8
_ARENAS = 2


def keep_small() -> None:
    """Set up this process; call it before its threads start. Where the C library is not glibc, only the turns are set.

    Each thread otherwise gets a heap of its own, and what a catalogue took of it is not given back to the others.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)
