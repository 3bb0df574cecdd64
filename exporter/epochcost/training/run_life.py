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
from contextlib import nullcontext
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

from epochcost.training import notebook
from epochcost.training.calling_context import CallingContext
from epochcost.training.contexts import CheckpointContext
from epochcost.training.cost import CostFile
from epochcost.training.end_line import summarize_when_counted
from epochcost.training.event_emitter import EventEmitter
from epochcost.training.exit_hooks import ENDINGS
from epochcost.training.job import Job
from epochcost.training.loops import LeftBody
from epochcost.training.notice import NoticeFile
from epochcost.training.position import Position
from epochcost.training.run_metadata import RunMetadata
from epochcost.training.run_name import RunName
from epochcost.training.summary import RunTotals, log_summary, summary
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


class AgentFiles(NamedTuple):
    """What this machine's agent writes for the run: its costs, and preemption notices."""

    costs: CostFile
    notices: NoticeFile


class RunLife:
    """What every run does, however it is reported: see `epochcost.training.run.Run`."""

    def __init__(
        self,
        emitter: EventEmitter,
        agent: AgentFiles,
        position: Position,
        *,
        loop_epochs: Any = None,  # noqa: ANN401 - as the user passed it
        name: RunName | None = None,
    ) -> None:
        self._facts = emitter.facts
        self._emitter = emitter
        self._reported = emitter.reported
        self._costs, self._notices = agent
        self._position = position
        self._initial_position, self._initial_epochs = copy.copy(position), emitter.facts.epochs
        self._loop_epochs = loop_epochs
        self._name = name
        self._lock = threading.RLock()  # reentrant: a signal handler may end the run in the middle of a call
        self._state = "new"
        self._phase = "startup"
        self._line_due_t = 0.0
        self._preempt_signalled = False
        self._stop_policy = ""
        self._pending_checkpoint: CheckpointContext | None = None
        self._started_t = 0.0
        self._reported_t = 0.0
        self._has_finished = False
        self._with_depth = 0
        self._context = CallingContext()
        self._position_set = False
        self._has_epoch_loop = False
        self._counted_loop: object = None
        self._left_body: LeftBody | None = None
        self._inner_loop_end: tuple[int, int] | None = None
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
            if self._has_finished and not self._facts.named and self._name is not None:
                self._rename(self._name.next())
                self._position, self._position_set = copy.copy(self._initial_position), False
                self._facts = dataclasses.replace(self._facts, epochs=self._initial_epochs)
                self.describe()
        claim = nullcontext if self._facts.named or self._name is None else self._name.claim
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
            self._state, self._phase, self._line_due_t = "open", "startup", 0.0
            self._preempt_signalled, self._stop_policy = False, ""
            self._context = CallingContext()
            self._has_epoch_loop, self._counted_loop, self.parked = False, None, False
            self._costs.ended = None
            self._started_t = self._reported_t = _monotonic()
            self._emitter.begin(self._position)
            if self._emitter.silent:
                self._line_due_t = math.inf
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
                self._settle_left_body()
            self._left_body = None
            if self._position.ends_nominal_epoch:
                self._emit("epoch_end")
            if status not in STATUSES:
                warn_once("argument status", f"status={shown(status)} is not one of {', '.join(STATUSES)}")
                self._emit("end")
            else:
                stopped = self._stop_policy if status != "failed" and not self.is_done else ""
                status = "preempted" if (self._preempt_signalled and not self.is_done) or stopped else status
                by = f',"stopped":{json.dumps(stopped)}' if stopped else ""
                self._emit("end", f',"status":"{status}"{by}')
            self._state, self._line_due_t = "ended", math.inf
            self._has_finished = status not in ("failed", "preempted")
            self._costs.ended = _monotonic()
            self._emitter.close()
        finally:
            self._lock.release()
        ENDINGS.closed(self)
        if status != "preempted":  # reported from a signal handler, where logging may be in the middle of a line
            self._announce()

    def preempt(self) -> None:
        """Note a SIGTERM that the program handles itself: the run ends as preempted unless it is done."""
        self._preempt_signalled = True

    def mute(self) -> None:
        """In a forked child: never write, whatever state the parent's threads left the lock in."""
        self._lock = threading.RLock()
        self._line_due_t, self._state = math.inf, "muted"
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
        return _monotonic() >= self._line_due_t

    @property
    def quiet_seconds(self) -> float:
        """Seconds since anything was last reported."""
        return _monotonic() - self._reported_t

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
        if self._left_body is not None:
            with self._lock:
                self._settle_left_body()
        return self._position.epoch

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
            self._position.batch_size = self._facts.batch_size
            self._position.samples_per_epoch = self._facts.samples_per_epoch
            self._position.stepwise = self._facts.unit == "step"

    @guarded
    def begin_epoch(self, number: int, steps: int | None = None, done: int = 0) -> None:
        """Begin the epoch after ``number`` finished ones; it has ``steps`` steps, ``done`` of them done before."""
        with self._lock:
            self._settle_left_body()
            self._position.begin_epoch(number)
            self._position.begin_steps(done, None)
            self._position.steps = steps
            if self._phase != "train":
                self.enter_phase("train")

    def reached(self, part: float) -> None:
        """Set how much of the current epoch is done, 0 to 1; written with the next step or boundary."""
        self._position.part = part

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
            self._pending_checkpoint = None
            self._emit("checkpoint", head=head)

    @guarded
    def _plan_checkpoint(self, checkpoint: CheckpointContext) -> None:
        # Whether a `with` follows is known at the next call of anything: until then the event waits, with its time.
        with self._lock:
            self._flush_checkpoint()
            checkpoint.head = self._emitter.head("checkpoint")
            self._pending_checkpoint = checkpoint
            if self._line_due_t < math.inf:
                self._line_due_t = 0.0

    def take_saving(self, saving: CheckpointContext) -> None:
        """Note that ``saving`` is used as a ``with``."""
        if self._pending_checkpoint is saving:
            self._pending_checkpoint = None

    def _flush_checkpoint(self) -> None:
        checkpoint, self._pending_checkpoint = self._pending_checkpoint, None
        if checkpoint is not None:
            self.saved(checkpoint.head)

    def _rename(self, run: str, *, named: bool = False) -> None:
        self._facts = dataclasses.replace(self._facts, run=run, named=named)
        self._emitter.describe(self._facts)
        self._costs.run = run

    def _unpark(self) -> None:
        if self.parked:
            self.reopen()

    @property
    def _steps(self) -> tuple[int, int]:
        return self._position.step_base + self._position.epoch_steps, self._position.batches

    def _settle_left_body(self) -> None:
        """The program continues after a loop that it left, so no exception ended the run."""
        body, self._left_body = self._left_body, None
        if body is None:
            return
        position = self._position
        if body.accumulate == 1:
            position.epoch_steps += 1
        elif body.accumulate:
            position.add_batch()
        if body.number is not None and (position.epoch or 0.0) >= body.number - 1e-9:
            position.finish_epoch(body.number)
            self._emit("epoch_end", head=body.head)

    def _progress(self) -> None:
        self._reported_t = _monotonic()
        self._line_due_t = self._reported_t + PROGRESS_INTERVAL_SECONDS
        if self._left_body is not None:
            self._settle_left_body()
        position = self._position
        if position.base is None:
            position.base = 0.0
        if self._state != "open" or self._pending_checkpoint is not None or self._phase == "startup":
            self._first_progress()
        elif position.nominal is not None and position.ends_nominal_epoch:
            self._emit("epoch_end")
        elif not self._emitter.progress(position, self._phase):
            self._line_due_t = math.inf

    def _first_progress(self) -> None:
        if self._state == "open" and self._phase == "startup":
            self.enter_phase("train")  # a boundary, with the position in it
        else:
            self._emit("progress")

    def _emit(self, kind: str, extra: str = "", *, head: str = "") -> None:
        if self._state == "new":
            self.start()
        self._settle_left_body()
        if self._pending_checkpoint is not None:
            self._flush_checkpoint()
        if self._state == "open":
            self._reported_t = _monotonic()
            ENDINGS.rearm()
            self._emitter.emit(kind, self._position, self._phase, extra, head=head)
            if self._emitter.silent:
                self._line_due_t = math.inf

    @guarded
    def _announce(self) -> None:
        if not self._emitter.has_emitted or not getattr(self.announce, "wanted", _always)():
            return
        announce, costs = self.announce, self._costs
        seconds = _monotonic() - self._started_t
        totals = RunTotals(self.id, self._position.epoch, self._steps[0], seconds, self._facts.job.nodes)

        def announce_summary() -> None:
            try:
                announce(summary(totals, costs))
            except Exception as err:  # noqa: BLE001 - guarded, in whatever thread
                self._fault(err)

        summarize_when_counted(costs, time.time(), announce_summary)

    def _fault(self, err: Exception) -> None:
        warn_once("fault", f"part of this run is not reported: {type(err).__name__}: {err}; training continues")


def _always() -> bool:
    return True
