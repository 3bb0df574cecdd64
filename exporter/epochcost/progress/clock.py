"""Times of events and of the agent on one timeline that never jumps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from epochcost.model import is_number

JUMP_SECONDS = 2.0
SAME_CLOCK_SECONDS = 1.0
STEADY_SECONDS = 0.5
MAX_OFFSETS = 64


@dataclass(frozen=True, slots=True)
class Anchor:
    """How one writer's times become the timeline's.

    Attributes:
        shift: t = mono + shift; None for a writer without a monotonic clock.
        last_t: the latest t it was given; it never goes back behind it.
    """

    shift: float | None
    last_t: float


class NodeClock:
    """The node timeline: the wall clock as it stood when the agent first started in this boot, and on by ``mono``.

    A writer on this kernel shares ``mono``, which shows in ``ts - mono`` being an offset of the wall clock that this
    agent has seen; its events need only the fixed offset. Any other writer (another kernel, another boot, another
    language) is anchored at its first event. A wall clock that is set forth or back changes no duration either way.
    Any thread may ask for `now`; the rest is for one thread.

    Args:
        wall: seconds since the Unix epoch.
        mono: seconds by the kernel's monotonic clock, the one that ``time.monotonic`` reads.
        boot_id: tells this boot from any other; empty where unknown, then a restart begins a new timeline.
    """

    def __init__(self, wall: Callable[[], float], mono: Callable[[], float], boot_id: str = "") -> None:
        self._wall = wall
        self._mono = mono
        self._boot_id = boot_id
        self._lock = threading.Lock()
        self._offset = wall() - mono()
        self._seen = [self._offset]
        self._last_offset = self._offset
        self._anchors: dict[str, Anchor] = {}
        self.jumps = 0

    def now(self) -> float:
        """The present on the timeline, in seconds since the Unix epoch as of the timeline's beginning."""
        before = self._mono()
        wall = self._wall()
        mono = self._mono()
        if mono - before < STEADY_SECONDS:  # else this process was held up between the two clocks: no pair to compare
            with self._lock:
                self._watch(wall - mono)
        return mono + self._offset

    def event_time(self, writer: str, ts: float, mono: float | None) -> float:
        """When an event of ``writer`` happened, on the timeline; never later than now, nor before its event before."""
        now = self.now()
        anchor = self._anchors.get(writer)
        shift = self._shift(ts, mono) if anchor is None else anchor.shift
        t = mono + shift if mono is not None and shift is not None else ts - self._displacement
        t = min(now, t) if anchor is None else max(anchor.last_t, min(now, t))
        self._anchors[writer] = Anchor(shift, t)
        return t

    def forget(self, writer: str) -> None:
        """No more events of ``writer`` are expected."""
        self._anchors.pop(writer, None)

    def state(self) -> dict[str, Any]:
        """What a later agent needs to go on with the same timeline, as JSON can hold it."""
        return {
            "boot": self._boot_id,
            "offset": self._offset,
            "last_offset": self._last_offset,
            "seen": list(self._seen),
            "jumps": self.jumps,
            "writers": {writer: [anchor.shift, anchor.last_t] for writer, anchor in self._anchors.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state` of an earlier agent; of another boot only the writers' anchors hold.

        Raises:
            ValueError: when ``state`` is not what `state` returns; then nothing is changed.
        """
        try:
            writers = {str(writer): _anchor(kept) for writer, kept in state["writers"].items()}
            offset, last = _finite(state["offset"]), _finite(state["last_offset"])
            seen = [_finite(value) for value in state["seen"]][-MAX_OFFSETS:]
            same_boot, jumps = state["boot"] == self._boot_id != "", int(state["jumps"])
        except (KeyError, TypeError, AttributeError, ValueError) as err:
            raise ValueError(f"state of the clock: {type(err).__name__}: {err}") from None
        self._anchors = writers
        if same_boot:
            self._offset, self._last_offset, self._seen, self.jumps = offset, last, seen, jumps

    @property
    def _displacement(self) -> float:
        """By how much the wall clock is ahead of the timeline, in seconds."""
        return self._last_offset - self._offset

    def _shift(self, ts: float, mono: float | None) -> float | None:
        if mono is None:
            return None
        if any(abs(ts - mono - seen) <= SAME_CLOCK_SECONDS for seen in self._seen):
            return self._offset
        return ts - self._displacement - mono

    def _watch(self, offset: float) -> None:
        if abs(offset - self._last_offset) > JUMP_SECONDS:
            self.jumps += 1
        self._last_offset = offset
        # A clock that is slewed drifts from what was seen without ever jumping.
        if all(abs(offset - seen) > SAME_CLOCK_SECONDS / 2 for seen in self._seen):
            self._seen = [*self._seen, offset][-MAX_OFFSETS:]


def read_boot_id(path: Path = Path("/proc/sys/kernel/random/boot_id")) -> str:
    """The kernel's identity of this boot, the same in every container on it; empty where there is none."""
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _anchor(kept: Any) -> Anchor:  # noqa: ANN401 - whatever JSON holds
    shift, last_t = kept
    return Anchor(None if shift is None else _finite(shift), _finite(last_t))


def _finite(value: Any) -> float:  # noqa: ANN401
    if not is_number(value):
        raise ValueError(f"{str(value)[:80]} is not a finite number")
    return float(value)
