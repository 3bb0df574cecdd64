"""Names of users by their numbers, looked up in the background: a directory service may take its time."""

from __future__ import annotations

import pwd
import threading
from collections.abc import Callable

from epochcost.shown_text import printable

ROOT = 0
MOST = 1000
"""Users that are remembered: more have no name here."""


def system_name(number: int) -> str:
    """The system's name for a user; empty if it has none."""
    try:
        return printable(pwd.getpwuid(number).pw_name)
    except (KeyError, OverflowError, OSError):
        return ""


class UserNames:
    """Remembers each name for good; a name that is not known yet is empty until the lookup has finished.

    Root is not a person's name: containers run as root, whichever user started them.

    Args:
        lookup: the name of a number, empty if it has none.
    """

    def __init__(self, lookup: Callable[[int], str] = system_name) -> None:
        self._lookup = lookup
        self._names: dict[int, str] = {}

    def of(self, number: int | None) -> str:
        """The user's name as far as it is known now."""
        if number is None or number <= ROOT:
            return ""
        name = self._names.get(number)
        if name is None and len(self._names) < MOST:
            name = self._names[number] = ""
            threading.Thread(target=self._ask, args=(number,), name="epochcost-user-name", daemon=True).start()
        return name or ""

    def _ask(self, number: int) -> None:
        self._names[number] = self._lookup(number)
