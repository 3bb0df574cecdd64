"""Keeps Python's garbage collector from stopping every thread, scrapes included, for objects that are in use."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collection() -> Iterator[None]:
    """For reading much that stays: looking for garbage in it, again and again while it grows, finds none."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def set_aside(what: str) -> None:
    """Leave what there is now out of later collections, once for each ``what``, such as a library just imported.

    Modules of an SDK stay until the process ends, and a pass over them takes 70 ms. Only once, because garbage in
    cycles that waits for its collection stays too.
    """
    if what not in _aside:
        _aside.add(what)
        gc.freeze()


_aside: set[str] = set()
