"""Wait for a condition, with a limit: the only way tests here wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, TypeVar

T = TypeVar("T")


def wait_for(
    condition: Callable[[], T | Literal[False] | None],
    seconds: float = 30.0,
    what: str = "the condition",
    every: float = 0.02,
) -> T:
    """Return the first truthy value of ``condition``; fail after ``seconds``, saying what was last seen.

    The limit only tells a thing that never comes from one that a busy machine is slow with: it is no bar.
    """
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {seconds:g} s; last seen: {value!r}")
        time.sleep(every)
