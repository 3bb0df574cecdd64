"""The state of a run before one of its processes first reported its position, restored if that was a wrong guess.

`epochcost exec` reads what a training run prints, and may learn later that it has misread it. The run, its processes,
its seconds and its dollars stay; every position and epoch that the process reported was then never there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from epochcost.ledger.epochs import Epochs
from epochcost.ledger.finished_epoch import Epoch
from epochcost.ledger.rank_zero import CountedHere

FACTS = ("epochs", "batch_size")
"""What is reported of the run's progress besides positions."""


@dataclass(slots=True)
class BeforeReports:
    """A run as it was before ``writer`` first reported a position.

    Attributes:
        facts: `FACTS` as they were.
        epochs: as `Epochs.state` returned it, without the finished ones.
        finished: how many finished epochs there were, which are still kept.
        counted: as `CountedHere.state` returned it.
        dollars: of the epochs that are no longer kept: ``epoch_usd``, ``epochs``, ``epochs_here``.
    """

    writer: str
    facts: dict[str, Any]
    epochs: dict[str, Any]
    finished: int
    counted: list[Any]
    dollars: dict[str, Any]

    @classmethod
    def of(
        cls, writer: str, facts: Mapping[str, Any], epochs: Epochs, counted: CountedHere, dollars: Mapping[str, Any]
    ) -> BeforeReports:
        """The run as it is."""
        return cls(
            writer, dict(facts), epochs.state(finished=False), len(epochs.finished), counted.state(), dict(dollars)
        )

    def folded(self, epochs: Sequence[Epoch], dollars: Sequence[float | None]) -> None:
        """``epochs``, the oldest, are no longer kept one by one; their cost was ``dollars``."""
        mine = min(self.finished, len(epochs))
        self.finished -= mine
        for epoch, usd in zip(epochs[:mine], dollars[:mine], strict=True):
            if usd is not None:
                self.dollars["epoch_usd"] += usd
                self.dollars["epochs"] += epoch.count
                self.dollars["epochs_here"] += epoch.count if epoch.counted else 0

    def restored_epochs(self, now: Epochs) -> Epochs:
        """The progress as it was; the process continues, so the times of its last events stay as they are ``now``."""
        it = Epochs.restored({**self.epochs, "finished": [], "phase": now.phase.value})
        it.finished = now.finished[: self.finished]
        it.attempts, it.started_t, it.moved_t, it.counted = now.attempts, now.started_t, now.moved_t, now.counted
        it.at_work = now.at_work or now.stepped
        return it

    def state(self) -> list[Any]:
        """As JSON-able data."""
        return [self.writer, self.facts, self.epochs, self.finished, self.counted, self.dollars]

    @classmethod
    def restored(cls, state: Sequence[Any] | None) -> BeforeReports | None:
        """What `state` described."""
        if state is None:
            return None
        writer, facts, epochs, finished, counted, dollars = state
        known = {name: facts[name] for name in FACTS}
        return cls(str(writer), known, dict(epochs), int(finished), list(counted), dict(dollars))
