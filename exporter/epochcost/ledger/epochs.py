"""The progress of a run: position in epochs, finished epochs, work lost and repeated, and whether it is stalled."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from epochcost.ledger.finished_epoch import Epoch
from epochcost.ledger.reported_position import Counted, first_position, position_of, reports_work
from epochcost.model import EventKind, Phase, State, TrainingEvent

WHOLE = 1e-6
"""An epoch position this near to a whole number is whole."""
STALL_FACTOR = 5.0
INTERVALS_KEPT = 31
BUSY_SECONDS = 120.0
NEVER_STALLED = frozenset({Phase.EVAL, Phase.CHECKPOINT, Phase.RESTORE})


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
    count: int = 0
    """Whole epochs finished and timed, over all attempts; also those that are no longer among ``finished``."""
    seconds_sum: float = 0.0
    """What they took together. It only ever grows: a sum rebuilt could differ in its last digit, and be lower."""
    count_here: int = 0
    seconds_here: float = 0.0
    """The same for those that are counted on this machine."""
    counted: bool = True
    """Global rank 0 is on this machine."""
    at_work: bool = False
    """It trains, though it has reported no step yet: it reports so, or its devices have worked for a while."""
    busy_since: float | None = None
    """Since when its devices have worked without a break, before it has reported anything."""
    base: float = 0.0
    """Epochs of training runs under this id that had finished before: positions count on from there."""
    anew: bool = False
    """The attempt before had finished, and this one has not yet reported where it begins."""
    fresh: bool = True
    """This attempt began at step 0."""
    heard_start: bool = True
    """This attempt's start event was received."""
    whole_t: float | None = None
    """When the position, as progress reported it, became the whole number that it is."""
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
    elsewhere: float = 0.0
    """Highest position, of the training that runs, that others had reached before they left it to this machine, where
    that is known."""

    def begin_attempt(self, t: float, *, anew: bool = False, heard_start: bool = True) -> None:
        """A process of the run has started while none of it was running; ``anew``: after an attempt that finished.

        What follows is new work and not repeated work, wherever it begins: its positions count on from the highest.
        ``heard_start`` False if its start event was not received, only later ones.
        """
        self.heard_start = heard_start
        self.anew = anew
        if anew:
            self.elsewhere = 0.0
        self.fresh = self.attempts == 0 or anew
        self.at_work, self.busy_since, self.whole_t = False, None, None
        self.attempts += 1
        self.started_t = self.moved_t = t
        self.phase, self.stepped, self.begin_t, self.resumed = Phase.STARTUP, False, None, False
        for counted in (self.steps, self.samples, self.tokens):
            counted.position = None
        self.before = self.reached
        self.position = self.attempt_start = None

    def take(self, event: TrainingEvent) -> None:
        """Follow one event of the run's leading process."""
        kind, position = event.kind, self._where(event)
        if kind is EventKind.PHASE and event.phase is not None:
            self._enter(event, position)
        elif kind is EventKind.RESUME:
            self._resume(event, position)
        elif kind is EventKind.PROGRESS:
            self._progress(event, position)
        elif kind is EventKind.EPOCH_END and position is not None:
            self._epoch_end(position, event.t)
            self._count(event)
        elif kind is EventKind.END:
            self._end(event, position)

    def _where(self, event: TrainingEvent) -> float | None:
        """The event's position, counted on from the training runs that had finished before."""
        position = position_of(event)
        if position is None or event.kind is EventKind.START:
            return None
        if self.anew:
            first = first_position(event, position, resumed=self.resumed)
            self.anew, self.fresh = False, first + self.base < self.high_water
            self.base = max(self.base, self.high_water - first)
        return position + self.base

    def _enter(self, event: TrainingEvent, position: float | None) -> None:
        phase, t = event.phase, event.t
        if phase is None:
            return
        self.phase, self.moved_t = phase, t
        self._begin_counts(event)
        if phase is not Phase.TRAIN:
            return
        if position is not None:
            self._stand_at(position, t, first_position(event, position - self.base, resumed=self.resumed))
        self._begin(t)
        # A process that reports the steps of an epoch will report each, and has not begun before the first.
        self.at_work = event.steps is None or bool(event.step)

    def _begin_counts(self, event: TrainingEvent) -> None:
        """A later attempt reports with its phase where it continues: the step that it reports first is its own."""
        if self.fresh and not self.resumed:
            return  # the first attempt began at 0
        for counted, value in self._reported(event):
            if counted.position is None:
                counted.position = value

    def _reported(self, event: TrainingEvent) -> Iterator[tuple[Counted, int]]:
        """Steps, samples and tokens, those of them that ``event`` reports."""
        for counted, value in (
            (self.steps, event.step),
            (self.samples, event.samples),
            (self.tokens, event.tokens),
        ):
            if value is not None:
                yield counted, value

    def _resume(self, event: TrainingEvent, position: float | None) -> None:
        self.resumed = True
        self.moved_t = event.t
        if position is not None:
            self._stand_at(position, event.t, position - self.base)
        for counted, value in self._reported(event):
            counted.position = value

    def _stand_at(self, position: float, t: float, first: float) -> None:
        """The process reports its position without having worked since: a first position, or a jump back."""
        if self.position is None:
            self._first_position(first + self.base)
            self._advance(position, t)
        elif position < self.position - WHOLE:
            self.lost += self.position - position
            self.position, self.whole_t = position, None
            self.begin_t, self.begin_position = t, position

    def _first_position(self, position: float) -> None:
        if self.before is not None:
            self.lost += max(0.0, self.before - position)
            self.before = None
        self.position = self.attempt_start = position
        self.high_water = max(self.high_water, position)

    def _progress(self, event: TrainingEvent, position: float | None) -> None:
        counted = self._count(event)
        before = self.position
        if position is not None:
            if self.position is None:
                self._first_position(first_position(event, position - self.base, resumed=self.resumed) + self.base)
            self._end_epochs_before(position, event.t)
            self._move(position, event.t)
        self._begin(event.t)
        if counted or position != before:
            self.reports_steps = True
            self._moved(event.t)
        elif event.steps is not None and not self.stepped:
            self.at_work = False  # its steps are reported, and none is done

    def _begin(self, t: float) -> None:
        """An epoch runs from ``t`` on, or from the run's start if the first event reports work done before it."""
        if self.begin_t is not None:
            return
        first, position = self.attempt_start, self.position
        worked = first is not None and position is not None and position > first + WHOLE
        if first is not None and worked and self.heard_start and self.fresh and not self.resumed:
            self.begin_t, self.begin_position = self.started_t, first
        else:
            self.begin_t, self.begin_position = t, position or 0.0

    def _end(self, event: TrainingEvent, position: float | None) -> None:
        """The last events of a process count like any others, and end an epoch that is whole; they retract nothing."""
        back = position is not None and self.position is not None and position < self.position - WHOLE
        if not back and (position is not None or reports_work(event)):
            self._progress(event, position)
        self._end_whole_epoch()

    def _end_epochs_before(self, position: float, t: float) -> None:
        """A run that is well into an epoch has finished the ones before, whether it reported so or not.

        Jobs that count steps or tokens never report it. The end is where the position was whole; where no report hit
        that, it is put where the position must have passed it, between the report before and this one.
        """
        if self.position is not None and position > self.position + WHOLE:
            self._end_whole_epoch()
        reached = math.floor(position + WHOLE)
        if self.begin_t is None or self.position is None or position - reached <= WHOLE:
            return
        if reached < self.begin_position + WHOLE or self.position >= reached:
            return
        part = (position - reached) / (position - self.position)
        self._epoch_end(float(reached), t - part * (t - max(self.moved_t, self.begin_t)))

    def _end_whole_epoch(self) -> None:
        """The epoch whose end was reported as a position, and is not reported otherwise, ended there."""
        if self.whole_t is not None and self.position is not None and self.position > self.begin_position + WHOLE:
            self._finish(self.position, self.whole_t)

    def _count(self, event: TrainingEvent) -> bool:
        first = self.fresh and not self.resumed
        moves = [
            self.steps.move(event.step, first_attempt=first),
            self.samples.move(event.samples, first_attempt=first),
            self.tokens.move(event.tokens, first_attempt=first),
        ]
        return any(moves)

    def _move(self, position: float, t: float) -> None:
        if self.position is None or position < self.position - WHOLE:
            self._stand_at(position, t, position - self.base)
        else:
            self._advance(position, t)

    def _advance(self, position: float, t: float) -> None:
        before = self.position or 0.0
        self.executed += max(0.0, position - before)
        self.position = max(position, before)
        self.high_water = max(self.high_water, self.position)
        if position > before + WHOLE:
            self.whole_t = t if abs(position - round(position)) <= WHOLE else None

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
            return  # reported twice
        self._move(number, t)
        self._moved(t)
        self._finish(number, t)

    def _finish(self, number: float, t: float) -> None:
        """The epoch that runs ends at ``t``, with ``number`` of them finished; a part of one does not count."""
        # What is reported late, by another process of the run, may be about the time before.
        t = max(t, self.begin_t or t, self.finished[-1].end if self.finished else t)
        count = round(number - self.begin_position)
        if self.begin_t is not None and count >= 1 and abs(number - self.begin_position - count) <= WHOLE:
            self.finished.append(Epoch(number, self.begin_t, t, count, self.counted))
            self.count, self.seconds_sum = self.count + count, self.seconds_sum + (t - self.begin_t)
            if self.counted:
                self.count_here, self.seconds_here = self.count_here + count, self.seconds_here + (t - self.begin_t)
        self.begin_t, self.begin_position, self.whole_t = t, number, None

    def work(self, start: float, end: float, *, busy: bool) -> None:
        """Its devices did something, or nothing, from ``start`` to ``end``.

        A run of which only the start was received has begun to work when its devices have been busy for a while.
        """
        if self.begun or not busy:
            self.busy_since = None
            return
        self.busy_since = start if self.busy_since is None else self.busy_since
        self.at_work = end - self.busy_since >= BUSY_SECONDS

    @property
    def begun(self) -> bool:
        """Whether start-up is over: a step was reported, or that it trains, or its devices have worked for a while.

        Of an attempt after others it must be known where it began: its work may be work done again.
        """
        return self.stepped or (self.at_work and (self.position is not None or not self.high_water))

    @property
    def before_this_training(self) -> float:
        """Epochs of the training runs under this id before the one that runs: its own positions count on from there."""
        return self.high_water if self.anew else self.base

    def planned(self, epochs: float | None) -> float | None:
        """The position planned, where ``epochs`` are of this training run; None until it is known where it began."""
        return None if epochs is None or self.anew else self.base + epochs

    @property
    def reached(self) -> float | None:
        """Position, also while an attempt has not yet reported its own; None if none ever was."""
        return self.position if self.position is not None else self.before

    @property
    def done_of_it(self) -> float | None:
        """How much of the epoch that runs is done; None while none runs, or the position is not known."""
        return None if self.begin_t is None or self.position is None else max(0.0, self.position - self.begin_position)

    def drop_oldest(self, count: int) -> list[Epoch]:
        """Take the ``count`` oldest finished epochs out; they stay in the sums."""
        dropped, self.finished = self.finished[:count], self.finished[count:]
        return dropped

    def stalls_at(self, stall_after: float) -> float:
        """The instant from which the run counts as stalled if nothing more is received; infinity where not known.

        A run that reports nothing but finished epochs is not called stalled before two of them are known: its
        first epoch may well take an hour.
        """
        if not self.stepped or self.phase in NEVER_STALLED:
            return math.inf
        if not self.intervals and not self.reports_steps:
            return math.inf
        if self.usual_interval is None:
            self.usual_interval = _median(self.intervals) if self.intervals else 0.0
        return self.moved_t + max(STALL_FACTOR * self.usual_interval, stall_after)

    def state_at(self, t: float, stall_after: float) -> State:
        """Where a second at ``t`` goes; `State.USEFUL` means "progressing" (utilisation splits it)."""
        if not self.begun:
            return State.STARTUP
        reached = max(self.high_water, self.base + self.elsewhere if self.elsewhere else 0.0)
        if not self.anew and self.position is not None and self.position < reached - WHOLE:
            return State.REPLAY
        if t >= self.moved_t + stall_after and t >= self.stalls_at(stall_after):
            return State.STALLED
        return State.USEFUL

    def state(self, *, finished: bool = True) -> dict[str, Any]:
        """As JSON-able data, optionally without the ``finished`` epochs."""
        epochs = self.finished if finished else []
        return {
            **{name: getattr(self, name) for name in _SAVED},
            "phase": self.phase.value,
            "finished": [[e.number, e.start, e.end, e.count, *([] if e.counted else [False])] for e in epochs],
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


_APART = {"phase", "finished", "steps", "samples", "tokens", "intervals", "usual_interval"}
_SAVED = tuple(one.name for one in fields(Epochs) if one.name not in _APART)


def _median(values: Collection[float]) -> float:
    """Of at least one; `statistics` would bring decimals and fractions into every agent's memory."""
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
