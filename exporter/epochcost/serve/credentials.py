"""Basic auth against bcrypt hashes, slow once for each right password and never faster for an unknown user."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping

_REMEMBERED = 100
_BCRYPT_BYTES = 72
"""bcrypt reads no further; its Python binding refuses longer passwords, htpasswd and Go cut them."""
_MAX_HEADER = 4096


class Credentials:
    """Verifies Authorization headers and remembers the right ones by a salted hash, never the password."""

    def __init__(self) -> None:
        self._salt = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()
        # One at a time: guesses must not take every core from the training.
        self._slow = threading.Lock()

    def verify(self, users: Mapping[str, bytes], authorization: str) -> bool:
        """Whether ``authorization`` names one of ``users`` (bcrypt hash by name) with the right password."""
        parsed = _parse(authorization)
        if parsed is None:
            return False
        name, password = parsed
        hashed = users.get(name)
        key = self._key(name, hashed or b"", password)
        with self._lock:
            if hashed is not None and key in self._known:
                self._known.move_to_end(key)
                return True
        # An unknown name costs as much time as a known one, or the time would tell which names exist.
        right = self._compare(password, hashed or next(iter(users.values())))
        if hashed is None or not right:
            return False
        with self._lock:
            self._known[key] = None
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return True

    def _key(self, name: str, hashed: bytes, password: bytes) -> bytes:
        message = b"\0".join((name.encode(), hashed, password))
        return hmac.new(self._salt, message, hashlib.sha256).digest()

    def _compare(self, password: bytes, hashed: bytes) -> bool:
        import bcrypt

        with self._slow:
            return bcrypt.checkpw(password[:_BCRYPT_BYTES], hashed)


def _parse(authorization: str) -> tuple[str, bytes] | None:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic" or len(encoded) > _MAX_HEADER:
        return None
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        return (name.decode(), password) if colon and b"\0" not in password else None
    except (binascii.Error, ValueError):
        return None
