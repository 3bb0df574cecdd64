"""Basic auth against bcrypt hashes, slow once for each right password and never faster for an unknown user."""

from __future__ import annotations

import base64
import binascii
import os
import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping
from enum import Enum

_REMEMBERED = 100
_REMEMBERED_WRONG = 1000
_REMEMBERED_PUT_OFF = 50_000
_BCRYPT_BYTES = 72
"""bcrypt reads no further; its Python binding refuses longer passwords, htpasswd and Go cut them."""
_MAX_HEADER = 4096
_WAITING_OF_ONE = 4


class Verdict(Enum):
    """What a header is worth."""

    RIGHT = "right"
    WRONG = "wrong"
    BUSY = "busy"
    """Not looked at: others of the same party wait already."""


class Credentials:
    """Verifies Authorization headers and remembers them, right or wrong, by a salted hash, never the password.

    bcrypt is slow on purpose. One password is compared at a time, or guesses would take every core from the training;
    of each party (an address) few wait, so that a flood of guesses from one delays no other. A repetition of
    credentials that there was no time to check goes first: a scraper repeats them, a guesser has another guess.
    """

    def __init__(self) -> None:
        self._salt = os.urandom(32)
        self._known = _Memory(_REMEMBERED)
        self._wrong = _Memory(_REMEMBERED_WRONG)
        self._put_off = _Memory(_REMEMBERED_PUT_OFF)
        self._turns = Turns()

    def verify(self, users: Mapping[str, bytes], authorization: str, party: str = "") -> Verdict:
        """Whether ``authorization`` names one of ``users`` (bcrypt hash by name) with the right password."""
        parsed = _parse(authorization)
        if parsed is None:
            return Verdict.WRONG
        name, password = parsed
        hashed = users.get(name)
        key = self._key(name, hashed or b"", password)
        if (known := self._remembered(key)) is not None:
            return known
        if not self._turns.wait(party, again=self._put_off.holds(key)):
            self._put_off.add(key)
            return Verdict.BUSY
        try:
            # A request that waited behind the same password finds it known now.
            known = self._remembered(key)
            if known is None:
                known = Verdict.RIGHT if _compare(password, hashed, users.values()) else Verdict.WRONG
                (self._known if known is Verdict.RIGHT else self._wrong).add(key)
        finally:
            self._turns.done()
        return known

    def _remembered(self, key: bytes) -> Verdict | None:
        if self._known.holds(key):
            return Verdict.RIGHT
        return Verdict.WRONG if self._wrong.holds(key) else None

    def _key(self, name: str, hashed: bytes, password: bytes) -> bytes:
        import hashlib
        import hmac

        message = b"\0".join((name.encode(), hashed, password))
        return hmac.new(self._salt, message, hashlib.sha256).digest()


class _Memory:
    """A bounded number of keys: the most recently used."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._keys: OrderedDict[bytes, None] = OrderedDict()

    def holds(self, key: bytes) -> bool:
        with self._lock:
            if key not in self._keys:
                return False
            self._keys.move_to_end(key)
            return True

    def add(self, key: bytes) -> None:
        with self._lock:
            self._keys[key] = None
            self._keys.move_to_end(key)
            while len(self._keys) > self._most:
                self._keys.popitem(last=False)


class Turns:
    """One at a time: first repetitions, then the parties in turn; of each a bounded number waits."""

    def __init__(self, waiting_of_one: int = _WAITING_OF_ONE) -> None:
        self._most = waiting_of_one
        self._changed = threading.Condition()
        self._busy = False
        self._waiting: OrderedDict[tuple[bool, str], list[object]] = OrderedDict()

    def wait(self, party: str, *, again: bool = False) -> bool:
        """Wait for a turn, to be ended by `done`; False at once where enough of ``party`` wait already."""
        queue = (not again, party)
        with self._changed:
            if self._busy or self._waiting:
                mine = self._waiting.setdefault(queue, [])
                if len(mine) >= self._most:
                    return False
                ticket = object()
                mine.append(ticket)
                self._changed.wait_for(lambda: not self._busy and self._next() is ticket)
                mine.remove(ticket)
                del self._waiting[queue]
                if mine:  # behind all other parties
                    self._waiting[queue] = mine
            self._busy = True
            return True

    def done(self) -> None:
        """The turn is over."""
        with self._changed:
            self._busy = False
            self._changed.notify_all()

    def _next(self) -> object:
        return self._waiting[min(self._waiting, key=lambda queue: queue[0])][0]


def _compare(password: bytes, hashed: bytes | None, all_hashed: Collection[bytes]) -> bool:
    """Whether it is the password, in the same time for every name, known or not: that of the most expensive hash."""
    import bcrypt

    slowest = max(_cost(one) for one in all_hashed)
    cut = password[:_BCRYPT_BYTES]
    if hashed is None:
        bcrypt.hashpw(cut, bcrypt.gensalt(slowest))
        return False
    right = bcrypt.checkpw(cut, hashed)
    for cost in range(_cost(hashed), slowest) if not right else ():  # twice the work for each step
        bcrypt.hashpw(cut, bcrypt.gensalt(cost))
    return right


def _cost(hashed: bytes) -> int:
    return int(hashed.split(b"$")[2])


def _parse(authorization: str) -> tuple[str, bytes] | None:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic" or len(encoded) > _MAX_HEADER:
        return None
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        return (name.decode(), password) if colon and b"\0" not in password else None
    except (binascii.Error, ValueError):
        return None
