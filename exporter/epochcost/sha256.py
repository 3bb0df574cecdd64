"""SHA-256 by Python's own code, as `random` takes SHA-512.

Module `hashlib` loads OpenSSL for any hash: 3.5 MiB, which an agent without TLS does not need.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol


class Digest(Protocol):
    """The part of a hash object that is used."""

    def digest(self) -> bytes:
        """As bytes."""
        ...

    def hexdigest(self) -> str:
        """As text."""
        ...


def _implementation() -> Any:  # noqa: ANN401 - the hash objects of three modules
    for module in ("_sha2", "_sha256"):  # from Python 3.12 on, and before; a build may lack both
        try:
            return import_module(module).sha256
        except (ImportError, AttributeError):  # noqa: PERF203 - two of them
            continue
    return import_module("hashlib").sha256


sha256: Callable[[bytes], Digest] = _implementation()
"""The hash of the bytes."""
