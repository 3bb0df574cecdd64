"""Where a run stands: position in epochs, finished epochs, work lost and done again, and whether it moves at all."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from epochcost.model import EventKind, Phase, State, TrainingEvent

WHOLE = 1e-6
"""An epoch position this near to a whole number is whole."""
STALL_FACTOR = 5.0
INTERVALS_KEPT = 31
NEVER_STALLED = frozenset({Phase.EVAL, Phase.CHECKPOINT, Phase.RESTORE})


@dataclass(frozen=True, slots=True)
class Epoch:
    """``count`` epochs finished in one go, the last of them number ``number``, from ``start`` to ``end``.

    ``counted`` where global rank 0 was on this machine; see `epochcost.ledger.rank_zero`.
    """

    number: float
    start: float
    end: float
    count: int
    counted: bool = True


@dataclass(frozen=True, slots=True)
class Timed:
    """Whole epochs that were finished and timed, over all attempts, and what they took together."""

    count: int
    seconds: float


@dataclass(slots=True)
class Counted:
    """An absolute position that a process reports, and how much was executed of it over all attempts."""

    position: int | None = None
    executed: int = 0

    def move(self, to: int | None, *, first_attempt: bool) -> bool:
        """Take a new position; True when it went forward."""
        if to is None:
            return False
        if self.position is None:
            # A first attempt began at 0; a later one may have resumed anywhere, so its first report is the baseline.
            self.position = 0 if first_attempt else to
        forward = to > self.position
        self.executed += max(0, to - self.position)
        self.position = to
        return forward


@dataclass(slots=True)
class Epochs:
    """The progress of one run, as the first of its processes on this node reports it."""

    position: float | None = None
    high_water: float = 0.0
    executed: float = 0.0
    lost: float = 0.0
    attempts: int = 0
    phase: Phase = Phase.STARTUP
    stepped: bool = False
    begin_t: float | None = None
    """When the current epoch began; None during start-up."""
    begin_position: float = 0.0
    finished: list[Epoch] = field(default_factory=list)
    dropped_seconds: float = 0.0
    dropped_count: int = 0
    dropped_counted_seconds: float = 0.0
    dropped_counted: int = 0
    counted: bool = True
    """Global rank 0 is on this machine."""
    attempt_start: float | None = None
    """First position of this attempt; None until it is known."""
    steps: Counted = field(default_factory=Counted)
    samples: Counted = field(default_factory=Counted)
    tokens: Counted = field(default_factory=Counted)
    started_t: float = 0.0
    moved_t: float = 0.0
    """When the run last made progress or changed its phase."""
    reports_steps: bool = False
    intervals: deque[float] = field(default_factory=lambda: deque(maxlen=INTERVALS_KEPT))
    resumed: bool = False
    usual_interval: float | None = None
    """Median of the intervals, until another one comes."""
    before: float | None = None
    """Position at the end of the attempt before, until this attempt's own first position is known."""
    _sums: tuple[Timed, Timed] | None = field(default=None, compare=False, repr=False)
    """All that were timed and those that are counted, asked for each second, until one is finished or dropped."""

    def begin_attempt(self, t: float) -> None:
        """A process of the run has started while none of it was running."""
        self.attempts += 1
        self.started_t = self.moved_t = t
        self.phase, self.stepped, self.begin_t, self.resumed = Phase.STARTUP, False, None, False
        for counted in (self.steps, self.samples, self.tokens):
            counted.position = None
        self.before = self.reached
        self.position = self.attempt_start = None

    def take(self, event: TrainingEvent) -> None:
        """Follow one event of the run's leading process."""
        kind, t = event.kind, event.t
        if kind is EventKind.PHASE and event.phase is not None:
            self._enter(event.phase, t, event.epoch)
        elif kind is EventKind.RESUME:
            self._resume(event)
        elif kind is EventKind.PROGRESS:
            self._progress(event)
        elif kind is EventKind.EPOCH_END and event.epoch is not None:
            self._epoch_end(event.epoch, t)
            self._count(event)

    def _enter(self, phase: Phase, t: float, position: float | None) -> None:
        self.phase, self.moved_t = phase, t
        if phase is not Phase.TRAIN:
            return
        if position is not None:
            self._stand_at(position, t)
        if self.begin_t is None:
            self.begin_t = t
            self.begin_position = self.position if self.position is not None else 0.0

    def _resume(self, event: TrainingEvent) -> None:
        self.resumed = True
        self.moved_t = event.t
        if event.epoch is not None:
            self._stand_at(event.epoch, event.t)
        for counted, value in (
            (self.steps, event.step),
            (self.samples, event.samples),
            (self.tokens, event.tokens),
        ):
            if value is not None:
                counted.position = value

    def _stand_at(self, position: float, t: float) -> None:
        """The process says where it is without having worked: a first position, or a jump back."""
        if self.position is None:
            self._first_position(position)
        elif position < self.position - WHOLE:
            self.lost += self.position - position
            self.position = position
            self.begin_t, self.begin_position = t, position

    def _first_position(self, position: float) -> None:
        if self.before is not None:
            self.lost += max(0.0, self.before - position)
            self.before = None
        self.position = self.attempt_start = position
        self.high_water = max(self.high_water, position)

    def _progress(self, event: TrainingEvent) -> None:
        position = _position(event)
        counted = self._count(event)
        before = self.position
        if position is not None:
            if self.position is None:
                self._first_position(0.0 if position <= 1 and not self.resumed else position)
            self._end_epochs_before(position, event.t)
            self._move(position, event.t)
        if self.begin_t is None:
            self.begin_t, self.begin_position = event.t, self.position or 0.0
        if counted or position != before:
            self.reports_steps = True
            self._moved(event.t)

    def _end_epochs_before(self, position: float, t: float) -> None:
        """A run that is well into an epoch has finished the ones before, whether it said so or not.

        Jobs that count steps or tokens never say so. The end is put where the position must have passed it, between
        the report before and this one.
        """
        reached = math.floor(position)
        if self.begin_t is None or self.position is None or position - reached <= WHOLE:
            return
        if reached < self.begin_position + WHOLE or self.position >= reached:
            return
        part = (position - reached) / (position - self.position)
        self._epoch_end(float(reached), t - part * (t - max(self.moved_t, self.begin_t)))

    def _count(self, event: TrainingEvent) -> bool:
        first = self.attempts <= 1 and not self.resumed
        moves = [
            self.steps.move(event.step, first_attempt=first),
            self.samples.move(event.samples, first_attempt=first),
            self.tokens.move(event.tokens, first_attempt=first),
        ]
        return any(moves)

    def _move(self, position: float, t: float) -> None:
        if self.position is None or position < self.position - WHOLE:
            self._stand_at(position, t)
        else:
            self.executed += max(0.0, position - self.position)
            self.position = max(position, self.position)
        self.high_water = max(self.high_water, self.position or 0.0)

    def _moved(self, t: float) -> None:
        if self.stepped:
            self.intervals.append(t - self.moved_t)
            self.usual_interval = None
        self.stepped, self.moved_t = True, t

    def _epoch_end(self, number: float, t: float) -> None:
        if self.position is None:
            self._first_position(max(0.0, math.ceil(number) - 1.0))
        if self.begin_t is None:
            self.begin_t, self.begin_position = self.started_t, self.position or 0.0
        if number <= self.begin_position + WHOLE and self.finished:
            return  # said twice
        self._move(number, t)
        self._moved(t)
        count = round(number - self.begin_position)
        if count >= 1 and abs(number - self.begin_position - count) <= WHOLE:
            self.finished.append(Epoch(number, self.begin_t, t, count, self.counted))
            self._sums = None
        self.begin_t, self.begin_position = t, number

    @property
    def reached(self) -> float | None:
        """Position, also while an attempt has not yet said its own; None where none was ever said."""
        return self.position if self.position is not None else self.before

    @property
    def count(self) -> int:
        """Whole epochs finished and timed, over all attempts."""
        return self._summed()[0].count

    @property
    def seconds_sum(self) -> float:
        """What they took together, in seconds."""
        return self._summed()[0].seconds

    @property
    def timed_here(self) -> Timed:
        """Those of them that are counted on this machine."""
        return self._summed()[1]

    def _summed(self) -> tuple[Timed, Timed]:
        if self._sums is None:
            here = [e for e in self.finished if e.counted]
            dropped = Timed(self.dropped_count, self.dropped_seconds)
            self._sums = (
                _added(dropped, self.finished),
                _added(Timed(self.dropped_counted, self.dropped_counted_seconds), here),
            )
        return self._sums

    def drop_oldest(self, count: int) -> list[Epoch]:
        """Take the ``count`` oldest finished epochs out; their seconds stay in the sums."""
        dropped, self.finished, self._sums = self.finished[:count], self.finished[count:], None
        whole = _added(Timed(self.dropped_count, self.dropped_seconds), dropped)
        here = _added(Timed(self.dropped_counted, self.dropped_counted_seconds), [e for e in dropped if e.counted])
        self.dropped_count, self.dropped_seconds = whole.count, whole.seconds
        self.dropped_counted, self.dropped_counted_seconds = here.count, here.seconds
        return dropped

    def stalls_at(self, stall_after: float) -> float:
        """The instant from which the run counts as stalled if nothing more is heard; infinity where it cannot be told.

        A run that reports nothing but finished epochs cannot be told to be stalled before two of them are known: its
        first epoch may well take an hour.
        """
        if not self.stepped or self.phase in NEVER_STALLED:
            return math.inf
        if not self.intervals and not self.reports_steps:
            return math.inf
        if self.usual_interval is None:  # asked for at every event of every run
            self.usual_interval = median(self.intervals) if self.intervals else 0.0
        return self.moved_t + max(STALL_FACTOR * self.usual_interval, stall_after)

    def state_at(self, t: float, stall_after: float) -> State:
        """Where a second at ``t`` goes; `State.USEFUL` means "progressing" (utilisation splits it)."""
        if not self.stepped:
            return State.STARTUP
        if (self.position or 0.0) < self.high_water - WHOLE:
            return State.REPLAY
        if t >= self.stalls_at(stall_after):
            return State.STALLED
        return State.USEFUL

    def state(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {
            **{name: getattr(self, name) for name in _SAVED},
            "phase": self.phase.value,
            "finished": [[e.number, e.start, e.end, e.count, *([] if e.counted else [False])] for e in self.finished],
            "amounts": [[c.position, c.executed] for c in (self.steps, self.samples, self.tokens)],
            "intervals": list(self.intervals),
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Epochs:
        """What `state` described."""
        it = cls(**{name: state[name] for name in _SAVED if name in state}, phase=Phase(state["phase"]))
        it.finished = [Epoch(*row) for row in state["finished"]]
        it.steps, it.samples, it.tokens = (Counted(p, n) for p, n in state["amounts"])
        it.intervals.extend(state["intervals"])
        return it


_SAVED = (
    "position",
    "high_water",
    "executed",
    "lost",
    "attempts",
    "stepped",
    "begin_t",
    "begin_position",
    "dropped_seconds",
    "dropped_count",
    "started_t",
    "moved_t",
    "reports_steps",
    "resumed",
    "before",
    "dropped_counted_seconds",
    "dropped_counted",
    "counted",
    "attempt_start",
)


def _added(dropped: Timed, epochs: Sequence[Epoch]) -> Timed:
    count = dropped.count + sum(e.count for e in epochs)
    return Timed(count, dropped.seconds + math.fsum(e.end - e.start for e in epochs))


def _position(event: TrainingEvent) -> float | None:
    """The event's position in epochs, derived from steps or samples where it says none itself."""
    if event.epoch is not None:
        return event.epoch
    if event.step is not None and event.steps:
        return event.step / event.steps
    if event.samples is not None and event.samples_per_epoch:
        return event.samples / event.samples_per_epoch
    return None
