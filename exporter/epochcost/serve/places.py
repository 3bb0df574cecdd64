"""Limits on open connections: a number at once, and old connections give way to new clients."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import Counter, OrderedDict
from typing import Protocol

RESERVED = 8
"""Places beyond the usual ones, for this machine and for authenticated addresses."""
PART_OF_ONE_ADDRESS = 4
"""Of a network's address at most every fourth place."""
YOUNG_SECONDS = 0.1
"""A scrape takes a few milliseconds: a longer request may be cut off to admit another client."""
WAIT_SECONDS = 1.0
MAX_PROVED = 1000


class Held(Protocol):
    """A connection, as far as its place goes."""

    @property
    def since(self) -> float | None:
        """When the client began what it is at (monotonic seconds); None while the server works for it."""
        ...

    def cut(self) -> None:
        """End it from another thread; its thread then releases the place."""
        ...


class Places:
    """The places of one server.

    Args:
        places: for all clients.
        reserved: more of them, for loopback and for authenticated clients.
    """

    def __init__(self, places: int, reserved: int = RESERVED) -> None:
        self._places = places
        self._reserved = reserved
        self._of_one = max(1, places // PART_OF_ONE_ADDRESS)
        self._held: dict[Held, str] = {}
        self._leaving: set[Held] = set()
        self._of_address: Counter[str] = Counter()
        self._proved: OrderedDict[str, None] = OrderedDict()
        self._changed = threading.Condition()

    def take(self, connection: Held, address: str) -> bool:
        """A place for ``connection`` from ``address``, for which another may have to go; False if there is none."""
        party = party_of(address)
        until = time.monotonic() + WAIT_SECONDS
        with self._changed:
            while not self._fits(party):
                self._make_room(party)
                left = until - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(min(left, YOUNG_SECONDS))
            self._held[connection] = party
            self._of_address[party] += 1
            return True

    def has_one_for(self, address: str) -> bool:
        """Whether there is a place for one more from ``address`` now."""
        with self._changed:
            return self._fits(party_of(address))

    def give_back(self, connection: Held) -> None:
        """The connection has ended."""
        with self._changed:
            party = self._held.pop(connection)
            self._leaving.discard(connection)
            self._of_address[party] -= 1
            if not self._of_address[party]:
                del self._of_address[party]
            self._changed.notify_all()

    def proved(self, address: str) -> None:
        """A client at ``address`` has authenticated with a password or certificate."""
        with self._changed:
            party = party_of(address)
            self._proved[party] = None
            self._proved.move_to_end(party)
            while len(self._proved) > MAX_PROVED:
                self._proved.popitem(last=False)

    def _trusted(self, party: str) -> bool:
        return not party or party in self._proved

    def _fits(self, party: str) -> bool:
        most = self._places + self._reserved if self._trusted(party) else self._places
        return len(self._held) < most and self._of_address[party] < self._most_of(party)

    def _most_of(self, party: str) -> int:
        """How many places one party may have. All users of this machine are one, and leave a part to other machines."""
        if self._trusted(party) and self._places <= PART_OF_ONE_ADDRESS:
            return self._places + self._reserved
        return max(self._reserved, self._places - self._of_one) if self._trusted(party) else self._of_one

    def _make_room(self, party: str) -> None:
        """End the longest-running connection: first of unauthenticated clients, then of any.

        A connection between two requests goes first: a client reopens it without noticing.
        """
        mine = self._of_address[party] >= self._most_of(party)
        now = time.monotonic()
        aged = [
            (self._trusted(other), since, number, connection)
            for number, (connection, other) in enumerate(self._held.items())
            if connection not in self._leaving and (other == party or not mine)
            if (since := connection.since) is not None and now - since >= YOUNG_SECONDS
        ]
        if aged and not self._leaving:
            connection = min(aged)[3]
            self._leaving.add(connection)
            connection.cut()


def party_of(address: str) -> str:
    """The party of a connection: an IPv4 address or an IPv6 network; empty for this machine."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:  # no address at all: a test's socket pair
        return ""
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        elif not parsed.is_loopback:
            return str(ipaddress.ip_network((parsed, 64), strict=False))
    return "" if parsed.is_loopback else str(parsed)
