"""What is counted here of a run's progress: what was done while its global rank 0 was on this machine.

Every machine follows the epochs, for it has to report what they cost there. But progress is one for the whole run: were
it counted on each machine, no sum over machines would be right. So it is counted where rank 0 is, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from epochcost.ledger.epochs import Epochs
from epochcost.model import Phase

WORK = ("executed", "steps", "samples", "tokens")
PHASE_NAMES = {phase: f"phase/{phase.value}" for phase in Phase}
"""Looked up each second: an enum's `value` is slow."""


class Process(Protocol):
    """A process of the run, with its place in the job as far as it reports that."""

    rank: int | None


def holds_rank_zero(processes: Iterable[Process]) -> bool:
    """Whether one of ``processes``, which are all of a run on this machine, is global rank 0.

    Where no world is known, the only machine there is has it. One without a rank beside others that have one is what
    started them, and is not a rank itself.
    """
    ranks = [process.rank for process in processes]
    known = [rank for rank in ranks if rank is not None]
    return 0 in known if known else bool(ranks)


@dataclass(slots=True)
class CountedHere:
    """The progress that this machine counts; see the module.

    Attributes:
        leads: rank 0 is here now.
        led: it is or was here.
        start: lowest position from which it was counted; None if not known yet.
        position, high_water: as rank 0 left them.
        attempt_t: when the newest attempt began in which it was here.
    """

    leads: bool = False
    led: bool = False
    start: float | None = None
    position: float | None = None
    high_water: float = 0.0
    _frozen: dict[str, float] = field(default_factory=dict)
    """What was counted by the time rank 0 left."""
    _skipped: dict[str, float] = field(default_factory=dict)
    """What was done while rank 0 was elsewhere."""
    attempt_t: float | None = None

    def decide(self, leads: bool, epochs: Epochs, phases: Mapping[Phase, float]) -> None:  # noqa: FBT001
        """Rank 0 is here from now on, or is not."""
        epochs.counted = leads
        if leads == self.leads:
            return
        done = _done(epochs, phases)
        if leads:
            self.attempt_t = epochs.started_t
            self._skipped = {name: value - self._frozen.get(name, 0) for name, value in done.items()}
        else:
            self._frozen = self._counted(done)
            self.position, self.high_water = epochs.reached, epochs.high_water
        self.leads = leads
        self.led = self.led or leads

    def disown(self) -> None:
        """What was taken for rank 0 has only started it: as long as it has done nothing, it has not led."""
        if self.start is None and not any(self._frozen.get(name) for name in WORK):
            self.led, self._frozen = False, {}

    def follow(self, epochs: Epochs) -> None:
        """Note where the counting began, once that is known."""
        if self.leads:
            self.attempt_t = epochs.started_t
        if self.leads and epochs.attempt_start is not None:
            lowest = min(epochs.attempt_start, epochs.position if epochs.position is not None else epochs.attempt_start)
            self.start = lowest if self.start is None else min(self.start, lowest)

    def amounts(self, epochs: Epochs, phases: Mapping[Phase, float]) -> dict[str, float]:
        """Counted so far: ``executed`` and ``lost`` epochs, ``steps``, ``samples``, ``tokens``, seconds of phases."""
        return self._counted(_done(epochs, phases)) if self.leads else dict(self._frozen)

    def _counted(self, done: Mapping[str, float]) -> dict[str, float]:
        """None of it ever falls: a difference of sums may, in its last digit, and would be taken for a restart."""
        return {
            name: max(self._frozen.get(name, 0), value - self._skipped.get(name, 0)) for name, value in done.items()
        }

    def state(self) -> list[Any]:
        """As JSON-able data."""
        known = [self.leads, self.led, self.start, self.position, self.high_water]
        return [*known, self._frozen, self._skipped, self.attempt_t]

    @classmethod
    def restored(cls, state: list[Any]) -> CountedHere:
        """What `state` described.

        Raises:
            ValueError, TypeError: when it is not what `state` makes.
        """
        leads, led, start, position, high_water, counts, skipped, *more = state
        if led and not leads and not {"lost", *WORK} <= dict(counts).keys():
            raise ValueError(f"counted: {', '.join(sorted(map(str, counts)))[:120]} are not all that was")
        (attempt_t,) = more or [None]
        return cls(bool(leads), bool(led), start, position, float(high_water), dict(counts), dict(skipped), attempt_t)


def _done(epochs: Epochs, phases: Mapping[Phase, float]) -> dict[str, float]:
    amounts: dict[str, float] = {
        "executed": epochs.executed,
        "lost": epochs.lost,
        "steps": epochs.steps.executed,
        "samples": epochs.samples.executed,
        "tokens": epochs.tokens.executed,
    }
    return {**amounts, **{PHASE_NAMES[phase]: seconds for phase, seconds in phases.items()}}
