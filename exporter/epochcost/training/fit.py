"""What the callbacks of all frameworks have in common: one fit after another, told as one run."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from epochcost.training import api as face
from epochcost.training.run import Run
from epochcost.training.warning import warn_once

PLANS = ("epochs", "batch_size", "samples_per_epoch")
FIGURES = ("cost_usd", "cost_per_epoch_usd", "projected_cost_usd")


def harmless(hook: Callable[..., Any]) -> Callable[..., None]:
    """A framework calls ``hook``: it returns nothing, and whatever goes wrong in it is said once."""

    @functools.wraps(hook)
    def call(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - whatever the framework passes
        try:
            hook(*args, **kwargs)
        except Exception as err:  # noqa: BLE001 - this is the guard
            warn_once("callback", f"part of this training is not reported: {type(err).__name__}: {err}; it goes on")

    return call


@dataclass(frozen=True, slots=True)
class UserArgs:
    """What the user says to a callback; None where the framework may know. As the arguments of ``epochcost.run``."""

    experiment: str = ""
    epochs: float | None = None
    batch_size: int | None = None
    id: str | None = None
    budget_usd: float | None = None
    samples_per_epoch: int | None = None
    steps_per_epoch: int | None = None
    nominal_epoch_steps: int | None = None


@dataclass(frozen=True, slots=True)
class FrameworkInfo:
    """What a framework knows when its training begins; None where it does not.

    ``epochs`` as planned, counted from the same zero as the framework's own epochs; ``batch_size`` is samples of one
    optimiser step over all ranks; ``batches`` and ``steps`` are those of one epoch, before and after accumulation.
    """

    epochs: float | None = None
    batch_size: int | None = None
    samples_per_epoch: int | None = None
    batches: int | None = None
    steps: int | None = None
    rank: int | None = None
    local_rank: int | None = None
    node_rank: int | None = None
    nodes: int | None = None
    world: int | None = None


class Fit:
    """The fits of one callback: each is an attempt of the same run, whose epochs go on counting.

    A run that the program itself has open is joined and left open. Epochs and steps are given as the framework counts
    them; a fit that begins at 0 again is the next segment, not a repetition.
    """

    def __init__(self, framework: str, told: UserArgs) -> None:
        self._framework = framework
        self._told = told
        self._run: Run | None = None
        self._own: Run | None = None
        self._owned = False
        self._saved: Mapping[str, Any] | None = None
        self._found = FrameworkInfo()
        self._settled = "train"
        self._saving = False
        self._offset = 0
        self._step = 0
        self._epoch_step = 0
        self._nominal = 0
        self._batches: int | None = None
        self.active = False
        self.epoch_open = False

    @property
    def run(self) -> Run | None:
        """The run, once a fit has begun."""
        return self._run

    # Life

    def begin(self, local_rank: int | None = None, announce: Callable[[str], None] | None = None) -> None:
        """A fit begins; a fit that broke without a word ends as failed."""
        if self.active:
            self.end("failed")
        outer = face.current()
        self._owned = outer is None
        run = outer or self._own or face.run(**asdict(self._told), framework=self._framework, local_rank=local_rank)
        if outer is None:
            if self._own is not None:
                run.start()  # a new attempt
            self._own = run
            run.announce = announce or run.announce
        self._run = run
        if self._saved is not None:
            run.load_state_dict(self._saved)
        run.start()
        self.active, self.epoch_open, self._saving = True, False, False

    def know(self, found: FrameworkInfo) -> None:
        """What the framework knows by now; what the user said counts more."""
        if self._run is None:
            return
        told, self._found = self._told, found
        planned = told.epochs
        if planned is None and found.epochs is not None and not told.nominal_epoch_steps:
            planned = self._offset + found.epochs
        facts = asdict(found) | {
            "framework": self._framework,
            "epochs": planned,
            "batch_size": told.batch_size or found.batch_size,
            "samples_per_epoch": told.samples_per_epoch or found.samples_per_epoch,
        }
        del facts["batches"], facts["steps"]
        # What the program said when it opened the run itself, it knows better.
        said = () if self._owned else tuple(name for name in PLANS if getattr(self._run.facts, name) is not None)
        self._run.describe(**{name: value for name, value in facts.items() if name not in said})
        self._batches = found.batches

    def stand(self, epoch: int, step: int, part: float = 0.0) -> None:
        """Where the framework begins: after ``epoch`` epochs and ``step`` steps of its own, ``part`` into the next."""
        run = self._run
        if run is None:
            return
        state = run.state_dict()
        there = float(state.get("epoch", 0.0))
        fresh = epoch == 0 and step == 0 and part == 0 and self._saved is None
        self._offset = math.floor(there) if fresh else 0
        if not fresh and self._saved is None and (epoch or part or step):
            run.resume(epoch=epoch + part, step=step or None)
        self._saved = None
        self._step = step

    def end(self, status: str = "finished") -> None:
        """The fit is over."""
        self.settle()
        if self.active and self._run is not None and self._owned:
            self._run.end(status)
        self.active = False

    # Positions

    def begin_epoch(self, number: int, done: int = 0) -> None:
        """The epoch after ``number`` finished ones begins, ``done`` steps into it."""
        self.settle()
        steps = self._told.steps_per_epoch or self._found.steps
        self._epoch_step = self._step - done
        self.epoch_open = True
        if self._run is None:
            return
        if self._told.nominal_epoch_steps:
            self._run.enter_phase("train")
        else:
            self._run.begin_epoch(self._offset + number, steps, done)

    def step_to(self, step: int, batch: int | None = None) -> None:
        """``step`` steps are done as the framework counts them, and ``batch`` batches of this epoch."""
        run = self._run
        if run is None:
            return
        if self._saving:
            self.settle()
        if batch is not None and self._batches and not self._told.nominal_epoch_steps:
            run.reached(batch / self._batches)
        before, done = self._step, step - self._step
        if done <= 0:
            return
        self._step = step
        run.step(done)
        if self._nominal and step // self._nominal > before // self._nominal:
            run.epoch_end(step // self._nominal)
            run.begin_epoch(step // self._nominal, self._nominal, step % self._nominal)

    def begin_steps(self) -> None:
        """There are no epochs, only steps; the user's ``steps_per_epoch`` makes nominal ones of them."""
        nominal = self._nominal = self._told.nominal_epoch_steps or self._told.steps_per_epoch or 0
        if self._run is None:
            return
        if nominal:
            self._run.begin_epoch(self._step // nominal, nominal, self._step % nominal)
        else:
            self._run.describe(unit="step")
            self._run.enter_phase("train")

    def end_epoch(self, number: int, *, whole: bool = True) -> None:
        """The ``number``-th epoch ends; one that was not ``whole`` was broken off and does not count."""
        self.settle()
        if self._run is not None and self.epoch_open and whole and not self._told.nominal_epoch_steps:
            self._run.epoch_end(self._offset + number)
        self.epoch_open = False

    @property
    def steps_in_epoch(self) -> int:
        """Steps done since this epoch began, those before a resume included."""
        return self._step - self._epoch_step

    # Phases

    def phase(self, name: str) -> None:
        """The run's phase from now on."""
        self.settle()
        self._settled = name
        if self._run is not None:
            self._run.enter_phase(name)

    def saving(self) -> None:
        """A checkpoint is about to be written; it is on disk when the framework does the next thing."""
        if self.active and self._run is not None and not self._saving:
            self._saving = True
            self._run.enter_phase("checkpoint")

    def saved(self) -> None:
        """A checkpoint is on disk."""
        if self.active and self._run is not None:
            self._run.checkpoint()

    def settle(self) -> None:
        """The framework does the next thing."""
        if self._saving and self._run is not None:
            self._saving = False
            self._run.saved()
            self._run.enter_phase(self._settled)

    # Dollars and checkpoints

    def costs(self) -> dict[str, float]:
        """``epochcost/cost_usd`` and so on, as far as known: for the framework's own loggers."""
        run = self._run if self.active else None
        known = {f"epochcost/{name}": getattr(run, name) for name in FIGURES} if run is not None else {}
        return {name: value for name, value in known.items() if value is not None}

    def state_dict(self) -> dict[str, Any]:
        """For the framework's checkpoint."""
        return {} if self._run is None else self._run.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """From the framework's checkpoint: used when the fit begins, or at once where it has begun."""
        if not state:
            return
        self._saved = dict(state)
        if self.active and self._run is not None:
            self._run.load_state_dict(self._saved)
