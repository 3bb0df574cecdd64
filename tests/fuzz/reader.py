"""A reader under fuzzing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Reader:
    """The function, the errors that it may raise, and valid inputs to start from."""

    read: Callable[[bytes], Any]
    refuses: tuple[type[Exception], ...]
    seeds: tuple[bytes, ...]
