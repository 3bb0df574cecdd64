"""One training run, as its own process tells it."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

from epochcost.training.contexts import CheckpointContext, PhaseContext
from epochcost.training.cost import CostFile, Part
from epochcost.training.event_emitter import EventEmitter
from epochcost.training.exit_hooks import ENDINGS
from epochcost.training.job import Job, safe
from epochcost.training.loops import Loop, known_length
from epochcost.training.notice import NoticeFile, PreemptionNotice
from epochcost.training.position import Position
from epochcost.training.run_metadata import RunMetadata
from epochcost.training.summary import log_summary, money, summary
from epochcost.training.validation import amount, text, whole
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
    from any thread, returns at once and raises nothing, whatever happens to the disk, the directory or the agent.
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
    ) -> None:
        self._facts = facts
        self._narration = narration
        self._costs = costs
        self._notices = notices
        self._at = position
        self._loop_epochs = loop_epochs
        self._lock = threading.RLock()  # reentrant: a signal handler may end the run in the middle of a call
        self._state = "new"
        self._phase = "startup"
        self._due = 0.0
        self._told_to_go = False
        self._saving: CheckpointContext | None = None
        self._started = 0.0
        self.announce: Callable[[str], None] = log_summary
        """Where the one line at the end of the run goes."""

    # Life

    @guarded
    def start(self) -> None:
        """Report the start. Calling it again after `end` begins a new attempt, in a new file."""
        with self._lock:
            if self._state == "open":
                return
            self._state, self._phase, self._due = "open", "startup", 0.0
            self._told_to_go = False
            self._started = _monotonic()
            self._narration.begin(self._at)
            if self._narration.silent:
                self._due = math.inf
        ENDINGS.opened(self, reports=not self._narration.silent)

    @guarded
    def end(self, status: str = "finished") -> None:
        """Report the end: ``finished``, ``failed`` or ``preempted``. Only the first call counts."""
        # Never wait for long: a signal handler may come here while another thread is writing.
        if not self._lock.acquire(timeout=2.0):
            return
        try:
            if self._state != "open":
                return
            if self._at.ends_nominal_epoch:
                self._emit("epoch_end")
            if status not in STATUSES:
                warn_once("argument status", f"status={shown(status)} is none of {', '.join(STATUSES)}")
                self._emit("end")
            else:
                done = self._facts.epochs is not None and (self._at.epoch or 0.0) >= self._facts.epochs
                preempted = self._told_to_go and not done
                self._emit("end", f',"status":"{"preempted" if preempted else status}"')
            self._state, self._due = "ended", math.inf
            self._narration.close()
        finally:
            self._lock.release()
        ENDINGS.closed(self)
        if status != "preempted":  # which a signal handler says, where logging may be in the middle of a line
            self._announce()

    def preempt(self) -> None:
        """SIGTERM came, and a handler of the program's own deals with it: it ends as preempted unless it is done."""
        self._told_to_go = True

    def mute(self) -> None:
        """In a forked child: never write, whatever state the parent's threads left the lock in."""
        self._lock = threading.RLock()
        self._due, self._state = math.inf, "muted"
        self._narration.mute()

    def __enter__(self) -> Run:  # noqa: PYI034 - Self needs Python 3.11
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asked_to_exit = isinstance(error, SystemExit) and error.code in (None, 0)
        self.end("finished" if error is None or asked_to_exit else "failed")

    def __repr__(self) -> str:
        at, usd, part = self._at.epoch, self.cost_usd, self.part
        known = ["" if at is None else f"epoch {round(at, 2):g}", "" if usd is None else money(usd), str(part or "")]
        return f"<epochcost run {': '.join(filter(None, (self.id, ', '.join(filter(None, known)))))}>"

    def __reduce__(self) -> tuple[Callable[..., Run], tuple[Any, ...]]:
        # A loader's workers may get the run along with everything else: they get one that never writes.
        return _muted, (self._facts, self._loop_epochs)

    # Loops

    def epochs(self, start: int | None = None) -> Loop[int]:
        """The numbers of the epochs to do, from ``start`` (else where `resume` said, else 0) to the planned number.

        Without a planned number there is no last one. An epoch counts as finished when its body has run through.
        """
        told = whole("start", start)
        first = math.floor(self._at.base or 0.0) if told is None else told
        last = None if self._loop_epochs is None else _loop_end(self._loop_epochs)
        numbers: Iterable[int] = itertools.count(first) if last is None else range(first, last)

        def iterate() -> Iterator[int]:
            for number in numbers:
                self._begin_epoch(number)
                yield number
                self.epoch_end(number + 1)

        return Loop(iterate, lambda: len(numbers))  # type: ignore[arg-type]  # count has none, and says so

    def batches(self, loader: Iterable[T], start: int = 0) -> Loop[T]:
        """What ``loader`` yields, each counted as one step when its body has run; ``start`` were done before.

        In phase ``eval`` nothing is counted.
        """

        def iterate() -> Iterator[T]:
            counted = self._phase != "eval"
            if counted:
                self._begin_steps(loader, start)
            for batch in loader:
                yield batch
                if counted:
                    self.step()

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
            self._at.move(
                amount("epoch", epoch), whole("step", step), whole("samples", samples), whole("tokens", tokens)
            )
            if _monotonic() >= self._due:
                self._progress()

    @guarded
    def epoch_end(self, epoch: int | None = None) -> None:
        """An epoch is finished: number ``epoch`` (1 is the first), or simply the next."""
        with self._lock:
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
            self._at.move(
                amount("epoch", epoch), whole("step", step), whole("samples", samples), whole("tokens", tokens)
            )
            self._emit("resume")

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
            self._facts = dataclasses.replace(self._facts, run=safe(run), named=True)
            self._narration.describe(self._facts)
            self._costs.run = self._facts.run
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

    @guarded
    def _begin_epoch(self, number: int) -> None:
        with self._lock:
            self._at.begin_epoch(number)
            if self._phase != "train":
                self.enter_phase("train")

    @guarded
    def _begin_steps(self, loader: object, start: int) -> None:
        with self._lock:
            self._at.begin_steps(whole("start", start) or 0, known_length(loader))
            if self._phase == "startup":
                self.enter_phase("train")

    def _progress(self) -> None:
        self._due = _monotonic() + PROGRESS_INTERVAL_SECONDS
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
        if self._saving is not None:
            self._flush_saving()
        if self._state == "open":
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
        if self._narration.told:
            self._costs.refresh()
            at = self._at
            seconds = _monotonic() - self._started
            steps, nodes = at.step_base + at.epoch_steps, self._facts.job.nodes
            self.announce(summary(self.id, at.epoch, steps, seconds, self._costs, nodes))

    def _figure(self, name: str) -> float | None:
        try:
            return self._costs.figure(name)
        except Exception as err:  # noqa: BLE001 - guarded: a property returns a figure or None
            self._fault(err)
            return None

    def _fault(self, err: Exception) -> None:
        warn_once("fault", f"part of this training is not reported: {type(err).__name__}: {err}; it goes on")


def _loop_end(epochs: Any) -> int:  # noqa: ANN401 - as the user gave it
    """Where ``range(epochs)`` ends; a plan that is no number was said to be wrong before, and means no epoch."""
    try:
        end: int = math.ceil(epochs)
        return max(0, end)
    except (TypeError, ValueError, OverflowError):
        return 0


def _muted(facts: RunMetadata, loop_epochs: Any) -> Run:  # noqa: ANN401
    from epochcost.training.api import without_events

    return without_events(facts, loop_epochs)
