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
from epochcost.training.run_life import PHASES, STATUSES, AgentFiles, guarded
from epochcost.training.run_loops import RunLoops
from epochcost.training.run_metadata import RunMetadata
from epochcost.training.summary import money
from epochcost.training.validation import amount, text, whole
from epochcost.training.warning import warn_once

__all__ = ["PHASES", "STATUSES", "Run", "silent_run"]

_monotonic = time.monotonic
_NEVER = math.inf
STEPLESS_SECONDS = 5.0
"""After which what a program logs is written without a step or a position."""


class Run(RunLoops):
    """One training run, created by ``epochcost.run()``; use it as a context manager, or call ``start()`` and ``end()``.

    Positions are absolute and counted in finished epochs: 3.25 is a quarter into the fourth. Every method may be called
    from any thread, returns at once and raises nothing, whatever happens to the disk, the directory or the agent; only
    `epochs` raises what ``range`` would, for an invalid plan.

    Attributes:
        announce: prints the one line at the end of the run; its ``wanted()``, if it has one, decides whether.
        fit: the callback's fit that opened this run; None if the program itself did.
        plain: ``epochcost.start()`` opened it, for the plain functions.
        cell: of a notebook, in which it began.
        parked: a notebook ended it, until it is used again.
    """

    def __enter__(self) -> Run:  # noqa: PYI034 - Self needs Python 3.11
        self._with_depth += 1
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._with_depth -= 1
        if self._with_depth <= 0:  # else an outer `with` of the same run continues
            self._with_depth = 0
            self.end(status_of(error))

    def __repr__(self) -> str:
        at, usd, part = self._position.epoch, self.cost_usd, self.part
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
        """Report the position of the training, in absolute figures; for loops that keep their own counters."""
        with self._lock:
            self._settle_left_body()
            first = self._phase == "startup" and not self._position_set and not self._has_epoch_loop
            self._position_set = self._position_set or (epoch is not None and not self._has_epoch_loop)
            self._position.move(
                amount("epoch", epoch), whole("step", step), whole("samples", samples), whole("tokens", tokens)
            )
            if first and self._position_set and self._position.epoch:
                self._emit("progress")  # work done before this first report: a phase would begin here
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
        """Report that training continues from a checkpoint at this position; work beyond it has to be repeated."""
        with self._lock:
            self._settle_left_body()
            self._position_set = self._position_set or epoch is not None
            step_count, sample_count = whole("step", step), whole("samples", samples)
            self._position.move(
                amount("epoch", epoch), step_count, sample_count, whole("tokens", tokens), counted=False
            )
            # Elsewhere 0 steps would be a claim of a loop that counts none; here the program passed them.
            self._emit("resume", ',"step":0' if step_count == 0 else "")

    def phase(self, name: str) -> PhaseContext:
        """Set the phase: ``train``, ``eval``, ``checkpoint``, ``restore`` or ``startup``.

        A plain call holds until the next one; as a context manager, it returns to the previous phase on exit.
        """
        before = self._phase
        self.enter_phase(name)
        return PhaseContext(self, before)

    def checkpoint(self) -> CheckpointContext:
        """Report a checkpoint of this position: just saved (plain call), or saved in the body of a ``with``.

        If the body raises, nothing was saved, and only the time it took is reported.
        """
        context = CheckpointContext(self, self._phase)
        self._plan_checkpoint(context)
        return context

    def log(self, values: Mapping[str, Any] | None = None, /, **named: Any) -> None:  # noqa: ANN401 - any number
        """Report numbers to show next to the cost: ``run.log(loss=0.31)``, or a mapping. At most 8 names per run.

        The newest value of each name goes out with the next line: once a second, or every 5 s if no steps are reported.
        A number on a GPU is read at most once a second, because reading waits for the device. NaN or infinity withdraws
        the name until it is a number again.
        """
        try:
            with self._lock:
                if self._line_due_t == _NEVER:
                    return
                self._reported.take(named if values is None else {**values, **named})
                # A step writes the next line, with its position; this one does where no step comes.
                if _monotonic() - self._reported_t >= STEPLESS_SECONDS and self._phase != "startup":
                    self._emit("progress")
        except Exception as err:  # noqa: BLE001 - guarded in place: this is a hot path
            self._fault(err)

    # Checkpoints

    def state_dict(self) -> dict[str, Any]:
        """The run's id and position, to be saved in the program's own checkpoint; plain numbers and strings."""
        with self._lock:
            self._settle_left_body()
            at = self._position
            at.derive_samples()
            step = at.step_base + at.epoch_steps
            state = {"epoch": at.epoch, "step": step or None, "samples": at.samples, "tokens": at.tokens}
        return {"v": 1, "run": self._facts.run, **{name: value for name, value in state.items() if value is not None}}

    @guarded
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a checkpoint: `resume` at its position, with its id unless this run is named or has started."""
        run = text(state.get("run"))
        if run and self._state == "new" and not self._facts.named:
            self._rename(safe(run), named=True)
        if run and safe(run) != self._facts.run:
            apart = f"the checkpoint belongs to run {run}, but this is run {self._facts.run}: they stay separate runs"
            warn_once("checkpoint", apart)
        self.resume(**{name: state.get(name) for name in ("epoch", "step", "samples", "tokens")})

    # What the agent reports

    @property
    def cost_usd(self) -> float | None:
        """Cost so far in US dollars, over all attempts; None without an agent or a price.

        Of the whole run; if the agent cannot see its parts on other machines, of this machine: see `part`.
        """
        return self._figure("cost_usd")

    @property
    def part(self) -> Part | None:
        """``this machine's part of 2`` (as `str`) if the cost is not that of the whole run; None if it is."""
        try:
            return self._costs.part(self._facts.job.nodes)
        except Exception as err:  # noqa: BLE001 - guarded: a property returns a value or None
            self._fault(err)
            return None

    @property
    def cost_per_epoch_usd(self) -> float | None:
        """Cost of one epoch in US dollars; None if not known yet."""
        return self._figure("cost_per_epoch_usd")

    @property
    def projected_cost_usd(self) -> float | None:
        """Projected cost of the whole run in US dollars; None if not known yet."""
        return self._figure("projected_cost_usd")

    @property
    def preemption_notice(self) -> PreemptionNotice | None:
        """The provider's preemption notice for this machine: time to save a checkpoint. None if there is none.

        Cheap enough to check at every step. In a multi-machine run, only the machines being preempted have a notice.
        """
        try:
            return self._notices.notice()
        except Exception as err:  # noqa: BLE001 - guarded: a property returns a notice or None
            self._fault(err)
            return None

    @property
    def over_budget(self) -> bool:
        """Whether the run's cost so far has reached ``budget_usd``; False if either is unknown.

        A part is not compared with the budget of the whole run: False, and one warning names what is missing.
        """
        return self._beyond_budget(self.cost_usd)

    @property
    def should_stop(self) -> str:
        """Why this machine's guard asks this training run to stop; empty unless it does.

        Cheap enough to check at every step: if set, save a checkpoint and leave the loop. A run that then ends before
        its planned epochs are done ends as stopped, and continues from its checkpoint when it is started again.
        """
        try:
            request = self._costs.stop()
        except Exception as err:  # noqa: BLE001 - guarded: a property returns a string
            self._fault(err)
            return ""
        self._stop_policy = request.policy if request is not None else ""
        return request.reason if request is not None else ""

    @property
    def projected_over_budget(self) -> bool:
        """Whether the projected cost of the whole run exceeds ``budget_usd``; False if not known."""
        return self._beyond_budget(self.projected_cost_usd)

    def _beyond_budget(self, usd: float | None) -> bool:
        budget = self._facts.budget_usd
        if usd is None or budget is None:
            return False
        part = self.part
        if part is not None:
            missing = part.missing or "an agent of this version with --prometheus.url has the whole run's"
            what = f"over_budget of run {self.id} cannot be determined: its cost is {part}"
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
        EventEmitter(facts, None, MemoryPeak(None)),
        AgentFiles(CostFile(nowhere, facts.run), NoticeFile(nowhere)),
        Position(facts.batch_size, facts.samples_per_epoch, None),
        loop_epochs=loop_epochs,
    )
    silent.mute()
    return silent
