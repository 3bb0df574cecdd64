"""One training run, as its own process reports it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from epochcost.training import notebook
from epochcost.training.contexts import CheckpointContext, PhaseContext
from epochcost.training.cost import CostFile, Part
from epochcost.training.event_emitter import EventEmitter
from epochcost.training.job import safe
from epochcost.training.memory import MemoryPeak
from epochcost.training.notice import NoticeFile, PreemptionNotice
from epochcost.training.outcome import status_of
from epochcost.training.position import Position
from epochcost.training.run_life import PHASES, STATUSES, guarded
from epochcost.training.run_loops import RunLoops
from epochcost.training.run_metadata import RunMetadata
from epochcost.training.summary import money
from epochcost.training.validation import amount, text, whole
from epochcost.training.warning import warn_once

__all__ = ["PHASES", "STATUSES", "Run", "silent_run"]

_monotonic = time.monotonic
_NEVER = math.inf
STEPLESS_SECONDS = 5.0
"""After which a program that logs, and says nothing of its position, is heard."""


class Run(RunLoops):
    """One training run. Made by ``epochcost.run()``; a context manager, or ``start()`` and ``end()``.

    Positions are absolute and counted in finished epochs: 3.25 is a quarter into the fourth. Every method may be called
    from any thread, returns at once and raises nothing, whatever happens to the disk, the directory or the agent; only
    `epochs` raises what ``range`` would, for a plan that is none.

    Attributes:
        announce: where the one line at the end of the run goes; its ``wanted()``, where it has one, says if at all.
        fit: the callback's fit that opened this run; None if the program itself did.
        plain: ``epochcost.start()`` opened it, for the plain functions.
        cell: of a notebook, in which it began.
        parked: a notebook ended it, until it is used again.
    """

    def __enter__(self) -> Run:  # noqa: PYI034 - Self needs Python 3.11
        self._entered += 1
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered -= 1
        if self._entered <= 0:  # else an outer `with` of the same run continues
            self._entered = 0
            self.end(status_of(error))

    def __repr__(self) -> str:
        at, usd, part = self._at.epoch, self.cost_usd, self.part
        known = ["" if at is None else f"epoch {round(at, 2):g}", "" if usd is None else money(usd), str(part or "")]
        return f"<epochcost run {': '.join(filter(None, (self.id, ', '.join(filter(None, known)))))}>"

    def _repr_html_(self) -> str:
        """For notebooks: the run's progress and cost."""
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

    def __reduce__(self) -> tuple[Callable[..., Run], tuple[Any, ...]]:
        # A loader's workers may get the run along with everything else: they get one that never writes.
        return silent_run, (self._facts, self._loop_epochs)

    # Plain reports

    @guarded
    def report(
        self,
        epoch: float | None = None,
        step: int | None = None,
        samples: int | None = None,
        tokens: int | None = None,
    ) -> None:
        """The position of the training, in absolute figures; for loops that count by themselves."""
        with self._lock:
            self._settle_left()
            first = self._phase == "startup" and not self._placed and not self._looped
            self._placed = self._placed or (epoch is not None and not self._looped)
            self._at.move(
                amount("epoch", epoch), whole("step", step), whole("samples", samples), whole("tokens", tokens)
            )
            if first and self._placed and self._at.epoch:
                self._emit("progress")  # work done before this first word: a phase would say that it begins here
            if self.line_is_due:
                self._progress()

    @guarded
    def resume(
        self,
        epoch: float | None = None,
        step: int | None = None,
        samples: int | None = None,
        tokens: int | None = None,
    ) -> None:
        """Training continues from a checkpoint at this position; what was done beyond it has to be repeated."""
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

    def log(self, values: Mapping[str, Any] | None = None, /, **named: Any) -> None:  # noqa: ANN401 - any number
        """Numbers to be seen beside the dollars: ``run.log(loss=0.31)``, or a mapping of them. At most 8 names a run.

        They go with the next line, the newest of each name: once a second, and every 5 s where no step is reported. A
        number on a GPU is read at most once a second, for reading waits for the device. NaN or infinity takes the name
        back until it is a number again.
        """
        try:
            with self._lock:
                if self._due == _NEVER:
                    return
                self._reported.take(named if values is None else {**values, **named})
                # A step writes the next line, with its position; this one does where no step comes.
                if _monotonic() - self._heard >= STEPLESS_SECONDS and self._phase != "startup":
                    self._emit("progress")
        except Exception as err:  # noqa: BLE001 - guarded in place: this is a hot path
            self._fault(err)

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
            apart = f"the checkpoint belongs to run {run}, but this is run {self._facts.run}: they stay separate runs"
            warn_once("checkpoint", apart)
        self.resume(**{name: state.get(name) for name in ("epoch", "step", "samples", "tokens")})

    # What the agent says

    @property
    def cost_usd(self) -> float | None:
        """US dollars so far, all attempts together; None without an agent or a price.

        Of the whole run; where it has parts on other machines that the agent cannot see, this machine's: see `part`.
        """
        return self._figure("cost_usd")

    @property
    def part(self) -> Part | None:
        """``this machine's part of 2`` (as `str`) where dollars are not the whole run's; None if they are."""
        try:
            return self._costs.part(self._facts.job.nodes)
        except Exception as err:  # noqa: BLE001 - guarded: a property returns a value or None
            self._fault(err)
            return None

    @property
    def cost_per_epoch_usd(self) -> float | None:
        """US dollars for one epoch; None if not known yet."""
        return self._figure("cost_per_epoch_usd")

    @property
    def projected_cost_usd(self) -> float | None:
        """US dollars that the whole run will have cost; None if not known yet."""
        return self._figure("projected_cost_usd")

    @property
    def preemption_notice(self) -> PreemptionNotice | None:
        """The provider's word that it takes this machine away: time for a checkpoint. None while nothing is announced.

        May be asked at every step. On a training run over several machines only those that are taken away know.
        """
        try:
            return self._notices.notice()
        except Exception as err:  # noqa: BLE001 - guarded: a property returns a notice or None
            self._fault(err)
            return None

    @property
    def over_budget(self) -> bool:
        """Whether the run's cost so far has reached ``budget_usd``; False if one of them is not known.

        A part is not compared with the budget of the whole: False, and one warning that says what is missing.
        """
        return self._beyond_budget(self.cost_usd)

    @property
    def should_stop(self) -> str:
        """Why the guard of this machine asks this training run to stop; empty while it does not.

        May be asked at every step: save a checkpoint, and leave the loop. A run that then ends before its plan is done
        ends as stopped, and continues from its checkpoint when it is started again.
        """
        try:
            asked = self._costs.stop()
        except Exception as err:  # noqa: BLE001 - guarded: a property returns a string
            self._fault(err)
            return ""
        self._stopped = asked.policy if asked is not None else ""
        return asked.reason if asked is not None else ""

    @property
    def projected_over_budget(self) -> bool:
        """Whether the whole run will have cost more than ``budget_usd``; False if not known."""
        return self._beyond_budget(self.projected_cost_usd)

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

    def _figure(self, name: str) -> float | None:
        try:
            return self._costs.figure(name)
        except Exception as err:  # noqa: BLE001 - guarded: a property returns a figure or None
            self._fault(err)
            return None


def silent_run(facts: RunMetadata, loop_epochs: Any) -> Run:  # noqa: ANN401 - as the user gave it
    """A run whose loops and figures work, and that writes nothing."""

    def nowhere() -> Path:
        raise FileNotFoundError("this run has no directory")

    silent = Run(
        facts,
        emitter=EventEmitter(facts, None, MemoryPeak(None)),
        costs=CostFile(nowhere, facts.run),
        notices=NoticeFile(nowhere),
        position=Position(facts.batch_size, facts.samples_per_epoch, None),
        loop_epochs=loop_epochs,
    )
    silent.mute()
    return silent
