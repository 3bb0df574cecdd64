"""One training run, as its own process tells it."""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
import math
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

from epochcost.training import notebook
from epochcost.training.calling_context import CallingContext
from epochcost.training.contexts import CheckpointContext, PhaseContext
from epochcost.training.cost import CostFile, Part
from epochcost.training.end_line import say_when_counted
from epochcost.training.event_emitter import EventEmitter
from epochcost.training.exit_hooks import ENDINGS
from epochcost.training.job import Job, safe
from epochcost.training.loops import LeftBody, Loop, known_length
from epochcost.training.memory import MemoryPeak
from epochcost.training.notice import NoticeFile, PreemptionNotice
from epochcost.training.outcome import status_of
from epochcost.training.position import Position
from epochcost.training.run_metadata import RunMetadata
from epochcost.training.summary import log_summary, money, summary
from epochcost.training.validation import amount, loop_end, loop_start, text, whole
from epochcost.training.warning import shown, warn_once

PROGRESS_INTERVAL_SECONDS = 1.0
PHASES = ("startup", "train", "data", "eval", "checkpoint", "restore")
STATUSES = ("finished", "failed", "preempted")

_JOB = {field.name for field in dataclasses.fields(Job)}

P = ParamSpec("P")
T = TypeVar("T")
_monotonic = time.monotonic


def guarded(method: Callable[Concatenate[Run, P], None]) -> Callable[Concatenate[Run, P], None]:
    """Whatever goes wrong in ``method`` is said once and never reaches the training."""

    @functools.wraps(method)
    def call(self: Run, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as err:  # noqa: BLE001 - this is the guard
            self._fault(err)

    return call


class Run:
    """One training run. Made by ``epochcost.run()``; a context manager, or ``start()`` and ``end()``.

    Positions are absolute and counted in finished epochs: 3.25 is a quarter into the fourth. Every method may be called
    from any thread, returns at once and raises nothing, whatever happens to the disk, the directory or the agent; only
    `epochs` raises what ``range`` would, for a plan that is none.

    Attributes:
        announce: where the one line at the end of the run goes; its ``wanted()``, where it has one, says if at all.
        fit: the callback's fit that opened this run; None where the program itself did.
        plain: ``epochcost.start()`` opened it, for the plain functions.
        cell: of a notebook, in which it began.
        parked: a notebook ended it, until it is used again.
    """

    def __init__(  # noqa: PLR0913 - what a run is made of
        self,
        facts: RunMetadata,
        *,
        narration: EventEmitter,
        costs: CostFile,
        notices: NoticeFile,
        position: Position,
        loop_epochs: Any = None,  # noqa: ANN401 - as the user gave it
        next_name: Callable[[], str] | None = None,
    ) -> None:
        self._facts = facts
        self._narration = narration
        self._costs = costs
        self._notices = notices
        self._at = position
        self._fresh, self._planned = copy.copy(position), facts.epochs
        self._loop_epochs = loop_epochs
        self._next_name = next_name
        self._lock = threading.RLock()  # reentrant: a signal handler may end the run in the middle of a call
        self._state = "new"
        self._phase = "startup"
        self._due = 0.0
        self._told_to_go = False
        self._saving: CheckpointContext | None = None
        self._started = 0.0
        self._heard = 0.0
        self._finished = False
        self._entered = 0
        self._context = CallingContext()
        self._placed = False
        self._looped = False
        self._counting: object = None
        self._left = LeftBody()
        self._beside: tuple[int, int] | None = None
        self.announce: Callable[[str], None] = log_summary
        self.fit: object = None
        self.plain = False
        self.cell = 0
        self.parked = False

    # Life

    @guarded
    def start(self) -> None:
        """Report the start. Called again after the run has ended, it begins a new attempt, in a new file.

        After a run that finished that is new work: a run of its own, from 0, unless the user gave the id.
        """
        with self._lock:
            if self._state == "open":
                return
            if self._finished and not self._facts.named and self._next_name is not None:
                self._rename(self._next_name())
                self._at, self._placed = copy.copy(self._fresh), False
                self._facts = dataclasses.replace(self._facts, epochs=self._planned)
                self.describe()
        self.reopen()

    @guarded
    def reopen(self) -> None:
        """As `start`, but going on as the same run, from where it stands."""
        with self._lock:
            if self._state in ("open", "muted"):
                return
            self._state, self._phase, self._due = "open", "startup", 0.0
            self._told_to_go = False
            self._context = CallingContext()
            self._looped, self._counting, self.parked = False, None, False
            self._started = self._heard = _monotonic()
            self._narration.begin(self._at)
            if self._narration.silent:
                self._due = math.inf
        ENDINGS.opened(self, reports=not self._narration.silent)
        if "IPython" in sys.modules:
            notebook.opened(self)

    @guarded
    def park(self) -> None:
        """End the run, until it is used again."""
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
            self._left.forget()
            if self._at.ends_nominal_epoch:
                self._emit("epoch_end")
            if status not in STATUSES:
                warn_once("argument status", f"status={shown(status)} is none of {', '.join(STATUSES)}")
                self._emit("end")
            else:
                status = "preempted" if self._told_to_go and not self.is_done else status
                self._emit("end", f',"status":"{status}"')
            self._state, self._due = "ended", math.inf
            self._finished = status not in ("failed", "preempted")
            self._narration.close()
        finally:
            self._lock.release()
        ENDINGS.closed(self)
        if status != "preempted":  # which a signal handler says, where logging may be in the middle of a line
            self._announce()

    def _repr_html_(self) -> str:
        """For notebooks: where the run stands, and what it costs."""
        epoch, planned, steps = self.epoch, self._facts.epochs, self._steps[0]
        of = "" if planned is None else f" of {planned:g}"
        part = self.part
        return notebook.table(
            {
                "run": self.id,
                "epoch": "not known" if epoch is None else f"{round(epoch, 2):g}{of}",
                **({"steps": f"{steps:,}"} if steps else {}),
                "cost so far": notebook.dollars(self.cost_usd) + (f" ({part})" if part else ""),
                "cost of an epoch": notebook.dollars(self.cost_per_epoch_usd),
                "projected cost": notebook.dollars(self.projected_cost_usd),
            }
        )

    def preempt(self) -> None:
        """SIGTERM came, and a handler of the program's own deals with it: it ends as preempted unless it is done."""
        self._told_to_go = True

    def mute(self) -> None:
        """In a forked child: never write, whatever state the parent's threads left the lock in."""
        self._lock = threading.RLock()
        self._due, self._state = math.inf, "muted"
        self._narration.mute()

    def __enter__(self) -> Run:  # noqa: PYI034 - Self needs Python 3.11
        self._entered += 1
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered -= 1
        if self._entered <= 0:  # else an outer `with` of the same run goes on
            self._entered = 0
            self.end(status_of(error))

    @property
    def is_open(self) -> bool:
        """Whether the run has begun and not ended."""
        return self._state == "open"

    @property
    def is_done(self) -> bool:
        """Whether all planned epochs are done; False without a plan."""
        return self._facts.epochs is not None and (self.epoch or 0.0) >= self._facts.epochs

    @property
    def opened_here(self) -> bool:
        """Whether the run was opened in this thread, and in no other task of it."""
        return self._context.is_here

    @property
    def quiet_seconds(self) -> float:
        """Since anything was last reported."""
        return _monotonic() - self._heard

    def __repr__(self) -> str:
        at, usd, part = self._at.epoch, self.cost_usd, self.part
        known = ["" if at is None else f"epoch {round(at, 2):g}", "" if usd is None else money(usd), str(part or "")]
        return f"<epochcost run {': '.join(filter(None, (self.id, ', '.join(filter(None, known)))))}>"

    def __reduce__(self) -> tuple[Callable[..., Run], tuple[Any, ...]]:
        # A loader's workers may get the run along with everything else: they get one that never writes.
        return silent_run, (self._facts, self._loop_epochs)

    # Loops

    def epochs(self, start: int | None = None) -> Loop[int]:
        """The numbers of the epochs to do, from ``start`` (else where `resume` said, else 0) to the planned number.

        Without a planned number there is no last one. An epoch counts as finished when its body has run through. A
        second loop over the epochs of the same run begins at 0 again, for the program; the run counts on.

        Raises:
            TypeError, ValueError: for a plan or a ``start`` that is no number, as ``range`` does.
        """
        last = loop_end(self._loop_epochs)
        first = self._loop_first() if start is None else loop_start(start)
        numbers: Iterable[int] = itertools.count(first) if last is None else range(first, last)

        def iterate() -> Iterator[int]:
            before = self._enter_loop(first, last, start is not None)
            number = first
            try:
                for number in numbers:
                    self._begin_epoch(before + number)
                    yield number
                    self.epoch_end(before + number + 1)
            except GeneratorExit:
                self._leave_epoch(before + number + 1)
                raise

        return Loop(iterate, lambda: len(numbers))  # type: ignore[arg-type]  # count has none, and says so

    def batches(self, loader: Iterable[T], start: int = 0, accumulate: int = 1) -> Loop[T]:
        """What ``loader`` yields, each counted as one step when its body has run; ``start`` were done before.

        Where an optimiser step takes several batches (gradient accumulation), say how many: ``accumulate=4``. A loop
        within another, or beside it (``zip``), counts nothing: the outermost, or first, does. In phase ``eval``
        nothing is counted.
        """
        several = whole("accumulate", accumulate, least=1) or 1
        count = self.step if several == 1 else self._count_batch

        def iterate() -> Iterator[T]:
            mine = object()
            counted = self._begin_batches(mine, loader, start, several)
            try:
                for batch in loader:
                    yield batch
                    if counted:
                        count()
            except GeneratorExit:
                if counted:
                    self._leave_batch(several)
                raise
            finally:
                self._end_batches(mine)

        return Loop(iterate, lambda: len(loader))  # type: ignore[arg-type]  # a TypeError of its own, as it should be

    def step(self, n: int = 1, samples: int | None = None, tokens: int | None = None) -> None:
        """``n`` optimiser steps were done, on so many samples or tokens (all together, over all ranks)."""
        try:
            with self._lock:
                at = self._at
                at.epoch_steps += n if n == 1 else whole("n", n) or 0
                if samples is not None:
                    at.add_samples(whole("samples", samples) or 0)
                if tokens is not None:
                    at.add_tokens(whole("tokens", tokens) or 0)
                if _monotonic() < self._due:
                    return
                self._progress()
        except Exception as err:  # noqa: BLE001 - guarded in place: this is the hot path
            self._fault(err)

    # Plain reports

    @guarded
    def report(
        self,
        epoch: float | None = None,
        step: int | None = None,
        samples: int | None = None,
        tokens: int | None = None,
    ) -> None:
        """Where the training stands, in absolute figures; for loops that count by themselves."""
        with self._lock:
            self._settle_left()
            self._placed = self._placed or (epoch is not None and not self._looped)
            self._at.move(
                amount("epoch", epoch), whole("step", step), whole("samples", samples), whole("tokens", tokens)
            )
            if _monotonic() >= self._due:
                self._progress()

    @guarded
    def epoch_end(self, epoch: int | None = None) -> None:
        """An epoch is finished: number ``epoch`` (1 is the first), or simply the next."""
        with self._lock:
            self._left.forget_epoch()
            self._settle_left()
            self._at.finish_epoch(whole("epoch", epoch))
            self._emit("epoch_end")

    @guarded
    def resume(
        self,
        epoch: float | None = None,
        step: int | None = None,
        samples: int | None = None,
        tokens: int | None = None,
    ) -> None:
        """Training goes on from a checkpoint at this position; what was done beyond it has to be done again."""
        with self._lock:
            self._settle_left()
            self._placed = self._placed or epoch is not None
            steps, seen = whole("step", step), whole("samples", samples)
            self._at.move(amount("epoch", epoch), steps, seen, whole("tokens", tokens), counted=False)
            # Elsewhere 0 steps would be a claim of a loop that counts none; here they are what the program said.
            self._emit("resume", ',"step":0' if steps == 0 else "")

    def phase(self, name: str) -> PhaseContext:
        """From now on: ``train``, ``eval``, ``checkpoint``, ``restore`` or ``startup``.

        Called plainly it holds until the next call; as a context manager it goes back to the phase before.
        """
        before = self._phase
        self.enter_phase(name)
        return PhaseContext(self, before)

    def checkpoint(self) -> CheckpointContext:
        """A checkpoint of this position: saved by now (called plainly), or being saved in the body of a ``with``.

        A body that raises has saved nothing, and nothing is reported but the time it took.
        """
        saving = CheckpointContext(self, self._phase)
        self._plan_saving(saving)
        return saving

    # For frameworks that count by themselves

    @guarded
    def describe(self, /, **facts: Any) -> None:  # noqa: ANN401 - a field of RunMetadata or Job each
        """Facts learnt after the run was made: fields of `RunMetadata` and of `Job`; None changes nothing."""
        known = {name: value for name, value in facts.items() if value is not None}
        with self._lock:
            of_job = {name: known.pop(name) for name in tuple(known) if name in _JOB}
            job = dataclasses.replace(self._facts.job, **of_job)
            self._facts = dataclasses.replace(self._facts, job=job, **known)
            self._narration.describe(self._facts)
            self._at.batch_size = self._facts.batch_size
            self._at.samples_per_epoch = self._facts.samples_per_epoch
            self._at.stepwise = self._facts.unit == "step"

    @guarded
    def begin_epoch(self, number: int, steps: int | None = None, done: int = 0) -> None:
        """The epoch after ``number`` finished ones begins: of ``steps`` steps, ``done`` of them before."""
        with self._lock:
            self._settle_left()
            self._at.begin_epoch(number)
            self._at.begin_steps(done, None)
            self._at.steps = steps
            if self._phase != "train":
                self.enter_phase("train")

    def reached(self, part: float) -> None:
        """The present epoch is done to this part, 0 to 1; written with the next step or boundary."""
        self._at.part = part

    # Checkpoints

    def state_dict(self) -> dict[str, Any]:
        """The run's id and position, for the program's own checkpoint; plain numbers and text."""
        with self._lock:
            self._settle_left()
            at = self._at
            at.derive_samples()
            step = at.step_base + at.epoch_steps
            state = {"epoch": at.epoch, "step": step or None, "samples": at.samples, "tokens": at.tokens}
        return {"v": 1, "run": self._facts.run, **{name: value for name, value in state.items() if value is not None}}

    @guarded
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint: `resume` at its position, under its id unless this run was named or has begun."""
        run = text(state.get("run"))
        if run and self._state == "new" and not self._facts.named:
            self._rename(safe(run), named=True)
        if run and safe(run) != self._facts.run:
            warn_once("checkpoint", f"the checkpoint is of run {run}, this is run {self._facts.run}: not one run")
        self.resume(**{name: state.get(name) for name in ("epoch", "step", "samples", "tokens")})

    # What the agent says

    @property
    def id(self) -> str:
        """The run's id, as it shows on dashboards."""
        return self._facts.run

    @property
    def facts(self) -> RunMetadata:
        """What the run says about itself, as known by now."""
        return self._facts

    @property
    def epoch(self) -> float | None:
        """The position in epochs; None where not known."""
        if self._left:
            with self._lock:
                self._settle_left()
        return self._at.epoch

    @property
    def cost_usd(self) -> float | None:
        """US dollars so far, all attempts together; None without an agent or a price.

        Of the whole run; where it has parts on other machines that the agent cannot see, this machine's: see `part`.
        """
        return self._figure("cost_usd")

    @property
    def part(self) -> Part | None:
        """``this machine's part of 2`` (as `str`) where dollars are not the whole run's; None where they are."""
        try:
            return self._costs.part(self._facts.job.nodes)
        except Exception as err:  # noqa: BLE001 - guarded: a property returns a value or None
            self._fault(err)
            return None

    @property
    def cost_per_epoch_usd(self) -> float | None:
        """US dollars for one epoch; None where not known yet."""
        return self._figure("cost_per_epoch_usd")

    @property
    def projected_cost_usd(self) -> float | None:
        """US dollars that the whole run will have cost; None where not known yet."""
        return self._figure("projected_cost_usd")

    @property
    def preemption_notice(self) -> PreemptionNotice | None:
        """The provider's word that it takes this machine away: time for a checkpoint. None while nothing is announced.

        May be asked at every step. On a training over several machines only those that are taken away know.
        """
        try:
            return self._notices.notice()
        except Exception as err:  # noqa: BLE001 - guarded: a property returns a notice or None
            self._fault(err)
            return None

    @property
    def over_budget(self) -> bool:
        """Whether the run's cost so far has reached ``budget_usd``; False where one of them is not known.

        A part is not compared with the budget of the whole: False, and one warning that says what is missing.
        """
        return self._beyond_budget(self.cost_usd)

    @property
    def projected_over_budget(self) -> bool:
        """Whether the whole run will have cost more than ``budget_usd``; False where not known."""
        return self._beyond_budget(self.projected_cost_usd)

    # Inside

    @guarded
    def enter_phase(self, name: str) -> None:
        """Report phase ``name``."""
        if name not in PHASES:
            warn_once("argument phase", f"phase {shown(name)} is none of {', '.join(PHASES)}; it is not reported")
            return
        with self._lock:
            self._phase = name
            self._emit("phase")

    @guarded
    def saved(self, head: str = "") -> None:
        """Report that a checkpoint of the present position is on disk; ``head`` says since when."""
        with self._lock:
            self._saving = None
            self._emit("checkpoint", head=head)

    @guarded
    def _plan_saving(self, saving: CheckpointContext) -> None:
        # Whether a `with` follows is known at the next call of anything: until then the event waits, with its time.
        with self._lock:
            self._flush_saving()
            saving.head = self._narration.head("checkpoint")
            self._saving = saving
            if self._due < math.inf:
                self._due = 0.0

    def take_saving(self, saving: CheckpointContext) -> None:
        """``saving`` turned out to be a ``with``."""
        if self._saving is saving:
            self._saving = None

    def _flush_saving(self) -> None:
        saving, self._saving = self._saving, None
        if saving is not None:
            self.saved(saving.head)

    def _rename(self, run: str, *, named: bool = False) -> None:
        self._facts = dataclasses.replace(self._facts, run=run, named=named)
        self._narration.describe(self._facts)
        self._costs.run = run

    def _unpark(self) -> None:
        if self.parked:
            self.reopen()

    # Inside, for loops

    @property
    def _steps(self) -> tuple[int, int]:
        return self._at.step_base + self._at.epoch_steps, self._at.batches

    def _loop_first(self) -> int:
        """The number that the program's next loop begins with."""
        return math.floor(self._at.base or 0.0) if self._placed else 0

    def _enter_loop(self, first: int, last: int | None, chosen: bool) -> int:  # noqa: FBT001
        """A loop over epochs begins; returns how many the run had done before its 0th."""
        try:
            self._unpark()
            with self._lock:
                self._settle_left()
                placed, self._placed, self._looped, self._counting = self._placed, False, True, None
                if placed and last is not None and first >= last:
                    warn_once("no epochs", f"run {self.id} has no epochs left to do: {first} of {last} are done")
                if placed or chosen:
                    return 0
                before = math.ceil((self._at.epoch or 0.0) - 1e-6)
                if before and last is not None and (self._facts.epochs or 0.0) < before + last:
                    self.describe(epochs=float(before + last))
                return before
        except Exception as err:  # noqa: BLE001 - guarded: the loop goes on
            self._fault(err)
            return 0

    @guarded
    def _begin_epoch(self, number: int) -> None:
        with self._lock:
            self._settle_left()
            self._counting = None
            self._at.begin_epoch(max(0, number))
            if self._phase != "train":
                self.enter_phase("train")

    def _begin_batches(self, loop: object, loader: object, start: int, accumulate: int) -> bool:
        """``loop`` begins; returns whether its batches are counted."""
        try:
            self._unpark()
            with self._lock:
                if self._phase == "eval" or self._counting is not None:
                    return False
                self._settle_left()
                self._counting = loop
                self._at.begin_batches(whole("start", start) or 0, known_length(loader), accumulate)
                if self._phase == "startup":
                    self.enter_phase("train")
        except Exception as err:  # noqa: BLE001 - guarded: the loop goes on
            self._fault(err)
        return True

    def _end_batches(self, loop: object) -> None:
        if self._counting is loop:
            self._counting = None
        else:  # beside one that is counted: if that one is left before its next step, it is `zip` that stopped
            self._beside = self._steps

    @guarded
    def _count_batch(self) -> None:
        with self._lock:
            self._at.add_batch()
            if _monotonic() >= self._due:
                self._progress()

    @guarded
    def _leave_batch(self, accumulate: int) -> None:
        """A loop over batches was left in the body of one: by ``break`` it is done, by an exception it is not."""
        with self._lock:
            if self._beside != self._steps:
                self._left.batch(accumulate)
            if self._due < math.inf:
                self._due = 0.0

    @guarded
    def _leave_epoch(self, number: int) -> None:
        """Likewise, for a loop over epochs: the ``number``-th is done if all its batches are."""
        with self._lock:
            self._left.epoch(number, self._narration.head("epoch_end"))
            if self._due < math.inf:
                self._due = 0.0

    def _settle_left(self) -> None:
        """The program goes on after a loop that it left, so no exception ended the run."""
        if not self._left:
            return
        left, self._left = self._left, LeftBody()
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
        self._settle_left()
        at = self._at
        if at.base is None:
            at.base = 0.0
        if self._state != "open" or self._saving is not None or self._phase == "startup":
            self._first_progress()
        elif at.nominal is not None and at.ends_nominal_epoch:
            self._emit("epoch_end")
        elif not self._narration.progress(at, self._phase):
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
            self._narration.tell(kind, self._at, self._phase, extra, head=head)
            if self._narration.silent:
                self._due = math.inf

    def _beyond_budget(self, usd: float | None) -> bool:
        budget = self._facts.budget_usd
        if usd is None or budget is None:
            return False
        part = self.part
        if part is not None:
            missing = part.missing or "an agent of this version with --prometheus.url has the whole run's"
            what = f"over_budget of run {self.id} is not decided: its dollars are {part}"
            warn_once("budget of a part", f"{what}: {missing}")
            return False
        return usd >= budget

    @guarded
    def _announce(self) -> None:
        if not self._narration.told or not getattr(self.announce, "wanted", _always)():
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

    def _figure(self, name: str) -> float | None:
        try:
            return self._costs.figure(name)
        except Exception as err:  # noqa: BLE001 - guarded: a property returns a figure or None
            self._fault(err)
            return None

    def _fault(self, err: Exception) -> None:
        warn_once("fault", f"part of this training is not reported: {type(err).__name__}: {err}; it goes on")


def _always() -> bool:
    return True


def silent_run(facts: RunMetadata, loop_epochs: Any) -> Run:  # noqa: ANN401 - as the user gave it
    """A run whose loops and figures work, and that writes nothing."""

    def nowhere() -> Path:
        raise FileNotFoundError("this run has no directory")

    silent = Run(
        facts,
        narration=EventEmitter(facts, None, MemoryPeak(None)),
        costs=CostFile(nowhere, facts.run),
        notices=NoticeFile(nowhere),
        position=Position(facts.batch_size, facts.samples_per_epoch, None),
        loop_epochs=loop_epochs,
    )
    silent.mute()
    return silent
