"""Which thread, and which task of asyncio, something happens in."""

from __future__ import annotations

import sys
import threading
import weakref
from typing import Any


class CallingContext:
    """The thread and task that this was made in."""

    __slots__ = ("_task", "_thread")

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        task = _task()
        self._task = None if task is None else weakref.ref(task)

    @property
    def is_here(self) -> bool:
        """Whether the present code runs in it; a task that is over (a notebook's cell) belongs to the whole thread."""
        if threading.get_ident() != self._thread:
            return False
        task = None if self._task is None else self._task()
        return task is None or task.done() or task is _task()


def _task() -> Any:  # noqa: ANN401 - asyncio is not imported for its type
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return None
    try:
        return asyncio.current_task()
    except (RuntimeError, AttributeError):  # no loop runs here
        return None
