"""What is fuzzed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Reader:
    """What is fed, what it may raise, and good inputs to begin from."""

    read: Callable[[bytes], Any]
    refuses: tuple[type[Exception], ...]
    seeds: tuple[bytes, ...]
