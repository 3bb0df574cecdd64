"""What the callbacks of all frameworks have in common: one fit after another, reported as one run."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from epochcost.training.fit_args import FrameworkInfo, UserArgs
from epochcost.training.fit_call import WATCHER, FitCall, running_call
from epochcost.training.job import safe
from epochcost.training.logged_metrics import LoggedMetrics
from epochcost.training.outcome import status_of
from epochcost.training.run import Run
from epochcost.training.run_factory import make_run, users_run
from epochcost.training.switches import logging_allowed
from epochcost.training.warning import inform_once, warn_once

PLANS = ("epochs", "batch_size", "samples_per_epoch")
FIGURES = ("cost_usd", "cost_per_epoch_usd", "projected_cost_usd")


def harmless(hook: Callable[..., Any]) -> Callable[..., None]:
    """A framework calls ``hook``: it returns nothing, and any failure in it logs one warning."""

    @functools.wraps(hook)
    def call(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - whatever the framework passes
        try:
            hook(*args, **kwargs)
        except Exception as err:  # noqa: BLE001 - this is the guard
            warn_once("callback", f"part of this run is not reported: {type(err).__name__}: {err}; training continues")

    return call


class Fit:
    """The fits of one callback: each is an attempt of the same run, whose epochs go on counting.

    A run that the program itself has open around the fit, in the same thread, is joined and left open; any other open
    run is not a callback's concern. Epochs and steps are given as the framework counts them; a fit that begins at 0
    again is the next segment, not a repetition.
    """

    def __init__(self, framework: str, user_args: UserArgs, call: tuple[str, tuple[str, ...]] | None = None) -> None:
        """``call``: package and names of the function whose end by an exception the framework does not report."""
        self._framework = framework
        self._user_args = user_args
        self._call_functions = call
        self._call: FitCall | None = None
        self._run: Run | None = None
        self._own_run: Run | None = None
        self._owns_run = False
        self._saved_state: Mapping[str, Any] | None = None
        self._framework_info = FrameworkInfo()
        self._phase_after_saving = "train"
        self._is_saving = False
        self._is_retry = False
        self._has_moved = False
        self._epoch_offset = 0
        self._step = 0
        self._epoch_start_step = 0
        self._nominal_steps = 0
        self._tokens: tuple[int, int] | None = None
        self._batches_per_epoch: int | None = None
        self._metrics = LoggedMetrics()
        self.active = False
        self.epoch_open = False

    def __getstate__(self) -> dict[str, Any]:
        # A copy, or what goes to another process, is in no call here.
        return {**self.__dict__, "_call": None}

    @property
    def run(self) -> Run | None:
        """The run, once a fit has begun."""
        return self._run

    @property
    def broke(self) -> bool:
        """Whether the framework's call is over without having been reported."""
        return self.active and self._call is not None and not self._call.runs

    def broke_before(self, call: object) -> bool:
        """Whether it was over before ``call``, which begins now, also if it looks like the same call of one object."""
        return self.broke or (self.active and self._has_moved and self._call == call)

    # Life

    def begin(
        self, local_rank: int | None = None, announce: Callable[[str], None] | None = None, *, new_trial: bool = False
    ) -> None:
        """A fit begins; an earlier one of this callback that ended without a report ends as failed.

        Args:
            local_rank: the framework's, if it runs several processes.
            announce: prints the one line at the end.
            new_trial: this fit has nothing to do with the one before: a trial of a search.
        """
        # The framework may begin again within one and the same call, with smaller batches after running out of memory.
        self._is_retry = self.active and not new_trial and self._call is not None and self._call.runs
        if self.active and not self._is_retry:
            self.end("failed")
        call = None if self._call_functions is None else running_call(*self._call_functions)
        WATCHER.look(call, but=self)
        self._has_moved = False
        self._tokens, self._nominal_steps = None, 0
        self.epoch_open = self._is_saving = False
        if not self._is_retry:
            self._metrics = LoggedMetrics()
            self._open(local_rank, announce, new_trial=new_trial)
            if self._owns_run and call is not None:
                self._call = call
                WATCHER.add(self)
        self.active = True

    def _open(self, local_rank: int | None, announce: Callable[[str], None] | None, *, new_trial: bool) -> None:
        outer = self._program_run()
        self._owns_run = outer is None
        if outer is None:
            reopens = self._own_run is not None and not (new_trial and not self._user_args.id)
            run = self._own_run if reopens and self._own_run is not None else self._new_run(local_rank)
            self._own_run, run.fit = run, self
            run.announce = announce or run.announce
        else:
            run = outer
        self._run = run
        if self._saved_state is not None:
            run.load_state_dict(self._saved_state)
        run.reopen()

    def _new_run(self, local_rank: int | None) -> Run:
        args = self._user_args
        return make_run(
            replace(
                args,
                framework=args.framework or self._framework,
                local_rank=local_rank if args.local_rank is None else args.local_rank,
            )
        )

    def _program_run(self) -> Run | None:
        """The program's own run around this fit, unless the callback has another id."""
        outer = users_run()
        if outer is None or (self._user_args.id and safe(str(self._user_args.id)) != outer.id):
            return None
        chosen = [name for name in ("experiment", "budget_usd") if getattr(self._user_args, name)]
        differ = [name for name in chosen if getattr(self._user_args, name) != getattr(outer.facts, name)]
        ignored = f"; ignoring the callback's {' and '.join(differ)}" if differ else ""
        inform = warn_once if differ else inform_once
        inform(f"joined {outer.id}", f"the fit is reported as part of run {outer.id}, which is open around it{ignored}")
        return outer

    def update_info(self, info: FrameworkInfo) -> None:
        """What the framework knows by now; what the user passed takes precedence."""
        if self._run is None:
            return
        user_args, self._framework_info = self._user_args, info
        planned = user_args.epochs
        if planned is None and info.epochs is not None and not user_args.nominal:
            planned = self._epoch_offset + info.epochs
        facts = asdict(info) | {
            "framework": user_args.framework or self._framework,
            "epochs": planned,
            "batch_size": user_args.batch_size or info.batch_size,
            "samples_per_epoch": user_args.samples_per_epoch or info.samples_per_epoch,
        }
        del facts["batches"], facts["steps"]
        if user_args.local_rank is not None:
            facts["local_rank"] = user_args.local_rank
        # What the program passed when it opened the run itself takes precedence.
        program_facts = (
            () if self._owns_run else tuple(name for name in PLANS if getattr(self._run.facts, name) is not None)
        )
        self._run.describe(**{name: value for name, value in facts.items() if name not in program_facts})
        self._batches_per_epoch = info.batches

    def set_position(self, epoch: int, step: int, part: float = 0.0) -> None:
        """Where the framework begins: after ``epoch`` epochs and ``step`` steps of its own, ``part`` into the next."""
        run = self._run
        if run is None:
            return
        if self._is_retry:  # from the beginning of this fit: what it did is done again
            if self._step != step:
                run.resume(epoch=self._epoch_offset + epoch + part, step=step)
            self._saved_state, self._step = None, step
            return
        state = run.state_dict()
        there = float(state.get("epoch", 0.0))
        fresh = epoch == 0 and step == 0 and part == 0 and self._saved_state is None
        self._epoch_offset = math.floor(there) if fresh else 0
        if not fresh and self._saved_state is None and (epoch or part or step):
            run.resume(epoch=epoch + part, step=step or None)
        self._saved_state = None
        self._step = step

    def end(self, status: str = "finished") -> None:
        """The fit is over."""
        WATCHER.remove(self)
        self.settle()
        if self.active and self._run is not None and self._owns_run:
            self._run.end(status)
        self.active = self._is_retry = False
        self._call = None

    def fail(self, error: BaseException | None) -> None:
        """The fit ends by ``error``, which may also be a search that prunes it."""
        self.end("failed" if error is None else status_of(error))

    # Positions

    def begin_epoch(self, number: int, done: int = 0, batches_done: int = 0) -> None:
        """The epoch after ``number`` finished ones begins, ``done`` steps and ``batches_done`` batches into it."""
        self.settle()
        steps = self._user_args.steps_per_epoch or self._framework_info.steps
        self._epoch_start_step = self._step - done
        self.epoch_open = self._has_moved = True
        if self._run is None:
            return
        if self._user_args.nominal:
            self._run.enter_phase("train")
        else:
            self._run.begin_epoch(self._epoch_offset + number, steps, done)
            if batches_done and self._batches_per_epoch:
                self._run.reached(batches_done / self._batches_per_epoch)

    def step_to(self, step: int, batch: int | None = None) -> None:
        """``step`` steps are done as the framework counts them, and ``batch`` batches of this epoch."""
        run = self._run
        if run is None:
            return
        if self._is_saving:
            self.settle()
        if batch is not None and self._batches_per_epoch and not self._user_args.nominal:
            run.reached(batch / self._batches_per_epoch)
        before, done = self._step, step - self._step
        if done <= 0:
            return
        self._step, self._has_moved = step, True
        run.step(done)
        if self._nominal_steps and step // self._nominal_steps > before // self._nominal_steps:
            run.epoch_end(step // self._nominal_steps)
            run.begin_epoch(step // self._nominal_steps, self._nominal_steps, step % self._nominal_steps)

    def tokens_to(self, count: object) -> None:
        """The framework has seen ``count`` tokens in this fit, as it counts them."""
        if self._run is None or isinstance(count, bool) or not isinstance(count, (int, float)) or not count >= 0:
            return
        if self._tokens is None:  # after a resume some frameworks continue counting and some start from 0
            before = int(self._run.state_dict().get("tokens", 0))
            self._tokens = (0 if count >= before else before, 0)
        self._run.report(tokens=self._tokens[0] + int(count))

    def begin_steps(self) -> None:
        """There are no epochs, only steps; the user's ``steps_per_epoch`` makes nominal ones of them."""
        nominal = self._nominal_steps = self._user_args.nominal_epoch_steps or self._user_args.steps_per_epoch or 0
        if self._run is None:
            return
        if nominal:
            self._run.begin_epoch(self._step // nominal, nominal, self._step % nominal)
        else:
            self._run.describe(unit="step")
            self._run.enter_phase("train")

    def end_epoch(self, number: int, *, whole: bool = True) -> None:
        """The ``number``-th epoch ends; one that was not ``whole`` was interrupted and does not count."""
        self.settle()
        if self._run is not None and self.epoch_open and whole and not self._user_args.nominal:
            self._run.epoch_end(self._epoch_offset + number)
        self.epoch_open = False

    @property
    def steps_in_epoch(self) -> int:
        """Steps done since this epoch began, those before a resume included."""
        return self._step - self._epoch_start_step

    # Phases

    def phase(self, name: str) -> None:
        """The run's phase from now on."""
        self.settle()
        self._phase_after_saving = name
        if self._run is not None:
            self._run.enter_phase(name)

    def saving(self) -> None:
        """A checkpoint is about to be written; it is on disk when the framework does the next thing."""
        if self.active and self._run is not None and not self._is_saving:
            self._is_saving = True
            self._run.enter_phase("checkpoint")

    def saved(self) -> None:
        """A checkpoint is on disk."""
        if self.active and self._run is not None:
            self._run.checkpoint()

    def settle(self) -> None:
        """The framework does the next thing."""
        if self._is_saving and self._run is not None:
            self._is_saving = False
            self._run.saved()
            self._run.enter_phase(self._phase_after_saving)

    def stop_requested(self) -> bool:
        """Whether the guard of this machine asks the fit to stop, and this callback may do it.

        Processes of one training run must stop together, and no callback knows what the others have read: there it is
        left to the program (``run.should_stop``).
        """
        run = self._run if self.active and self._user_args.stop_when_asked else None
        reason = run.should_stop if run is not None else ""
        if not reason or run is None:
            return False
        if (self._framework_info.world or run.facts.job.world or 1) > 1:
            warn_once(
                "stop",
                f"this machine's guard requests that run {run.id} stop ({reason}), "
                "but only its program can stop all its processes",
            )
            return False
        warn_once("stop", f"run {run.id} stops as requested by this machine's guard ({reason})")
        return True

    # Metrics, dollars and checkpoints

    def log(self, read: Callable[..., Mapping[str, Any] | None], *of: Any) -> None:  # noqa: ANN401 - as ``read`` takes
        """What the framework logs by itself, as far as it is wanted and worth its place; ``read(*of)`` finds it."""
        if self.active and self._run is not None and self._user_args.report_metrics:
            try:
                self._run.log(self._metrics.chosen(read(*of) or {}))
            except Exception as err:  # noqa: BLE001 - another version of the framework, perhaps
                warn_once("metrics", f"{self._framework}'s metrics are not reported: {type(err).__name__}: {err}")

    @property
    def line_is_due(self) -> bool:
        """Whether the next step writes a line: time to `log` what would be too expensive at every step."""
        return self._run is not None and self._run.line_is_due

    def costs(self) -> dict[str, float]:
        """``epochcost/cost_usd`` and so on, as far as known and wanted: for the framework's own loggers."""
        run = self._run if self.active and self._user_args.log_costs and logging_allowed() else None
        known = {f"epochcost/{name}": getattr(run, name) for name in FIGURES} if run is not None else {}
        return {name: value for name, value in known.items() if value is not None}

    def state_dict(self) -> dict[str, Any]:
        """For the framework's checkpoint."""
        return {} if self._run is None else self._run.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """From the framework's checkpoint: used when the fit begins, or at once where it has begun."""
        if not state:
            return
        self._saved_state = dict(state)
        if self.active and self._run is not None:
            self._run.load_state_dict(self._saved_state)
