"""Wait for a condition, with a limit: the only way tests here wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, TypeVar

T = TypeVar("T")
LATER, LONGEST_PAUSE_SECONDS = 0.1, 0.25


def wait_for(
    condition: Callable[[], T | Literal[False] | None],
    seconds: float = 30.0,
    what: str = "the condition",
    every: float = 0.02,
) -> T:
    """Return the first truthy value of ``condition``; fail after ``seconds`` with the last value.

    The limit only distinguishes what never happens from what is slow on a busy machine. Looking takes
    time from what is waited for, so pauses grow with the time waited: to a tenth of it, and to 1/4 s at most.
    """
    started_at = time.monotonic()
    while True:
        value = condition()
        if value:
            return value
        waited = time.monotonic() - started_at
        if waited > seconds:
            raise AssertionError(f"{what} did not come true within {seconds:g} s; last seen: {value!r}")
        time.sleep(max(every, min(waited * LATER, LONGEST_PAUSE_SECONDS)))
