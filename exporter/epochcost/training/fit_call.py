"""The call of a framework's ``fit`` or ``train`` that a callback is in: whether it still runs, and what it holds.

Some frameworks call no hook when a fit ends by an exception. Whether the call is over shows on its thread's stack; that
is looked at, never held: a frame that is kept would keep everything that the fit has in memory.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any, Protocol

CHECK_SECONDS = 0.5
NEAREST_FRAMES = 8


class FitCall:
    """A call that was found on the stack, by its place there and the object whose method it is.

    The place alone is not enough: the next call of the same function often gets the same memory.
    """

    __slots__ = ("_code", "_frame", "_owner", "_thread")

    def __init__(self, frame: FrameType) -> None:
        self._thread = threading.get_ident()
        self._frame = id(frame)
        self._code: CodeType = frame.f_code
        try:
            self._owner: weakref.ref[Any] | None = weakref.ref(frame.f_locals.get("self"))
        except TypeError:  # a function, or an object that cannot be referred to
            self._owner = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FitCall) and all(getattr(self, it) == getattr(other, it) for it in self.__slots__)

    __hash__ = None  # type: ignore[assignment]

    @property
    def runs(self) -> bool:
        """Whether the call has not returned or raised yet."""
        frame = sys._current_frames().get(self._thread)  # noqa: SLF001 - the documented way, for debuggers
        while frame is not None:
            if id(frame) == self._frame and frame.f_code is self._code:
                owner = None if self._owner is None else self._owner()
                return self._owner is None or (owner is not None and frame.f_locals.get("self") is owner)
            frame = frame.f_back
        return False


def running_call(package: str, names: tuple[str, ...]) -> FitCall | None:
    """The innermost call on this thread's stack of a function of ``package`` by one of ``names``."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - as above
    while frame is not None:
        if frame.f_code.co_name in names and str(frame.f_globals.get("__name__", "")).partition(".")[0] == package:
            return FitCall(frame)
        frame = frame.f_back
    return None


class SiblingCallbacks:
    """The callbacks in the framework's list that ``callback`` is being called from; none where no list is found.

    They are not kept alive, nor copied or pickled along: they may hold a trainer with all that it has in memory.
    """

    def __init__(self, callback: object = None) -> None:
        self._callbacks = [] if callback is None else [_reference(one) for one in _listed_with(callback)]

    def __iter__(self) -> Iterator[Any]:
        return iter([one for one in (reference() for reference in self._callbacks) if one is not None])

    def __reduce__(self) -> tuple[type[SiblingCallbacks], tuple[()]]:
        return SiblingCallbacks, ()


def _reference(callback: Any) -> Callable[[], Any]:  # noqa: ANN401
    try:
        return weakref.ref(callback)
    except TypeError:  # of a kind that cannot be referred to
        return lambda: None


def _listed_with(callback: object) -> list[Any]:
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001 - as above
    for _ in range(NEAREST_FRAMES):
        if frame is None:
            break
        listed = getattr(frame.f_locals.get("self"), "callbacks", None)
        if isinstance(listed, list) and any(one is callback for one in listed):
            return list(listed)
        frame = frame.f_back
    return []


class WatchedFit(Protocol):
    """A fit whose framework does not report a failure."""

    @property
    def broke(self) -> bool:
        """Whether its call is over without a report."""

    def broke_before(self, call: object) -> bool:
        """Whether it was over before ``call`` began."""

    def end(self, status: str = "finished") -> None:
        """It is over."""


class FitWatcher:
    """Looks twice a second, in a thread that lives while there is something to look at."""

    def __init__(self) -> None:
        self._fits: list[WatchedFit] = []
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()

    def add(self, fit: WatchedFit) -> None:
        """Until ``fit`` is removed or its call is over."""
        self._fits = [*self._fits, fit]
        if self._thread is None or self._wake.is_set() or not self._thread.is_alive():
            self._wake = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(self._wake,), name="epochcost-fit", daemon=True)
            self._thread.start()

    def remove(self, fit: WatchedFit) -> None:
        """It ended by itself."""
        self._fits = [other for other in self._fits if other is not fit]
        if not self._fits:
            self._wake.set()

    def look(self, call: FitCall | None = None, *, but: WatchedFit | None = None) -> None:
        """End what is over; where ``call`` begins, also what looks like it but for having begun before."""
        for fit in self._fits:
            if fit is not but and (fit.broke if call is None else fit.broke_before(call)):
                fit.end("failed")

    def _run(self, wake: threading.Event) -> None:
        while not wake.wait(CHECK_SECONDS):
            self.look()


WATCHER = FitWatcher()
