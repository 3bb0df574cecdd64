"""The life of one training run: its start, phases, lines and end."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import math
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Concatenate, ParamSpec, TypeVar

from epochcost.training import notebook
from epochcost.training.calling_context import CallingContext
from epochcost.training.contexts import CheckpointContext
from epochcost.training.cost import CostFile
from epochcost.training.end_line import say_when_counted
from epochcost.training.event_emitter import EventEmitter
from epochcost.training.exit_hooks import ENDINGS
from epochcost.training.job import Job
from epochcost.training.loops import LeftBody
from epochcost.training.notice import NoticeFile
from epochcost.training.position import Position
from epochcost.training.run_metadata import RunMetadata
from epochcost.training.summary import log_summary, summary
from epochcost.training.warning import shown, warn_once

PROGRESS_INTERVAL_SECONDS = 1.0
PHASES = ("startup", "train", "data", "eval", "checkpoint", "restore")
STATUSES = ("finished", "failed", "preempted")

_JOB = {field.name for field in dataclasses.fields(Job)}

P = ParamSpec("P")
S = TypeVar("S", bound="RunLife")
_monotonic = time.monotonic


def guarded(method: Callable[Concatenate[S, P], None]) -> Callable[Concatenate[S, P], None]:
    """Any failure in ``method`` logs one warning and never reaches the training."""

    @functools.wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as err:  # noqa: BLE001 - this is the guard
            self._fault(err)

    return call


class RunLife:
    """What every run does, whatever it is told by: see `epochcost.training.run.Run`."""

    def __init__(  # noqa: PLR0913 - what a run is made of
        self,
        facts: RunMetadata,
        *,
        emitter: EventEmitter,
        costs: CostFile,
        notices: NoticeFile,
        position: Position,
        loop_epochs: Any = None,  # noqa: ANN401 - as the user gave it
        next_name: Callable[[], str] | None = None,
        claim: Callable[[str], AbstractContextManager[str]] = nullcontext,
    ) -> None:
        self._facts = facts
        self._emitter = emitter
        self._reported = emitter.reported
        self._costs = costs
        self._notices = notices
        self._at = position
        self._fresh, self._planned = copy.copy(position), facts.epochs
        self._loop_epochs = loop_epochs
        self._next_name = next_name
        self._claim = claim
        self._lock = threading.RLock()  # reentrant: a signal handler may end the run in the middle of a call
        self._state = "new"
        self._phase = "startup"
        self._due = 0.0
        self._told_to_go = False
        self._stopped = ""
        self._saving: CheckpointContext | None = None
        self._started = 0.0
        self._heard = 0.0
        self._finished = False
        self._entered = 0
        self._context = CallingContext()
        self._placed = False
        self._looped = False
        self._counting: object = None
        self._left: LeftBody | None = None
        self._beside: tuple[int, int] | None = None
        self.announce: Callable[[str], None] = log_summary
        self.fit: object = None
        self.plain = False
        self.cell = 0
        self.parked = False

    # Life

    @guarded
    def start(self) -> None:
        """Report the start. If called again after the run has ended, it starts a new attempt, in a new file.

        If the run had finished, this is new work: a separate run from 0, unless the user gave the id.
        """
        with self._lock:
            if self._state == "open":
                return
            if self._finished and not self._facts.named and self._next_name is not None:
                self._rename(self._next_name())
                self._at, self._placed = copy.copy(self._fresh), False
                self._facts = dataclasses.replace(self._facts, epochs=self._planned)
                self.describe()
        claim = nullcontext if self._facts.named else self._claim
        with claim(self._facts.run) as run:
            if run != self._facts.run:
                self._rename(run)
            self.reopen()

    @guarded
    def reopen(self) -> None:
        """Like `start`, but continues the same run at its current position."""
        with self._lock:
            if self._state in ("open", "muted"):
                return
            self._state, self._phase, self._due = "open", "startup", 0.0
            self._told_to_go, self._stopped = False, ""
            self._context = CallingContext()
            self._looped, self._counting, self.parked = False, None, False
            self._costs.ended = None
            self._started = self._heard = _monotonic()
            self._emitter.begin(self._at)
            if self._emitter.silent:
                self._due = math.inf
        ENDINGS.opened(self, reports=not self._emitter.silent)
        if "IPython" in sys.modules:
            notebook.opened(self)

    @guarded
    def park(self) -> None:
        """End the run until it is used again."""
        self.end()
        self.parked = self._state == "ended"

    @guarded
    def end(self, status: str = "finished") -> None:
        """Report the end: ``finished``, ``failed`` or ``preempted``. Only the first call counts."""
        # Never wait for long: a signal handler may come here while another thread is writing.
        if not self._lock.acquire(timeout=2.0):
            return
        try:
            if self._state != "open":
                return
            if status == "finished":
                self._settle_left()
            self._left = None
            if self._at.ends_nominal_epoch:
                self._emit("epoch_end")
            if status not in STATUSES:
                warn_once("argument status", f"status={shown(status)} is not one of {', '.join(STATUSES)}")
                self._emit("end")
            else:
                stopped = self._stopped if status != "failed" and not self.is_done else ""
                status = "preempted" if (self._told_to_go and not self.is_done) or stopped else status
                by = f',"stopped":{json.dumps(stopped)}' if stopped else ""
                self._emit("end", f',"status":"{status}"{by}')
            self._state, self._due = "ended", math.inf
            self._finished = status not in ("failed", "preempted")
            self._costs.ended = _monotonic()
            self._emitter.close()
        finally:
            self._lock.release()
        ENDINGS.closed(self)
        if status != "preempted":  # which a signal handler says, where logging may be in the middle of a line
            self._announce()

    def preempt(self) -> None:
        """Note a SIGTERM that the program handles itself: the run ends as preempted unless it is done."""
        self._told_to_go = True

    def mute(self) -> None:
        """In a forked child: never write, whatever state the parent's threads left the lock in."""
        self._lock = threading.RLock()
        self._due, self._state = math.inf, "muted"
        self._emitter.mute()

    @property
    def is_open(self) -> bool:
        """Whether the run has started and not ended."""
        return self._state == "open"

    @property
    def is_done(self) -> bool:
        """Whether all planned epochs are done; False if no number of epochs is planned."""
        return self._facts.epochs is not None and (self.epoch or 0.0) >= self._facts.epochs

    @property
    def opened_here(self) -> bool:
        """Whether the run was opened in this thread and in the current task."""
        return self._context.is_here

    @property
    def line_is_due(self) -> bool:
        """Whether the next step writes a line."""
        return _monotonic() >= self._due

    @property
    def quiet_seconds(self) -> float:
        """Seconds since anything was last reported."""
        return _monotonic() - self._heard

    @property
    def id(self) -> str:
        """The run's id, as shown on dashboards."""
        return self._facts.run

    @property
    def facts(self) -> RunMetadata:
        """The run's metadata, as known so far."""
        return self._facts

    @property
    def epoch(self) -> float | None:
        """The position in epochs; None if not known."""
        if self._left is not None:
            with self._lock:
                self._settle_left()
        return self._at.epoch

    # For frameworks that count by themselves

    @guarded
    def describe(self, /, **facts: Any) -> None:  # noqa: ANN401 - a field of RunMetadata or Job each
        """Add facts found after the run was created: fields of `RunMetadata` and `Job`; None changes nothing."""
        known = {name: value for name, value in facts.items() if value is not None}
        with self._lock:
            of_job = {name: known.pop(name) for name in tuple(known) if name in _JOB}
            job = dataclasses.replace(self._facts.job, **of_job)
            self._facts = dataclasses.replace(self._facts, job=job, **known)
            self._emitter.describe(self._facts)
            self._at.batch_size = self._facts.batch_size
            self._at.samples_per_epoch = self._facts.samples_per_epoch
            self._at.stepwise = self._facts.unit == "step"

    @guarded
    def begin_epoch(self, number: int, steps: int | None = None, done: int = 0) -> None:
        """Begin the epoch after ``number`` finished ones; it has ``steps`` steps, ``done`` of them done before."""
        with self._lock:
            self._settle_left()
            self._at.begin_epoch(number)
            self._at.begin_steps(done, None)
            self._at.steps = steps
            if self._phase != "train":
                self.enter_phase("train")

    def reached(self, part: float) -> None:
        """Set how much of the current epoch is done, 0 to 1; written with the next step or boundary."""
        self._at.part = part

    # Inside

    @guarded
    def enter_phase(self, name: str) -> None:
        """Report phase ``name``."""
        if name not in PHASES:
            warn_once("argument phase", f"phase {shown(name)} is not one of {', '.join(PHASES)}; it is not reported")
            return
        with self._lock:
            self._phase = name
            self._emit("phase")

    @guarded
    def saved(self, head: str = "") -> None:
        """Report that a checkpoint of the current position is on disk; ``head`` holds since when."""
        with self._lock:
            self._saving = None
            self._emit("checkpoint", head=head)

    @guarded
    def _plan_saving(self, saving: CheckpointContext) -> None:
        # Whether a `with` follows is known at the next call of anything: until then the event waits, with its time.
        with self._lock:
            self._flush_saving()
            saving.head = self._emitter.head("checkpoint")
            self._saving = saving
            if self._due < math.inf:
                self._due = 0.0

    def take_saving(self, saving: CheckpointContext) -> None:
        """Note that ``saving`` is used as a ``with``."""
        if self._saving is saving:
            self._saving = None

    def _flush_saving(self) -> None:
        saving, self._saving = self._saving, None
        if saving is not None:
            self.saved(saving.head)

    def _rename(self, run: str, *, named: bool = False) -> None:
        self._facts = dataclasses.replace(self._facts, run=run, named=named)
        self._emitter.describe(self._facts)
        self._costs.run = run

    def _unpark(self) -> None:
        if self.parked:
            self.reopen()

    @property
    def _steps(self) -> tuple[int, int]:
        return self._at.step_base + self._at.epoch_steps, self._at.batches

    def _settle_left(self) -> None:
        """The program continues after a loop that it left, so no exception ended the run."""
        left, self._left = self._left, None
        if left is None:
            return
        at = self._at
        if left.accumulate == 1:
            at.epoch_steps += 1
        elif left.accumulate:
            at.add_batch()
        if left.number is not None and (at.epoch or 0.0) >= left.number - 1e-9:
            at.finish_epoch(left.number)
            self._emit("epoch_end", head=left.head)

    def _progress(self) -> None:
        self._heard = _monotonic()
        self._due = self._heard + PROGRESS_INTERVAL_SECONDS
        if self._left is not None:
            self._settle_left()
        at = self._at
        if at.base is None:
            at.base = 0.0
        if self._state != "open" or self._saving is not None or self._phase == "startup":
            self._first_progress()
        elif at.nominal is not None and at.ends_nominal_epoch:
            self._emit("epoch_end")
        elif not self._emitter.progress(at, self._phase):
            self._due = math.inf

    def _first_progress(self) -> None:
        if self._state == "open" and self._phase == "startup":
            self.enter_phase("train")  # a boundary, with the position in it
        else:
            self._emit("progress")

    def _emit(self, kind: str, extra: str = "", *, head: str = "") -> None:
        if self._state == "new":
            self.start()
        self._settle_left()
        if self._saving is not None:
            self._flush_saving()
        if self._state == "open":
            self._heard = _monotonic()
            ENDINGS.rearm()
            self._emitter.emit(kind, self._at, self._phase, extra, head=head)
            if self._emitter.silent:
                self._due = math.inf

    @guarded
    def _announce(self) -> None:
        if not self._emitter.has_emitted or not getattr(self.announce, "wanted", _always)():
            return
        run, announce, costs, at = self.id, self.announce, self._costs, self._at
        epoch, steps, nodes = at.epoch, self._steps[0], self._facts.job.nodes
        seconds = _monotonic() - self._started

        def say() -> None:
            try:
                announce(summary(run, epoch, steps, seconds, costs, nodes))
            except Exception as err:  # noqa: BLE001 - guarded, in whatever thread
                self._fault(err)

        say_when_counted(costs, time.time(), say)

    def _fault(self, err: Exception) -> None:
        warn_once("fault", f"part of this run is not reported: {type(err).__name__}: {err}; training continues")


def _always() -> bool:
    return True
