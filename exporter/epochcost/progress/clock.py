"""Times of events and of the agent on one timeline that never jumps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from epochcost.model import is_number

JUMP_SECONDS = 2.0
SAME_CLOCK_SECONDS = 1.0
STEADY_SECONDS = 0.5
PAIRS = 5
"""Readings of both clocks when the timeline begins: its offset dates every price from then on."""
MAX_OFFSETS = 64
EARLIEST = 946_684_800.0
"""2000-01-01, as `ledger.state_check` has it."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """Maps one writer's times to the timeline.

    Attributes:
        shift: t = mono + shift; None for a writer without a monotonic clock.
        last_t: the latest t so far; later ones are never before it.
    """

    shift: float | None
    last_t: float


@dataclass(frozen=True, slots=True)
class SavedClock:
    """The timeline of an earlier agent.

    Attributes:
        writers: anchors by writer.
        offset, last_offset, seen: of the wall clock from ``mono``: the timeline's, the newest, and all that were seen.
        jumps: of the wall clock, so far.
        same_boot: the timeline continues; else only the anchors are valid.
        saved_t: when it was saved, on its timeline; None if unknown.
        now: the present on the timeline that is valid once this is applied.
    """

    writers: Mapping[str, Anchor]
    offset: float
    last_offset: float
    seen: Sequence[float]
    jumps: int
    same_boot: bool
    saved_t: float | None
    now: float


def _offset_of(wall: Callable[[], float], mono: Callable[[], float]) -> float:
    """How much ``wall`` is ahead of ``mono``, by the pair of readings between which this process was held up least."""
    pairs = []
    for _ in range(PAIRS):
        before = mono()
        now = wall()
        after = mono()
        pairs.append((after - before, now - after))
    return min(pairs)[1]


class NodeClock:
    """The node timeline: the wall clock when the agent first started in this boot, continued by ``mono``.

    A writer on this kernel shares ``mono``, which shows in ``ts - mono`` being an offset of the wall clock that this
    agent has seen; its events need only the fixed offset. Any other writer (another kernel, another boot, another
    language) is anchored at its first event. Setting a wall clock forward or back changes no duration either way. Any
    thread may call `now`; the rest is for one thread.

    Args:
        wall: seconds since the Unix epoch.
        mono: seconds by the kernel's monotonic clock, the one that ``time.monotonic`` reads.
        boot_id: distinguishes this boot from any other; empty if unknown, then a restart begins a new timeline.
    """

    def __init__(self, wall: Callable[[], float], mono: Callable[[], float], boot_id: str = "") -> None:
        self._wall = wall
        self._mono = mono
        self._boot_id = boot_id
        self._lock = threading.Lock()
        self._offset = _offset_of(wall, mono)
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

    def on_wall(self, t: float) -> float:
        """The wall clock at ``t`` of the timeline, by their difference when last compared."""
        return t + self._displacement

    def event_time(self, writer: str, ts: float, mono: float | None) -> float:
        """When an event of ``writer`` happened, on the timeline; never later than now, nor before its event before."""
        now = self.now()
        anchor = self._anchors.get(writer)
        shift = self._shift(ts, mono) if anchor is None else anchor.shift
        t = mono + shift if mono is not None and shift is not None else ts - self._displacement
        # Nothing that this agent meters happened before; the ledger would be refused with it.
        t = min(now, max(EARLIEST, t))
        t = t if anchor is None else max(anchor.last_t, t)
        self._anchors[writer] = Anchor(shift, t)
        return t

    def forget(self, writer: str) -> None:
        """No more events of ``writer`` are expected."""
        self._anchors.pop(writer, None)

    def state(self) -> dict[str, Any]:
        """What a later agent needs to continue with the same timeline, as JSON can hold it."""
        return {
            "boot": self._boot_id,
            "mono": self._mono(),
            "offset": self._offset,
            "last_offset": self._last_offset,
            "seen": list(self._seen),
            "jumps": self.jumps,
            "writers": {writer: [anchor.shift, anchor.last_t] for writer, anchor in self._anchors.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from `state` of an earlier agent; of another boot only the writers' anchors are valid.

        Raises:
            ValueError: when ``state`` is not what `state` returns, or cannot be true; then nothing is changed.
        """
        self.take(self.restored(state))

    def restored(self, state: Mapping[str, Any]) -> SavedClock:
        """What `state` of an earlier agent described, if it can be true; nothing is applied yet.

        Raises:
            ValueError: when ``state`` is not what `state` returns, or cannot be true.
        """
        try:
            writers = {str(writer): _anchor(saved) for writer, saved in state["writers"].items()}
            offset, last = _finite(state["offset"]), _finite(state["last_offset"])
            seen = [_finite(value) for value in state["seen"]][-MAX_OFFSETS:]
            same_boot, jumps = state["boot"] == self._boot_id != "", int(state["jumps"])
            saved_mono = None if state.get("mono") is None else _finite(state["mono"])  # an older version wrote none
        except (KeyError, TypeError, AttributeError, ValueError) as err:
            raise ValueError(f"state of the clock: {type(err).__name__}: {err}") from None
        if jumps < 0 or (same_boot and saved_mono is not None and not 0 <= saved_mono <= self._mono()):
            raise ValueError(f"state of the clock: jumps {jumps}, saved {saved_mono} s after the boot")
        saved_t = None if saved_mono is None else saved_mono + offset
        now = self._mono() + (offset if same_boot else self._offset)
        if any(anchor.last_t > now + SAME_CLOCK_SECONDS for anchor in writers.values()):
            raise ValueError("state of the clock: an event of a writer lies in the future")
        return SavedClock(writers, offset, last, seen, jumps, same_boot, saved_t, now)

    def take(self, saved: SavedClock) -> None:
        """Continue from there."""
        self._anchors = dict(saved.writers)
        if saved.same_boot:
            self._offset, self._last_offset, self._seen = saved.offset, saved.last_offset, list(saved.seen)
            self.jumps = saved.jumps

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


def _anchor(saved: Any) -> Anchor:  # noqa: ANN401 - whatever JSON holds
    shift, last_t = saved
    return Anchor(None if shift is None else _finite(shift), _finite(last_t))


def _finite(value: Any) -> float:  # noqa: ANN401
    if not is_number(value):
        raise ValueError(f"{str(value)[:80]} is not a finite number")
    return float(value)
