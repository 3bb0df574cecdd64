"""Users at a terminal of this machine, and for how long they have not typed: by the terminals themselves."""

from __future__ import annotations

import os
from pathlib import Path

from epochcost.guard.observation import Person

TERMINALS = Path("/dev/pts")
FIRST_PID_NAMESPACE = "pid:[4026531836]"
"""Inode number of the machine's own namespace on Linux; in others its terminals are not seen."""


def interactive(
    wall_ts: float, terminals: Path = TERMINALS, proc: Path = Path("/proc")
) -> tuple[tuple[Person, float], ...] | None:
    """Each terminal's user and the seconds since something was last typed there; None if they cannot be seen."""
    try:
        if str((proc / "self/ns/pid").readlink()) != FIRST_PID_NAMESPACE:
            return None
        with os.scandir(terminals) as entries:
            names = [entry.name for entry in entries if entry.name.isdecimal()]
    except OSError:
        return None
    users = []
    for name in names:
        try:
            status = os.stat(terminals / name)  # noqa: PTH116 - of each terminal
        except FileNotFoundError:  # closed since
            continue
        except OSError:
            return None
        # What is typed is read from the terminal; a clock that was set back makes no user idle.
        users.append((Person(status.st_uid), max(0.0, wall_ts - status.st_atime)))
    return tuple(users)
